//! Users whom data-svc is to be told about: jobs of the durable queue, since data-svc may be away when they
//! change.

use std::time::Duration;

use mesh::db::{
    DbError, Tx,
    queue::{self, NewJob},
};

/// The jobs that tell data-svc of a user; their key is the user's id.
pub(crate) const TELL: &str = "profile";

/// Longer than an exchange may take that read the user before the change: what it tells data-svc
/// late is put right by what is told after this time.
const SETTLED: Duration = Duration::from_secs(12);

/// Notes that data-svc is to be told, in the transaction of the change. A change that was not told yet is
/// told with this one.
pub(super) async fn changed(tx: &mut Tx, user_id: &str) -> Result<(), DbError> {
    let settled_ms = i64::try_from(SETTLED.as_millis()).unwrap_or(i64::MAX);
    let due_ms = tx.clock_ms().await? + settled_ms;
    queue::push_again(tx, &NewJob::new(TELL, user_id, "").due_at(due_ms)).await
}
