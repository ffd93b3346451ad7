//! Object tables from metadata: created and extended, never narrowed (docs/reference/metadata.md). An
//! operator can read the database with ordinary tools: one table an object, one column a field.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;
use mesh::db::{
    Db, DbError, Dialect, Statement, Tx,
    lease::{Held, Lease, LeaseError},
};
use metadata::{FieldType, Unique};
use sha2::{Digest as _, Sha256};

use crate::kernel::model::{
    registry::Registry,
    schema::{Column, Schema, Storage},
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
    /// Another process took the change over.
    #[error("the lease on the schema was lost")]
    Lost,
    /// The lease could not be had.
    #[error(transparent)]
    Lease(LeaseError),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<LeaseError> for MigrateError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Db(error) => Self::Db(error),
            other => Self::Lease(other),
        }
    }
}

impl mesh::db::Retry for MigrateError {
    fn is_serialization_failure(&self) -> bool {
        matches!(self, Self::Db(error) if error.is_serialization_failure())
    }
}

/// How long one waits for another process that changes the schema.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// A process that changes the schema and falls silent is replaced after this time.
const TERM: Duration = Duration::from_secs(10);
/// Columns of row policies that an object has an index for at most; each costs every write.
const NARROWING_MAX: usize = 4;
/// How often a change is tried whose tables are in use.
const ATTEMPTS: u32 = 20;

/// The fields of each object that row policies compare.
pub(in crate::kernel) type Compared = BTreeMap<String, BTreeSet<String>>;

/// An object, and the fields of it that row policies compare.
type Table = (Arc<Schema>, BTreeSet<String>);

/// Creates missing tables, columns and indexes of every object. Several processes may ask at once:
/// one after the other does what is then still missing. Writes go on meanwhile.
///
/// # Errors
/// [`MigrateError`]; what was done until then stays, and is not done again.
pub(in crate::kernel) async fn migrate(
    db: &Db,
    registry: &Registry,
    compared: &Compared,
) -> Result<(), MigrateError> {
    let schemas = registry.schemas().map(|schema| {
        let compared = compared.get(schema.name()).cloned();
        (Arc::clone(schema), compared.unwrap_or_default())
    });
    let schemas: Arc<Vec<Table>> = Arc::new(schemas.collect());
    let asked = Arc::clone(&schemas);
    // Asked without a lock first: most starts find nothing to do.
    let missing = db.read::<_, MigrateError, _>(move |tx| {
        let schemas = Arc::clone(&asked);
        async move { missing(tx, &schemas).await }.boxed()
    });
    if missing.await?.is_nothing() {
        return Ok(());
    }
    let lease = Lease::new(db.clone(), "schema", TERM);
    let work = |held| change(db, schemas, held);
    Box::pin(lease.run(PATIENCE, work)).await
}

/// Does what is missing, while the lease is held.
async fn change(db: &Db, schemas: Arc<Vec<Table>>, held: Held) -> Result<(), MigrateError> {
    let mut attempt = 1;
    let (beside, served) = loop {
        let (schemas, held) = (Arc::clone(&schemas), held.clone());
        let done = db.write_alone(move |tx| {
            let (schemas, held) = (Arc::clone(&schemas), held.clone());
            async move { change_tables(tx, &schemas, &held).await }.boxed()
        });
        match done.await {
            // A table was in use for too long, and a change that waits for it would hold up
            // everybody behind it.
            Err(MigrateError::Db(DbError::Timeout)) if attempt < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100 * u64::from(attempt))).await;
                attempt += 1;
            }
            done => break done?,
        }
    };
    for index in beside {
        if index.is_broken {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quote(&index.name));
            db.execute_unbounded(drop).await?;
        }
        let built = db.execute_unbounded(index.create("CONCURRENTLY ")).await;
        if let Err(error) = built {
            // What is left of it would cost every write and serve no query.
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quote(&index.name));
            if let Err(error) = db.execute_unbounded(drop).await {
                tracing::warn!(index.name, %error, "a half built index could not be dropped");
            }
            return Err(error.into());
        }
    }
    for name in served {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quote(&name));
        db.execute_unbounded(drop).await?;
    }
    Ok(())
}

/// Creates tables and columns, and the indexes of new tables; answers those of tables that were
/// there before, which PostgreSQL builds outside of any transaction, and those to drop there after.
async fn change_tables(
    tx: &mut Tx,
    schemas: &[Table],
    held: &Held,
) -> Result<(Vec<Index>, Vec<String>), MigrateError> {
    if !held.confirm(tx).await? {
        return Err(MigrateError::Lost);
    }
    if tx.dialect() == Dialect::Postgres {
        tx.execute_batch("SET LOCAL lock_timeout = '2s'").await?;
    }
    let missing = missing(tx, schemas).await?;
    for sql in missing.tables {
        tx.execute(Statement::new(sql).once()).await?;
    }
    let (now, beside): (Vec<_>, Vec<_>) = missing
        .indexes
        .into_iter()
        .partition(|index| index.is_of_new_table || tx.dialect() == Dialect::Sqlite);
    for index in now {
        tx.execute(Statement::new(index.create("")).once()).await?;
    }
    if tx.dialect() == Dialect::Postgres {
        return Ok((beside, missing.served));
    }
    for name in missing.served {
        let drop = format!("DROP INDEX IF EXISTS {}", quote(&name));
        tx.execute(Statement::new(drop).once()).await?;
    }
    Ok((beside, Vec::new()))
}

/// What the tables lack.
#[derive(Debug, Default)]
struct Missing {
    /// Statements that create or extend tables.
    tables: Vec<String>,
    indexes: Vec<Index>,
    /// Names of indexes that a longer one serves as well: each costs every write.
    served: Vec<String>,
}

impl Missing {
    fn is_nothing(&self) -> bool {
        self.tables.is_empty() && self.indexes.is_empty() && self.served.is_empty()
    }
}

/// An index.
#[derive(Debug)]
struct Index {
    name: String,
    is_unique: bool,
    /// The index on its first column alone.
    shorter: Option<String>,
    /// What follows the name: table, columns, condition.
    rest: String,
    is_of_new_table: bool,
    /// It is there, but its building was cut short.
    is_broken: bool,
}

impl Index {
    fn create(&self, how: &str) -> String {
        let kind = if self.is_unique {
            "UNIQUE INDEX"
        } else {
            "INDEX"
        };
        let (name, rest) = (quote(&self.name), &self.rest);
        format!("CREATE {kind} {how}IF NOT EXISTS {name} {rest}")
    }
}

async fn missing(tx: &mut Tx, schemas: &[Table]) -> Result<Missing, MigrateError> {
    let mut stored = stored_columns(tx).await?;
    let stored_indexes = stored_indexes(tx).await?;
    let mut missing = Missing::default();
    for (schema, compared) in schemas {
        let table = stored.remove(schema.name()).unwrap_or_default();
        missing_of(schema, &table, tx.dialect(), &mut missing.tables)?;
        let wanted = indexes(schema, compared);
        let names: BTreeSet<&String> = wanted.iter().map(|index| &index.name).collect();
        let shorter = wanted.iter().filter_map(|index| index.shorter.as_ref());
        let served =
            shorter.filter(|name| !names.contains(name) && stored_indexes.contains_key(*name));
        missing.served.extend(served.cloned());
        for mut index in wanted {
            index.is_of_new_table = table.is_empty();
            match stored_indexes.get(&index.name) {
                Some(true) => continue,
                Some(false) => index.is_broken = true,
                None => {}
            }
            missing.indexes.push(index);
        }
    }
    Ok(missing)
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

/// Index → whether it was built to its end.
async fn stored_indexes(tx: &mut Tx) -> Result<BTreeMap<String, bool>, DbError> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT name, 1 FROM sqlite_master WHERE type = 'index'",
        Dialect::Postgres => {
            "SELECT c.relname::text, CASE WHEN i.indisvalid THEN 1 ELSE 0 END::bigint \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema()"
        }
    };
    let rows = tx
        .query(Statement::new(sql), |row| {
            Ok((row.req_text(0)?.to_owned(), row.req_int(1)? == 1))
        })
        .await?;
    Ok(rows.into_iter().collect())
}

/// The statements that an object's table lacks.
fn missing_of(
    schema: &Schema,
    stored: &BTreeMap<String, String>,
    dialect: Dialect,
    statements: &mut Vec<String>,
) -> Result<(), MigrateError> {
    let table = quote(schema.name());
    if stored.is_empty() {
        let columns: Vec<String> = schema
            .columns
            .iter()
            .map(|column| definition(column, dialect))
            .collect();
        statements.push(format!("CREATE TABLE {table} ({})", columns.join(", ")));
        return Ok(());
    }
    for column in &schema.columns {
        match stored.get(&column.name) {
            None => statements.push(format!(
                "ALTER TABLE {table} ADD COLUMN {}",
                definition(column, dialect)
            )),
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

/// The indexes of an object: default order, unique fields, references, declared ones, and what its
/// rows are narrowed by before anybody asks: organisation, owner and row policies. Behind those comes
/// the default order, and behind declared columns the id, which ends every order: so a page is read off
/// its index, without sorting what fits.
fn indexes(schema: &Schema, compared: &BTreeSet<String>) -> Vec<Index> {
    let mut indexes = Vec::new();
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
        let list: Vec<String> = columns.iter().map(|column| quote(column)).collect();
        indexes.push(Index {
            name: index_name(schema.name(), unique, &columns),
            is_unique: unique,
            shorter: match columns.as_slice() {
                [first, _, ..] if !unique => Some(index_name(schema.name(), false, &[first])),
                _ => None,
            },
            rest: format!(
                "ON {} ({}){}",
                quote(schema.name()),
                list.join(", "),
                if unique { live.as_str() } else { "" },
            ),
            is_of_new_table: false,
            is_broken: false,
        });
    };
    let organization = schema
        .column("organization_id")
        .filter(|_| schema.object.tenancy)
        .map(|column| column.name.as_str());
    let created = schema
        .column("created_at")
        .map(|column| column.name.as_str());
    let mut in_order = |first: Option<&str>| {
        let order = created.into_iter().chain(["id"]);
        // What everybody's rows are narrowed by comes first.
        let columns: Vec<&str> = first.into_iter().chain(order).collect();
        if columns.len() > 1 {
            add(false, columns);
        }
    };
    in_order(organization);
    let narrowing = compared.iter().filter_map(|field| schema.column(field));
    let narrowing = narrowing
        .filter(|column| column.storage != Storage::Json && column.field.unique == Unique::No);
    let narrowing = narrowing.map(|column| column.name.as_str());
    let fixed = [
        "id",
        "created_at",
        "organization_id",
        "owner_id",
        "deleted_at",
        "version",
    ];
    let narrowing = narrowing
        .filter(|name| !fixed.contains(name))
        .take(NARROWING_MAX);
    let owner = schema.column("owner_id").map(|column| column.name.as_str());
    let narrowing: Vec<&str> = owner.into_iter().chain(narrowing).collect();
    for column in &narrowing {
        in_order(Some(column));
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
            || column.field.field_type == FieldType::Autonumber;
        let is_indexed = is_indexed && !narrowing.contains(&column.name.as_str());
        if is_indexed && column.field.unique == Unique::No {
            add(false, vec![&column.name, "id"]);
        }
    }
    for index in &schema.object.indexes {
        let columns: Option<Vec<&str>> = index
            .fields
            .iter()
            .map(|field| schema.column(field).map(|column| column.name.as_str()))
            .collect();
        if let Some(mut columns) = columns {
            if !index.unique && !columns.contains(&"id") {
                columns.push("id");
            }
            add(index.unique, columns);
        }
    }
    indexes
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

/// Has the database look at the sizes of its tables.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn analyze(db: &Db) -> Result<(), DbError> {
    let analyze = match db.dialect() {
        Dialect::Sqlite => "PRAGMA optimize",
        Dialect::Postgres => "ANALYZE",
    };
    db.write::<_, DbError, _>(move |tx| {
        async move {
            tx.query(Statement::new(analyze), |_| Ok(())).await?;
            Ok(())
        }
        .boxed()
    })
    .await
}
