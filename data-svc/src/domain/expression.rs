//! Expressions of metadata over records: what they see, and where they are compiled once
//! (spec/metadata.md §8).

use std::sync::LazyLock;

use expr::{Program, Scope};
use mesh::identity::Identity;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{cell::Cell, schema::Schema};

/// For whom and when an expression is evaluated.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// What counts as now.
    pub now: OffsetDateTime,
    user: Value,
    organization: Value,
}

impl Speaker {
    /// A person.
    #[must_use]
    pub fn of(identity: &Identity, now: OffsetDateTime) -> Self {
        Self {
            now,
            user: json!({
                "id": identity.subject,
                "name": identity.name,
                "email": identity.email,
                "roles": identity.positions,
                "positions": identity.positions,
                "permissions": identity.system_permissions,
                "permission_sets": identity.permission_sets,
                "organization_id": identity.organization_id,
                "organizationId": identity.organization_id,
                "tenantId": identity.organization_id,
            }),
            organization: json!({"id": identity.organization_id}),
        }
    }

    /// The platform itself: there is no user.
    #[must_use]
    pub fn nobody(now: OffsetDateTime) -> Self {
        Self {
            now,
            user: Value::Null,
            organization: Value::Null,
        }
    }

    /// The user as expressions and scripts see them; null for the platform.
    #[must_use]
    pub fn user(&self) -> &Value {
        &self.user
    }

    /// The organisation; null for the platform.
    #[must_use]
    pub fn organization(&self) -> &Value {
        &self.organization
    }

    /// A scope without a record.
    #[must_use]
    pub fn scope(&self) -> Scope<'_> {
        Scope::new(self.now)
            .user(&self.user)
            .org(&self.organization)
    }
}

/// A record as expressions see it: every stored field, null where it holds nothing.
#[must_use]
pub fn record(schema: &Schema, cells: &[Cell]) -> Value {
    let fields = schema.columns.iter().zip(cells);
    let fields = fields.map(|(column, cell)| (column.field.name.clone(), cell.to_json()));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// The program of a text; none when it is no expression. Compiled once.
#[must_use]
pub fn program(source: &str) -> Option<Program> {
    static COMPILED: LazyLock<moka::sync::Cache<String, Option<Program>>> =
        LazyLock::new(|| moka::sync::Cache::new(10_000));
    COMPILED.get_with_by_ref(source, || Program::compile(source).ok())
}
