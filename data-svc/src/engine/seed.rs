//! Data that the platform itself brings in: the default organisation, seeds of packages, and
//! generated data sets. Runs as the system, through the same preparation as every write.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::FutureExt as _;
use mesh::{
    Error, Result, clock,
    db::{DbError, Dialect, Statement, lease::Lease},
};
use metadata::{Seed, SeedMode};
use serde_json::{Map, Value, value::to_raw_value};

use super::{Engine, Work, apply::apply_create};
use crate::{
    domain::{
        policy::Operation,
        predicate::{Comparison, Predicate},
        record::{
            body::Body,
            default::{self, Scope},
        },
        schema::Schema,
    },
    registry::packages::PackageSeeds,
    store::{
        package, select,
        write::{Action, Change},
    },
};

/// The organisation that exists from the start.
pub const DEFAULT_ORGANIZATION: &str = "00000000000000000000000001";
/// Records that one transaction of a bulk load takes.
const BATCH: usize = 500;
/// A process that loads and falls silent is replaced after this time.
const TERM: Duration = Duration::from_secs(15);
/// How long one waits for another process that loads.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Creates the default organisation when it is not there.
///
/// # Errors
/// Those of the database.
pub async fn ensure_default_organization(engine: &Engine) -> Result<()> {
    engine
        .db
        .write::<_, Error, _>(|tx| {
            let statement = Statement::new(
                "INSERT INTO sys_organization (id, name, slug, created_at, updated_at, version) \
                 VALUES ($1, $2, $3, $4, $4, 1) ON CONFLICT DO NOTHING",
            )
            .bind(DEFAULT_ORGANIZATION)
            .bind("Default organisation")
            .bind("default")
            .bind(clock::now());
            async move {
                tx.execute(statement).await?;
                Ok(())
            }
            .boxed()
        })
        .await
}

/// Makes users members of the default organisation.
///
/// # Errors
/// Those of the database.
pub async fn add_members(engine: &Engine, user_ids: &[String]) -> Result<()> {
    let user_ids = user_ids.to_vec();
    engine
        .db
        .write::<_, Error, _>(move |tx| {
            let user_ids = user_ids.clone();
            async move {
                for id in &user_ids {
                    super::principal::add_member(tx, id, "member").await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
}

/// What became of a package's seeds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Records inserted.
    pub inserted: usize,
    /// Records changed.
    pub updated: usize,
    /// What could not be loaded, and why.
    pub warnings: Vec<String>,
}

/// Loads the seeds of packages, each package's once, whoever else does it at the same time. A load
/// that was interrupted is done again by the next one who asks.
///
/// # Errors
/// Those of the database; a record that the object does not take is a warning.
pub async fn load(engine: &Engine, packages: &[PackageSeeds]) -> Result<Outcome> {
    if packages.is_empty() {
        return Ok(Outcome::default());
    }
    let loading = |_held| async {
        let mut outcome = Outcome::default();
        for package in packages {
            // Another process may have loaded them while this one waited.
            if !package::is_loaded(&engine.db, &package.mark).await? {
                load_package(engine, &package.seeds, &mut outcome).await?;
                package::mark_loaded(&engine.db, &package.mark, clock::now()).await?;
            }
        }
        Ok(outcome)
    };
    Box::pin(lease(engine).run(PATIENCE, loading)).await
}

/// Who loads seeds and data sets: one process at a time.
fn lease(engine: &Engine) -> Lease {
    Lease::new(engine.db.clone(), "seed", TERM)
}

/// Loads seeds: idempotent by their external id, references by natural key, in file order with
/// those that refer to later ones tried again at the end.
async fn load_package(engine: &Engine, seeds: &[Seed], outcome: &mut Outcome) -> Result<()> {
    let work = engine.system_work("seed");
    let keys: HashMap<&str, &str> = seeds
        .iter()
        .map(|seed| (seed.object.as_str(), seed.external_id.as_str()))
        .collect();
    let mut waiting: Vec<(&Seed, &Map<String, Value>)> = seeds
        .iter()
        .flat_map(|seed| seed.records.iter().map(move |record| (seed, record)))
        .collect();
    // A record may refer to one that comes later: what cannot be resolved waits for the next pass.
    loop {
        let before = waiting.len();
        let mut next = Vec::new();
        for (seed, record) in waiting {
            match resolve(engine, &work, seed, record, &keys).await? {
                Some(resolved) => put(engine, &work, seed, resolved, outcome).await?,
                None => next.push((seed, record)),
            }
        }
        waiting = next;
        if waiting.is_empty() || waiting.len() == before {
            break;
        }
    }
    for (seed, record) in waiting {
        let key = record.get(&seed.external_id).unwrap_or(&Value::Null);
        outcome.warnings.push(format!(
            "{}: {} {key} refers to a record that does not exist; its references are left empty",
            seed.name, seed.object
        ));
        let bare = without_references(&work, seed, record);
        put(engine, &work, seed, bare, outcome).await?;
    }
    Ok(())
}

/// The record with expressions evaluated and natural keys replaced by ids; `None` when a target is
/// not there yet.
async fn resolve(
    engine: &Engine,
    work: &Work,
    seed: &Seed,
    record: &Map<String, Value>,
    keys: &HashMap<&str, &str>,
) -> Result<Option<Map<String, Value>>> {
    let Some(schema) = work.registry.schema(&seed.object) else {
        return Ok(Some(record.clone()));
    };
    let scope = Scope {
        now: work.now,
        user_id: None,
        speaker: work.speaker(),
    };
    let mut resolved = Map::new();
    for (name, value) in record {
        let value = match value {
            Value::Object(map) if map.contains_key("dialect") => {
                default::evaluate(value, &scope).unwrap_or(Value::Null)
            }
            other => other.clone(),
        };
        let target = schema
            .field(name)
            .filter(|field| field.is_reference())
            .and_then(|field| field.reference.as_deref());
        let value = match target {
            None => value,
            Some(target) => {
                let many = matches!(value, Value::Array(_));
                let members = match value {
                    Value::Array(members) => members,
                    one => vec![one],
                };
                let mut ids = Vec::new();
                for member in members {
                    match reference(engine, work, target, &member, keys).await? {
                        Some(id) => ids.push(id),
                        None => return Ok(None),
                    }
                }
                if many {
                    Value::Array(ids)
                } else {
                    ids.pop().unwrap_or_default()
                }
            }
        };
        resolved.insert(name.clone(), value);
    }
    Ok(Some(resolved))
}

/// The id that a reference means: an id, or a natural key as text or `{"externalId": …}`.
async fn reference(
    engine: &Engine,
    work: &Work,
    target: &str,
    value: &Value,
    keys: &HashMap<&str, &str>,
) -> Result<Option<Value>> {
    let key = match value {
        Value::Null => return Ok(Some(Value::Null)),
        Value::Object(map) => map
            .get("externalId")
            .or_else(|| map.get("id"))
            .and_then(Value::as_str),
        Value::String(text) => Some(text.as_str()),
        _ => None,
    };
    let (Some(key), Some(schema)) = (key, work.registry.schema(target)) else {
        return Ok(None);
    };
    let natural = keys.get(target).copied().unwrap_or("name");
    for field in [natural, "id"] {
        if let Some((id, _)) =
            find(engine, work, schema, field, &Value::String(key.to_owned())).await?
        {
            return Ok(Some(Value::String(id)));
        }
    }
    Ok(None)
}

/// The record whose field has that value: its id and version.
async fn find(
    engine: &Engine,
    work: &Work,
    schema: &Arc<Schema>,
    field: &str,
    value: &Value,
) -> Result<Option<(String, i64)>> {
    let Some(column) = schema.column(field) else {
        return Ok(None);
    };
    let raw = to_raw_value(value).map_err(Error::internal)?;
    let cell = crate::domain::record::normalize::cell(column, &raw, &mut Vec::new());
    if cell.is_null() {
        return Ok(None);
    }
    let mut grant = work.grant(schema, Operation::Read)?;
    grant.rows = grant
        .rows
        .and(Predicate::Compare(Arc::clone(column), Comparison::Eq, cell));
    let statement = select::first(&grant, engine.db.dialect());
    let found = engine
        .db
        .query_opt(statement, |row| {
            Ok((
                row.text(0)?.unwrap_or_default().to_owned(),
                row.int(1)?.unwrap_or_default(),
            ))
        })
        .await?;
    Ok(found)
}

async fn put(
    engine: &Engine,
    work: &Work,
    seed: &Seed,
    record: Map<String, Value>,
    outcome: &mut Outcome,
) -> Result<()> {
    let Some(schema) = work.registry.schema(&seed.object) else {
        outcome.warnings.push(format!(
            "{}: there is no object `{}`",
            seed.name, seed.object
        ));
        return Ok(());
    };
    let known = match record.get(&seed.external_id) {
        Some(key) => find(engine, work, schema, &seed.external_id, key).await?,
        None => None,
    };
    let body = Value::Object(record.clone()).to_string();
    let result = match (seed.mode, known) {
        (SeedMode::Ignore, Some(_)) | (SeedMode::Update, None) => return Ok(()),
        (SeedMode::Upsert | SeedMode::Update | SeedMode::Replace, Some((id, _))) => engine
            .update(work, &seed.object, &id, body.as_bytes(), "")
            .await
            .map(|_| outcome.updated += 1),
        (SeedMode::Insert, Some(_)) => return Ok(()),
        (SeedMode::Insert | SeedMode::Upsert | SeedMode::Replace | SeedMode::Ignore, None) => {
            engine
                .create(work, &seed.object, body.as_bytes())
                .await
                .map(|_| outcome.inserted += 1)
        }
    };
    if let Err(error) = result {
        if error.reason() == mesh::error::Reason::Internal
            || error.reason() == mesh::error::Reason::ServiceUnavailable
        {
            return Err(error);
        }
        let key = record.get(&seed.external_id).unwrap_or(&Value::Null);
        outcome.warnings.push(format!(
            "{}: {} {key}: {}",
            seed.name,
            seed.object,
            error.message()
        ));
    }
    Ok(())
}

fn without_references(work: &Work, seed: &Seed, record: &Map<String, Value>) -> Map<String, Value> {
    let schema = work.registry.schema(&seed.object);
    record
        .iter()
        .filter(|(name, _)| {
            !schema
                .and_then(|schema| schema.field(name))
                .is_some_and(metadata::Field::is_reference)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Loads a generated data set, once: batch by batch, telling how many records are in. A load that
/// was interrupted goes on behind the records that are there.
///
/// # Errors
/// Those of the database, and of a record that its object does not take.
pub async fn load_data_set(
    engine: &Engine,
    name: &'static str,
    records: impl Iterator<Item = (String, Map<String, Value>)>,
    progress: impl FnMut(usize),
) -> Result<usize> {
    if package::is_loaded(&engine.db, name).await? {
        return Ok(0);
    }
    let loading = |_held| load_records(engine, name, records, progress);
    Box::pin(lease(engine).run(PATIENCE, loading)).await
}

async fn load_records(
    engine: &Engine,
    name: &'static str,
    records: impl Iterator<Item = (String, Map<String, Value>)>,
    mut progress: impl FnMut(usize),
) -> Result<usize> {
    // Another process may have loaded it while this one waited.
    if package::is_loaded(&engine.db, name).await? {
        return Ok(0);
    }
    let work = engine.system_work("seed");
    let mut records = records.peekable();
    let mut count = 0;
    while records.peek().is_some() {
        let mut rows = Vec::with_capacity(BATCH);
        for (object, fields) in records.by_ref().take(BATCH) {
            let grant = work.open(&object, metadata::ApiMethod::Create, Operation::Create)?;
            let body = Body::parse(Value::Object(fields).to_string().as_bytes())?;
            rows.push(engine.prepare_create(&work, &grant, body).await?);
        }
        count += rows.len();
        let rows = Arc::new(rows);
        let change = Arc::new(Change::of(&work, Action::Create));
        engine
            .db
            .write::<_, Error, _>(move |tx| {
                let (rows, change) = (Arc::clone(&rows), Arc::clone(&change));
                async move {
                    for row in &*rows {
                        if !exists(tx, &row.schema, &row.id).await? {
                            apply_create(tx, row, &change).await?;
                        }
                    }
                    Ok(())
                }
                .boxed()
            })
            .await?;
        engine.changes.wake();
        progress(count);
    }
    package::mark_loaded(&engine.db, name, clock::now()).await?;
    // Fresh statistics: a plan made for empty tables is a slow one.
    let analyze = match engine.db.dialect() {
        Dialect::Sqlite => "PRAGMA optimize",
        Dialect::Postgres => "ANALYZE",
    };
    engine
        .db
        .write::<_, Error, _>(move |tx| {
            async move {
                tx.query(Statement::new(analyze), |_| Ok(())).await?;
                Ok(())
            }
            .boxed()
        })
        .await?;
    Ok(count)
}

async fn exists(tx: &mut mesh::db::Tx, schema: &Schema, id: &str) -> Result<bool, DbError> {
    let statement = crate::store::write::probe(schema, id);
    Ok(tx.query_opt(statement, |_| Ok(())).await?.is_some())
}
