//! The transaction of one write: the change, what it leaves behind, and the answer that its
//! idempotency key keeps. On PostgreSQL the writes that wait at the same time share one
//! ([`super::group`]).

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::{
    Error, Result,
    db::{Dialect, Tx},
};

use super::{
    after::Context,
    answer::View,
    apply::{self, DeferredWrite, NewRow},
    idempotency::{self, Claim},
};
use crate::kernel::{
    Kernel, Record,
    model::{cell::Cell, schema::Schema},
    store::write::Update,
};

/// A write that is ready to be committed, and all that its transaction needs.
pub(super) struct Ready {
    pub(super) change: Change,
    pub(super) view: View,
    pub(super) context: Context,
    pub(super) claim: Option<Claim>,
}

/// What is written.
pub(super) enum Change {
    Create(NewRow),
    /// With what its hooks write.
    Update(Update, Vec<DeferredWrite>),
}

/// The row as it was written; `None` when it had moved since it was read.
pub(super) type Applied = Option<Written>;

/// A row that was written.
pub(super) struct Written {
    pub(super) cells: Vec<Cell>,
    /// What is answered, where a key keeps it.
    pub(super) kept: Option<Record>,
}

/// Commits a write, alone or with others.
///
/// # Errors
/// Those of the write; those of the database.
pub(super) async fn commit(kernel: &Kernel, ready: &Arc<Ready>) -> Result<Applied> {
    match kernel.db.dialect() == Dialect::Postgres && ready.is_simple() {
        true => kernel.groups.commit(&kernel.db, ready).await,
        false => commit_alone(&kernel.db, ready).await,
    }
}

/// Commits a write in a transaction of its own.
///
/// # Errors
/// As [`commit`].
pub(super) async fn commit_alone(db: &mesh::db::Db, ready: &Arc<Ready>) -> Result<Applied> {
    let ready = Arc::clone(ready);
    db.write::<_, Error, _>(move |tx| {
        let ready = Arc::clone(&ready);
        async move { ready.apply(tx).await }.boxed()
    })
    .await
}

impl Ready {
    /// Whether it is one row only, which nobody sums up, and which is still within reach when it has not
    /// moved: then it can be written together with others, by one statement for all.
    fn is_simple(&self) -> bool {
        match &self.change {
            Change::Create(row) => row.deferred_writes.is_empty() && row.schema.feeds().is_empty(),
            Change::Update(job, deferred_writes) => {
                deferred_writes.is_empty()
                    && job.schema.feeds().is_empty()
                    && job.schema.is_versioned()
                    && job.rows.related().is_empty()
                    // Summaries move without a new version.
                    && job.schema.columns.iter().all(|column| column.field.summary.is_none())
            }
        }
    }

    /// The object.
    pub(super) fn schema(&self) -> &Schema {
        match &self.change {
            Change::Create(row) => &row.schema,
            Change::Update(job, _) => &job.schema,
        }
    }

    /// What the writer is told.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn answer(&self, kernel: &Kernel, written: Written) -> Result<Record> {
        match written.kept {
            Some(kept) => Ok(kept),
            None => self.view.answer(kernel, &written.cells).await,
        }
    }

    async fn apply(&self, tx: &mut Tx) -> Result<Applied> {
        let cells = match &self.change {
            Change::Create(row) => apply::create(tx, &self.context, row).await?,
            Change::Update(job, deferred_writes) => {
                match apply::update(tx, &self.context, job, deferred_writes).await? {
                    Some(after) => after,
                    None => return Ok(None),
                }
            }
        };
        let kept = idempotency::keep(tx, self.claim.as_ref(), &self.view, &cells).await?;
        Ok(Some(Written { cells, kept }))
    }
}
