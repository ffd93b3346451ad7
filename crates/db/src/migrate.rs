//! Bringing a schema up to date.
//!
//! Table `om_migration` names what was applied, with a checksum, so that a migration that was
//! edited afterwards is noticed. Its row of version 0 is no migration: it is what a process locks
//! while it migrates (an advisory lock would not exist on every database that speaks PostgreSQL's
//! protocol).

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{Db, DbError, Dialect, Retry, Row, Statement, Tx, Value};
use crate::clock;

/// One step of a schema. Never edited once released: a change is a new step.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its place in the order, from 1, rising.
    pub version: u32,
    /// What it does, for people: `create_session`.
    pub name: &'static str,
    /// Statements separated by `;`. PostgreSQL's type names work on both databases: on SQLite the
    /// words `JSONB` and `NUMERIC` become names under which text stays text.
    pub sql: &'static str,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS om_migration (
    version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL)";
const LOCK_ROW: &str = "INSERT INTO om_migration (version, name, checksum, applied_at)
    VALUES (0, 'lock', '', $1) ON CONFLICT (version) DO NOTHING";
const APPLIED: &str = "SELECT version, checksum FROM om_migration WHERE version > 0";

pub(super) async fn run(db: &Db, migrations: &[Migration]) -> Result<(), DbError> {
    check_order(migrations)?;
    let applied = applied(db).await?;
    for migration in migrations {
        // Asked without a lock first: most starts find nothing to do.
        if is_applied(migration, applied.get(&migration.version))? {
            continue;
        }
        let migration = *migration;
        db.write_alone(move |tx| Box::pin(apply(tx, migration)))
            .await?;
    }
    Ok(())
}

/// The versions applied, with their checksums. Creates the table if it is missing.
async fn applied(db: &Db) -> Result<BTreeMap<u32, String>, DbError> {
    // Processes that create it at once collide in PostgreSQL's catalogue, in one of several ways;
    // whoever lost finds the table there when they look again.
    let mut refused = None;
    for _ in 0..5 {
        match db.query(APPLIED, applied_row).await {
            Ok(rows) => return Ok(rows.into_iter().collect()),
            Err(error @ DbError::Sql(_)) => refused = Some(error),
            Err(error) => return Err(error),
        }
        if let Err(error) = create_table(db).await {
            refused = Some(error);
        }
    }
    Err(refused.unwrap_or(DbError::NoRow))
}

fn check_order(migrations: &[Migration]) -> Result<(), DbError> {
    let mut last = 0;
    for migration in migrations {
        if migration.version <= last {
            return Err(refused(migration, "versions do not rise from 1", None));
        }
        last = migration.version;
    }
    Ok(())
}

async fn create_table(db: &Db) -> Result<(), DbError> {
    db.write_alone(|tx| {
        Box::pin(async move {
            tx.execute_batch(TABLE).await?;
            let lock = Statement::new(LOCK_ROW).bind(clock::now());
            tx.execute(lock).await?;
            Ok(())
        })
    })
    .await
}

async fn apply(tx: &mut Tx, migration: Migration) -> Result<(), DbError> {
    // SQLite's transaction is exclusive by itself.
    if tx.dialect() == Dialect::Postgres {
        let lock = "SELECT version FROM om_migration WHERE version = 0 FOR UPDATE";
        tx.query_one(lock, |_| Ok(())).await?;
    }
    let this = Statement::new("SELECT version, checksum FROM om_migration WHERE version = $1")
        .bind(i64::from(migration.version));
    let found = tx.query_opt(this, applied_row).await?;
    if is_applied(&migration, found.as_ref().map(|(_, checksum)| checksum))? {
        return Ok(());
    }
    let sql: Cow<'static, str> = match tx.dialect() {
        Dialect::Postgres => migration.sql.into(),
        Dialect::Sqlite => sqlite_types(migration.sql).into(),
    };
    let done = tx.execute_batch(sql).await;
    match done {
        Ok(()) => {}
        Err(error) if error.is_serialization_failure() => return Err(error),
        Err(error) => return Err(refused(&migration, "the database refused it", Some(error))),
    }
    let note = "INSERT INTO om_migration (version, name, checksum, applied_at)
        VALUES ($1, $2, $3, $4)";
    let note = Statement::new(note)
        .bind(i64::from(migration.version))
        .bind(migration.name)
        .bind(checksum(migration.sql))
        .bind(Value::DateTime(Some(clock::now())));
    tx.execute(note).await?;
    tracing::info!(
        version = migration.version,
        name = migration.name,
        "migrated the database"
    );
    Ok(())
}

fn applied_row(row: &Row<'_>) -> Result<(u32, String), DbError> {
    let version = u32::try_from(row.req_int(0)?).unwrap_or(u32::MAX);
    Ok((version, row.req_text(1)?.to_owned()))
}

fn is_applied(migration: &Migration, found: Option<&String>) -> Result<bool, DbError> {
    match found {
        None => Ok(false),
        Some(found) if *found == checksum(migration.sql) => Ok(true),
        Some(_) => Err(refused(
            migration,
            "it was changed after it was applied",
            None,
        )),
    }
}

fn refused(migration: &Migration, reason: &'static str, source: Option<DbError>) -> DbError {
    DbError::Migration {
        version: migration.version,
        reason,
        source: source.map(|error| Arc::new(error) as super::Source),
    }
}

fn checksum(sql: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(sql.as_bytes()) {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Renames the types under which SQLite would turn text into numbers. Words in quotes and
/// comments stay, and so do functions (`jsonb(…)`).
fn sqlite_types(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => quoted(rest, first),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                end.unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        let call = after.trim_start().starts_with('(');
        out.push_str(if word.eq_ignore_ascii_case("jsonb") && !call {
            super::value::SQLITE_JSON
        } else if word.eq_ignore_ascii_case("numeric") {
            super::value::SQLITE_DECIMAL
        } else {
            word
        });
        rest = after;
    }
    out
}

/// The length of a quoted piece with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    let inside = text.get(1..).unwrap_or_default();
    inside.find(quote).map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_renamed_and_nothing_else() {
        let sql =
            "CREATE TABLE a (b JSONB, -- JSONB\n c numeric(10,2) DEFAULT 'JSONB', \"jsonb\" TEXT);
            SELECT jsonb('1') /* JSONB */, jsonb_x";
        let expected = "CREATE TABLE a (b JSON_TEXT, -- JSONB\n c DECIMAL_TEXT(10,2) DEFAULT 'JSONB', \"jsonb\" TEXT);
            SELECT jsonb('1') /* JSONB */, jsonb_x";
        assert_eq!(sqlite_types(sql), expected);
    }
}
