//! The audit log: one shape of an entry for every service, and the statement that adds it.
//!
//! The columns are those of the object `sys_audit_log`: `id, created_at, action, user_id,
//! object_name, record_id, old_value, new_value, ip_address, user_agent, tenant_id, metadata`. A
//! service keeps its entries in a table of its own ([`Table::SERVICE`]); data-svc keeps those of
//! records in the table of the object.
//!
//! `user_id` is the user who acted or for whom a service worked, and NULL otherwise. `metadata` is
//! an object that holds what has no column:
//!
//! | key | when |
//! |---|---|
//! | `request_id` | always |
//! | `actor` | no user acted: `system`, `service` or `anonymous` |
//! | `reason` | the system acted: why, for example `run_flow` |
//! | `service` | a service acted for nobody: its name |
//! | `act` | a service worked for the user (RFC 8693 §4.1): `{sub, run_id, reason}`, as its token says |
//! | `detail` | there is more to say |
//!
//! So the entry of a user who acted by themselves holds just the request id.
//!
//! Invariant: an entry always says who acted; an empty user id or service name counts as
//! `anonymous`.
//! Invariant: entries are added in the transaction of what they tell, and are never changed.

use std::borrow::Cow;

use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    Ctx, clock,
    db::{Statement, Value},
    id,
    identity::{self, Identity, Kind},
};

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user, by id.
    User(String),
    /// A service that worked for a user beyond one call: an agent, a flow, a schedule.
    Delegate {
        /// Id of the user.
        user_id: String,
        /// The service, its run and why.
        by: identity::Actor,
    },
    /// The mesh itself; the reason is a word of a closed list.
    System(&'static str),
    /// A service that acted for nobody, by name.
    Service(String),
    /// Somebody without a credential.
    Anonymous,
}

impl Actor {
    /// Who the holder of that identity is.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        let subject = identity.subject.clone();
        match (identity.kind, &identity.actor) {
            (Kind::Service, _) => Self::Service(subject),
            (Kind::User, None) => Self::User(subject),
            (Kind::User, Some(by)) => Self::Delegate {
                user_id: subject,
                by: by.clone(),
            },
        }
    }

    /// The user who acted or for whom a service worked.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::User(id) | Self::Delegate { user_id: id, .. } => Some(id.as_str()),
            Self::System(_) | Self::Service(_) | Self::Anonymous => None,
        }
        .filter(|id| !id.is_empty())
    }
}

/// What is bound of an entry.
const COLUMNS: usize = 12;

/// An entry of the audit log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Id (ULID).
    pub id: String,
    /// When it happened.
    pub at: OffsetDateTime,
    /// What happened: `update`, `sign_in`, `ai.pending_action.approved`.
    pub action: Cow<'static, str>,
    /// Who acted.
    pub actor: Actor,
    /// The object, or the kind of thing, that it happened to: `lead`, `sys_user`,
    /// `ai_pending_action`.
    pub object: Option<Cow<'static, str>>,
    /// Id of what it happened to.
    pub record_id: Option<String>,
    /// The record before, as JSON text without secrets.
    pub old_value: Option<String>,
    /// The record after, as JSON text without secrets.
    pub new_value: Option<String>,
    /// Address of the client.
    pub ip_address: Option<String>,
    /// Program of the client (`User-Agent`).
    pub user_agent: Option<String>,
    /// The organisation in which the actor acted.
    pub organization_id: Option<String>,
    /// The request, or the run of background work, that it belongs to.
    pub request_id: String,
    /// More, in a word or two: the key, the run, the approver. No content and no secret.
    pub detail: Option<String>,
}

impl Entry {
    /// What `actor` did now, with a fresh id; it happened to nothing yet.
    #[must_use]
    pub fn new(action: impl Into<Cow<'static, str>>, actor: Actor, request_id: &str) -> Self {
        Self {
            id: id::new(),
            at: clock::now(),
            action: action.into(),
            actor,
            object: None,
            record_id: None,
            old_value: None,
            new_value: None,
            ip_address: None,
            user_agent: None,
            organization_id: None,
            request_id: request_id.to_owned(),
            detail: None,
        }
    }

    /// What the caller of `ctx` did, with the call's request id, moment, client and organisation.
    #[must_use]
    pub fn of(ctx: &Ctx, action: impl Into<Cow<'static, str>>) -> Self {
        let identity = ctx.caller.as_ref().map(|caller| &*caller.identity);
        Self {
            at: ctx.now,
            ip_address: ctx.client_address.clone(),
            user_agent: ctx.user_agent.clone(),
            organization_id: identity.and_then(|identity| identity.organization_id.clone()),
            ..Self::new(
                action,
                identity.map_or(Actor::Anonymous, Actor::of),
                &ctx.request_id,
            )
        }
    }

    /// The same, said of that record.
    #[must_use]
    pub fn on(mut self, object: impl Into<Cow<'static, str>>, record_id: &str) -> Self {
        self.object = Some(object.into());
        self.record_id = Some(record_id.to_owned());
        self
    }

    /// The insert of its row, for the transaction of what it tells.
    #[must_use]
    pub fn insert_into(&self, table: Table) -> Statement {
        Self::insert_all(std::slice::from_ref(self), table)
    }

    /// The insert of the rows of several entries.
    #[must_use]
    pub fn insert_all(entries: &[Self], table: Table) -> Statement {
        let (version, one) = if table.versioned {
            (", version", ", 1")
        } else {
            ("", "")
        };
        let rows = (0..entries.len()).map(|row| {
            let marks = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column));
            format!("({}{one})", marks.collect::<Vec<_>>().join(", "))
        });
        let sql = format!(
            "INSERT INTO {} (id, created_at, action, user_id, object_name, record_id, \
             old_value, new_value, ip_address, user_agent, tenant_id, metadata{version}) \
             VALUES {}",
            table.name,
            rows.collect::<Vec<_>>().join(", ")
        );
        let statement = Statement::new(sql);
        entries.iter().fold(statement, |statement, entry| {
            statement
                .bind(&entry.id)
                .bind(entry.at)
                .bind(&*entry.action)
                .bind(entry.actor.user_id())
                .bind(entry.object.as_deref())
                .bind(entry.record_id.clone())
                .bind(Value::Json(entry.old_value.clone()))
                .bind(Value::Json(entry.new_value.clone()))
                .bind(entry.ip_address.clone())
                .bind(entry.user_agent.clone())
                .bind(entry.organization_id.clone())
                .bind(Value::Json(Some(entry.metadata())))
        })
    }

    fn metadata(&self) -> String {
        let mut metadata = Metadata {
            request_id: &self.request_id,
            actor: None,
            reason: None,
            service: None,
            act: None,
            detail: self.detail.as_deref(),
        };
        match &self.actor {
            Actor::Delegate { by, .. } => metadata.act = Some(by),
            Actor::System(reason) => {
                metadata.actor = Some("system");
                metadata.reason = Some(reason);
            }
            Actor::Service(name) if !name.is_empty() => {
                metadata.actor = Some("service");
                metadata.service = Some(name);
            }
            Actor::User(id) if !id.is_empty() => {}
            Actor::Service(_) | Actor::User(_) | Actor::Anonymous => {
                metadata.actor = Some("anonymous");
            }
        }
        // A struct of texts has no part that JSON lacks.
        serde_json::to_string(&metadata).unwrap_or_default()
    }
}

/// Where entries are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    name: &'static str,
    versioned: bool,
}

impl Table {
    /// The table that a service makes for its entries in a migration of its own.
    pub const SERVICE: Self = Self {
        name: "om_audit_log",
        versioned: false,
    };

    /// The table of an object, which also has the column `version`: 1, since nothing changes it.
    #[must_use]
    pub const fn of_object(name: &'static str) -> Self {
        Self {
            name,
            versioned: true,
        }
    }
}

/// What has no column.
#[derive(Serialize)]
struct Metadata<'e> {
    request_id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'e identity::Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'e str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(actor: Actor) -> Entry {
        Entry::new("update", actor, "r1").on("lead", "l1")
    }

    fn by_flow() -> identity::Actor {
        identity::Actor {
            service: "flow-svc".into(),
            run_id: "run1".into(),
            reason: "run a flow".into(),
        }
    }

    /// The bound `user_id` and `metadata`.
    fn who(actor: Actor) -> (Option<String>, String) {
        let mut args = entry(actor).insert_into(Table::SERVICE).args;
        let (Some(Value::Json(Some(metadata))), Value::Text(user_id)) =
            (args.pop(), args.swap_remove(3))
        else {
            panic!("metadata is JSON and user_id text");
        };
        (user_id, metadata)
    }

    #[test]
    fn every_actor_is_told() {
        let cases = [
            (
                Actor::User("u1".into()),
                Some("u1"),
                r#"{"request_id":"r1"}"#,
            ),
            (
                Actor::Delegate {
                    user_id: "u1".into(),
                    by: by_flow(),
                },
                Some("u1"),
                r#"{"request_id":"r1","act":{"sub":"flow-svc","run_id":"run1","reason":"run a flow"}}"#,
            ),
            (
                Actor::System("run_flow"),
                None,
                r#"{"request_id":"r1","actor":"system","reason":"run_flow"}"#,
            ),
            (
                Actor::Service("ai-svc".into()),
                None,
                r#"{"request_id":"r1","actor":"service","service":"ai-svc"}"#,
            ),
            (
                Actor::Anonymous,
                None,
                r#"{"request_id":"r1","actor":"anonymous"}"#,
            ),
            (
                Actor::User(String::new()),
                None,
                r#"{"request_id":"r1","actor":"anonymous"}"#,
            ),
            (
                Actor::Service(String::new()),
                None,
                r#"{"request_id":"r1","actor":"anonymous"}"#,
            ),
        ];
        for (actor, user_id, metadata) in cases {
            let told = who(actor.clone());
            assert_eq!(
                told,
                (user_id.map(str::to_owned), metadata.into()),
                "{actor:?}"
            );
        }
    }

    #[test]
    fn an_identity_is_an_actor() {
        let user = Identity {
            subject: "u1".into(),
            ..Identity::nobody(Kind::User)
        };
        assert_eq!(Actor::of(&user), Actor::User("u1".into()));
        let delegated = Identity {
            actor: Some(by_flow()),
            ..user
        };
        let by = by_flow();
        let user_id = "u1".to_owned();
        assert_eq!(Actor::of(&delegated), Actor::Delegate { user_id, by });
        let service = Identity {
            subject: "ai-svc".into(),
            ..Identity::nobody(Kind::Service)
        };
        assert_eq!(Actor::of(&service), Actor::Service("ai-svc".into()));
    }

    #[test]
    fn an_objects_table_has_a_version() {
        let plain = entry(Actor::Anonymous).insert_into(Table::SERVICE).sql;
        assert!(
            plain.starts_with("INSERT INTO om_audit_log (id, created_at,")
                && !plain.contains("version")
        );
        let object = entry(Actor::Anonymous).insert_into(Table::of_object("sys_audit_log"));
        assert!(object.sql.starts_with("INSERT INTO sys_audit_log ("));
        assert!(
            object.sql.contains("metadata, version) VALUES") && object.sql.ends_with("$12, 1)")
        );
        assert_eq!(object.args.len(), 12);
    }
}
