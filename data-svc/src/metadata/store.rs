//! Installed packages and the head of the registry.

use std::collections::BTreeSet;

use futures::FutureExt as _;
use mesh::db::{Db, DbError, Row, Statement, Tx};
use time::OffsetDateTime;

/// A package as it is installed.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The artifact, as JSON text.
    pub artifact: String,
}

/// What is installed, as of one moment.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The revision in force; 0 when there is none yet.
    pub revision: u64,
    /// When it was published.
    pub published_at: Option<OffsetDateTime>,
    /// The packages, in the order in which they were first installed.
    pub packages: Vec<Installed>,
}

/// Head and packages on one snapshot.
///
/// # Errors
/// Those of the database.
pub async fn installation(db: &Db) -> Result<Installation, DbError> {
    db.read::<_, DbError, _>(|tx| {
        async move {
            let head = tx.query_opt(Statement::new(HEAD), head_row).await?;
            let (revision, published_at) = head.unwrap_or_default();
            let packages = all(tx).await?;
            Ok(Installation {
                revision,
                published_at,
                packages,
            })
        }
        .boxed()
    })
    .await
}

async fn all(tx: &mut Tx) -> Result<Vec<Installed>, DbError> {
    let statement =
        Statement::new("SELECT id, version, artifact FROM om_package ORDER BY installed_at, id");
    tx.query(statement, |row| {
        Ok(Installed {
            id: row.text(0)?.unwrap_or_default().to_owned(),
            version: row.text(1)?.unwrap_or_default().to_owned(),
            artifact: row.text(2)?.unwrap_or_default().to_owned(),
        })
    })
    .await
}

/// Installs or replaces a package.
///
/// # Errors
/// Those of the database.
pub async fn put(tx: &mut Tx, package: &Installed, now: OffsetDateTime) -> Result<(), DbError> {
    let statement = Statement::new(
        "INSERT INTO om_package (id, version, artifact, installed_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, artifact = excluded.artifact",
    )
    .bind(package.id.clone())
    .bind(package.version.clone())
    .bind(package.artifact.clone())
    .bind(now);
    tx.execute(statement).await?;
    Ok(())
}

/// Records a revision that is published, and the permission sets that it changed.
///
/// # Errors
/// Those of the database.
pub async fn record(
    tx: &mut Tx,
    revision: u64,
    changed_sets: &BTreeSet<String>,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    let names: Vec<&str> = changed_sets.iter().map(String::as_str).collect();
    let statement = Statement::new(
        "INSERT INTO om_revision (revision, changed_sets, published_at) VALUES ($1, $2, $3)",
    )
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(serde_json::Value::from(names).to_string())
    .bind(now);
    tx.execute(statement).await?;
    Ok(())
}

/// What each recorded revision after one, up to another, changed.
///
/// # Errors
/// Those of the database; a damaged row.
pub async fn recorded(db: &Db, after: u64, until: u64) -> Result<Vec<Vec<String>>, DbError> {
    let number = |revision: u64| i64::try_from(revision).unwrap_or(i64::MAX);
    let statement = Statement::new(
        "SELECT changed_sets FROM om_revision WHERE revision > $1 AND revision <= $2",
    )
    .bind(number(after))
    .bind(number(until));
    db.query(statement, |row| {
        serde_json::from_str(row.req_text(0)?).map_err(|_| DbError::Decode {
            column: 0,
            expected: "a list of names",
        })
    })
    .await
}

const HEAD: &str = "SELECT revision, published_at FROM om_registry_head WHERE id = 1";

fn head_row(row: &Row<'_>) -> Result<(u64, Option<OffsetDateTime>), DbError> {
    let revision = u64::try_from(row.req_int(0)?).unwrap_or_default();
    Ok((revision, row.datetime(1)?))
}

/// The revision in force; 0 when there is none yet.
///
/// # Errors
/// Those of the database.
pub async fn head(db: &Db) -> Result<u64, DbError> {
    let row = db.query_opt(Statement::new(HEAD), head_row).await?;
    Ok(row.unwrap_or_default().0)
}

/// Whether something is noted as loaded.
///
/// # Errors
/// Those of the database.
pub async fn is_loaded(db: &Db, mark: &str) -> Result<bool, DbError> {
    let statement = Statement::new("SELECT 1 FROM om_data_set WHERE name = $1").bind(mark);
    Ok(db.query_opt(statement, |_| Ok(())).await?.is_some())
}

/// Notes that something was loaded to its end.
///
/// # Errors
/// Those of the database.
pub async fn mark_loaded(db: &Db, mark: &str, now: OffsetDateTime) -> Result<(), DbError> {
    let statement = Statement::new(
        "INSERT INTO om_data_set (name, loaded_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
    )
    .bind(mark)
    .bind(now);
    db.execute(statement).await?;
    Ok(())
}

/// Moves the head from `from` to the next number. False when another replica moved it first.
///
/// # Errors
/// Those of the database.
pub async fn advance(tx: &mut Tx, from: u64, now: OffsetDateTime) -> Result<bool, DbError> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let statement = if from == 0 {
        Statement::new(
            "INSERT INTO om_registry_head (id, revision, published_at) VALUES (1, $1, $2) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(1_i64)
        .bind(now)
    } else {
        Statement::new(
            "UPDATE om_registry_head SET revision = $1, published_at = $2 WHERE id = 1 AND revision = $3",
        )
        .bind(from + 1)
        .bind(now)
        .bind(from)
    };
    Ok(tx.execute(statement).await? == 1)
}
