//! How far the changes of records have been looked at.
//!
//! Invariant: the position moves in the transaction that keeps the runs which the changes up to it
//! start, so each change starts them once.

use std::sync::Arc;

use futures::FutureExt as _;
use mesh::db::{
    Db, DbError, Statement,
    lease::{Held, LeaseError},
};

use super::run::{NewRun, insert};

/// The position that has been looked at; nothing when nobody has begun to follow.
pub(crate) async fn followed(db: &Db, name: &str) -> Result<Option<i64>, DbError> {
    let statement = Statement::new("SELECT position FROM flow_following WHERE name = $1");
    db.query_opt(statement.bind(name), |row| row.req_int(0))
        .await
}

const MOVE: &str = "INSERT INTO flow_following (name, position) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET position = excluded.position \
     WHERE flow_following.position < excluded.position";

/// Moves on, and keeps the runs that the changes on the way start. False when another process
/// follows by now: then nothing is kept.
pub(crate) async fn follow_on(
    db: &Db,
    held: &Held,
    name: &str,
    position: i64,
    runs: Vec<NewRun>,
) -> Result<bool, LeaseError> {
    let (held, name, runs) = (held.clone(), name.to_owned(), Arc::new(runs));
    db.write::<_, LeaseError, _>(move |tx| {
        let (held, name, runs) = (held.clone(), name.clone(), Arc::clone(&runs));
        async move {
            if !held.confirm(tx).await? {
                return Ok(false);
            }
            tx.execute(Statement::new(MOVE).bind(name).bind(position))
                .await?;
            for run in &*runs {
                insert(tx, run, None).await?;
            }
            Ok(true)
        }
        .boxed()
    })
    .await
}

/// Goes on from a position, also one that lies before.
pub(crate) async fn jump(
    db: &Db,
    held: &Held,
    name: &str,
    position: i64,
) -> Result<(), LeaseError> {
    let (held, name) = (held.clone(), name.to_owned());
    db.write::<_, LeaseError, _>(move |tx| {
        let (held, name) = (held.clone(), name.clone());
        async move {
            if held.confirm(tx).await? {
                let statement = Statement::new(
                    "INSERT INTO flow_following (name, position) VALUES ($1, $2) \
                     ON CONFLICT (name) DO UPDATE SET position = excluded.position",
                );
                tx.execute(statement.bind(name).bind(position)).await?;
            }
            Ok(())
        }
        .boxed()
    })
    .await
}

/// Ends the lease of whoever followed before: on SQLite, where one process has the file, they have
/// ended.
pub(crate) async fn free(db: &Db, name: &str) -> Result<(), DbError> {
    let statement = Statement::new("UPDATE om_lease SET until_ms = 0 WHERE name = $1");
    db.execute(statement.bind(name)).await?;
    Ok(())
}
