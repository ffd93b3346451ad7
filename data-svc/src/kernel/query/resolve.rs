//! From a filter as written to a predicate over columns, within what the caller may read.
//!
//! Invariant: no column enters a predicate before its field was found, is stored, and is readable
//! by the caller; a hop to another object brings that object's row predicate along.

use std::sync::Arc;

use mesh::{Error, Result, error::Reason};

use crate::kernel::{
    access::Access,
    query::{
        comparand::{Scope, Test},
        filter::{Filter, Operand, Operator},
        is_sealed, is_visible, reference_target, refuse,
    },
};
use crate::kernel::{
    access::Grant,
    model::{
        predicate::{ColumnRef, Comparison, Predicate},
        schema::Storage,
    },
};

/// Relations that one path may go through.
const HOPS_MAX: usize = 5;
/// Keys of a path into a JSON column.
const KEYS_MAX: usize = 8;
const KEY_LENGTH_MAX: usize = 100;

/// The predicate of a filter on the granted object; without the grant's own row predicate.
///
/// # Errors
/// `INVALID_FIELD`, `INVALID_FILTER`, or `PERMISSION_DENIED` for what the caller may not read.
pub(super) fn resolve(
    filter: &Filter,
    grant: &Arc<Grant>,
    access: &dyn Access,
) -> Result<Predicate> {
    let scope = Scope {
        now: access.now(),
        user_id: access.user_id(),
        organization_id: access.organization_id(),
    };
    Resolver { access, scope }.node(filter, grant)
}

/// The column of a field that a filter or sort names.
///
/// # Errors
/// With that `reason`: unknown or computed; `PERMISSION_DENIED`: unreadable.
pub(super) fn column<'g>(grant: &'g Grant, name: &str, reason: &str) -> Result<&'g ColumnRef> {
    let Some(field) = grant.schema.field(name) else {
        return Err(refuse::unknown_field(grant, name, reason));
    };
    // Sealed fields answer no question at all, except whether a secret is set.
    let is_sealed = is_sealed(field) && grant.can_read(name);
    if !is_visible(grant, name) && !is_sealed {
        return Err(refuse::unreadable(grant, name));
    }
    grant.schema.column(name).ok_or_else(|| {
        refuse::field(
            grant,
            name,
            reason,
            "is computed on read: it can be neither filtered nor sorted by",
        )
    })
}

struct Resolver<'a> {
    access: &'a dyn Access,
    scope: Scope<'a>,
}

impl Resolver<'_> {
    fn node(&self, filter: &Filter, grant: &Arc<Grant>) -> Result<Predicate> {
        match filter {
            Filter::All(all) => all.iter().try_fold(Predicate::True, |folded, item| {
                // Every branch is checked, also behind a constant.
                Ok(folded.and(self.node(item, grant)?))
            }),
            Filter::Any(any) => any.iter().try_fold(Predicate::False, |folded, item| {
                Ok(folded.or(self.node(item, grant)?))
            }),
            Filter::Not(inner) => Ok(!self.node(inner, grant)?),
            Filter::Test {
                path,
                operator,
                operand,
            } => self.test(path, *operator, operand, grant, 0),
        }
    }

    fn test(
        &self,
        path: &[String],
        operator: Operator,
        operand: &Operand,
        grant: &Arc<Grant>,
        hops: usize,
    ) -> Result<Predicate> {
        let [name, rest @ ..] = path else {
            return Err(refuse::filter("a condition names a field"));
        };
        let column = column(grant, name, refuse::FIELD)?;
        let field = &column.field;
        let test = Test {
            grant,
            column,
            operator,
            scope: self.scope,
        };
        if is_sealed(field) {
            let asks_presence = matches!(operator, Operator::Null | Operator::Exists);
            return match asks_presence && rest.is_empty() {
                true => test.scalar(operand),
                false => Err(test.inapplicable()),
            };
        }
        if rest.is_empty() {
            return self.leaf(&test, operand);
        }
        if field.is_reference() {
            // `{account:{id:"…"}}` is the reference itself, spelled as an object.
            if rest == ["id"] && column.storage == Storage::Text && operator == Operator::Eq {
                return self.leaf(&test, operand);
            }
            return self.hop(&test, rest, operand, hops);
        }
        if column.storage == Storage::Json && !field.is_multi_value() {
            json_path(grant, name, rest)?;
            return test.inside(rest, operand);
        }
        Err(
            refuse::field(grant, name, refuse::FIELD, "refers to no other object").with(
                "hint",
                "a dotted path goes through lookup and JSON fields only",
            ),
        )
    }

    /// A test of a column of the object itself.
    fn leaf(&self, test: &Test<'_>, operand: &Operand) -> Result<Predicate> {
        if let Operand::Field(other) = operand {
            return same_row(test, other);
        }
        if !applies(test) {
            return Err(test.inapplicable());
        }
        if test.column.field.is_multi_value() {
            test.members(operand)
        } else {
            test.scalar(operand)
        }
    }

    /// A test of a column of the related object. What is not there is NULL, so that the answer is
    /// the same as if the value stood in this row.
    fn hop(
        &self,
        test: &Test<'_>,
        rest: &[String],
        operand: &Operand,
        hops: usize,
    ) -> Result<Predicate> {
        let name = &test.column.field.name;
        if hops == HOPS_MAX {
            return Err(refuse::filter(format!(
                "a path goes through at most {HOPS_MAX} relations"
            ))
            .with("field", refuse::echo(name)));
        }
        let Some(target) = reference_target(&test.grant.schema, &test.column.field) else {
            return Err(refuse::field(
                test.grant,
                name,
                refuse::FIELD,
                "refers to no object",
            ));
        };
        let related = self.access.read_grant(target).map_err(|error| {
            let is_absent = matches!(error.reason(), Reason::NotFound | Reason::MethodNotAllowed);
            match is_absent {
                true => refuse::field(
                    test.grant,
                    name,
                    refuse::FIELD,
                    "refers to no object that can be queried",
                ),
                false => error,
            }
        })?;
        let inner = self.test(rest, test.operator, operand, &related, hops + 1)?;
        Ok(lift(inner, &|predicate| Predicate::Related {
            column: test.column.clone(),
            table: related.schema.name().to_owned(),
            predicate: Box::new(predicate.and(related.rows.clone())),
        }))
    }
}

/// Moves a predicate on the related row to this row: what holds of a value that is there becomes
/// EXISTS, what holds of no value becomes NOT EXISTS.
fn lift(predicate: Predicate, exists: &impl Fn(Predicate) -> Predicate) -> Predicate {
    if is_about_values(&predicate) {
        return exists(predicate);
    }
    match predicate {
        Predicate::True => Predicate::True,
        Predicate::False => Predicate::False,
        Predicate::And(all) => all.into_iter().fold(Predicate::True, |folded, item| {
            folded.and(lift(item, exists))
        }),
        Predicate::Or(any) => any.into_iter().fold(Predicate::False, |folded, item| {
            folded.or(lift(item, exists))
        }),
        Predicate::Not(inner) => !lift(*inner, exists),
        leaf @ (Predicate::Compare(..)
        | Predicate::CompareColumns(..)
        | Predicate::In(..)
        | Predicate::IsNull(_)
        | Predicate::Text(..)
        | Predicate::Member(..)
        | Predicate::MemberSet(..)
        | Predicate::JsonPath(..)
        | Predicate::Related { .. }) => match leaf.holds_of_null() {
            true => !exists(!leaf),
            false => exists(leaf),
        },
    }
}

/// Whether nothing in it holds of NULL, so that one EXISTS serves all of it.
fn is_about_values(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::And(all) | Predicate::Or(all) => all.iter().all(is_about_values),
        Predicate::True | Predicate::False | Predicate::Not(_) => false,
        other @ (Predicate::Compare(..)
        | Predicate::CompareColumns(..)
        | Predicate::In(..)
        | Predicate::IsNull(_)
        | Predicate::Text(..)
        | Predicate::Member(..)
        | Predicate::MemberSet(..)
        | Predicate::JsonPath(..)
        | Predicate::Related { .. }) => !other.holds_of_null(),
    }
}

/// `{"$field":"start_at"}`: two columns of one row.
fn same_row(test: &Test<'_>, other: &str) -> Result<Predicate> {
    let (comparison, is_negated) = match test.operator {
        Operator::Eq => (Comparison::Eq, false),
        Operator::Ne => (Comparison::Eq, true),
        Operator::Gt => (Comparison::Gt, false),
        Operator::Gte => (Comparison::Gte, false),
        Operator::Lt => (Comparison::Lt, false),
        Operator::Lte => (Comparison::Lte, false),
        Operator::In
        | Operator::Nin
        | Operator::Between
        | Operator::Contains
        | Operator::NotContains
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::Null
        | Operator::Exists
        | Operator::Like
        | Operator::Ilike => {
            return Err(test
                .inapplicable()
                .with("hint", "$field goes with $eq $ne $gt $gte $lt $lte"));
        }
    };
    let column = column(test.grant, other, refuse::FIELD)?;
    if is_sealed(&column.field)
        || !is_comparable(test.column.storage, column.storage)
        || !applies(test)
    {
        return Err(refuse::field(
            test.grant,
            other,
            refuse::FILTER,
            &format!("cannot be compared with `{}`", test.column.field.name),
        )
        .with("operator", test.operator.name()));
    }
    let compared = Predicate::CompareColumns(test.column.clone(), comparison, column.clone());
    Ok(if is_negated { !compared } else { compared })
}

fn is_comparable(one: Storage, two: Storage) -> bool {
    match (one, two) {
        (Storage::Json, _) => false,
        (Storage::Integer, Storage::Double) | (Storage::Double, Storage::Integer) => true,
        (one, two) => one == two,
    }
}

/// Whether the field takes the operator.
fn applies(test: &Test<'_>) -> bool {
    let takes = test.column.field.operators();
    match test.operator {
        Operator::Null | Operator::Exists => true,
        Operator::Eq | Operator::Ne | Operator::In | Operator::Nin => takes.has_equality(),
        Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte | Operator::Between => {
            takes.has_order()
        }
        Operator::Contains | Operator::NotContains => takes.has_parts(),
        Operator::StartsWith | Operator::EndsWith | Operator::Like | Operator::Ilike => {
            takes.has_patterns()
        }
    }
}

/// Keys that both databases read as plain keys.
fn json_path(grant: &Grant, name: &str, path: &[String]) -> Result<(), Error> {
    let is_plain = |key: &String| {
        !key.is_empty()
            && key.len() <= KEY_LENGTH_MAX
            && key.chars().all(|char| char.is_alphanumeric() || matches!(char, '_' | '-' | ' '))
            // PostgreSQL reads digits as an array index, SQLite as a key.
            && !key.chars().all(|char| char.is_ascii_digit() || char == '-')
    };
    if path.len() > KEYS_MAX || !path.iter().all(is_plain) {
        return Err(refuse::field(
            grant,
            name,
            refuse::FILTER,
            "cannot be entered by that path",
        )
        .with("path", refuse::echo(&path.join("."))));
    }
    Ok(())
}
