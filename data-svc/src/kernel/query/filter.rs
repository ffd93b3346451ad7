//! The filter as written: objects, arrays of triples, operators. Nothing is looked up here.
//!
//! Invariant: a tree is at most 10 levels deep, has at most 200 conditions and lists of at most
//! 1,000 values.

use mesh::{Error, Result};
use serde_json::{Map, Value as Json};

use crate::kernel::query::{refuse, suggest};

const DEPTH_MAX: usize = 10;
const CONDITIONS_MAX: usize = 200;
const LIST_MAX: usize = 1_000;

/// A filter, syntactically read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    /// All hold; none is true.
    All(Vec<Filter>),
    /// One holds; none is false.
    Any(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// One test of one field, possibly through relations.
    Test {
        /// Names from this object's field on.
        path: Vec<String>,
        /// What must hold.
        operator: Operator,
        /// With what.
        operand: Operand,
    },
}

/// What is asked of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Nin,
    Between,
    Contains,
    NotContains,
    StartsWith,
    EndsWith,
    Null,
    Exists,
    Like,
    Ilike,
}

/// With what a field is compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// A value.
    Value(Json),
    /// Several values.
    List(Vec<Operand>),
    /// Another field of the same row.
    Field(String),
    /// An expression.
    Cel(String),
}

/// The operators by their name in objects.
const OPERATORS: &[(&str, Operator)] = &[
    ("$eq", Operator::Eq),
    ("$ne", Operator::Ne),
    ("$gt", Operator::Gt),
    ("$gte", Operator::Gte),
    ("$lt", Operator::Lt),
    ("$lte", Operator::Lte),
    ("$in", Operator::In),
    ("$nin", Operator::Nin),
    ("$between", Operator::Between),
    ("$contains", Operator::Contains),
    ("$icontains", Operator::Contains),
    ("$notContains", Operator::NotContains),
    ("$startsWith", Operator::StartsWith),
    ("$endsWith", Operator::EndsWith),
    ("$null", Operator::Null),
    ("$exists", Operator::Exists),
    ("$like", Operator::Like),
    ("$ilike", Operator::Ilike),
];

/// The operators by their name in triples.
const TRIPLES: &[(&str, Operator)] = &[
    ("=", Operator::Eq),
    ("==", Operator::Eq),
    ("!=", Operator::Ne),
    ("<>", Operator::Ne),
    (">", Operator::Gt),
    (">=", Operator::Gte),
    ("<", Operator::Lt),
    ("<=", Operator::Lte),
    ("in", Operator::In),
    ("nin", Operator::Nin),
    ("not_in", Operator::Nin),
    ("contains", Operator::Contains),
    ("like", Operator::Contains),
    ("notcontains", Operator::NotContains),
    ("not_contains", Operator::NotContains),
    ("startswith", Operator::StartsWith),
    ("starts_with", Operator::StartsWith),
    ("endswith", Operator::EndsWith),
    ("ends_with", Operator::EndsWith),
    ("between", Operator::Between),
    ("is_null", Operator::Null),
    ("is_not_null", Operator::Exists),
];

impl Operator {
    /// Its name in objects.
    pub(super) fn name(self) -> &'static str {
        OPERATORS
            .iter()
            .find(|(_, operator)| *operator == self)
            .map_or("$eq", |(name, _)| name)
    }
}

/// Reads a filter: an object, or an array of triples.
///
/// # Errors
/// `INVALID_FILTER`: not a filter, an unknown operator, or over the limits.
pub(super) fn read(value: &Json) -> Result<Filter> {
    Reader { conditions: 0 }.node(value, &[], 0)
}

/// An equality of a query parameter with one value, or membership in several.
pub(super) fn implicit(name: &str, values: &[String]) -> Filter {
    let mut operands = values
        .iter()
        .cloned()
        .map(|value| Operand::Value(Json::String(value)));
    let (operator, operand) = match (operands.next(), operands.len()) {
        (Some(only), 0) => (Operator::Eq, only),
        (first, _) => (
            Operator::In,
            Operand::List(first.into_iter().chain(operands).collect()),
        ),
    };
    Filter::Test {
        path: path(name),
        operator,
        operand,
    }
}

fn path(name: &str) -> Vec<String> {
    name.split('.').map(str::to_owned).collect()
}

struct Reader {
    conditions: usize,
}

impl Reader {
    fn node(&mut self, value: &Json, prefix: &[String], depth: usize) -> Result<Filter> {
        if depth > DEPTH_MAX {
            return Err(
                refuse::filter(format!("filter is deeper than {DEPTH_MAX} levels"))
                    .with("limit", DEPTH_MAX),
            );
        }
        match value {
            Json::Object(map) => self.object(map, prefix, depth),
            Json::Array(items) => self.array(items, prefix, depth),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Err(refuse::filter(
                "a filter must be an object or an array of conditions",
            )
            .with("hint", r#"for example {"status":{"$eq":"open"}}"#)),
        }
    }

    fn object(
        &mut self,
        map: &Map<String, Json>,
        prefix: &[String],
        depth: usize,
    ) -> Result<Filter> {
        let mut all = Vec::with_capacity(map.len());
        for (key, value) in map {
            all.push(match key.as_str() {
                "$and" => Filter::All(self.list(key, value, prefix, depth)?),
                "$or" => Filter::Any(self.list(key, value, prefix, depth)?),
                "$not" => match value {
                    Json::Object(_) => {
                        Filter::Not(Box::new(self.node(value, prefix, depth + 1)?))
                    }
                    Json::Null
                    | Json::Bool(_)
                    | Json::Number(_)
                    | Json::String(_)
                    | Json::Array(_) => return Err(operand_shape("$not", "one condition object")),
                },
                _ if key.starts_with('$') => return Err(misplaced(key)),
                _ => {
                    let mut full = prefix.to_vec();
                    full.extend(path(key));
                    self.field(full, value, depth + 1)?
                }
            });
        }
        Ok(flat(all))
    }

    fn list(
        &mut self,
        key: &str,
        value: &Json,
        prefix: &[String],
        depth: usize,
    ) -> Result<Vec<Filter>> {
        let Json::Array(items) = value else {
            return Err(operand_shape(key, "an array of conditions"));
        };
        items
            .iter()
            .map(|item| self.node(item, prefix, depth + 1))
            .collect()
    }

    /// What stands under a field's name: a value, operators, or a filter on the related object.
    fn field(&mut self, path: Vec<String>, value: &Json, depth: usize) -> Result<Filter> {
        let Json::Object(map) = value else {
            return self.test(path, Operator::Eq, value);
        };
        if map.is_empty() {
            return Err(refuse::filter(format!(
                "field `{}` has an empty condition",
                refuse::echo(&path.join("."))
            ))
            .with("field", refuse::echo(&path.join("."))));
        }
        if let Some(operand) = special(map)? {
            return self.condition(path, Operator::Eq, operand);
        }
        if !is_test(map) {
            return self.node(value, &path, depth);
        }
        if depth > DEPTH_MAX {
            return Err(
                refuse::filter(format!("filter is deeper than {DEPTH_MAX} levels"))
                    .with("limit", DEPTH_MAX),
            );
        }
        let mut all = Vec::with_capacity(map.len());
        for (key, value) in map {
            all.push(if key == "$not" {
                Filter::Not(Box::new(self.field(path.clone(), value, depth + 1)?))
            } else {
                let operator = operator(key, &path)?;
                self.test(path.clone(), operator, value)?
            });
        }
        Ok(flat(all))
    }

    fn test(&mut self, path: Vec<String>, operator: Operator, value: &Json) -> Result<Filter> {
        let operand = match (operator, value) {
            (Operator::In | Operator::Nin, Json::Array(items)) => {
                if items.len() > LIST_MAX {
                    return Err(operand_error(
                        &path,
                        operator,
                        &format!("takes at most {LIST_MAX} values"),
                    ));
                }
                Operand::List(items.iter().map(operand).collect::<Result<_>>()?)
            }
            (Operator::In | Operator::Nin, _) => {
                return Err(operand_error(&path, operator, "takes an array"));
            }
            (Operator::Between, Json::Array(items)) if items.len() == 2 => {
                Operand::List(items.iter().map(operand).collect::<Result<_>>()?)
            }
            (Operator::Between, _) => {
                return Err(operand_error(&path, operator, "takes [min, max]"));
            }
            (Operator::Null | Operator::Exists, value) if !value.is_boolean() => {
                return Err(operand_error(&path, operator, "takes true or false"));
            }
            (_, value) => operand(value)?,
        };
        self.condition(path, operator, operand)
    }

    fn condition(
        &mut self,
        path: Vec<String>,
        operator: Operator,
        operand: Operand,
    ) -> Result<Filter> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            return Err(refuse::filter(format!(
                "filter has more than {CONDITIONS_MAX} conditions"
            ))
            .with("limit", CONDITIONS_MAX));
        }
        Ok(Filter::Test {
            path,
            operator,
            operand,
        })
    }

    fn array(&mut self, items: &[Json], prefix: &[String], depth: usize) -> Result<Filter> {
        let Some(Json::String(first)) = items.first() else {
            if items.is_empty() || !items.iter().all(|item| item.is_array() || item.is_object()) {
                return Err(array_shape());
            }
            return Ok(flat(self.items(items, prefix, depth)?));
        };
        let rest = &items[1..];
        let is_logic = rest.iter().all(|item| item.is_array() || item.is_object());
        match (first.to_ascii_lowercase().as_str(), is_logic) {
            ("and", true) => Ok(Filter::All(self.items(rest, prefix, depth)?)),
            ("or", true) => Ok(Filter::Any(self.items(rest, prefix, depth)?)),
            _ => self.triple(first, rest, prefix),
        }
    }

    fn items(&mut self, items: &[Json], prefix: &[String], depth: usize) -> Result<Vec<Filter>> {
        items
            .iter()
            .map(|item| self.node(item, prefix, depth + 1))
            .collect()
    }

    fn triple(&mut self, field: &str, rest: &[Json], prefix: &[String]) -> Result<Filter> {
        let mut full = prefix.to_vec();
        full.extend(path(field));
        let (Some(Json::String(name)), 1..=2) = (rest.first(), rest.len()) else {
            return Err(array_shape());
        };
        let lower = name.to_ascii_lowercase();
        let Some((_, operator)) = TRIPLES.iter().find(|(known, _)| *known == lower) else {
            return Err(unknown_operator(name, &full, TRIPLES));
        };
        let truth = Json::Bool(true);
        let value = match (operator, rest.get(1)) {
            // `["a","is_null"]`, and with any third element as some clients send it.
            (Operator::Null | Operator::Exists, value) => {
                value.filter(|value| value.is_boolean()).unwrap_or(&truth)
            }
            (_, Some(value)) => value,
            (_, None) => return Err(array_shape()),
        };
        self.test(full, *operator, value)
    }
}

/// Whether the object holds operators; otherwise it is a filter on what the field refers to.
fn is_test(map: &Map<String, Json>) -> bool {
    map.iter().any(|(key, value)| match key.as_str() {
        "$and" | "$or" => false,
        "$not" => value.as_object().is_none_or(is_test),
        key => key.starts_with('$'),
    })
}

fn flat(mut all: Vec<Filter>) -> Filter {
    if all.len() == 1 {
        all.swap_remove(0)
    } else {
        Filter::All(all)
    }
}

fn operand(value: &Json) -> Result<Operand> {
    if let Json::Object(map) = value
        && let Some(special) = special(map)?
    {
        return Ok(special);
    }
    Ok(Operand::Value(value.clone()))
}

/// `{"$field":"…"}` and `{"$cel":"…"}`.
fn special(map: &Map<String, Json>) -> Result<Option<Operand>> {
    let mut entries = map.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        return Ok(None);
    };
    match (key.as_str(), value) {
        ("$field", Json::String(name)) => Ok(Some(Operand::Field(name.clone()))),
        ("$cel", Json::String(text)) => Ok(Some(Operand::Cel(text.clone()))),
        ("$field" | "$cel", _) => Err(operand_shape(key, "a string")),
        _ => Ok(None),
    }
}

fn operator(name: &str, path: &[String]) -> Result<Operator> {
    OPERATORS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, operator)| *operator)
        .ok_or_else(|| unknown_operator(name, path, OPERATORS))
}

fn unknown_operator(
    name: &str,
    path: &[String],
    known: &'static [(&'static str, Operator)],
) -> Error {
    let name = refuse::echo(name);
    let error = refuse::filter(format!("unknown operator `{name}`"))
        .with("operator", name.clone())
        .with("field", refuse::echo(&path.join(".")));
    if name == "$regex" {
        return error.with(
            "hint",
            "$regex is retired; use $contains, $startsWith, $endsWith or $like",
        );
    }
    if !name.starts_with('$') && known.iter().any(|(known, _)| known.starts_with('$')) {
        return error.with(
            "hint",
            "a condition holds either operators or fields, not both",
        );
    }
    match suggest::nearest(&name, known.iter().map(|(known, _)| *known)) {
        Some(near) => error.with("hint", format!("did you mean `{near}`?")),
        None => error,
    }
}

fn operand_error(path: &[String], operator: Operator, why: &str) -> Error {
    refuse::filter(format!("operator `{}` {why}", operator.name()))
        .with("field", refuse::echo(&path.join(".")))
        .with("operator", operator.name())
}

fn operand_shape(key: &str, shape: &str) -> Error {
    refuse::filter(format!("`{key}` takes {shape}")).with("operator", key)
}

fn misplaced(key: &str) -> Error {
    let key = refuse::echo(key);
    refuse::filter(format!("operator `{key}` does not stand under a field"))
        .with("operator", key)
        .with(
            "hint",
            r#"write {"field":{"$operator":value}}; only $and, $or and $not stand alone"#,
        )
}

fn array_shape() -> Error {
    refuse::filter(
        "an array filter is [field, operator, value], [\"and\"|\"or\", …] or a list of those",
    )
    .with(
        "hint",
        r#"for example [["status","=","open"],["priority","in",["high"]]]"#,
    )
}
