//! First answers of calls that carried an `Idempotency-Key`. What such
//! a call does lies outside of our transaction, so the key is claimed before, for as long as the call
//! may take, and answered after; who comes meanwhile waits or is told to come again. A call that
//! crashed is made again by the next one with the key: what it wrote already carries keys of its own.

use futures::FutureExt as _;
use mesh::{
    Error, Result,
    db::{Db, Statement},
    error::Reason,
};
use time::{Duration, OffsetDateTime};

/// How long a key is kept.
const KEPT: Duration = Duration::hours(24);

/// A call that is made once.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Whose key it is.
    pub(crate) principal: String,
    /// The key.
    pub(crate) key: String,
    /// Hash of all that the call says.
    pub(crate) hash: String,
    /// Who claims it: a name for this very call.
    pub(crate) holder: String,
}

/// What stands under a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The call is this one's to make.
    Ours,
    /// It was made; this is its answer.
    Answered(String),
    /// Another one is making it.
    Running,
}

impl Call {
    /// Claims the key until then.
    ///
    /// # Errors
    /// IDEMPOTENCY_KEY_REUSED for a call that says something else; those of the database.
    pub(crate) async fn claim(
        &self,
        db: &Db,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim> {
        let call = self.clone();
        db.write::<_, Error, _>(move |tx| {
            let call = call.clone();
            async move {
                let forget = Statement::new("DELETE FROM idempotent_call WHERE created_at < $1")
                    .bind(now - KEPT);
                tx.execute(forget).await?;
                let claim = Statement::new(
                    "INSERT INTO idempotent_call \
                     (principal, idempotency_key, request_hash, holder, until_at, created_at) \
                     VALUES ($1, $2, $3, $4, $5, $6) \
                     ON CONFLICT (principal, idempotency_key) DO UPDATE SET \
                     holder = excluded.holder, until_at = excluded.until_at \
                     WHERE idempotent_call.response IS NULL AND idempotent_call.until_at <= $6 \
                     AND idempotent_call.request_hash = excluded.request_hash",
                )
                .bind(&*call.principal)
                .bind(&*call.key)
                .bind(&*call.hash)
                .bind(&*call.holder)
                .bind(until)
                .bind(now);
                if tx.execute(claim).await? > 0 {
                    return Ok(Claim::Ours);
                }
                let kept = Statement::new(
                    "SELECT request_hash, response FROM idempotent_call \
                     WHERE principal = $1 AND idempotency_key = $2",
                )
                .bind(&*call.principal)
                .bind(&*call.key);
                let (hash, response) = tx
                    .query_one(kept, |row| {
                        let response = row.text(1)?.map(str::to_owned);
                        Ok((row.req_text(0)?.to_owned(), response))
                    })
                    .await?;
                if hash != call.hash {
                    let message = "The Idempotency-Key was used before with another body";
                    return Err(Error::new(Reason::IdempotencyKeyReused, message)
                        .with("reason", "IDEMPOTENCY_KEY_REUSED")
                        .with("parameter", "Idempotency-Key"));
                }
                Ok(response.map_or(Claim::Running, Claim::Answered))
            }
            .boxed()
        })
        .await
    }

    /// Keeps the answer.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn answer(&self, db: &Db, response: &str) -> Result<()> {
        let statement = Statement::new(
            "UPDATE idempotent_call SET response = $1 \
             WHERE principal = $2 AND idempotency_key = $3 AND holder = $4 AND response IS NULL",
        )
        .bind(response)
        .bind(&*self.principal)
        .bind(&*self.key)
        .bind(&*self.holder);
        db.execute(statement).await?;
        Ok(())
    }

    /// Gives the key back: the call did nothing that counts, so it may be made again.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn release(&self, db: &Db) -> Result<()> {
        let statement = Statement::new(
            "UPDATE idempotent_call SET until_at = created_at \
             WHERE principal = $1 AND idempotency_key = $2 AND holder = $3 AND response IS NULL",
        )
        .bind(&*self.principal)
        .bind(&*self.key)
        .bind(&*self.holder);
        db.execute(statement).await?;
        Ok(())
    }
}
