//! The feed of revocations.

use mesh::{
    Result,
    db::{DbError, Row, Statement, Tx},
};
use time::OffsetDateTime;

use super::{Store, text};
use crate::domain::revocation::Revocation;

/// A row of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedRow {
    /// Its place.
    pub position: i64,
    /// The word for what it concerns.
    pub kind: String,
    /// Id of what it concerns.
    pub subject: String,
}

/// Rows together, and up to where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedPage {
    /// In order.
    pub rows: Vec<FeedRow>,
    /// Everything up to here is in these rows and those before.
    pub position: i64,
}

/// Changes that data-svc told, and where they stand there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Followed {
    /// What they revoke, each with the position of the change.
    pub revocations: Vec<(i64, Revocation)>,
    /// Everything up to here was told.
    pub position: i64,
    /// Whether the position is taken over even when it is lower than the one that is stored: the
    /// other database was restored or made anew.
    pub restart: bool,
}

/// The last position of the feed.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn feed_position(store: &Store) -> Result<i64> {
    let statement = Statement::new("SELECT position FROM auth_revocation_head WHERE id = 1");
    let position = |row: &Row| row.req_int(0);
    Ok(store.db.query_one(statement, position).await?)
}

/// Rows after a position, at most `limit`.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn feed_after(store: &Store, after: i64, limit: i64) -> Result<FeedPage> {
    store
        .db
        .read(move |tx: &mut Tx| {
            Box::pin(async move {
                let head = Statement::new("SELECT position FROM auth_revocation_head WHERE id = 1");
                let position = tx.query_one(head, |row: &Row| row.req_int(0)).await?;
                let rows = Statement::new(
                    "SELECT position, kind, subject FROM auth_revocation \
                     WHERE position > $1 ORDER BY position LIMIT $2",
                )
                .bind(after)
                .bind(limit);
                let map = |row: &Row| {
                    Ok(FeedRow {
                        position: row.req_int(0)?,
                        kind: text(row, 1)?,
                        subject: text(row, 2)?,
                    })
                };
                let rows = tx.query(rows, map).await?;
                let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= limit);
                let position = match rows.last() {
                    Some(last) if is_full => last.position,
                    _ => position,
                };
                Ok::<_, mesh::Error>(FeedPage { rows, position })
            })
        })
        .await
}

/// Resolves when this process may have added to the feed.
pub(crate) async fn revoked(store: &Store) {
    store.revoked.notified().await;
}

/// Tells the feed that something was added: called after the commit.
pub(super) fn wake_feed(store: &Store) {
    store.revoked.notify_one();
}

/// How far the changes of a source were taken in; `None` when never yet.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn followed(store: &Store, source: &'static str) -> Result<Option<i64>> {
    let statement =
        Statement::new("SELECT position FROM auth_followed WHERE source = $1").bind(source);
    let position = |row: &Row| row.req_int(0);
    Ok(store.db.query_opt(statement, position).await?)
}

/// Takes in what a source told, unless another replica already has: its position is kept in
/// the same transaction, and decides.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn take_in(
    store: &Store,
    source: &'static str,
    told: Followed,
    now: OffsetDateTime,
) -> Result<()> {
    let revokes = !told.revocations.is_empty();
    store
        .db
        .write(move |tx: &mut Tx| {
            let told = told.clone();
            Box::pin(async move {
                let begin = Statement::new(
                    "INSERT INTO auth_followed (source, position) VALUES ($1, $2) \
                     ON CONFLICT (source) DO NOTHING",
                )
                .bind(source)
                .bind(-1_i64);
                tx.execute(begin).await?;
                // Locks the row: replicas that were told the same come one after the other.
                let lock = "UPDATE auth_followed SET position = position WHERE source = $1 \
                            RETURNING position";
                let lock = Statement::new(lock).bind(source);
                let known = tx.query_one(lock, |row: &Row| row.req_int(0)).await?;
                if !told.restart && told.position <= known {
                    return Ok::<_, mesh::Error>(());
                }
                let fresh: Vec<Revocation> = told
                    .revocations
                    .into_iter()
                    .filter(|(position, _)| told.restart || *position > known)
                    .map(|(_, revocation)| revocation)
                    .collect();
                revoke(tx, now, &fresh).await?;
                let keep = "UPDATE auth_followed SET position = $2 WHERE source = $1";
                let keep = Statement::new(keep).bind(source).bind(told.position);
                tx.execute(keep).await?;
                Ok(())
            })
        })
        .await?;
    if revokes {
        wake_feed(store);
    }
    Ok(())
}

/// Deletes rows older than that.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn purge_feed(store: &Store, before: OffsetDateTime) -> Result<()> {
    let statement = Statement::new("DELETE FROM auth_revocation WHERE at < $1").bind(before);
    store.db.execute(statement).await?;
    Ok(())
}

/// Adds to the feed, in the transaction of what it tells, and as its last statement: it locks the
/// feed until the commit.
pub(super) async fn revoke(
    tx: &mut Tx,
    now: OffsetDateTime,
    revocations: &[Revocation],
) -> Result<(), DbError> {
    let count = i64::try_from(revocations.len()).unwrap_or(i64::MAX);
    if count == 0 {
        return Ok(());
    }
    let advance = Statement::new(
        "UPDATE auth_revocation_head SET position = position + $1 WHERE id = 1 RETURNING position",
    )
    .bind(count);
    let last = tx.query_one(advance, |row: &Row| row.req_int(0)).await?;
    for (position, revocation) in (last - count + 1..).zip(revocations) {
        let (kind, subject) = revocation.words();
        let insert = Statement::new(
            "INSERT INTO auth_revocation (position, at, kind, subject) VALUES ($1, $2, $3, $4)",
        )
        .bind(position)
        .bind(now)
        .bind(kind)
        .bind(subject);
        tx.execute(insert).await?;
    }
    Ok(())
}
