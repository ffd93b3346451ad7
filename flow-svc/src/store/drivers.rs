//! Who drives which run. The database's clock alone decides which driver has fallen silent.

use mesh::db::{Db, DbError, Dialect, Statement};

/// How far the clocks of a database's nodes may lie apart, in milliseconds: another driver's runs are
/// taken only when its term has been over for so long.
const CLOCK_SKEW_MS: i64 = 500;
/// A driver that fell silent so long ago is forgotten, in milliseconds.
const FORGOTTEN_MS: i64 = 3_600_000;

/// Says that a driver lives, for another `term_ms`.
pub(crate) async fn extend(db: &Db, driver: &str, term_ms: i64) -> Result<(), DbError> {
    let until_ms = db.clock_ms().await? + term_ms;
    let statement = Statement::new(
        "INSERT INTO flow_driver (id, until_ms) VALUES ($1, $2) \
         ON CONFLICT (id) DO UPDATE SET until_ms = excluded.until_ms",
    );
    db.execute(statement.bind(driver).bind(until_ms)).await?;
    Ok(())
}

/// Forgets drivers that fell silent long ago.
pub(crate) async fn forget_silent(db: &Db) -> Result<(), DbError> {
    let before_ms = db.clock_ms().await? - FORGOTTEN_MS;
    let statement = Statement::new("DELETE FROM flow_driver WHERE until_ms < $1");
    db.execute(statement.bind(before_ms)).await?;
    Ok(())
}

/// Says that a driver has ended: what it drove is free.
pub(crate) async fn leave(db: &Db, driver: &str) -> Result<(), DbError> {
    let statement = Statement::new("DELETE FROM flow_driver WHERE id = $1").bind(driver);
    db.execute(statement).await?;
    Ok(())
}

/// A run that somebody has to go on with: `$1` is the driver that asks, `$2` is now, and `$3` the moment
/// until which a driver must have been alive.
macro_rules! is_free {
    () => {
        "status IN ('pending', 'running', 'retrying') AND next_at_ms <= $2 \
         AND (driver IS NULL OR driver = $1 OR NOT EXISTS (SELECT 1 FROM flow_driver \
         WHERE flow_driver.id = flow_run.driver AND flow_driver.until_ms > $3))"
    };
}

/// Runs that this driver may claim, oldest first: those that nobody drives, and its own.
pub(crate) async fn claimable(db: &Db, driver: &str, limit: i64) -> Result<Vec<String>, DbError> {
    let now_ms = db.clock_ms().await?;
    let statement = Statement::new(concat!(
        "SELECT id FROM flow_run WHERE ",
        is_free!(),
        " ORDER BY next_at_ms LIMIT $4"
    ))
    .bind(driver)
    .bind(now_ms)
    .bind(now_ms - CLOCK_SKEW_MS)
    .bind(limit);
    db.query(statement, |row| Ok(row.req_text(0)?.to_owned()))
        .await
}

/// Makes this driver the run's; nothing when another was first.
pub(crate) async fn claim(db: &Db, driver: &str, run: &str) -> Result<bool, DbError> {
    let now_ms = db.clock_ms().await?;
    let statement = Statement::new(concat!(
        "UPDATE flow_run SET driver = $1, fence = fence + 1, claims = claims + 1, \
         status = 'running' WHERE id = $4 AND ",
        is_free!()
    ))
    .bind(driver)
    .bind(now_ms)
    .bind(now_ms - CLOCK_SKEW_MS)
    .bind(run);
    Ok(db.execute(statement).await? > 0)
}

/// Which of these runs this driver drives no more.
pub(crate) async fn superseded(
    db: &Db,
    driver: &str,
    runs: Vec<String>,
) -> Result<Vec<String>, DbError> {
    let is_one = match db.dialect() {
        Dialect::Sqlite => "id IN (SELECT value FROM json_each($1))",
        Dialect::Postgres => "id = ANY($1)",
    };
    let statement = Statement::new(format!(
        "SELECT id FROM flow_run WHERE {is_one} AND (driver IS NULL OR driver <> $2)"
    ));
    db.query(statement.bind(runs).bind(driver), |row| {
        Ok(row.req_text(0)?.to_owned())
    })
    .await
}
