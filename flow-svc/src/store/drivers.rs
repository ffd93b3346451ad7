//! Who drives which run. The database's clock alone decides which driver has fallen silent.

use mesh::db::{Db, DbError, Dialect, Statement};

fn now_ms(db: &Db) -> &'static str {
    match db.dialect() {
        Dialect::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        Dialect::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    }
}

/// Says that a driver lives, for another `term_ms`.
pub(crate) async fn extend(db: &Db, driver: &str, term_ms: i64) -> Result<(), DbError> {
    let now = now_ms(db);
    let statement = Statement::new(format!(
        "INSERT INTO flow_driver (id, until_ms) VALUES ($1, {now} + $2) \
         ON CONFLICT (id) DO UPDATE SET until_ms = excluded.until_ms"
    ));
    db.execute(statement.bind(driver).bind(term_ms)).await?;
    Ok(())
}

/// Forgets drivers that fell silent long ago.
pub(crate) async fn forget_silent(db: &Db) -> Result<(), DbError> {
    let statement = Statement::new(format!(
        "DELETE FROM flow_driver WHERE until_ms < {} - 3600000",
        now_ms(db)
    ));
    db.execute(statement).await?;
    Ok(())
}

/// Says that a driver has ended: what it drove is free.
pub(crate) async fn leave(db: &Db, driver: &str) -> Result<(), DbError> {
    let statement = Statement::new("DELETE FROM flow_driver WHERE id = $1").bind(driver);
    db.execute(statement).await?;
    Ok(())
}

/// A run that somebody has to go on with, `own` being the driver that asks.
fn is_free(now: &str, own: &str) -> String {
    format!(
        "status IN ('pending', 'running', 'retrying') AND next_at_ms <= {now} \
         AND (driver IS NULL OR driver = {own} OR NOT EXISTS (SELECT 1 FROM flow_driver \
         WHERE flow_driver.id = flow_run.driver AND flow_driver.until_ms > {now}))"
    )
}

/// Runs that this driver may claim, oldest first: those that nobody drives, and its own.
pub(crate) async fn claimable(db: &Db, driver: &str, limit: i64) -> Result<Vec<String>, DbError> {
    let statement = Statement::new(format!(
        "SELECT id FROM flow_run WHERE {} ORDER BY next_at_ms LIMIT $2",
        is_free(now_ms(db), "$1")
    ));
    db.query(statement.bind(driver).bind(limit), |row| {
        Ok(row.req_text(0)?.to_owned())
    })
    .await
}

/// Makes this driver the run's; nothing when another was first.
pub(crate) async fn claim(db: &Db, driver: &str, run: &str) -> Result<bool, DbError> {
    let statement = Statement::new(format!(
        "UPDATE flow_run SET driver = $1, fence = fence + 1, claims = claims + 1, \
         status = 'running' WHERE id = $2 AND {}",
        is_free(now_ms(db), "$1")
    ));
    Ok(db.execute(statement.bind(driver).bind(run)).await? > 0)
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
