//! Writes that wait at the same time are committed together, as PostgreSQL has no single writer who
//! would do it: one transaction for all of them, and in it one statement for the rows of an object, one
//! for the audit, one for the outbox, and one for each counter, which is then held by one transaction
//! instead of one after the other.
//!
//! Nobody waits for a group to fill: who finds nobody under way goes at once, and who comes meanwhile
//! goes with the next group. When the database refuses anything in a group, or one of its rows is held by
//! somebody else, nothing of it is kept and each is written alone, so that everybody is told their own
//! error and nobody waits for a row of another's.
//!
//! Invariant: whose transaction may have been committed is not written again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use mesh::{
    Error, Result,
    db::{Db, DbError, Retry, Tx},
};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use super::{
    after::{self, Operation, Row},
    apply::{self, NewRow},
    autonumber,
    commit::{Applied, Change, Ready, Written, commit_alone},
    idempotency::{self, Claim},
    summary,
};
use crate::kernel::{
    model::{cell::Cell, schema::Schema},
    store::{
        autonumber as counters,
        write::{self, Update},
    },
};

/// Writes that share a transaction at most.
const GROUP_MAX: usize = 32;
/// Groups that are committed at the same time at most. Two at once would only wait for each other's
/// counters, so the next begins when the others have been under way for [`SLOW`]: one of them may wait
/// for a row that somebody else holds.
const LANES: usize = 4;
const SLOW: Duration = Duration::from_millis(20);
/// Who waits longer for a row that somebody else holds waits alone, and not with a whole group.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
/// Writes that wait at most; one more would hardly be answered in time.
const WAITING_MAX: usize = 4096;

/// The writes of this process that wait for a transaction.
#[derive(Default)]
pub(in crate::kernel) struct Groups {
    queue: Mutex<Queue>,
    /// The lanes. A shutdown waits for the calls that wait for them, and the database for what is being
    /// committed.
    lanes: TaskTracker,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    lanes: usize,
    /// When a group was taken last.
    taken: Option<Instant>,
}

struct Waiting {
    ready: Arc<Ready>,
    span: Span,
    reply: oneshot::Sender<Result<Applied>>,
}

impl Groups {
    /// Commits a write, with those that wait at the same time. Once taken it runs to its end, also when
    /// the caller goes away.
    ///
    /// # Errors
    /// Its own; SERVICE_UNAVAILABLE when too many wait.
    pub(super) async fn commit(self: &Arc<Self>, db: &Db, ready: &Arc<Ready>) -> Result<Applied> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            ready: Arc::clone(ready),
            span: Span::current(),
            reply,
        };
        {
            let mut queue = self.queue();
            if queue.waiting.len() >= WAITING_MAX {
                return Err(Error::unavailable("The database"));
            }
            queue.waiting.push_back(waiting);
        }
        let mut answer = pin!(answer);
        let answered = loop {
            self.open_lane(db);
            // Whoever still waits then looks whether another lane is to be opened.
            if let Ok(answered) = timeout(SLOW, answer.as_mut()).await {
                break answered;
            }
        };
        let ended = || Error::internal(anyhow::anyhow!("a group of writes panicked"));
        answered.unwrap_or_else(|_| Err(ended()))
    }

    /// Opens a lane if somebody waits, and nothing is under way or has not moved for too long.
    fn open_lane(self: &Arc<Self>, db: &Db) {
        let mut queue = self.queue();
        let is_slow = queue.taken.is_none_or(|taken| taken.elapsed() >= SLOW);
        let is_due = queue.lanes == 0 || (queue.lanes < LANES && is_slow);
        if queue.waiting.is_empty() || !is_due {
            return;
        }
        queue.lanes += 1;
        queue.taken = Some(Instant::now());
        drop(queue);
        let lane = Lane {
            groups: Arc::clone(self),
            is_open: true,
        };
        self.lanes.spawn(lane.run(db.clone()));
    }

    /// The next group; `None` when nobody waits, and the lane is given back. A record, and an
    /// idempotency key, is only once in a group, so that its writes follow each other.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let mut records = BTreeSet::new();
        let (mut group, mut later) = (Vec::new(), Vec::new());
        while group.len() < GROUP_MAX {
            let Some(waiting) = queue.waiting.pop_front() else {
                break;
            };
            let (record, key) = names(&waiting.ready);
            let is_known =
                records.contains(&record) || key.as_ref().is_some_and(|key| records.contains(key));
            if is_known {
                later.push(waiting);
                continue;
            }
            records.insert(record);
            records.extend(key);
            group.push(waiting);
        }
        while let Some(waiting) = later.pop() {
            queue.waiting.push_front(waiting);
        }
        if group.is_empty() {
            queue.lanes -= 1;
            return None;
        }
        queue.taken = Some(Instant::now());
        Some(group)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which record a write is about, and which key it claims. Two that only look alike wait for each other,
/// which does no harm.
fn names(ready: &Ready) -> ((String, String), Option<(String, String)>) {
    let id = match &ready.change {
        Change::Create(row) => &row.id,
        Change::Update(job, _) => &job.id,
    };
    let record = (ready.schema().name().to_owned(), id.clone());
    (record, ready.claim.as_ref().map(Claim::key))
}

/// A lane in use. It is given back when nobody waits, or when it panics.
struct Lane {
    groups: Arc<Groups>,
    is_open: bool,
}

impl Lane {
    async fn run(mut self, db: Db) {
        while let Some(group) = self.groups.next() {
            let span = group
                .first()
                .map_or_else(Span::none, |first| first.span.clone());
            self.groups.commit_group(&db, group).instrument(span).await;
        }
        self.is_open = false;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.is_open {
            self.groups.queue().lanes -= 1;
        }
    }
}

/// Why a group was not committed.
#[derive(Clone)]
enum Refused {
    /// By the database: which of its statements says nothing of which write.
    Db(DbError),
    /// By something else.
    Other,
}

impl From<DbError> for Refused {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<Error> for Refused {
    fn from(_: Error) -> Self {
        Self::Other
    }
}

impl Retry for Refused {
    fn is_serialization_failure(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_serialization_failure())
    }
}

impl Groups {
    /// Commits a group, or each of it alone, and tells everybody.
    async fn commit_group(&self, db: &Db, mut group: Vec<Waiting>) {
        if group.len() > 1 {
            let ready: Vec<_> = group
                .iter()
                .map(|waiting| Arc::clone(&waiting.ready))
                .collect();
            if let Some(outcomes) = commit_together(db, &ready).await {
                for (waiting, outcome) in group.into_iter().zip(outcomes) {
                    waiting.tell(outcome);
                }
                return;
            }
        }
        // The last one in this lane: a lone write takes no task of its own.
        let last = group.pop();
        for waiting in group {
            // Beside the lane, which is not to wait for whoever waits for somebody else's row.
            let db = db.clone();
            let span = waiting.span.clone();
            let alone = async move {
                let outcome = commit_alone(&db, &waiting.ready).await;
                waiting.tell(outcome);
            };
            self.lanes.spawn(alone.instrument(span));
        }
        if let Some(waiting) = last {
            let outcome = commit_alone(db, &waiting.ready).await;
            waiting.tell(outcome);
        }
    }
}

impl Waiting {
    fn tell(self, outcome: Result<Applied>) {
        // A caller who has gone away does not mind.
        let _ = self.reply.send(outcome);
    }
}

/// What became of each write of a group; `None` when it was refused before anything was committed.
async fn commit_together(db: &Db, group: &[Arc<Ready>]) -> Option<Vec<Result<Applied>>> {
    let refused = Arc::new(AtomicBool::new(false));
    let job = (group.to_vec(), Arc::clone(&refused));
    let job = Arc::new(job);
    let done = db.write::<_, Refused, _>(move |tx| {
        let job = Arc::clone(&job);
        async move {
            let (group, refused) = &*job;
            refused.store(false, Ordering::Relaxed);
            let applied = async {
                tx.execute(LOCK_TIMEOUT).await?;
                apply_all(tx, group).await
            };
            let applied = applied.await;
            refused.store(applied.is_err(), Ordering::Relaxed);
            applied
        }
        .boxed()
    });
    match done.await {
        Ok(outcomes) => Some(outcomes),
        Err(_) if refused.load(Ordering::Relaxed) => None,
        // It did not begin, or nobody knows whether it was committed.
        Err(Refused::Db(error)) => {
            let told = group.iter().map(|_| Err(Error::from(error.clone())));
            Some(told.collect())
        }
        Err(Refused::Other) => None,
    }
}

/// Applies the writes of a group. Each is done, or left out with its own outcome; an error refuses all.
async fn apply_all(tx: &mut Tx, group: &[Arc<Ready>]) -> Result<Vec<Result<Applied>>, Refused> {
    lock_updated(tx, group).await?;
    let mut outcomes: Vec<Option<Result<Applied>>> = check_ties(tx, group).await?;
    for (ready, outcome) in group.iter().zip(&mut outcomes) {
        if let (Some(claim), None) = (&ready.claim, &outcome) {
            *outcome = claim.look(tx).await?.err().map(Err);
        }
    }
    let mut rows = update_all(tx, group, &mut outcomes).await?;
    rows.extend(create_all(tx, group, &outcomes).await?);
    rows.sort_unstable_by_key(|(index, _)| *index);
    let left = rows.iter().map(|(index, cells)| {
        let ready = &group[*index];
        let row = match &ready.change {
            Change::Create(row) => Row {
                operation: Operation::Create,
                schema: &row.schema,
                id: &row.id,
                before: None,
                after: Some(cells),
            },
            Change::Update(job, _) => Row {
                operation: Operation::Update,
                schema: &job.schema,
                id: &job.id,
                before: Some(&job.before),
                after: Some(cells),
            },
        };
        (&ready.context, row)
    });
    after::leave(tx, &left.collect::<Vec<_>>()).await?;
    for (index, cells) in rows {
        let Ready { claim, view, .. } = &*group[index];
        let kept = idempotency::keep(tx, claim.as_ref(), view, &cells).await?;
        outcomes[index] = Some(Ok(Some(Written { cells, kept })));
    }
    // Whatever was neither left out nor written would be told that its row has moved.
    Ok(outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or(Ok(None)))
        .collect())
}

/// Locks the rows that are to be changed, all in one order, so that two groups do not wait for each
/// other; before what is only referred to, since a lock is not to be made stronger later.
async fn lock_updated(tx: &mut Tx, group: &[Arc<Ready>]) -> Result<(), DbError> {
    let mut ids: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for ready in group {
        if let Change::Update(job, _) = &ready.change {
            let ids = ids.entry(job.schema.name()).or_default();
            ids.insert(job.id.clone());
        }
    }
    for (object, ids) in ids {
        write::lock_rows(tx, object, ids.into_iter().collect()).await?;
    }
    Ok(())
}

/// Locks what the new references point to. Who refers to what is gone is left out.
async fn check_ties(
    tx: &mut Tx,
    group: &[Arc<Ready>],
) -> Result<Vec<Option<Result<Applied>>>, DbError> {
    let ties = |ready: &Arc<Ready>| match &ready.change {
        Change::Create(row) => row.ties.clone(),
        Change::Update(job, _) => job.references.clone(),
    };
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for tie in group.iter().flat_map(ties) {
        wanted.entry(tie.object).or_default().extend(tie.ids);
    }
    let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (object, ids) in wanted {
        let found = write::lock_referenced(tx, &object, ids.into_iter().collect()).await?;
        there.insert(object, found);
    }
    let is_there =
        |object: &str, id: &String| there.get(object).is_some_and(|ids| ids.contains(id));
    let outcomes = group.iter().map(|ready| {
        let mut ties = ties(ready).into_iter();
        let gone = ties.find(|tie| tie.ids.iter().any(|id| !is_there(&tie.object, id)));
        gone.map(|tie| Err(apply::gone(ready.schema(), &tie)))
    });
    Ok(outcomes.collect())
}

/// An object, as one revision of the metadata has it: those that wait together may have been prepared
/// under different ones, whose columns are not the same.
type Shape<'g> = (&'g str, usize);

fn shape(schema: &Arc<Schema>) -> Shape<'_> {
    (schema.name(), Arc::as_ptr(schema).addr())
}

/// An update, and which of the group it is.
type Indexed<'g> = (usize, &'g Update);

/// Changes the rows that are to be changed, those with the same columns by one statement. One that has
/// moved since it was read is left out.
async fn update_all(
    tx: &mut Tx,
    group: &[Arc<Ready>],
    outcomes: &mut [Option<Result<Applied>>],
) -> Result<Vec<(usize, Vec<Cell>)>, DbError> {
    let mut batches: BTreeMap<(Shape<'_>, Vec<usize>), Vec<Indexed<'_>>> = BTreeMap::new();
    for (index, ready) in group.iter().enumerate() {
        if let (Change::Update(job, _), None) = (&ready.change, &outcomes[index]) {
            let columns = write::changed_columns(job);
            let batch = batches.entry((shape(&job.schema), columns)).or_default();
            batch.push((index, job));
        }
    }
    let mut written = Vec::new();
    for ((_, columns), batch) in batches {
        for part in write::parts(&batch) {
            let jobs: Vec<&Update> = part.iter().map(|(_, job)| *job).collect();
            let changed = write::update_all(tx, &columns, &jobs).await?;
            for (index, job) in part {
                match changed.contains(&job.id) {
                    true => written.push((*index, job.after.clone())),
                    false => outcomes[*index] = Some(Ok(None)),
                }
            }
        }
    }
    Ok(written)
}

/// Inserts the new rows, those of an object by one statement.
async fn create_all(
    tx: &mut Tx,
    group: &[Arc<Ready>],
    outcomes: &[Option<Result<Applied>>],
) -> Result<Vec<(usize, Vec<Cell>)>, DbError> {
    let mut created: Vec<(usize, &NewRow, Vec<Cell>)> = Vec::new();
    for (index, ready) in group.iter().enumerate() {
        if let (Change::Create(row), None) = (&ready.change, &outcomes[index]) {
            let mut cells = row.cells.clone();
            summary::begin(&row.schema, &mut cells);
            created.push((index, row, cells));
        }
    }
    number(tx, &mut created).await?;
    let mut by_object: BTreeMap<Shape<'_>, (&Arc<Schema>, Vec<&[Cell]>)> = BTreeMap::new();
    for (_, row, cells) in &created {
        let rows = by_object.entry(shape(&row.schema));
        rows.or_insert_with(|| (&row.schema, Vec::new()))
            .1
            .push(cells);
    }
    for (schema, rows) in by_object.into_values() {
        for part in write::parts(&rows) {
            write::insert_all(tx, schema, part).await?;
        }
    }
    let written = created.into_iter().map(|(index, _, cells)| (index, cells));
    Ok(written.collect())
}

/// Takes the numbers of new rows: of each counter all at once, last before the insert.
async fn number(tx: &mut Tx, created: &mut [(usize, &NewRow, Vec<Cell>)]) -> Result<(), DbError> {
    let mut wanted: BTreeMap<(String, counters::Key), Vec<(usize, usize)>> = BTreeMap::new();
    for (at, (_, row, _)) in created.iter().enumerate() {
        for (which, autonumber) in row.autonumbers.iter().enumerate() {
            let key = (row.schema.name().to_owned(), autonumber.counter().key());
            wanted.entry(key).or_default().push((at, which));
        }
    }
    for ((object, _), takers) in wanted {
        let Some((at, which)) = takers.first() else {
            continue;
        };
        let (_, row, _) = &created[*at];
        let counter = row.autonumbers[*which].counter();
        let count = i64::try_from(takers.len()).unwrap_or(i64::MAX);
        let mut next = counters::take(tx, &object, counter, count).await?;
        for (at, which) in takers {
            let (_, row, cells) = &mut created[at];
            let autonumber = &row.autonumbers[which];
            cells[autonumber.position] = autonumber::render(autonumber, next);
            next += 1;
        }
    }
    Ok(())
}
