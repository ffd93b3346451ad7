//! `Idempotency-Key`: the first answer is kept in the transaction of its effect, for 24 hours and
//! per principal (security-and-faults rule 39).

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{
    Error, Result,
    db::{Statement, Tx},
    error::Reason,
};
use metadata::ApiMethod;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::{Engine, Record, Work, apply::apply_create, delete::Deleted, malformed_first};
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
        check_key(key)?;
        let parsed = malformed_first(Body::parse(body))?;
        let grant = work.open(object, ApiMethod::Create, Operation::Create)?;
        let hash = request_hash(&[object.as_bytes(), body]);
        if let Some(answer) = self.first_answer(work, key, &hash).await? {
            return self.replay(work, object, &answer).await;
        }
        let row = Arc::new(self.prepare_create(work, &grant, parsed?).await?);
        let change = Arc::new(Change::of(work, Action::Create));
        let schema = Arc::clone(&row.schema);
        let once = Arc::new(Once::new(work, key, &hash, &row.id));
        let created = self
            .db
            .write::<_, Error, _>(move |tx| {
                let (row, change) = (Arc::clone(&row), Arc::clone(&change));
                let once = Arc::clone(&once);
                async move {
                    if !once.claim(tx).await? {
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
            None => match self.first_answer(work, key, &hash).await? {
                Some(answer) => self.replay(work, object, &answer).await,
                None => Err(first_is_gone()),
            },
        }
    }

    /// Changes a record once for each key; without a key it just changes it. A repeated call answers
    /// the record as it is then.
    ///
    /// # Errors
    /// As [`Engine::update`] and [`Engine::create_once`].
    pub async fn update_once(
        &self,
        work: &Work,
        object: &str,
        id: &str,
        body: &[u8],
        if_match: &str,
        key: &str,
    ) -> Result<Record> {
        if key.is_empty() {
            return self.update(work, object, id, body, if_match).await;
        }
        check_key(key)?;
        let parts = ["update", object, id, if_match].map(str::as_bytes);
        let hash = request_hash(&[parts.as_slice(), &[body]].concat());
        if let Some(answer) = self.first_answer(work, key, &hash).await? {
            return self.replay(work, object, &answer).await;
        }
        let once = Arc::new(Once::new(work, key, &hash, id));
        let work = Work {
            once: Some(once),
            ..work.clone()
        };
        match self.update(&work, object, id, body, if_match).await {
            // Another call with the key may have been first, and made this one fail.
            Err(error) => match self.first_answer(&work, key, &hash).await? {
                Some(id) => self.replay(&work, object, &id).await,
                None => Err(error),
            },
            answer => answer,
        }
    }

    /// Deletes a record once for each key; without a key it just deletes it.
    ///
    /// # Errors
    /// As [`Engine::delete`] and [`Engine::create_once`].
    pub async fn delete_once(
        &self,
        work: &Work,
        object: &str,
        id: &str,
        token: &str,
        key: &str,
    ) -> Result<Deleted> {
        if key.is_empty() {
            return self.delete(work, object, id, token).await;
        }
        check_key(key)?;
        let hash = request_hash(&["delete", object, id, token].map(str::as_bytes));
        let deleted = || Deleted {
            object: object.to_owned(),
            id: id.to_owned(),
        };
        if self.first_answer(work, key, &hash).await?.is_some() {
            return Ok(deleted());
        }
        let once = Arc::new(Once::new(work, key, &hash, id));
        let work = Work {
            once: Some(once),
            ..work.clone()
        };
        match self.delete(&work, object, id, token).await {
            Err(error) => match self.first_answer(&work, key, &hash).await? {
                Some(_) => Ok(deleted()),
                None => Err(error),
            },
            answer => answer,
        }
    }

    /// Id of the record that the first call with this key was about.
    async fn first_answer(&self, work: &Work, key: &str, hash: &str) -> Result<Option<String>> {
        let statement = Statement::new(
            "SELECT request_hash, response FROM om_idempotency \
             WHERE principal = $1 AND idempotency_key = $2 AND created_at >= $3",
        )
        .bind(principal(work))
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

/// A key whose first use this is: claimed in the transaction of its effect.
#[derive(Debug)]
pub struct Once {
    principal: String,
    key: String,
    hash: String,
    answer: String,
    now: OffsetDateTime,
}

impl Once {
    fn new(work: &Work, key: &str, hash: &str, answer: &str) -> Self {
        Self {
            principal: principal(work).to_owned(),
            key: key.to_owned(),
            hash: hash.to_owned(),
            answer: answer.to_owned(),
            now: work.now,
        }
    }

    /// Claims the key; false when another call with it was first.
    async fn claim(&self, tx: &mut Tx) -> Result<bool> {
        let forget = Statement::new("DELETE FROM om_idempotency WHERE created_at < $1")
            .bind(self.now - KEPT);
        tx.execute(forget).await?;
        let claim = Statement::new(
            "INSERT INTO om_idempotency (principal, idempotency_key, request_hash, response, created_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (principal, idempotency_key) DO NOTHING",
        )
        .bind(&*self.principal)
        .bind(&*self.key)
        .bind(&*self.hash)
        .bind(&*self.answer)
        .bind(self.now);
        Ok(tx.execute(claim).await? > 0)
    }

    /// Claims the key after the effect, which is undone when another call with it was first.
    ///
    /// # Errors
    /// When it was.
    pub(super) async fn claim_or_undo(&self, tx: &mut Tx) -> Result<()> {
        match self.claim(tx).await? {
            true => Ok(()),
            false => Err(first_is_gone()),
        }
    }
}

fn principal(work: &Work) -> &str {
    work.principal.user_id().unwrap_or("system")
}

fn first_is_gone() -> Error {
    Error::unavailable("The first call with this Idempotency-Key")
}

fn check_key(key: &str) -> Result<()> {
    if key.chars().count() <= KEY_MAX {
        return Ok(());
    }
    let message = format!("The Idempotency-Key has more than {KEY_MAX} characters");
    Err(Error::validation("INVALID_REQUEST", message).with("parameter", "Idempotency-Key"))
}

fn request_hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hasher.update([0]);
        }
        hasher.update(part);
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
