//! Writing rows: insert, update and delete, each with its audit entry and its outbox row in the
//! same transaction.

use std::sync::Arc;

use mesh::{
    Result,
    db::{DbError, Dialect, Statement, Tx, Value},
};
use metadata::FieldType;
use sea_query::{Alias, Condition, Expr, ExprTrait as _, Query};
use time::OffsetDateTime;

use super::{bind, condition, ddl::quote};
use crate::{
    domain::{
        cell::{Cell, format_date},
        policy::Principal,
        predicate::{Comparison, Predicate},
        schema::{Column, Schema, Storage},
    },
    engine::Work,
};

/// What happened, in the audit's and the outbox's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A record was created.
    Create,
    /// A record was changed.
    Update,
    /// A record was deleted.
    Delete,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Who did it, when, and on which request.
#[derive(Debug, Clone)]
pub struct Change {
    action: Action,
    user_id: String,
    tenant_id: Option<String>,
    ip_address: Option<String>,
    user_agent: Option<String>,
    request_id: Arc<str>,
    now: OffsetDateTime,
    is_system: bool,
}

impl Change {
    /// The change that a call makes.
    #[must_use]
    pub fn of(work: &Work, action: Action) -> Self {
        let (user_id, is_system) = match &work.principal {
            Principal::User(identity) => (identity.subject.clone(), false),
            Principal::System(reason) => (format!("system:{reason}"), true),
        };
        Self {
            action,
            user_id,
            tenant_id: work.principal.organization_id().map(str::to_owned),
            ip_address: work.client_address.clone(),
            user_agent: work.user_agent.clone(),
            request_id: Arc::clone(&work.request_id),
            now: work.now,
            is_system,
        }
    }

    /// The same change with another action, for what hangs on a record.
    #[must_use]
    pub fn with(&self, action: Action) -> Self {
        Self {
            action,
            ..self.clone()
        }
    }

    /// When it happens.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// The person who does it; `None` for the system.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        (!self.is_system).then_some(self.user_id.as_str())
    }
}

/// An update that is ready to be applied.
#[derive(Debug)]
pub struct Update {
    /// The object.
    pub schema: Arc<Schema>,
    /// Which rows the caller may change.
    pub rows: Predicate,
    /// The record.
    pub id: String,
    /// Its version as read.
    pub version: i64,
    /// The row as read.
    pub before: Vec<Cell>,
    /// The row as it is to be.
    pub after: Vec<Cell>,
    /// References to check again: (field, table, ids).
    pub references: Vec<(String, String, Vec<String>)>,
}

/// A deletion that is ready to be applied.
#[derive(Debug)]
pub struct Delete {
    /// The object.
    pub schema: Arc<Schema>,
    /// Which rows the caller may delete.
    pub rows: Predicate,
    /// The record.
    pub id: String,
    /// Its version as read.
    pub version: i64,
    /// The row as read.
    pub before: Vec<Cell>,
}

/// A counter to take for a new row.
#[derive(Debug, Clone)]
pub struct Autonumber {
    /// Position of the field in the row.
    pub position: usize,
    field: String,
    prefix: String,
    suffix: String,
    width: usize,
    start_at: i64,
}

/// Inserts a whole row.
///
/// # Errors
/// Those of the database.
pub async fn insert(tx: &mut Tx, schema: &Schema, cells: &[Cell]) -> Result<(), DbError> {
    let dialect = tx.dialect();
    let names: Vec<String> = schema
        .columns
        .iter()
        .map(|column| quote(&column.name))
        .collect();
    let marks: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        quote(schema.name()),
        names.join(", "),
        marks.join(", ")
    );
    let args = schema
        .columns
        .iter()
        .zip(cells)
        .map(|(column, cell)| bind::cell_to_value(cell, column.storage, dialect))
        .collect();
    tx.execute(Statement::with(sql, args)).await?;
    Ok(())
}

/// Asks whether a row is there.
#[must_use]
pub fn probe(schema: &Schema, id: &str) -> Statement {
    let sql = format!("SELECT 1 FROM {} WHERE id = $1", quote(schema.name()));
    Statement::with(sql, vec![Value::from(id)])
}

/// Changes the columns that differ. False when the row moved since it was read, or left the
/// caller's reach.
///
/// # Errors
/// Those of the database.
pub async fn update(tx: &mut Tx, job: &Update) -> Result<bool, DbError> {
    let statement = update_statement(job, tx.dialect());
    Ok(tx.execute(statement).await? == 1)
}

fn update_statement(job: &Update, dialect: Dialect) -> Statement {
    let mut query = Query::update();
    query.table(Alias::new(job.schema.name()));
    for ((column, before), after) in job.schema.columns.iter().zip(&job.before).zip(&job.after) {
        if before != after {
            query.value(
                Alias::new(&column.name),
                bind::cell_expr(after, column.storage, dialect),
            );
        }
    }
    query.cond_where(unmoved(
        &job.schema,
        &job.id,
        job.version,
        &job.rows,
        dialect,
    ));
    match dialect {
        Dialect::Sqlite => bind::statement(query.build(sea_query::SqliteQueryBuilder)),
        Dialect::Postgres => bind::statement(query.build(sea_query::PostgresQueryBuilder)),
    }
}

/// Deletes the row. False when it moved since it was read, or left the caller's reach.
///
/// # Errors
/// Those of the database.
pub async fn delete(tx: &mut Tx, job: &Delete) -> Result<bool, DbError> {
    let statement = delete_statement(job, tx.dialect());
    Ok(tx.execute(statement).await? == 1)
}

fn delete_statement(job: &Delete, dialect: Dialect) -> Statement {
    let mut query = Query::delete();
    query.from_table(Alias::new(job.schema.name()));
    query.cond_where(unmoved(
        &job.schema,
        &job.id,
        job.version,
        &job.rows,
        dialect,
    ));
    match dialect {
        Dialect::Sqlite => bind::statement(query.build(sea_query::SqliteQueryBuilder)),
        Dialect::Postgres => bind::statement(query.build(sea_query::PostgresQueryBuilder)),
    }
}

/// The row is the one that was read, and still within reach.
fn unmoved(
    schema: &Schema,
    id: &str,
    version: i64,
    rows: &Predicate,
    dialect: Dialect,
) -> Condition {
    let mut all = Condition::all().add(Expr::col(Alias::new("id")).eq(id));
    if schema.is_versioned() {
        all = all.add(Expr::col(Alias::new("version")).eq(version));
    }
    all.add(condition::build(rows, schema.name(), dialect))
}

/// Locks the records that new references point to, so that they cannot go away before the commit.
///
/// # Errors
/// `reference_not_found` when one is gone.
pub async fn lock_references(
    tx: &mut Tx,
    references: &[(String, String, Vec<String>)],
) -> Result<()> {
    for (field, table, ids) in references {
        let sql = match tx.dialect() {
            Dialect::Sqlite => format!(
                "SELECT count(*) FROM {} WHERE id IN (SELECT value FROM json_each($1))",
                quote(table)
            ),
            Dialect::Postgres => format!(
                "SELECT count(*) FROM (SELECT id FROM {} WHERE id = ANY($1) ORDER BY id FOR KEY SHARE) AS locked",
                quote(table)
            ),
        };
        let statement = Statement::with(sql, vec![Value::TextArray(ids.clone())]);
        let found = tx
            .query_one(statement, |row| row.int(0))
            .await?
            .unwrap_or_default();
        let mut distinct = ids.clone();
        distinct.sort();
        distinct.dedup();
        if usize::try_from(found) != Ok(distinct.len()) {
            return Err(mesh::Error::fields(vec![mesh::FieldViolation::new(
                field,
                "reference_not_found",
                format!("{field} refers to a {table} that does not exist any more"),
            )]));
        }
    }
    Ok(())
}

/// Leaves the audit entry and the outbox row of a change.
///
/// # Errors
/// Those of the database.
pub async fn trace(
    tx: &mut Tx,
    change: &Change,
    schema: &Schema,
    id: &str,
    before: Option<&[Cell]>,
    after: Option<&[Cell]>,
) -> Result<(), DbError> {
    let (old, new) = (image(schema, before), image(schema, after));
    let version = after.or(before).map_or(0, |cells| version(schema, cells));
    // Loading a package's seeds is one act; an entry a record would bury everything else.
    if !change.is_system {
        let statement = Statement::new(
            "INSERT INTO sys_audit_log (id, created_at, action, user_id, object_name, record_id, \
             old_value, new_value, ip_address, user_agent, tenant_id, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1)",
        )
        .bind(mesh::id::new())
        .bind(change.now)
        .bind(change.action.as_str())
        .bind(change.user_id.clone())
        .bind(schema.name())
        .bind(id)
        .bind(Value::Json(old.clone()))
        .bind(Value::Json(new.clone()))
        .bind(Value::Text(change.ip_address.clone()))
        .bind(Value::Text(change.user_agent.clone()))
        .bind(Value::Text(change.tenant_id.clone()));
        tx.execute(statement).await?;
    }
    // SQLite has one writer, so its order is commit order; on PostgreSQL a sequencer numbers the
    // committed rows later.
    let sql = match tx.dialect() {
        Dialect::Sqlite => OUTBOX_SQLITE,
        Dialect::Postgres => OUTBOX_POSTGRES,
    };
    let statement = Statement::new(sql)
        .bind(mesh::id::new())
        .bind(schema.name())
        .bind(id)
        .bind(change.action.as_str())
        .bind(version)
        .bind(Value::Text(old))
        .bind(Value::Text(new))
        .bind(change.user_id.clone())
        .bind(&*change.request_id)
        .bind(change.now);
    tx.execute(statement).await?;
    Ok(())
}

const OUTBOX_SQLITE: &str = "INSERT INTO om_outbox (id, position, object_name, record_id, operation, \
     record_version, before, after, user_id, request_id, created_at) VALUES ($1, \
     (SELECT max(coalesce((SELECT max(position) FROM om_outbox WHERE position IS NOT NULL), 0), position) + 1 \
     FROM om_outbox_floor), $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const OUTBOX_POSTGRES: &str = "INSERT INTO om_outbox (id, position, object_name, record_id, operation, \
     record_version, before, after, user_id, request_id, created_at) VALUES ($1, NULL, $2, $3, $4, $5, $6, \
     $7, $8, $9, $10)";

/// A row as JSON for audit and outbox; secrets are left out.
fn image(schema: &Schema, cells: Option<&[Cell]>) -> Option<String> {
    let cells = cells?;
    let mut json = Vec::with_capacity(cells.len() * 32);
    json.push(b'{');
    for (column, cell) in schema.columns.iter().zip(cells) {
        if matches!(
            column.field.field_type,
            FieldType::Password | FieldType::Secret
        ) {
            continue;
        }
        if json.len() > 1 {
            json.push(b',');
        }
        crate::domain::cell::write_text(&mut json, &column.field.name);
        json.push(b':');
        cell.write_json(&mut json);
    }
    json.push(b'}');
    String::from_utf8(json).ok()
}

fn version(schema: &Schema, cells: &[Cell]) -> i64 {
    match schema.position("version").map(|position| &cells[position]) {
        Some(Cell::Integer(version)) => *version,
        _ => 0,
    }
}

/// The counters that a new row takes (spec/metadata.md §9). Values given by a caller were dropped
/// before; those that the system brings along stay.
#[must_use]
pub fn autonumbers(schema: &Schema, cells: &[Cell], now: OffsetDateTime) -> Vec<Autonumber> {
    let mut counters = Vec::new();
    for (position, column) in schema.columns.iter().enumerate() {
        if column.field.field_type != FieldType::Autonumber || !cells[position].is_null() {
            continue;
        }
        let format = column
            .field
            .autonumber_format
            .as_deref()
            .unwrap_or("{0000}");
        let (mut prefix, mut suffix, mut width) = (String::new(), String::new(), None);
        let mut rest = format;
        while let Some(start) = rest.find('{') {
            let target = if width.is_none() {
                &mut prefix
            } else {
                &mut suffix
            };
            target.push_str(&rest[..start]);
            let Some(end) = rest[start..].find('}') else {
                break;
            };
            let token = &rest[start + 1..start + end];
            rest = &rest[start + end + 1..];
            if !token.is_empty() && token.bytes().all(|byte| byte == b'0') {
                width.get_or_insert(token.len());
                continue;
            }
            target.push_str(&token_value(token, schema, cells, now));
        }
        let target = if width.is_none() {
            &mut prefix
        } else {
            &mut suffix
        };
        target.push_str(rest);
        counters.push(Autonumber {
            position,
            field: column.field.name.clone(),
            prefix,
            suffix,
            width: width.unwrap_or(4),
            start_at: column.field.start_at,
        });
    }
    counters
}

fn token_value(token: &str, schema: &Schema, cells: &[Cell], now: OffsetDateTime) -> String {
    let day = format_date(now.date());
    match token {
        "YYYY" => day[..4].to_owned(),
        "MM" => day[5..7].to_owned(),
        "DD" => day[8..10].to_owned(),
        "YYYYMMDD" => day.replace('-', ""),
        field => match schema
            .position(field)
            .map(|position| cells[position].to_json())
        {
            Some(serde_json::Value::String(text)) => text,
            Some(serde_json::Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        },
    }
}

/// Takes the next number of a counter and renders it. The row stays locked until the commit, and a
/// rolled-back insert gives its number back.
///
/// # Errors
/// Those of the database.
pub async fn next_autonumber(
    tx: &mut Tx,
    object: &str,
    counter: &Autonumber,
) -> Result<String, DbError> {
    let statement = Statement::new(
        "INSERT INTO om_autonumber (object_name, field_name, prefix, value) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (object_name, field_name, prefix) DO UPDATE SET value = om_autonumber.value + 1 \
         RETURNING value",
    )
    .bind(object)
    .bind(counter.field.clone())
    .bind(counter.prefix.clone())
    .bind(counter.start_at);
    let number = tx
        .query_one(statement, |row| row.int(0))
        .await?
        .unwrap_or(counter.start_at);
    Ok(format!(
        "{}{number:0width$}{}",
        counter.prefix,
        counter.suffix,
        width = counter.width
    ))
}

/// The rows that hold this id in a column, or in a list.
///
/// # Errors
/// Those of the database.
pub async fn referring(
    tx: &mut Tx,
    schema: &Schema,
    column: &Arc<Column>,
    id: &str,
) -> Result<Vec<Vec<Cell>>, DbError> {
    let dialect = tx.dialect();
    let statement = referring_statement(schema, column, id, dialect);
    let storages: Vec<Storage> = schema.columns.iter().map(|column| column.storage).collect();
    tx.query(statement, move |row| {
        storages
            .iter()
            .enumerate()
            .map(|(index, storage)| bind::read_cell(row, index, *storage, dialect))
            .collect()
    })
    .await
}

fn referring_statement(
    schema: &Schema,
    column: &Arc<Column>,
    id: &str,
    dialect: Dialect,
) -> Statement {
    let mut query = Query::select();
    for column in &schema.columns {
        query.column(Alias::new(&column.name));
    }
    query.from(Alias::new(schema.name()));
    let predicate = if column.storage == Storage::Json {
        Predicate::Member(Arc::clone(column), id.to_owned())
    } else {
        Predicate::Compare(
            Arc::clone(column),
            Comparison::Eq,
            Cell::Text(id.to_owned()),
        )
    };
    query.and_where(condition::build(&predicate, schema.name(), dialect));
    query.order_by(Alias::new("id"), sea_query::Order::Asc);
    match dialect {
        Dialect::Sqlite => bind::statement(query.build(sea_query::SqliteQueryBuilder)),
        Dialect::Postgres => bind::statement(query.build(sea_query::PostgresQueryBuilder)),
    }
}
