//! Measures durable commits on SQLite: one writer, then 64 at once, one INSERT a job.
//!
//! `cargo run --release -p db --example group_commit [FOLDER]`: the folder should lie on the disk
//! in question; it is the time of its sync that group commit shares.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use db::{Db, DbConfig, DbError, Statement};
use futures::FutureExt as _;
use tokio::task::JoinSet;

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let path = format!("{folder}/group-commit-{}.db", db::id::new());
    let db = Db::open(&DbConfig::new(format!("sqlite:{path}"))).await?;
    db.execute("CREATE TABLE entry (id TEXT PRIMARY KEY, text TEXT NOT NULL)")
        .await?;
    let mut out = std::io::stdout();
    for round in 1..=ROUNDS {
        let one = commits_per_second(&db, 1).await?;
        let many = commits_per_second(&db, 64).await?;
        writeln!(
            out,
            "round {round}: 1 writer {one:.0}/s, 64 writers {many:.0}/s, ratio {:.1}",
            many / one
        )?;
    }
    db.close().await;
    for suffix in ["", "-wal", "-shm"] {
        // The last connection takes the log files along.
        let _gone = std::fs::remove_file(format!("{path}{suffix}"));
    }
    Ok(())
}

async fn commits_per_second(db: &Db, writers: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..writers {
        let db = db.clone();
        running.spawn(async move {
            let mut commits = 0_u32;
            while began.elapsed() < ROUND {
                insert(&db).await?;
                commits += 1;
            }
            Ok::<_, DbError>(commits)
        });
    }
    let mut commits = 0.0;
    while let Some(done) = running.join_next().await {
        commits += f64::from(done??);
    }
    Ok(commits / began.elapsed().as_secs_f64())
}

async fn insert(db: &Db) -> Result<(), DbError> {
    let id = db::id::new();
    db.write(move |tx| {
        let statement = Statement::new("INSERT INTO entry (id, text) VALUES ($1, $2)")
            .bind(id.clone())
            .bind("about as long as a short note is");
        async move {
            tx.execute(statement).await?;
            Ok(())
        }
        .boxed()
    })
    .await
}
