//! Users whom data-svc is to be told about: an outbox, since data-svc may be away when they change.

use mesh::{
    Result,
    db::{DbError, Row, Statement, Tx},
};
use time::{Duration, OffsetDateTime};

use super::{Store, text};

/// Longer than an exchange may take that read the user before the change: what it tells data-svc
/// late is put right by what is told after this time.
const SETTLED: Duration = Duration::seconds(12);

/// A user to tell about.
#[derive(Clone, Debug)]
pub(crate) struct Untold {
    /// Id of the user.
    pub user_id: String,
    /// The change that is to be told; a later one has another id.
    pub change_id: String,
    /// How often it failed.
    pub attempts: i64,
}

/// Users who are due, those that wait longest first.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn untold(store: &Store, now: OffsetDateTime) -> Result<Vec<Untold>> {
    let statement = Statement::new(
        "SELECT user_id, change_id, attempts FROM auth_profile_outbox \
         WHERE due_at <= $1 ORDER BY due_at LIMIT 100",
    )
    .bind(now);
    let map = |row: &Row| {
        Ok(Untold {
            user_id: text(row, 0)?,
            change_id: text(row, 1)?,
            attempts: row.req_int(2)?,
        })
    };
    Ok(store.db.query(statement, map).await?)
}

/// Strikes a change that was told.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn told(store: &Store, untold: &Untold) -> Result<()> {
    let statement =
        Statement::new("DELETE FROM auth_profile_outbox WHERE user_id = $1 AND change_id = $2")
            .bind(&untold.user_id)
            .bind(&untold.change_id);
    store.db.execute(statement).await?;
    Ok(())
}

/// Puts a user off until then, because data-svc did not answer.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn put_off(store: &Store, user_id: &str, until: OffsetDateTime) -> Result<()> {
    let statement = Statement::new(
        "UPDATE auth_profile_outbox SET attempts = attempts + 1, due_at = $2 WHERE user_id = $1",
    )
    .bind(user_id)
    .bind(until);
    store.db.execute(statement).await?;
    Ok(())
}

/// Notes that data-svc is to be told, in the transaction of the change.
pub(super) async fn changed(
    tx: &mut Tx,
    user_id: &str,
    change_id: &str,
    now: OffsetDateTime,
) -> Result<(), DbError> {
    let statement = Statement::new(
        "INSERT INTO auth_profile_outbox (user_id, change_id, attempts, due_at) VALUES ($1, $2, 0, $3) \
         ON CONFLICT (user_id) DO UPDATE SET change_id = $2, attempts = 0, due_at = $3",
    )
    .bind(user_id)
    .bind(change_id)
    .bind(now + SETTLED);
    tx.execute(statement).await?;
    Ok(())
}
