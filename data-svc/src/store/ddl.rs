//! Object tables from metadata: created and extended, never narrowed (architecture.md §7). An
//! operator can read the database with ordinary tools: one table an object, one column a field.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use mesh::db::{Db, DbError, Dialect, Statement, Tx};
use metadata::{FieldType, Unique};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::schema::{Column, Schema, Storage},
    registry::Registry,
};

/// A change that would lose data, or that the tables cannot follow.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A field's stored type changed.
    #[error(
        "field `{field}` of object `{object}` is stored as {stored} and cannot become {wanted}: \
         declare a new field, or drop the column first"
    )]
    Retyped {
        /// The object.
        object: String,
        /// The field.
        field: String,
        /// Column type in the database.
        stored: String,
        /// Column type that the metadata asks for.
        wanted: String,
    },
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl mesh::db::Retry for MigrateError {
    fn is_serialization_failure(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_serialization_failure())
    }
}

/// Creates missing tables, columns and indexes of every object.
///
/// # Errors
/// [`MigrateError`]; then nothing has changed.
pub async fn migrate(db: &Db, registry: &Registry) -> Result<(), MigrateError> {
    let schemas: std::sync::Arc<Vec<_>> =
        std::sync::Arc::new(registry.schemas().cloned().collect());
    db.write(move |tx| {
        let schemas = std::sync::Arc::clone(&schemas);
        async move {
            let mut stored = stored_columns(tx).await?;
            for schema in &*schemas {
                let table = stored.remove(schema.name()).unwrap_or_default();
                migrate_object(tx, schema, &table).await?;
            }
            Ok(())
        }
        .boxed()
    })
    .await
}

/// Table → column → type, as the database has them.
async fn stored_columns(
    tx: &mut Tx,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, DbError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table'"
        }
        Dialect::Postgres => {
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_schema = current_schema()"
        }
    };
    let rows = tx
        .query(Statement::new(sql), |row| {
            let text = |i| Ok::<_, DbError>(row.text(i)?.unwrap_or_default().to_owned());
            Ok((text(0)?, text(1)?, text(2)?))
        })
        .await?;
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (table, column, kind) in rows {
        tables.entry(table).or_default().insert(column, kind);
    }
    Ok(tables)
}

async fn migrate_object(
    tx: &mut Tx,
    schema: &Schema,
    stored: &BTreeMap<String, String>,
) -> Result<(), MigrateError> {
    let dialect = tx.dialect();
    let table = quote(schema.name());
    if stored.is_empty() {
        let columns: Vec<String> = schema
            .columns
            .iter()
            .map(|column| definition(column, dialect))
            .collect();
        let sql = format!("CREATE TABLE {table} ({})", columns.join(", "));
        tx.execute(Statement::new(sql)).await?;
    } else {
        for column in &schema.columns {
            match stored.get(&column.name) {
                None => {
                    let sql = format!(
                        "ALTER TABLE {table} ADD COLUMN {}",
                        addition(column, dialect)
                    );
                    tx.execute(Statement::new(sql)).await?;
                }
                Some(kind) if !same_type(kind, column.storage, dialect) => {
                    return Err(MigrateError::Retyped {
                        object: schema.name().to_owned(),
                        field: column.field.name.clone(),
                        stored: kind.clone(),
                        wanted: column_type(column.storage, dialect).to_owned(),
                    });
                }
                Some(_) => {}
            }
        }
    }
    for index in indexes(schema) {
        tx.execute(Statement::new(index)).await?;
    }
    Ok(())
}

/// A column as a new table has it.
fn definition(column: &Column, dialect: Dialect) -> String {
    let base = format!(
        "{} {}",
        quote(&column.name),
        column_type(column.storage, dialect)
    );
    match column.field.name.as_str() {
        "id" => format!("{base} PRIMARY KEY"),
        "version" => format!("{base} NOT NULL DEFAULT 1"),
        _ if column.field.is_multi_value() => format!("{base} NOT NULL DEFAULT '[]'"),
        _ => base,
    }
}

/// A column added to a table that has rows.
fn addition(column: &Column, dialect: Dialect) -> String {
    definition(column, dialect)
}

fn column_type(storage: Storage, dialect: Dialect) -> &'static str {
    match (storage, dialect) {
        // Both databases compare text by bytes.
        (Storage::Text, Dialect::Postgres) => "TEXT COLLATE \"C\"",
        (
            Storage::Text | Storage::Json | Storage::Date | Storage::Time | Storage::DateTime,
            Dialect::Sqlite,
        ) => "TEXT",
        (Storage::Integer | Storage::Boolean | Storage::Decimal(_), Dialect::Sqlite) => "INTEGER",
        (Storage::Double, Dialect::Sqlite) => "REAL",
        (Storage::Integer, Dialect::Postgres) => "BIGINT",
        (Storage::Double, Dialect::Postgres) => "DOUBLE PRECISION",
        (Storage::Decimal(_), Dialect::Postgres) => "NUMERIC",
        (Storage::Boolean, Dialect::Postgres) => "BOOLEAN",
        (Storage::Date, Dialect::Postgres) => "DATE",
        (Storage::Time, Dialect::Postgres) => "TIME",
        (Storage::DateTime, Dialect::Postgres) => "TIMESTAMPTZ",
        (Storage::Json, Dialect::Postgres) => "JSONB",
    }
}

/// Whether a stored column can hold what the metadata asks for.
fn same_type(stored: &str, storage: Storage, dialect: Dialect) -> bool {
    let wanted = column_type(storage, dialect);
    match dialect {
        Dialect::Sqlite => stored.eq_ignore_ascii_case(wanted),
        Dialect::Postgres => match storage {
            Storage::Text => stored == "text",
            Storage::DateTime => stored == "timestamp with time zone",
            Storage::Time => stored == "time without time zone",
            _ => stored.eq_ignore_ascii_case(wanted),
        },
    }
}

/// The indexes of an object: default order, unique fields, references, declared ones.
fn indexes(schema: &Schema) -> Vec<String> {
    let mut statements = Vec::new();
    let mut seen = BTreeSet::new();
    let live = match schema.column("deleted_at") {
        // A deleted record frees its unique values.
        Some(column) if schema.object.soft_delete => {
            format!(" WHERE {} IS NULL", quote(&column.name))
        }
        _ => String::new(),
    };
    let mut add = |unique: bool, columns: Vec<&str>| {
        if columns.is_empty() || !seen.insert((unique, columns.join(","))) {
            return;
        }
        let kind = if unique { "UNIQUE INDEX" } else { "INDEX" };
        let list: Vec<String> = columns.iter().map(|column| quote(column)).collect();
        statements.push(format!(
            "CREATE {kind} IF NOT EXISTS {} ON {} ({}){}",
            quote(&index_name(schema.name(), unique, &columns)),
            quote(schema.name()),
            list.join(", "),
            if unique { live.as_str() } else { "" },
        ));
    };
    let organization = schema
        .column("organization_id")
        .filter(|_| schema.object.tenancy)
        .map(|column| column.name.as_str());
    if let Some(created) = schema.column("created_at") {
        add(false, vec![&created.name, "id"]);
    }
    for column in schema
        .columns
        .iter()
        .filter(|column| column.field.name != "id")
    {
        match column.field.unique {
            Unique::No => {}
            Unique::Yes => add(
                true,
                organization
                    .into_iter()
                    .chain([column.name.as_str()])
                    .collect(),
            ),
            Unique::Global => add(true, vec![&column.name]),
        }
        let is_indexed = column.field.index
            || (column.field.is_reference()
                && !column.field.is_multi_value()
                && !column.field.readonly)
            || column.field.field_type == FieldType::Autonumber
            || column.field.name == "owner_id";
        if is_indexed && column.field.unique == Unique::No {
            add(false, vec![&column.name]);
        }
    }
    for index in &schema.object.indexes {
        let columns: Option<Vec<&str>> = index
            .fields
            .iter()
            .map(|field| schema.column(field).map(|column| column.name.as_str()))
            .collect();
        if let Some(columns) = columns {
            add(index.unique, columns);
        }
    }
    statements
}

/// Index names live in one namespace and have 63 bytes at most; long ones are hashed.
fn index_name(table: &str, unique: bool, columns: &[&str]) -> String {
    let prefix = if unique { "ux" } else { "ix" };
    let name = format!("{prefix}_{table}__{}", columns.join("__"));
    if name.len() <= 63 {
        return name;
    }
    let hash = Sha256::digest(name.as_bytes());
    let hex: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{prefix}_{}_{hex}", &table[..table.len().min(40)])
}

/// Quotes an identifier (SQL-92 §5.2). Names come from the registry, which checked them.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
