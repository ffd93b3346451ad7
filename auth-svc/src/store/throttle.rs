//! Counts of failed sign-ins: atomic under bursts from any number of replicas, and still there
//! after a restart.

use mesh::{
    Result,
    db::{DbError, Row, Statement, Tx},
};
use time::OffsetDateTime;

use super::Store;
use crate::domain::throttle::{AccountKey, Throttle};

/// Until when the account waits, if it waits now.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn blocked_until(
    store: &Store,
    account: &AccountKey,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>> {
    let row = store
        .db
        .query_opt(blocked(account, now), |row: &Row| row.datetime(0))
        .await?;
    Ok(row.flatten())
}

/// Takes one attempt: counts it as a miss beforehand, so that attempts at the same time cannot
/// pass the limit together; [`forgive`] takes it back. `Some` tells until when the account has
/// to wait instead.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn take_attempt(
    store: &Store,
    account: AccountKey,
    throttle: Throttle,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>> {
    store
        .db
        .write(move |tx: &mut Tx| {
            Box::pin(async move {
                let count = Statement::new(
                    "INSERT INTO auth_failed_sign_in (account_key, misses, last_at) \
                     VALUES ($1, 1, $2) \
                     ON CONFLICT (account_key) DO UPDATE SET last_at = $2, \
                     misses = CASE WHEN auth_failed_sign_in.last_at < $3 THEN 1 \
                                   ELSE auth_failed_sign_in.misses + 1 END \
                     WHERE auth_failed_sign_in.blocked_until IS NULL \
                        OR auth_failed_sign_in.blocked_until <= $2 \
                     RETURNING misses",
                )
                .bind(account.to_vec())
                .bind(now)
                .bind(now - throttle.forget_after);
                let Some(misses) = tx.query_opt(count, |row: &Row| row.req_int(0)).await? else {
                    let until = tx
                        .query_opt(blocked(&account, now), |row: &Row| row.datetime(0))
                        .await?;
                    // The row was refused because it is blocked, so it says until when.
                    return Ok::<_, mesh::Error>(Some(until.flatten().unwrap_or(now)));
                };
                if let Some(until) = throttle.blocked_until(misses, now) {
                    let block =
                        "UPDATE auth_failed_sign_in SET blocked_until = $2 WHERE account_key = $1";
                    tx.execute(Statement::new(block).bind(account.to_vec()).bind(until))
                        .await?;
                }
                Ok(None)
            })
        })
        .await
}

/// Forgets the misses of an account whose password was right.
pub(super) async fn forgive(tx: &mut Tx, account: &AccountKey) -> Result<(), DbError> {
    let statement = "DELETE FROM auth_failed_sign_in WHERE account_key = $1";
    tx.execute(Statement::new(statement).bind(account.to_vec()))
        .await?;
    Ok(())
}

fn blocked(account: &AccountKey, now: OffsetDateTime) -> Statement {
    Statement::new(
        "SELECT blocked_until FROM auth_failed_sign_in WHERE account_key = $1 AND blocked_until > $2",
    )
    .bind(account.to_vec())
    .bind(now)
}
