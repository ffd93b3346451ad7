//! `Idempotency-Key`: what was answered first is kept in the transaction of its effect, for 24 hours and
//! per principal, and answered again.
//!
//! The first answer is told again word by word, also when the record has changed or is gone since. But
//! nobody is told what they may not read any more: who lost the right to the operation is refused like
//! anybody (the write asks before it looks here), fields that are not readable any more are left out,
//! and of a record that is out of reach, or of an object that is not readable any more, only the id is
//! told, as to any writer who may not read.

use std::sync::Arc;

use futures::FutureExt as _;
use indexmap::IndexMap;
use mesh::{
    Error, Result,
    db::{DbError, Tx},
    error::Reason,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::answer::View;
use crate::kernel::{
    Kernel, Record, Work, access,
    model::{cell::Cell, predicate::Predicate, rights::Operation, schema::Schema},
    query,
    store::idempotency::{self as store, Key, StoredResponse},
};

/// How long a key is kept.
const KEPT: Duration = Duration::hours(24);
/// Longest key, in characters.
const KEY_MAX: usize = 255;

/// A call that may carry a key.
pub(super) struct Call {
    key: Option<Key>,
    hash: String,
}

impl Call {
    /// A call that says all of these; an empty key is none.
    pub(super) fn new(work: &Work, key: &str, says: &[&[u8]]) -> Self {
        if key.is_empty() {
            return Self {
                key: None,
                hash: String::new(),
            };
        }
        let key = Key {
            principal: work.principal.user_id().unwrap_or("system").to_owned(),
            key: key.to_owned(),
        };
        Self {
            key: Some(key),
            hash: request_hash(says),
        }
    }
}

/// A key whose first use this may be: claimed in the transaction of its effect.
#[derive(Clone)]
pub(super) struct Claim(Arc<Inner>);

struct Inner {
    key: Key,
    hash: String,
    now: OffsetDateTime,
}

impl Claim {
    /// Keeps what is answered; undoes the effect when another call with the key was first.
    ///
    /// # Errors
    /// When it was; those of the database.
    pub(super) async fn keep(&self, tx: &mut Tx, record: &Record) -> Result<()> {
        let Inner { key, hash, now } = &*self.0;
        let kept = StoredResponse {
            request_hash: hash.clone(),
            response: Answer::of(record)?,
        };
        match store::keep(tx, key, &kept, *now, *now - KEPT).await? {
            true => Ok(()),
            false => Err(taken()),
        }
    }

    /// Refuses a call whose key another one has used by now.
    ///
    /// # Errors
    /// When it has; those of the database.
    pub(super) async fn look(&self, tx: &mut Tx) -> Result<Result<()>, DbError> {
        let Inner { key, now, .. } = &*self.0;
        Ok(match store::is_kept(tx, key, *now - KEPT).await? {
            true => Err(taken()),
            false => Ok(()),
        })
    }

    /// Whose key it is, and which.
    pub(super) fn key(&self) -> (String, String) {
        let Key { principal, key } = &self.0.key;
        (principal.clone(), key.clone())
    }
}

fn taken() -> Error {
    Error::unavailable("The first call with this Idempotency-Key")
}

/// Keeps under a claim what the writer is told of a row that was just written, and gives it; nothing
/// without a claim.
///
/// # Errors
/// As [`Claim::keep`].
pub(super) async fn keep(
    tx: &mut Tx,
    claim: Option<&Claim>,
    view: &View,
    cells: &[Cell],
) -> Result<Option<Record>> {
    let Some(claim) = claim else {
        return Ok(None);
    };
    let record = view.show_in(tx, cells).await?;
    claim.keep(tx, &record).await?;
    Ok(Some(record))
}

/// What the writer is told of a row that they left as it was; kept under a claim, like the answer to
/// any other call.
///
/// # Errors
/// As [`Claim::keep`].
pub(super) async fn keep_alone(
    kernel: &Kernel,
    claim: Option<Claim>,
    view: View,
    cells: Vec<Cell>,
) -> Result<Record> {
    let Some(claim) = claim else {
        return view.answer(kernel, &cells).await;
    };
    let job = Arc::new((claim, view, cells));
    let kept = kernel.db.write::<_, Error, _>(move |tx| {
        let job = Arc::clone(&job);
        async move {
            let (claim, view, cells) = &*job;
            let record = view.show_in(tx, cells).await?;
            claim.keep(tx, &record).await?;
            Ok(record)
        }
        .boxed()
    });
    kept.await
}

/// How a call begins.
pub(super) enum Begun {
    /// It was made before; this was answered.
    Answered(Record),
    /// It is to be made, under that claim if it carries a key.
    Fresh(Option<Claim>),
}

/// Refuses a key that is none.
///
/// # Errors
/// VALIDATION_ERROR.
pub(super) fn check(key: &str) -> Result<()> {
    if key.chars().count() <= KEY_MAX {
        return Ok(());
    }
    let message = format!("The Idempotency-Key has more than {KEY_MAX} characters");
    Err(Error::validation("INVALID_REQUEST", message).with("parameter", "Idempotency-Key"))
}

/// Looks for what a call was answered before.
///
/// # Errors
/// IDEMPOTENCY_KEY_REUSED under which something else was asked; those of the database.
pub(super) async fn begin(
    kernel: &Kernel,
    work: &Work,
    schema: &Arc<Schema>,
    call: Call,
) -> Result<Begun> {
    let Some(key) = call.key else {
        return Ok(Begun::Fresh(None));
    };
    let claim = Claim(Arc::new(Inner {
        key,
        hash: call.hash,
        now: work.now,
    }));
    Ok(match first_answer(kernel, work, schema, &claim).await? {
        Some(record) => Begun::Answered(record),
        None => Begun::Fresh(Some(claim)),
    })
}

/// Ends a call: another one with the key may have been first, and made this one fail.
///
/// # Errors
/// Those of the call.
pub(super) async fn end(
    kernel: &Kernel,
    work: &Work,
    schema: &Arc<Schema>,
    claim: Option<Claim>,
    outcome: Result<Record>,
) -> Result<Record> {
    match (outcome, claim) {
        (Ok(record), _) => {
            kernel.after_write.committed();
            Ok(record)
        }
        (Err(error), None) => Err(error),
        (Err(error), Some(claim)) => match first_answer(kernel, work, schema, &claim).await? {
            Some(record) => Ok(record),
            None => Err(error),
        },
    }
}

async fn first_answer(
    kernel: &Kernel,
    work: &Work,
    schema: &Arc<Schema>,
    claim: &Claim,
) -> Result<Option<Record>> {
    let Inner { key, hash, .. } = &*claim.0;
    let Some(kept) = store::find(&kernel.db, key, work.now - KEPT).await? else {
        return Ok(None);
    };
    if kept.request_hash != *hash {
        let message = "The Idempotency-Key was used before with another body";
        return Err(Error::new(Reason::IdempotencyKeyReused, message)
            .with("reason", "IDEMPOTENCY_KEY_REUSED")
            .with("parameter", "Idempotency-Key"));
    }
    match serde_json::from_str::<Answer>(&kept.response) {
        Ok(answer) => replay(kernel, work, schema, answer).await.map(Some),
        // Kept by an older version: the id alone.
        Err(_) => {
            let record = query::get(kernel, work, schema.name(), &kept.response, "", "");
            record.await.map(Some)
        }
    }
}

/// What was answered first, as far as the caller may still read it.
async fn replay(
    kernel: &Kernel,
    work: &Work,
    schema: &Arc<Schema>,
    mut answer: Answer,
) -> Result<Record> {
    let read = match work.grant(schema, Operation::Read) {
        Ok(read) if !is_out_of_reach(kernel, schema, &read, &answer.id).await? => Some(read),
        Ok(_) | Err(_) => None,
    };
    answer.record.retain(|field, _| match &read {
        Some(grant) => grant.can_read(field),
        None => field == "id",
    });
    Ok(Record {
        json: serde_json::to_vec(&answer.record).map_err(Error::internal)?,
        id: answer.id,
        version: answer.version,
    })
}

/// Whether a record is there that the caller may not see.
async fn is_out_of_reach(
    kernel: &Kernel,
    schema: &Arc<Schema>,
    read: &access::Grant,
    id: &str,
) -> Result<bool> {
    if read.rows == Predicate::True || query::is_reachable(kernel, read, id).await? {
        return Ok(false);
    }
    query::exists(kernel, schema, id).await
}

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Answer {
    id: String,
    version: i64,
    record: IndexMap<String, Box<RawValue>>,
}

impl Answer {
    fn of(record: &Record) -> Result<String> {
        let answer = Self {
            id: record.id.clone(),
            version: record.version,
            record: serde_json::from_slice(&record.json).map_err(Error::internal)?,
        };
        serde_json::to_string(&answer).map_err(Error::internal)
    }
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
