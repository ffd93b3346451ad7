//! Expressions of metadata over records: what they see, and where they are compiled once
//! (docs/reference/metadata.md §8).

use std::sync::{Arc, LazyLock, OnceLock};

use expr::{Program, Scope};
use mesh::{
    cache::{Cache, Stay},
    identity::Identity,
};
use metadata::FieldType;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::kernel::model::{cell::Cell, schema::Schema};

/// For whom and when an expression is evaluated. What it shows of the user is made when something
/// asks for it: most records have no expressions.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct EvalContext {
    /// What counts as now.
    pub(in crate::kernel) now: OffsetDateTime,
    identity: Option<Arc<Identity>>,
    user: OnceLock<Value>,
    organization: OnceLock<Value>,
}

impl EvalContext {
    /// A person.
    #[must_use]
    pub(in crate::kernel) fn of(identity: &Arc<Identity>, now: OffsetDateTime) -> Self {
        Self {
            identity: Some(Arc::clone(identity)),
            ..Self::nobody(now)
        }
    }

    /// The platform itself: there is no user.
    #[must_use]
    pub(in crate::kernel) fn nobody(now: OffsetDateTime) -> Self {
        Self {
            now,
            identity: None,
            user: OnceLock::new(),
            organization: OnceLock::new(),
        }
    }

    /// The user as expressions and scripts see them; null for the platform.
    #[must_use]
    pub(in crate::kernel) fn user(&self) -> &Value {
        self.user.get_or_init(|| match &self.identity {
            None => Value::Null,
            Some(identity) => identity.shown_to_apps(),
        })
    }

    /// The organisation; null for the platform.
    #[must_use]
    pub(in crate::kernel) fn organization(&self) -> &Value {
        self.organization.get_or_init(|| match &self.identity {
            None => Value::Null,
            Some(identity) => json!({"id": identity.organization_id}),
        })
    }

    /// A scope without a record.
    #[must_use]
    pub(in crate::kernel) fn scope(&self) -> Scope<'_> {
        Scope::new(self.now)
            .user(self.user())
            .org(self.organization())
    }
}

/// A record as expressions and scripts see it: every stored field, null where it holds nothing.
/// Hashes of passwords and secrets are for nobody.
#[must_use]
pub(in crate::kernel) fn record(schema: &Schema, cells: &[Cell]) -> Value {
    let fields = schema.columns.iter().zip(cells);
    let fields = fields.filter(|(column, _)| {
        !matches!(
            column.field.field_type,
            FieldType::Password | FieldType::Secret
        )
    });
    let fields = fields.map(|(column, cell)| (column.field.name.clone(), cell.to_json()));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// The program of a text; none when it is no expression. Compiled once.
#[must_use]
pub(in crate::kernel) fn program(source: &str) -> Option<Program> {
    static COMPILED: LazyLock<Cache<Option<Program>>> =
        LazyLock::new(|| Cache::new(10_000, Stay::Long));
    let compile = || Arc::new(Program::compile(source).ok());
    (*COMPILED.get_or_insert(source, compile)).clone()
}
