//! Two related objects, one that nobody may read, and somebody who reads them.

use std::{collections::HashMap, sync::Arc};

use crate::kernel::store::bind;
use crate::kernel::{
    access::{self, Access, Grant},
    compile,
    model::{
        cell::Cell,
        field_set::FieldSet,
        predicate::{Comparison, Predicate},
        schema::{Schema, Storage},
    },
    query::{self, CursorKey, Plan, Query},
};
use futures::FutureExt as _;
use mesh::db::{Db, DbConfig, DbError, Dialect, Statement};
use metadata::Object;
use serde_json::{Value as Json, json};
use time::{OffsetDateTime, macros::datetime};

/// The moment of every query.
pub(crate) const NOW: OffsetDateTime = datetime!(2026-05-30 10:20:30.456 UTC);

/// A caller and what they may read.
pub(crate) struct Caller {
    grants: HashMap<String, Arc<Grant>>,
    pub(crate) user: &'static str,
    pub(crate) organization: &'static str,
}

impl Access for Caller {
    fn read_grant(&self, object: &str) -> mesh::Result<Arc<Grant>> {
        match object {
            "vault" => Err(mesh::Error::denied("Not allowed to read vault")),
            _ => self.grants.get(object).cloned().ok_or_else(|| {
                mesh::Error::not_found("OBJECT_NOT_FOUND", format!("no object {object}"))
            }),
        }
    }

    fn now(&self) -> OffsetDateTime {
        NOW
    }

    fn user_id(&self) -> Option<&str> {
        Some(self.user)
    }

    fn organization_id(&self) -> Option<&str> {
        Some(self.organization)
    }
}

impl Caller {
    pub(crate) fn grant(&self, object: &str) -> Arc<Grant> {
        Arc::clone(&self.grants[object])
    }

    /// The same caller, who sees only rows that fit.
    pub(crate) fn seeing(mut self, object: &str, rows: Predicate) -> Self {
        let mut grant = (*self.grants[object]).clone();
        grant.rows = rows;
        self.grants.insert(object.to_owned(), Arc::new(grant));
        self
    }
}

fn schema(name: &str, value: &Json) -> Arc<Schema> {
    let (object, findings) = Object::from_value(name, value);
    let object = object.unwrap_or_else(|| panic!("{findings:?}"));
    Arc::new(compile::schema(object.with_system_fields()))
}

fn grant(schema: Arc<Schema>, hidden: &[&str]) -> Arc<Grant> {
    let mut hidden: Vec<String> = hidden.iter().map(|name| (*name).to_owned()).collect();
    hidden.sort();
    let mut grant = access::everything(&schema);
    grant.readable = FieldSet::AllBut(hidden);
    Arc::new(grant)
}

/// Somebody who reads tickets, but not `margin`, and accounts, but not `rating`.
pub(crate) fn caller() -> Caller {
    let ticket = json!({"maxPageSize": 100, "sharingModel": "public_read_write", "fields": {
        "subject": {"type": "text"},
        "status": {"type": "select", "options": ["open", "closed", "new"]},
        "amount": {"type": "currency"},
        "estimate": {"type": "number", "scale": 0},
        "score": {"type": "number"},
        "due_on": {"type": "date"},
        "due_at": {"type": "datetime"},
        "opens": {"type": "time"},
        "urgent": {"type": "boolean"},
        "tags": {"type": "tags"},
        "account": {"type": "lookup", "reference": "account"},
        "watchers": {"type": "lookup", "reference": "account", "multiple": true},
        "safe": {"type": "lookup", "reference": "vault"},
        "meta": {"type": "json"},
        "margin": {"type": "number"},
        "pass": {"type": "password"},
        "token": {"type": "secret"},
        "hush": {"type": "text", "internal": true},
        "double_amount": {"type": "formula", "expression": "record.amount * 2"},
    }});
    let account = json!({"sharingModel": "public_read_write", "fields": {
        "name": {"type": "text"},
        "industry": {"type": "text"},
        "size": {"type": "number", "scale": 0},
        "rating": {"type": "number"},
        "parent": {"type": "lookup", "reference": "account"},
    }});
    let grants = HashMap::from([
        (
            "ticket".to_owned(),
            grant(schema("ticket", &ticket), &["margin"]),
        ),
        (
            "account".to_owned(),
            grant(schema("account", &account), &["rating"]),
        ),
    ]);
    Caller {
        grants,
        user: "u1",
        organization: "o1",
    }
}

pub(crate) fn key() -> CursorKey {
    CursorKey::new([7; 32])
}

pub(crate) fn body(body: &Json) -> mesh::Result<Query> {
    query::from_body("ticket", body.to_string().as_bytes())
}

pub(crate) fn plan(value: &Json) -> mesh::Result<Plan> {
    query::plan(body(value)?, "ticket", &caller(), &key())
}

/// The refusal of a query: HTTP-ish code, finer reason.
pub(crate) fn refusal(value: &Json) -> (String, String) {
    let error = match plan(value) {
        Ok(plan) => panic!("{value} was planned: {:?}", plan.rows),
        Err(error) => error,
    };
    told(&error)
}

pub(crate) fn told(error: &mesh::Error) -> (String, String) {
    let reason = error
        .detail("reason")
        .and_then(Json::as_str)
        .unwrap_or_default();
    (error.reason().as_wire().to_owned(), reason.to_owned())
}

pub(crate) fn sees_open(caller: &Caller) -> Predicate {
    let grant = caller.grant("ticket");
    let status = grant.schema.column("status").expect("status");
    Predicate::Compare(
        Arc::clone(status),
        Comparison::Eq,
        Cell::Text("open".to_owned()),
    )
}

/// A database of its own for one test.
pub(crate) struct Store {
    pub(crate) db: Db,
    _folder: tempfile::TempDir,
}

/// SQLite always; PostgreSQL when `TEST_POSTGRES_URL` names one.
pub(crate) async fn stores() -> Vec<Store> {
    let mut stores = Vec::new();
    let folder = tempfile::tempdir().expect("folder");
    let url = format!("sqlite:{}", folder.path().join("data.db").display());
    let db = Db::open(&DbConfig::new(url)).await.expect("sqlite");
    stores.push(Store {
        db,
        _folder: folder,
    });
    if let Ok(url) = std::env::var("TEST_POSTGRES_URL") {
        let mut config = DbConfig::new(url);
        config.schema = Some(format!("query_{}", mesh::id::new().to_lowercase()));
        let db = Db::open(&config).await.expect("postgres");
        let folder = tempfile::tempdir().expect("folder");
        stores.push(Store {
            db,
            _folder: folder,
        });
    }
    stores
}

fn type_name(storage: Storage, dialect: Dialect) -> &'static str {
    match (storage, dialect) {
        (Storage::Text, Dialect::Postgres) => "TEXT COLLATE \"C\"",
        (Storage::Integer | Storage::Boolean | Storage::Decimal(_), Dialect::Sqlite) => "INTEGER",
        (Storage::Double, Dialect::Sqlite) => "REAL",
        (_, Dialect::Sqlite) => "TEXT",
        (Storage::Integer, _) => "BIGINT",
        (Storage::Double, _) => "DOUBLE PRECISION",
        (Storage::Decimal(_), _) => "NUMERIC",
        (Storage::Boolean, _) => "BOOLEAN",
        (Storage::Date, _) => "DATE",
        (Storage::Time, _) => "TIME",
        (Storage::DateTime, _) => "TIMESTAMPTZ",
        (Storage::Json, _) => "JSONB",
    }
}

impl Store {
    /// Creates a table and fills it; cells stand in the order of the schema's columns.
    pub(crate) async fn fill(&self, schema: &Schema, rows: Vec<Vec<Cell>>) {
        let dialect = self.db.dialect();
        let columns: Vec<String> = schema
            .columns
            .iter()
            .map(|column| format!("\"{}\" {}", column.name, type_name(column.storage, dialect)))
            .collect();
        let create = format!(
            "CREATE TABLE \"{}\" ({})",
            schema.name(),
            columns.join(", ")
        );
        let marks: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
        let insert = format!(
            "INSERT INTO \"{}\" VALUES ({})",
            schema.name(),
            marks.join(", ")
        );
        let values: Vec<Vec<_>> = rows
            .iter()
            .map(|row| {
                let pairs = schema.columns.iter().zip(row);
                pairs
                    .map(|(column, cell)| bind::cell_to_value(cell, column.storage, dialect))
                    .collect()
            })
            .collect();
        self.db
            .write(move |tx| {
                let (create, insert, values) = (create.clone(), insert.clone(), values.clone());
                async move {
                    tx.execute(Statement::new(create)).await?;
                    for args in values {
                        tx.execute(Statement::with(insert.clone(), args)).await?;
                    }
                    Ok::<_, DbError>(())
                }
                .boxed()
            })
            .await
            .expect("filled");
    }

    /// Runs a statement whose columns are these.
    pub(crate) async fn rows(
        &self,
        statement: Statement,
        storages: Vec<Storage>,
    ) -> Vec<Vec<Cell>> {
        let dialect = self.db.dialect();
        let sql = statement.sql.clone();
        let rows = self.db.query(statement, move |row| {
            let cells = storages.iter().enumerate();
            let cells = cells.map(|(index, storage)| {
                let cell = bind::read_cell(row, index, *storage, dialect)?;
                let mut written = Vec::new();
                bind::write_json(row, index, *storage, dialect, &mut written)?;
                let mut expected = Vec::new();
                cell.write_json(&mut expected);
                assert_eq!(written, expected);
                Ok(cell)
            });
            cells.collect()
        });
        rows.await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    pub(crate) async fn count(&self, statement: Statement) -> i64 {
        self.db
            .query_one(statement, |row| row.int(0))
            .await
            .expect("count")
            .expect("number")
    }
}

/// A row of a schema from what is not null in it.
pub(crate) fn row(schema: &Schema, cells: &[(&str, Cell)]) -> Vec<Cell> {
    let mut row = vec![Cell::Null; schema.columns.len()];
    for (name, cell) in cells {
        row[schema.position(name).expect("column")] = cell.clone();
    }
    row
}
