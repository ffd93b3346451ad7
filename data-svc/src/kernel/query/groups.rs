//! What happens to groups once they are made: which are answered, in which order, and which page of
//! them. Done here and not in SQL, so that both databases answer alike.

use std::cmp::Ordering;

use mesh::{Error, Result};
use serde_json::Value as Json;

use crate::kernel::model::cell::Cell;
use crate::kernel::query::{
    aggregate::Aggregate,
    filter::{Filter, Operand, Operator},
    refuse,
};

/// A condition on groups.
#[derive(Debug, Clone)]
pub(super) struct Having {
    filter: Filter,
    names: Vec<String>,
}

/// A sort key of groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sort {
    pub(super) position: usize,
    pub(super) descending: bool,
}

impl Having {
    /// Checks that a filter is about group keys and aliases only.
    pub(super) fn new(filter: Filter, names: &[&str]) -> Result<Self> {
        check(&filter, names)?;
        Ok(Self {
            filter,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn holds(&self, values: &[Json]) -> bool {
        self.node(&self.filter, values)
    }

    fn node(&self, filter: &Filter, values: &[Json]) -> bool {
        match filter {
            Filter::All(all) => all.iter().all(|one| self.node(one, values)),
            Filter::Any(any) => any.iter().any(|one| self.node(one, values)),
            Filter::Not(inner) => !self.node(inner, values),
            Filter::Test {
                path,
                operator,
                operand,
            } => {
                let value = self.value(path.first(), values);
                self.test(value, *operator, operand, values)
            }
        }
    }

    fn value<'v>(&self, name: Option<&String>, values: &'v [Json]) -> &'v Json {
        let position = name.and_then(|name| self.names.iter().position(|known| known == name));
        position.map_or(&Json::Null, |at| &values[at])
    }

    fn operand<'v>(&self, operand: &'v Operand, values: &'v [Json]) -> &'v Json {
        match operand {
            Operand::Value(value) => value,
            Operand::Field(name) => self.value(Some(name), values),
            Operand::List(_) | Operand::Cel(_) => &Json::Null,
        }
    }

    fn test(&self, value: &Json, operator: Operator, operand: &Operand, values: &[Json]) -> bool {
        let list = || match operand {
            Operand::List(list) => list.iter().map(|one| self.operand(one, values)).collect(),
            one @ (Operand::Value(_) | Operand::Field(_) | Operand::Cel(_)) => {
                vec![self.operand(one, values)]
            }
        };
        let other = self.operand(operand, values);
        let text = |test: fn(&str, &str) -> bool| match (value.as_str(), other.as_str()) {
            (Some(value), Some(other)) => test(value, other),
            _ => false,
        };
        let ordered = |wanted: fn(Ordering) -> bool| {
            !value.is_null() && !other.is_null() && wanted(compare(value, other))
        };
        match operator {
            Operator::Eq => is_same(value, other),
            Operator::Ne => !is_same(value, other),
            Operator::Gt => ordered(Ordering::is_gt),
            Operator::Gte => ordered(Ordering::is_ge),
            Operator::Lt => ordered(Ordering::is_lt),
            Operator::Lte => ordered(Ordering::is_le),
            Operator::In => list().into_iter().any(|one| is_same(value, one)),
            Operator::Nin => !list().into_iter().any(|one| is_same(value, one)),
            Operator::Between => match list().as_slice() {
                [from, to] => {
                    !value.is_null() && compare(value, from).is_ge() && compare(value, to).is_le()
                }
                _ => false,
            },
            Operator::Null => value.is_null() == (other != &Json::Bool(false)),
            Operator::Exists => value.is_null() == (other == &Json::Bool(false)),
            Operator::Contains => text(|value, other| value.contains(other)),
            Operator::NotContains => !text(|value, other| value.contains(other)),
            Operator::StartsWith => text(|value, other| value.starts_with(other)),
            Operator::EndsWith => text(|value, other| value.ends_with(other)),
            // Refused when the plan was made.
            Operator::Like | Operator::Ilike => false,
        }
    }
}

fn check(filter: &Filter, names: &[&str]) -> Result<()> {
    match filter {
        Filter::All(all) | Filter::Any(all) => all.iter().try_for_each(|one| check(one, names)),
        Filter::Not(inner) => check(inner, names),
        Filter::Test {
            path,
            operator,
            operand,
        } => {
            let known = |name: &String| match names.contains(&name.as_str()) {
                true => Ok(()),
                false => {
                    let message = format!("`{}` is no group key or alias", refuse::echo(name));
                    Err(Error::validation(refuse::FIELD, message)
                        .with("field", refuse::echo(name))
                        .with("hint", names.join(", ")))
                }
            };
            path.iter().try_for_each(known)?;
            if let Operand::Field(name) = operand {
                known(name)?;
            }
            let has_patterns = matches!(operator, Operator::Like | Operator::Ilike);
            if path.len() != 1 || has_patterns || matches!(operand, Operand::Cel(_)) {
                return Err(refuse::filter(
                    "having compares aliases and group keys with values",
                ));
            }
            Ok(())
        }
    }
}

fn is_same(one: &Json, other: &Json) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(_), Some(_)) => compare(one, other).is_eq(),
        _ => one == other,
    }
}

/// Numbers by value, texts by their bytes, false before true; nothing else meets here.
fn compare(one: &Json, other: &Json) -> Ordering {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => {
                let double = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
                double(one).total_cmp(&double(other))
            }
        },
        (Json::String(one), Json::String(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Json::Bool(one), Json::Bool(other)) => one.cmp(other),
        (one, other) => rank(one).cmp(&rank(other)),
    }
}

fn rank(value: &Json) -> u8 {
    match value {
        Json::Bool(_) => 0,
        Json::Number(_) => 1,
        Json::String(_) => 2,
        Json::Array(_) | Json::Object(_) => 3,
        // NULLs are last when ascending, first when descending.
        Json::Null => 4,
    }
}

impl Aggregate {
    /// The page of groups: those that are answered, in order, as JSON; and how many there are in all.
    #[must_use]
    pub fn page(&self, groups: Vec<Vec<Cell>>) -> (Vec<Vec<u8>>, usize) {
        let groups = groups.into_iter().map(|cells| {
            let values: Vec<Json> = cells.iter().map(Cell::to_json).collect();
            (cells, values)
        });
        let holds = |(_, values): &(Vec<Cell>, Vec<Json>)| {
            let having = self.having.as_ref();
            having.is_none_or(|having| having.holds(values))
        };
        let mut groups: Vec<_> = groups.filter(holds).collect();
        groups.sort_by(|(_, one), (_, other)| {
            let asked = self.order.iter().map(|sort| {
                let ordering = compare(&one[sort.position], &other[sort.position]);
                match sort.descending {
                    true => ordering.reverse(),
                    false => ordering,
                }
            });
            // Groups that are alike so far come in the order of their keys.
            let by_keys = (0..self.keys.len()).map(|at| compare(&one[at], &other[at]));
            asked
                .chain(by_keys)
                .find(|ordering| ordering.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        let total = groups.len();
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let page = groups
            .into_iter()
            .skip(number(self.offset))
            .take(number(self.limit));
        let rows = page.map(|(cells, _)| self.row(&cells));
        (rows.collect(), total)
    }

    fn row(&self, cells: &[Cell]) -> Vec<u8> {
        let keys = self.keys.iter().map(|key| &key.alias);
        let names = keys.chain(self.measures.iter().map(|measure| &measure.alias));
        let mut json = vec![b'{'];
        for (name, cell) in names.zip(cells) {
            if json.len() > 1 {
                json.push(b',');
            }
            crate::kernel::model::cell::write_text(&mut json, name);
            json.push(b':');
            cell.write_json(&mut json);
        }
        json.push(b'}');
        json
    }
}
