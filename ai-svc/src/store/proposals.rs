//! Pending actions. Each change of state is one conditional update: exactly one caller wins.

use futures::FutureExt as _;
use mesh::{
    Result,
    audit::{Entry, Table},
    db::{
        DbError, Row, Statement, Tx,
        queue::{self, NewJob},
    },
    delegation::DelegationGrant,
};
use serde_json::Value;
use time::OffsetDateTime;

use crate::domain::change::ChangeKind;

use super::{Store, Stored, conversations, is_id, opt_text, text};

/// Jobs: an approved action is carried out, unless it was by then.
pub(crate) const CARRY_OUT: &str = "carry_out";
/// Jobs: a proposal that nobody decided expires.
pub(crate) const EXPIRE: &str = "expire";

/// Where a pending action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Waits for a person.
    Pending,
    /// Is being carried out.
    Approved,
    /// Was carried out.
    Executed,
    /// Could not be carried out.
    Failed,
    /// Was discarded.
    Rejected,
    /// Nobody decided in time.
    Expired,
}

impl Status {
    /// The word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// The state of that word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Approved,
            Self::Executed,
            Self::Failed,
            Self::Rejected,
            Self::Expired,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }
}

/// A mutation that a model proposed.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Its id.
    pub(crate) id: String,
    /// The conversation in which it was proposed.
    pub(crate) conversation_id: Option<String>,
    /// The message in which it was.
    pub(crate) message_id: Option<String>,
    /// The tool.
    pub(crate) tool_name: String,
    /// Hash of the tool's definition then.
    pub(crate) tool_hash: String,
    /// The input, as canonical JSON.
    pub(crate) tool_input: String,
    /// What kind of change it is.
    pub(crate) kind: ChangeKind,
    /// The object that it is about.
    pub(crate) object_name: Option<String>,
    /// The record that it is about.
    pub(crate) record_id: Option<String>,
    /// The record's version then.
    pub(crate) record_version: Option<i64>,
    /// create, update, delete, or the action or flow.
    pub(crate) action_name: String,
    /// The fields that would change, as they were; JSON.
    pub(crate) before: Option<String>,
    /// Where it stands.
    pub(crate) status: Status,
    /// What came of it; JSON.
    pub(crate) result: Option<String>,
    /// Why it failed; JSON.
    pub(crate) error: Option<String>,
    /// Why it was discarded.
    pub(crate) rejection_reason: Option<String>,
    /// What the approver said.
    pub(crate) comment: Option<String>,
    /// The agent.
    pub(crate) proposed_by: String,
    /// The user.
    pub(crate) requested_by: String,
    /// How the user's work began.
    pub(crate) grant: DelegationGrant,
    /// Who decided.
    pub(crate) decided_by: Option<String>,
    /// When it was proposed.
    pub(crate) proposed_at: OffsetDateTime,
    /// When it was decided.
    pub(crate) decided_at: Option<OffsetDateTime>,
    /// Until when it may be.
    pub(crate) expires_at: OffsetDateTime,
    /// Over all that is approved.
    pub(crate) digest: String,
}

/// Which pending actions to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// In that state.
    pub(crate) status: Option<Status>,
    /// Of that conversation.
    pub(crate) conversation_id: Option<String>,
    /// About that object.
    pub(crate) object_name: Option<String>,
}

/// What came of an approved action.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It was carried out; JSON.
    Executed(String),
    /// It could not be; JSON.
    Failed(String),
}

const COLUMNS: &str = "id, conversation_id, message_id, tool_name, tool_hash, tool_input, \
    object_name, record_id, record_version, action_name, before_values, status, result, error, \
    rejection_reason, comment, proposed_by, requested_by, beginning, decided_by, proposed_at, \
    decided_at, expires_at, digest, kind";

impl Store {
    /// Keeps a proposal.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn propose(&self, pending: Pending, entry: Entry) -> Result<()> {
        let grant = serde_json::to_string(&pending.grant).map_err(mesh::Error::internal)?;
        self.db
            .write::<_, mesh::Error, _>(move |tx| {
                let insert = Statement::new(format!(
                    "INSERT INTO ai_pending_actions ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, \
                     $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)"
                ))
                .bind(&pending.id)
                .bind(pending.conversation_id.clone())
                .bind(pending.message_id.clone())
                .bind(&pending.tool_name)
                .bind(&pending.tool_hash)
                .bind(&pending.tool_input)
                .bind(pending.object_name.clone())
                .bind(pending.record_id.clone())
                .bind(pending.record_version)
                .bind(&pending.action_name)
                .bind(pending.before.clone())
                .bind(pending.status.as_str())
                .bind(pending.result.clone())
                .bind(pending.error.clone())
                .bind(pending.rejection_reason.clone())
                .bind(pending.comment.clone())
                .bind(&pending.proposed_by)
                .bind(&pending.requested_by)
                .bind(&grant)
                .bind(pending.decided_by.clone())
                .bind(pending.proposed_at)
                .bind(pending.decided_at)
                .bind(pending.expires_at)
                .bind(&pending.digest)
                .bind(pending.kind.as_str());
                let note = entry.insert_into(Table::SERVICE);
                let expiry = NewJob::new(EXPIRE, &*pending.id, "").due_at(ms(pending.expires_at));
                async move {
                    tx.execute(insert).await?;
                    tx.execute(note).await?;
                    queue::push(tx, &expiry).await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    /// The pending action of an id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn pending(&self, id: &str) -> Result<Option<Pending>> {
        if !is_id(id) {
            return Ok(None);
        }
        let sql = format!("SELECT {COLUMNS} FROM ai_pending_actions WHERE id = $1");
        let found = self.db.query_opt(Statement::new(sql).bind(id), pending);
        Ok(found.await?)
    }

    /// The newest `limit` pending actions that fit, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn all_pending(&self, filter: &Filter, limit: i64) -> Result<Vec<Pending>> {
        let statement = Statement::new(format!(
            "SELECT {COLUMNS} FROM ai_pending_actions \
             WHERE (CAST($1 AS TEXT) IS NULL OR status = $1) \
             AND (CAST($2 AS TEXT) IS NULL OR conversation_id = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR object_name = $3) ORDER BY id DESC LIMIT $4"
        ))
        .bind(filter.status.map(Status::as_str))
        .bind(filter.conversation_id.clone())
        .bind(filter.object_name.clone())
        .bind(limit);
        Ok(self.db.query(statement, pending).await?)
    }

    /// Claims a pending action for whoever approves it. False when it is not pending any more, is
    /// another one than was looked at, or its time is over.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn claim(
        &self,
        looked_at: &Pending,
        decided_by: &str,
        comment: Option<String>,
        claimed_until: OffsetDateTime,
        entry: Entry,
    ) -> Result<bool> {
        let claim = Statement::new(
            "UPDATE ai_pending_actions SET status = 'approved', decided_by = $3, decided_at = $4, \
             comment = $5, claimed_until = $6 \
             WHERE id = $1 AND status = 'pending' AND digest = $2 AND expires_at > $4",
        )
        .bind(&looked_at.id)
        .bind(&looked_at.digest)
        .bind(decided_by)
        .bind(entry.at)
        .bind(comment)
        .bind(claimed_until);
        // Whoever approved it carries it out; when they are killed, whoever finds this does.
        let job = NewJob::new(CARRY_OUT, &*looked_at.id, "").due_at(ms(claimed_until));
        self.decide(claim, entry, None, Some(job)).await
    }

    /// Discards a pending action. False when it is not pending any more.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn reject(
        &self,
        looked_at: &Pending,
        decided_by: &str,
        reason: Option<String>,
        entry: Entry,
        note: Stored,
    ) -> Result<bool> {
        let reject = Statement::new(
            "UPDATE ai_pending_actions SET status = 'rejected', decided_by = $2, decided_at = $3, \
             rejection_reason = $4 WHERE id = $1 AND status = 'pending' AND expires_at > $3",
        )
        .bind(&looked_at.id)
        .bind(decided_by)
        .bind(entry.at)
        .bind(reason);
        let note = looked_at.conversation_id.clone().map(|id| (id, note));
        self.decide(reject, entry, note, None).await
    }

    /// Writes down what came of an approved action. False when it is written down already.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn conclude(
        &self,
        looked_at: &Pending,
        outcome: Outcome,
        entry: Entry,
        note: Stored,
    ) -> Result<bool> {
        let (status, result, error) = match outcome {
            Outcome::Executed(result) => (Status::Executed, Some(result), None),
            Outcome::Failed(error) => (Status::Failed, None, Some(error)),
        };
        let conclude = Statement::new(
            "UPDATE ai_pending_actions SET status = $2, result = $3, error = $4, \
             claimed_until = NULL WHERE id = $1 AND status = 'approved'",
        )
        .bind(&looked_at.id)
        .bind(status.as_str())
        .bind(result)
        .bind(error);
        let note = looked_at.conversation_id.clone().map(|id| (id, note));
        let decided = self.db.write::<_, mesh::Error, _>({
            let (conclude, id) = (conclude, looked_at.id.clone());
            move |tx| {
                let (change, told) = (conclude.clone(), entry.insert_into(Table::SERVICE));
                let (note, now, id) = (note.clone(), entry.at, id.clone());
                async move {
                    let is_first = record(tx, change, told, note, now).await?;
                    if is_first {
                        queue::forget(tx, CARRY_OUT, &id).await?;
                    }
                    Ok(is_first)
                }
                .boxed()
            }
        });
        decided.await
    }

    async fn decide(
        &self,
        change: Statement,
        entry: Entry,
        note: Option<(String, Stored)>,
        job: Option<NewJob>,
    ) -> Result<bool> {
        self.db
            .write::<_, mesh::Error, _>(move |tx| {
                let (change, told) = (change.clone(), entry.insert_into(Table::SERVICE));
                let (note, now, job) = (note.clone(), entry.at, job.clone());
                async move {
                    let is_first = record(tx, change, told, note, now).await?;
                    if let (true, Some(job)) = (is_first, job) {
                        queue::push(tx, &job).await?;
                    }
                    Ok(is_first)
                }
                .boxed()
            })
            .await
    }

    /// Ends what nobody decided in time; gives how many.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub(crate) async fn expire(&self, now: OffsetDateTime) -> Result<u64> {
        // Mostly there is nothing to write.
        let any = "SELECT 1 FROM ai_pending_actions WHERE status = 'pending' AND expires_at <= $1";
        let any = Statement::new(any).bind(now);
        if self.db.query_opt(any, |_| Ok(())).await?.is_none() {
            return Ok(0);
        }
        let expire = "UPDATE ai_pending_actions SET status = 'expired' \
                      WHERE status = 'pending' AND expires_at <= $1";
        Ok(self.db.execute(Statement::new(expire).bind(now)).await?)
    }
}

/// Makes a decision, with its audit entry and its note in the conversation. False when it was made before.
async fn record(
    tx: &mut Tx,
    change: Statement,
    told: Statement,
    note: Option<(String, Stored)>,
    now: OffsetDateTime,
) -> Result<bool> {
    if tx.execute(change).await? == 0 {
        return Ok(false);
    }
    tx.execute(told).await?;
    if let Some((conversation_id, note)) = note {
        // The conversation may be gone; the decision stands.
        conversations::append(tx, &conversation_id, &[note], None, now).await?;
    }
    Ok(true)
}

fn ms(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn pending(row: &Row) -> Result<Pending, DbError> {
    let wrong = |column, expected| DbError::Decode { column, expected };
    let tool_name = text(row, 3)?;
    let kind = match row.text(24)? {
        Some(word) => ChangeKind::parse(word).ok_or_else(|| wrong(24, "a kind of change"))?,
        // Proposed before there was a column for it.
        None => ChangeKind::of_tool(&tool_name),
    };
    Ok(Pending {
        id: text(row, 0)?,
        kind,
        conversation_id: opt_text(row, 1)?,
        message_id: opt_text(row, 2)?,
        tool_name,
        tool_hash: text(row, 4)?,
        tool_input: text(row, 5)?,
        object_name: opt_text(row, 6)?,
        record_id: opt_text(row, 7)?,
        record_version: row.int(8)?,
        action_name: text(row, 9)?,
        before: opt_text(row, 10)?,
        status: Status::parse(row.req_text(11)?).ok_or_else(|| wrong(11, "a state"))?,
        result: opt_text(row, 12)?,
        error: opt_text(row, 13)?,
        rejection_reason: opt_text(row, 14)?,
        comment: opt_text(row, 15)?,
        proposed_by: text(row, 16)?,
        requested_by: text(row, 17)?,
        grant: serde_json::from_str(row.req_text(18)?).map_err(|_| wrong(18, "how it began"))?,
        decided_by: opt_text(row, 19)?,
        proposed_at: row.req_datetime(20)?,
        decided_at: row.datetime(21)?,
        expires_at: row.req_datetime(22)?,
        digest: text(row, 23)?,
    })
}

impl Pending {
    /// The input.
    pub(crate) fn input(&self) -> Value {
        serde_json::from_str(&self.tool_input).unwrap_or_default()
    }
}
