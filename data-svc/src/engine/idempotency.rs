//! `Idempotency-Key`: the first answer is kept in the transaction of its effect, for 24 hours and
//! per principal (security-and-faults rule 39).

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{Error, Result, db::Statement, error::Reason};
use metadata::ApiMethod;
use sha2::{Digest as _, Sha256};
use time::Duration;

use super::{Engine, Record, Work, apply::apply_create, malformed_first};
use crate::{
    domain::{policy::Operation, record::body::Body},
    store::write::{Action, Change},
};

/// How long a key is kept.
const KEPT: Duration = Duration::hours(24);
/// Longest key, in characters.
const KEY_MAX: usize = 255;

impl Engine {
    /// Creates a record once for each key; without a key it just creates.
    ///
    /// # Errors
    /// As [`Engine::create`]; VALIDATION_ERROR `IDEMPOTENCY_KEY_REUSED` for another body under the
    /// same key.
    pub async fn create_once(
        &self,
        work: &Work,
        object: &str,
        body: &[u8],
        key: &str,
    ) -> Result<Record> {
        if key.is_empty() {
            return self.create(work, object, body).await;
        }
        if key.chars().count() > KEY_MAX {
            return Err(Error::validation(
                "INVALID_REQUEST",
                format!("The Idempotency-Key has more than {KEY_MAX} characters"),
            )
            .with("parameter", "Idempotency-Key"));
        }
        let parsed = malformed_first(Body::parse(body))?;
        let grant = work.open(object, ApiMethod::Create, Operation::Create)?;
        let principal = work.principal.user_id().unwrap_or("system").to_owned();
        let hash = request_hash(object, body);
        if let Some(answer) = self.first_answer(work, &principal, key, &hash).await? {
            return self.replay(work, object, &answer).await;
        }
        let row = Arc::new(self.prepare_create(work, &grant, parsed?).await?);
        let change = Arc::new(Change::of(work, Action::Create));
        let schema = Arc::clone(&row.schema);
        let (job_key, job_principal, job_hash, now) =
            (key.to_owned(), principal.clone(), hash.clone(), work.now);
        let created = self
            .db
            .write::<_, Error, _>(move |tx| {
                let (row, change) = (Arc::clone(&row), Arc::clone(&change));
                let forget = Statement::new("DELETE FROM om_idempotency WHERE created_at < $1").bind(now - KEPT);
                let claim = Statement::new(
                    "INSERT INTO om_idempotency (principal, idempotency_key, request_hash, response, created_at) \
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (principal, idempotency_key) DO NOTHING",
                )
                .bind(job_principal.clone())
                .bind(job_key.clone())
                .bind(job_hash.clone())
                .bind(row.id.clone())
                .bind(now);
                async move {
                    tx.execute(forget).await?;
                    if tx.execute(claim).await? == 0 {
                        return Ok(None);
                    }
                    apply_create(tx, &row, &change).await.map(Some)
                }
                .boxed()
            })
            .await?;
        match created {
            Some(cells) => {
                self.changes.wake();
                self.answer(work, &schema, &cells).await
            }
            // Another call with the same key was first.
            None => match self.first_answer(work, &principal, key, &hash).await? {
                Some(answer) => self.replay(work, object, &answer).await,
                None => Err(Error::unavailable(
                    "The first call with this Idempotency-Key",
                )),
            },
        }
    }

    /// Id of the record that the first call with this key created.
    async fn first_answer(
        &self,
        work: &Work,
        principal: &str,
        key: &str,
        hash: &str,
    ) -> Result<Option<String>> {
        let statement = Statement::new(
            "SELECT request_hash, response FROM om_idempotency \
             WHERE principal = $1 AND idempotency_key = $2 AND created_at >= $3",
        )
        .bind(principal)
        .bind(key)
        .bind(work.now - KEPT);
        let kept = self
            .db
            .query_opt(statement, |row| {
                Ok((
                    row.text(0)?.unwrap_or_default().to_owned(),
                    row.text(1)?.unwrap_or_default().to_owned(),
                ))
            })
            .await?;
        match kept {
            Some((first, _)) if first != hash => Err(Error::new(
                Reason::IdempotencyKeyReused,
                "The Idempotency-Key was used before with another body",
            )
            .with("reason", "IDEMPOTENCY_KEY_REUSED")
            .with("parameter", "Idempotency-Key")),
            kept => Ok(kept.map(|(_, answer)| answer)),
        }
    }

    async fn replay(&self, work: &Work, object: &str, id: &str) -> Result<Record> {
        self.get(work, object, id, "", "").await
    }
}

fn request_hash(object: &str, body: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(object.as_bytes());
    hasher.update([0]);
    hasher.update(body);
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
