//! Data that packages bring along: their seeds, and generated data sets. Runs as the system, through the
//! same preparation as every write.

use std::{collections::HashMap, time::Duration};

use mesh::{BoxFuture, Result, clock, db::lease::Lease, error::Reason};
use metadata::{Seed, SeedMode};
use serde_json::{Map, Value, json};

use crate::{
    Rooms,
    kernel::{
        Kernel, Work,
        access::SystemReason,
        model::cell::Cell,
        query::select,
        tables,
        write::{create, create_all, evaluate_default, update},
    },
    metadata::{catalog::PackageSeeds, store},
};

/// Records that one transaction of a bulk load takes.
const BATCH: usize = 500;
/// A process that loads and falls silent is replaced after this time.
const TERM: Duration = Duration::from_secs(15);
/// How long one waits for another process that loads.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

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
pub fn load<'a>(rooms: &'a Rooms, packages: &'a [PackageSeeds]) -> BoxFuture<'a, Result<Outcome>> {
    Box::pin(load_packages(rooms, packages))
}

async fn load_packages(rooms: &Rooms, packages: &[PackageSeeds]) -> Result<Outcome> {
    if packages.is_empty() {
        return Ok(Outcome::default());
    }
    let loading = |_held| async {
        let mut outcome = Outcome::default();
        for package in packages {
            // Another process may have loaded them while this one waited.
            if !store::is_loaded(&rooms.db, &package.mark).await? {
                load_package(&rooms.kernel, &package.seeds, &mut outcome).await?;
                store::mark_loaded(&rooms.db, &package.mark, clock::now()).await?;
            }
        }
        Ok(outcome)
    };
    lease(rooms).run(PATIENCE, loading).await
}

/// Who loads seeds and data sets: one process at a time.
fn lease(rooms: &Rooms) -> Lease {
    Lease::new(rooms.db.clone(), "seed", TERM)
}

/// Loads seeds: idempotent by their external id, references by natural key, in file order with
/// those that refer to later ones tried again at the end.
async fn load_package(kernel: &Kernel, seeds: &[Seed], outcome: &mut Outcome) -> Result<()> {
    let work = kernel.system_work(SystemReason::Seed);
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
            match resolve(kernel, &work, seed, record, &keys).await? {
                Some(resolved) => put(kernel, &work, seed, resolved, outcome).await?,
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
        put(kernel, &work, seed, bare, outcome).await?;
    }
    Ok(())
}

/// The record with expressions evaluated and natural keys replaced by ids; `None` when a target is
/// not there yet.
async fn resolve(
    kernel: &Kernel,
    work: &Work,
    seed: &Seed,
    record: &Map<String, Value>,
    keys: &HashMap<&str, &str>,
) -> Result<Option<Map<String, Value>>> {
    let Some(schema) = work.registry.schema(&seed.object) else {
        return Ok(Some(record.clone()));
    };
    let mut resolved = Map::new();
    for (name, value) in record {
        let value = match value {
            Value::Object(map) if map.contains_key("dialect") => {
                evaluate_default(work, value).unwrap_or(Value::Null)
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
                    match reference(kernel, work, target, &member, keys).await? {
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
    kernel: &Kernel,
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
    let (Some(key), Some(_)) = (key, work.registry.schema(target)) else {
        return Ok(None);
    };
    let natural = keys.get(target).copied().unwrap_or("name");
    for field in [natural, "id"] {
        let value = Value::String(key.to_owned());
        if let Some(id) = find(kernel, work, target, field, &value).await? {
            return Ok(Some(Value::String(id)));
        }
    }
    Ok(None)
}

/// Id of the record whose field has that value; of several, the first.
async fn find(
    kernel: &Kernel,
    work: &Work,
    object: &str,
    field: &str,
    value: &Value,
) -> Result<Option<String>> {
    if value.is_null() {
        return Ok(None);
    }
    match select(kernel, work, object, &json!({field: value}), &["id"], 1).await {
        Ok(found) => Ok(match found.into_iter().flatten().next() {
            Some(Cell::Text(id)) => Some(id),
            _ => None,
        }),
        // No record has what the field cannot hold, or a field that is not there.
        Err(error) if error.reason() == Reason::ValidationError => Ok(None),
        Err(error) => Err(error),
    }
}

async fn put(
    kernel: &Kernel,
    work: &Work,
    seed: &Seed,
    record: Map<String, Value>,
    outcome: &mut Outcome,
) -> Result<()> {
    if work.registry.schema(&seed.object).is_none() {
        outcome.warnings.push(format!(
            "{}: there is no object `{}`",
            seed.name, seed.object
        ));
        return Ok(());
    }
    let known = match record.get(&seed.external_id) {
        Some(key) => find(kernel, work, &seed.object, &seed.external_id, key).await?,
        None => None,
    };
    let body = Value::Object(record.clone()).to_string();
    let result = match (seed.mode, known) {
        (SeedMode::Ignore, Some(_)) | (SeedMode::Update, None) => return Ok(()),
        (SeedMode::Upsert | SeedMode::Update | SeedMode::Replace, Some(id)) => {
            let target = (seed.object.as_str(), id.as_str());
            update(kernel, work, target, body.as_bytes(), "", "")
                .await
                .map(|_| outcome.updated += 1)
        }
        (SeedMode::Insert, Some(_)) => return Ok(()),
        (SeedMode::Insert | SeedMode::Upsert | SeedMode::Replace | SeedMode::Ignore, None) => {
            create(kernel, work, &seed.object, body.as_bytes(), "")
                .await
                .map(|_| outcome.inserted += 1)
        }
    };
    if let Err(error) = result {
        if error.reason() == Reason::Internal || error.reason() == Reason::ServiceUnavailable {
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
pub fn load_data_set<'a>(
    rooms: &'a Rooms,
    name: &'static str,
    records: Box<Records<'a>>,
    progress: Box<dyn FnMut(usize) + Send + 'a>,
) -> BoxFuture<'a, Result<usize>> {
    Box::pin(load_set(rooms, name, records, progress))
}

/// Records to load, each with the name of its object.
pub type Records<'a> = dyn Iterator<Item = (String, Map<String, Value>)> + Send + 'a;

async fn load_set(
    rooms: &Rooms,
    name: &'static str,
    records: Box<Records<'_>>,
    progress: Box<dyn FnMut(usize) + Send + '_>,
) -> Result<usize> {
    if store::is_loaded(&rooms.db, name).await? {
        return Ok(0);
    }
    let loading = |_held| load_records(rooms, name, records, progress);
    lease(rooms).run(PATIENCE, loading).await
}

async fn load_records(
    rooms: &Rooms,
    name: &'static str,
    records: Box<Records<'_>>,
    mut progress: Box<dyn FnMut(usize) + Send + '_>,
) -> Result<usize> {
    // Another process may have loaded it while this one waited.
    if store::is_loaded(&rooms.db, name).await? {
        return Ok(0);
    }
    let work = rooms.kernel.system_work(SystemReason::Seed);
    let mut records = records.peekable();
    let mut count = 0;
    while records.peek().is_some() {
        let batch: Vec<_> = records.by_ref().take(BATCH).collect();
        count += batch.len();
        let batch = batch.iter();
        let batch = batch.map(|(object, fields)| (object.as_str(), fields.clone()));
        create_all(&rooms.kernel, &work, batch.collect()).await?;
        progress(count);
    }
    store::mark_loaded(&rooms.db, name, clock::now()).await?;
    tables::refresh_statistics(&rooms.db).await?;
    Ok(count)
}
