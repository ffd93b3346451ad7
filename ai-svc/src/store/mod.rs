//! All SQL of ai-svc. Ids and moments come from the callers; what is written is what was given.
//!
//! Invariant: a write job awaits nothing but the database.

mod conversations;
mod proposals;
mod traces;

use mesh::db::{Db, DbError, Migration, Row};

pub(crate) use conversations::{Conversation, Stored, moment};
pub(crate) use proposals::{CARRY_OUT, EXPIRE, Filter, Outcome, Pending, Status};
pub(crate) use traces::Trace;

/// The schema, in order. Append only.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "create_conversations_and_pending_actions",
        sql: include_str!("../../migrations/0001_create_conversations_and_pending_actions.sql"),
    },
    Migration {
        version: 2,
        name: "add_kind_to_pending_actions",
        sql: include_str!("../../migrations/0002_add_kind_to_pending_actions.sql"),
    },
    Migration {
        version: 3,
        name: "create_audit_log",
        sql: include_str!("../../migrations/0003_create_audit_log.sql"),
    },
    Migration {
        version: 4,
        name: "carry_over_audit_events",
        sql: include_str!("../../migrations/0004_carry_over_audit_events.sql"),
    },
    Migration {
        version: 5,
        name: "create_queue",
        sql: include_str!("../../migrations/0005_create_queue.sql"),
    },
];

/// The database of ai-svc. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) db: Db,
}

/// Whether a text of a caller can be an id of ours; PostgreSQL would not take every text.
fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn text(row: &Row, column: usize) -> Result<String, DbError> {
    row.req_text(column).map(ToOwned::to_owned)
}

fn opt_text(row: &Row, column: usize) -> Result<Option<String>, DbError> {
    Ok(row.text(column)?.map(ToOwned::to_owned))
}

#[cfg(test)]
mod tests {
    use mesh::db::{DbConfig, Statement};
    use serde_json::{Value, json};
    use time::OffsetDateTime;

    use super::*;

    /// SQLite, and PostgreSQL where there is one.
    async fn databases(dir: &std::path::Path) -> Vec<Db> {
        let sqlite = format!("sqlite:{}", dir.join("ai.db").display());
        let schema = format!("ai_{}", mesh::id::new().to_lowercase());
        let urls = [Some(sqlite), std::env::var("TEST_POSTGRES_URL").ok()];
        let mut databases = Vec::new();
        for url in urls.into_iter().flatten() {
            let config = DbConfig {
                url,
                schema: Some(schema.clone()),
                service: crate::NAME,
                ..DbConfig::default()
            };
            databases.push(Db::open(&config).await.unwrap());
        }
        databases
    }

    #[tokio::test]
    async fn entries_of_the_old_audit_log_are_carried_over() {
        let dir = tempfile::tempdir().unwrap();
        for db in databases(dir.path()).await {
            db.migrate(&MIGRATIONS[..3]).await.unwrap();
            let old = [
                ("a", "ai.chat.message", None, None),
                ("b", "ai.tool.call", Some("c1"), Some("get_record")),
                ("c", "ai.tool.call", Some("c1"), Some("say \"hi\"\n\u{1}\\")),
                ("d", "ai.pending_action.queued", Some("p1"), None),
            ];
            for (id, action, subject, detail) in old {
                let insert = Statement::new(
                    "INSERT INTO ai_audit_events (id, at, action, actor, subject, detail, request_id) \
                     VALUES ($1, $2, $3, 'u1', $4, $5, 'r1')",
                )
                .bind(id)
                .bind(OffsetDateTime::UNIX_EPOCH)
                .bind(action)
                .bind(subject)
                .bind(detail);
                db.execute(insert).await.unwrap();
            }
            db.migrate(MIGRATIONS).await.unwrap();
            let rows = Statement::new(
                "SELECT action, user_id, object_name, record_id, metadata FROM om_audit_log \
                 ORDER BY id",
            );
            let read = |row: &Row<'_>| {
                let texts = (0..4).map(|column| opt_text(row, column));
                let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
                let metadata: Value = serde_json::from_str(&row.req_json(4)?).unwrap();
                Ok(json!([texts, metadata]))
            };
            let rows = db.query(rows, read).await.unwrap();
            let request = json!({"request_id": "r1"});
            let named = json!({"request_id": "r1", "detail": "get_record"});
            let expected = [
                json!([["ai.chat.message", "u1", null, null], request]),
                json!([["ai.tool.call", "u1", "ai_conversation", "c1"], named]),
                json!([["ai.tool.call", "u1", "ai_conversation", "c1"], request]),
                json!([
                    ["ai.pending_action.queued", "u1", "ai_pending_action", "p1"],
                    request
                ]),
            ];
            assert_eq!(rows, expected);
        }
    }
}
