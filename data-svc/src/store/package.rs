//! Installed packages and the head of the registry.

use mesh::db::{Db, DbError, Statement, Tx};
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

/// All packages, in the order in which they were first installed.
///
/// # Errors
/// Those of the database.
pub async fn all(db: &Db) -> Result<Vec<Installed>, DbError> {
    let statement =
        Statement::new("SELECT id, version, artifact FROM om_package ORDER BY installed_at, id");
    db.query(statement, |row| {
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

/// The revision in force and when it was published; 0 when there is none yet.
///
/// # Errors
/// Those of the database.
pub async fn head(db: &Db) -> Result<(u64, Option<OffsetDateTime>), DbError> {
    let statement =
        Statement::new("SELECT revision, published_at FROM om_registry_head WHERE id = 1");
    let row = db
        .query_opt(statement, |row| {
            Ok((row.int(0)?.unwrap_or_default(), row.datetime(1)?))
        })
        .await?;
    Ok(row.map_or((0, None), |(revision, at)| {
        (u64::try_from(revision).unwrap_or(0), at)
    }))
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
