//! The outbox: committed changes get positions, are read in their order, and go after a while.

use mesh::db::{Db, DbError, Dialect, Statement, Tx, Value, lease::Held};
use time::OffsetDateTime;

use crate::kernel::write::{Change, parts};

/// Rows that one transaction numbers or trims.
pub const BATCH: usize = 500;
/// Positions that one query looks through for changes of certain objects.
const SPAN: i64 = 5_000;

/// Which positions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    /// The last position that is not kept any more; 0 when all are.
    pub floor: i64,
    /// The last position given.
    pub head: i64,
}

/// A change as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the order.
    pub position: i64,
    /// The object.
    pub object: String,
    /// The record.
    pub record_id: String,
    /// `create`, `update` or `delete`.
    pub operation: String,
    /// Version of the record after the change; before it for a deletion.
    pub record_version: i64,
    /// The record before, as JSON text.
    pub before: Option<String>,
    /// The record after, as JSON text.
    pub after: Option<String>,
    /// Who wrote, or `system:<reason>`.
    pub user_id: String,
    /// The request.
    pub request_id: String,
    /// When.
    pub at: OffsetDateTime,
}

/// Adds the rows of changes, in their transaction.
///
/// # Errors
/// Those of the database.
pub async fn append(tx: &mut Tx, changes: &[Change<'_>]) -> Result<(), DbError> {
    for part in parts(changes) {
        let rows = (0..part.len()).map(|row| row_of(row * COLUMNS, tx.dialect()));
        let sql = format!("{APPEND} {}", rows.collect::<Vec<_>>().join(", "));
        let statement = part.iter().fold(Statement::new(sql), |statement, change| {
            statement
                .bind(mesh::id::new())
                .bind(change.object)
                .bind(change.record_id)
                .bind(change.operation.as_str())
                .bind(change.record_version)
                .bind(Value::Text(change.before.clone()))
                .bind(Value::Text(change.after.clone()))
                .bind(change.user_id)
                .bind(change.request_id)
                .bind(change.at)
        });
        tx.execute(statement).await?;
    }
    Ok(())
}

const APPEND: &str = "INSERT INTO om_outbox (id, object_name, record_id, operation, record_version, \
     before, after, user_id, request_id, created_at, position) VALUES";

/// What is bound of a change.
const COLUMNS: usize = 10;

/// The placeholders of a row behind so many. SQLite has one writer, so its order is commit order, and
/// each row is a statement of its own that takes the next position; on PostgreSQL a sequencer numbers
/// the committed rows later.
fn row_of(behind: usize, dialect: Dialect) -> String {
    let marks = (1..=COLUMNS).map(|column| format!("${}", behind + column));
    let position = match dialect {
        Dialect::Sqlite => {
            "(SELECT max(coalesce((SELECT max(position) FROM om_outbox WHERE position IS NOT NULL), 0), \
             position) + 1 FROM om_outbox_floor)"
        }
        Dialect::Postgres => "NULL",
    };
    format!("({}, {position})", marks.collect::<Vec<_>>().join(", "))
}

/// The oldest and the newest position.
///
/// # Errors
/// Those of the database.
pub async fn kept(db: &Db) -> Result<Retained, DbError> {
    // One statement, one snapshot: a trimming that empties the table raises the floor with it.
    let statement = Statement::new(
        "SELECT position, coalesce((SELECT max(position) FROM om_outbox \
         WHERE position IS NOT NULL), 0) FROM om_outbox_floor WHERE id = 1",
    );
    db.query_one(statement, |row| {
        let floor = row.req_int(0)?;
        let head = row.req_int(1)?.max(floor);
        Ok(Retained { floor, head })
    })
    .await
}

/// What was numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// How many changes.
    pub count: usize,
    /// The highest sequence number among them; 0 when there was none.
    pub highest: i64,
}

/// Gives positions to committed changes that have none and whose sequence number is above `low`, at
/// most [`BATCH`]; answers `None` when the lease is another's by now. PostgreSQL only: SQLite's
/// writer does it at once.
///
/// A change that another one of the same record follows was committed before the other was
/// written, and has the smaller number; so whatever is seen here, nothing that comes before it in
/// its record is missing.
///
/// # Errors
/// Those of the database.
pub async fn number(tx: &mut Tx, held: &Held, low: i64) -> Result<Option<Numbered>, DbError> {
    if !held.confirm(tx).await? {
        return Ok(None);
    }
    let statement = Statement::new(
        "SELECT id, sequence_number FROM om_outbox \
         WHERE position IS NULL AND sequence_number > $1 ORDER BY sequence_number LIMIT $2",
    )
    .bind(low)
    .bind(i64::try_from(BATCH).unwrap_or(i64::MAX));
    let waiting = tx
        .query(statement, |row| {
            Ok((row.req_text(0)?.to_owned(), row.req_int(1)?))
        })
        .await?;
    let highest = waiting.last().map_or(0, |(_, number)| *number);
    let ids: Vec<String> = waiting.into_iter().map(|(id, _)| id).collect();
    let count = ids.len();
    if count > 0 {
        // By id: a plan made for few rows stays right however many there are in the table.
        let update = Statement::new(
            "UPDATE om_outbox SET position = array_position($1, id) + \
             (SELECT GREATEST(position, coalesce((SELECT max(position) FROM om_outbox \
             WHERE position IS NOT NULL), 0)) FROM om_outbox_floor WHERE id = 1) \
             WHERE id = ANY($1)",
        )
        .bind(Value::TextArray(ids));
        tx.execute(update).await?;
    }
    Ok(Some(Numbered { count, highest }))
}

/// Drops the oldest changes, those from before `until`, at most [`BATCH`]; answers how many, or
/// `None` when the lease is another's by now.
///
/// # Errors
/// Those of the database.
pub async fn trim(
    tx: &mut Tx,
    held: &Held,
    until: OffsetDateTime,
) -> Result<Option<usize>, DbError> {
    if !held.confirm(tx).await? {
        return Ok(None);
    }
    let statement = Statement::new(
        "SELECT position, created_at FROM om_outbox WHERE position IS NOT NULL \
         ORDER BY position LIMIT $1",
    )
    .bind(i64::try_from(BATCH).unwrap_or(i64::MAX));
    let oldest = tx
        .query(statement, |row| Ok((row.req_int(0)?, row.req_datetime(1)?)))
        .await?;
    let gone = oldest.iter().take_while(|(_, at)| *at < until);
    let Some((floor, _)) = gone.clone().last() else {
        return Ok(Some(0));
    };
    let delete = Statement::new("DELETE FROM om_outbox WHERE position <= $1").bind(*floor);
    tx.execute(delete).await?;
    let raise =
        Statement::new("UPDATE om_outbox_floor SET position = $1 WHERE id = 1").bind(*floor);
    tx.execute(raise).await?;
    Ok(Some(gone.count()))
}

/// The next changes after a position.
#[derive(Debug)]
pub enum Read {
    /// Changes, and the position up to which there are no others that were asked for.
    Batch(Vec<Entry>, i64),
    /// Some are not kept any more.
    Gone,
}

/// Reads changes after a position, up to `head`: at most [`BATCH`], and beyond the first one only
/// as many as have together at most `bytes` of records.
///
/// # Errors
/// Those of the database.
pub async fn read(
    db: &Db,
    after: i64,
    head: i64,
    objects: &[String],
    bytes: i64,
) -> Result<Read, DbError> {
    let last = head.min(after.saturating_add(SPAN));
    // Sizes first, so that what is not sent is not read either.
    let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let sizes = format!(
        "SELECT position, coalesce(octet_length(before), 0) + coalesce(octet_length(after), 0) \
         FROM om_outbox WHERE position > $1 AND position <= $2{} ORDER BY position LIMIT {limit}",
        only(objects, db.dialect())
    );
    let sizes = db
        .query(bound(sizes, after, last, objects), |row| {
            Ok((row.req_int(0)?, row.req_int(1)?))
        })
        .await?;
    let mut total = 0;
    let fitting = sizes.iter().take_while(|(_, size)| {
        let first = total == 0;
        total += (*size).max(1);
        first || total <= bytes
    });
    let count = fitting.count();
    let is_all = count == sizes.len() && count < BATCH;
    let end = match count.checked_sub(1).map(|index| sizes[index].0) {
        Some(position) if !is_all => position,
        _ => last,
    };
    let entries = if sizes.is_empty() {
        Vec::new()
    } else {
        let sql = format!(
            "SELECT position, object_name, record_id, operation, record_version, before, after, \
             coalesce(user_id, ''), request_id, created_at FROM om_outbox \
             WHERE position > $1 AND position <= $2{} ORDER BY position",
            only(objects, db.dialect())
        );
        db.query(bound(sql, after, end, objects), entry).await?
    };
    // Asked last: rows that went before they were read have raised it by now.
    if kept(db).await?.floor > after {
        return Ok(Read::Gone);
    }
    Ok(Read::Batch(entries, end))
}

fn only(objects: &[String], dialect: Dialect) -> &'static str {
    match (objects.is_empty(), dialect) {
        (true, _) => "",
        (false, Dialect::Sqlite) => " AND object_name IN (SELECT value FROM json_each($3))",
        (false, Dialect::Postgres) => " AND object_name = ANY($3)",
    }
}

fn bound(sql: String, after: i64, last: i64, objects: &[String]) -> Statement {
    let statement = Statement::new(sql).bind(after).bind(last);
    match objects.is_empty() {
        true => statement,
        false => statement.bind(Value::TextArray(objects.to_vec())),
    }
}

fn entry(row: &mesh::db::Row<'_>) -> Result<Entry, DbError> {
    let text = |column| row.req_text(column).map(str::to_owned);
    Ok(Entry {
        position: row.req_int(0)?,
        object: text(1)?,
        record_id: text(2)?,
        operation: text(3)?,
        record_version: row.req_int(4)?,
        before: row.text(5)?.map(str::to_owned),
        after: row.text(6)?.map(str::to_owned),
        user_id: text(7)?,
        request_id: text(8)?,
        at: row.req_datetime(9)?,
    })
}
