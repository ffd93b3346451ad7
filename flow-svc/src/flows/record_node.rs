//! Nodes that read and write records. What they may see and do is decided by data-svc.
//!
//! Invariant: what a step is going to write is kept before it writes, and each write has a key of
//! its own, so that a step that is done again after a crash repeats nothing.

use data_client::records::WriteOptions;
use metadata::automation::flow::{RecordFilter, RecordStep};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    fault::{Fault, Stop},
    interpreter::{Done, Step},
    state::State,
};

/// Records that a step changes or deletes at most.
const RECORDS_MAX: usize = 1000;
/// Records asked for at once.
const PAGE: usize = 200;

/// What a step is going to write.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Plan {
    /// The values, for a write that has some.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    fields: Value,
    /// The records it changes or deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ids: Vec<String>,
}

/// Reads a record, or several.
pub(super) async fn get(
    step: &Step<'_>,
    of: &RecordStep,
    limit: u64,
    order_by: Option<&Value>,
    state: &State,
) -> Result<Done, Stop> {
    let object = object(of)?;
    let mut query = Map::new();
    let filter = filter(step, of, state)?;
    if !is_empty(&filter) {
        query.insert("where".to_owned(), filter);
    }
    query.insert("limit".to_owned(), json!(limit));
    for (key, value) in [("fields", of.fields.as_ref()), ("orderBy", order_by)] {
        if let Some(value) = value {
            query.insert(key.to_owned(), value.clone());
        }
    }
    step.begin(None).await?;
    let (records, query) = (&step.run.app.records, &Value::Object(query));
    let work = move |ctx| async move { records.query(&ctx, object, query).await };
    let mut found = step.frame.actor.act(work).await?.into_values();
    if limit > 1 {
        let count = found.len();
        let list = Value::Array(found);
        let output = json!({"records": list, "count": count});
        return Ok(step.gives(output, list));
    }
    let first = match found.is_empty() {
        true => Value::Null,
        false => found.swap_remove(0),
    };
    Ok(step.gives(first.clone(), first))
}

/// Creates a record.
pub(super) async fn create(step: &Step<'_>, of: &RecordStep, state: &State) -> Result<Done, Stop> {
    let object = object(of)?;
    let plan = match planned(step)? {
        Some(plan) => plan,
        None => Plan {
            fields: fields(step, of, state)?,
            ids: Vec::new(),
        },
    };
    begin(step, &plan).await?;
    let (records, fields) = (&step.run.app.records, &plan.fields);
    let key = format!("{}:0", step.run.journal.key(step.visit));
    let key = key.as_str();
    let work = move |ctx| async move { records.create(&ctx, object, fields, key).await };
    let record = step.frame.actor.act(work).await?.value;
    let output = json!({"id": record["id"], "record": record});
    Ok(step.gives(output, record))
}

/// Changes every record found.
pub(super) async fn update(step: &Step<'_>, of: &RecordStep, state: &State) -> Result<Done, Stop> {
    let object = object(of)?;
    let plan = match planned(step)? {
        Some(plan) => plan,
        None => Plan {
            fields: fields(step, of, state)?,
            ids: found(step, object, of, state).await?,
        },
    };
    begin(step, &plan).await?;
    let (records, fields) = (&step.run.app.records, &plan.fields);
    let mut last = Value::Null;
    for (number, id) in plan.ids.iter().enumerate() {
        let key = format!("{}:{number}", step.run.journal.key(step.visit));
        let once = WriteOptions::once(&key);
        let work = move |ctx| async move { records.update(&ctx, object, id, fields, once).await };
        last = step.frame.actor.act(work).await?.value;
    }
    let count = plan.ids.len();
    let record = if count == 1 { last } else { Value::Null };
    let output = json!({"count": count, "ids": plan.ids, "id": record["id"], "record": record});
    Ok(step.gives(output, record))
}

/// Deletes every record found.
pub(super) async fn delete(step: &Step<'_>, of: &RecordStep, state: &State) -> Result<Done, Stop> {
    let object = object(of)?;
    let plan = match planned(step)? {
        Some(plan) => plan,
        None => Plan {
            fields: Value::Null,
            ids: found(step, object, of, state).await?,
        },
    };
    begin(step, &plan).await?;
    let records = &step.run.app.records;
    for (number, id) in plan.ids.iter().enumerate() {
        let key = format!("{}:{number}", step.run.journal.key(step.visit));
        let once = WriteOptions::once(&key);
        let work = move |ctx| async move { records.delete(&ctx, object, id, once).await };
        step.frame.actor.act(work).await?;
    }
    let output = json!({"count": plan.ids.len(), "ids": plan.ids});
    Ok(step.gives(output.clone(), output))
}

/// What the step was going to do when it was first tried.
fn planned(step: &Step<'_>) -> Result<Option<Plan>, Fault> {
    let plan = step.run.journal.plan(step.visit.path, step.visit.retry);
    let plan = plan.map(serde_json::from_value).transpose();
    plan.map_err(|error| Fault::damaged("plan of a step", &error))
}

/// Keeps that the step begins, and what it is going to do.
async fn begin(step: &Step<'_>, plan: &Plan) -> Result<(), Stop> {
    step.begin(Some(&json!(plan))).await
}

/// Ids of the records that a step is to change.
async fn found(
    step: &Step<'_>,
    object: &str,
    of: &RecordStep,
    state: &State,
) -> Result<Vec<String>, Stop> {
    let filter = filter(step, of, state)?;
    if is_empty(&filter) {
        let message = "A step that changes or deletes records needs a filter";
        return Err(Fault::execution(message).into());
    }
    let records = &step.run.app.records;
    let mut ids: Vec<String> = Vec::new();
    loop {
        let after = ids.last().cloned();
        let range = after.map_or_else(|| filter.clone(), |last| behind(&filter, &last));
        let query = json!({"where": range, "fields": ["id"], "orderBy": "id", "limit": PAGE});
        let query = &query;
        let work = move |ctx| async move { records.query(&ctx, object, query).await };
        let page = step.frame.actor.act(work).await?.items;
        let count = page.len();
        ids.extend(page.into_iter().map(|record| record.id));
        if ids.len() > RECORDS_MAX {
            let message = format!("The filter finds more than {RECORDS_MAX} records");
            return Err(Fault::execution(message).into());
        }
        // A page may be shorter than asked for, so only an empty one is the last.
        if count == 0 {
            return Ok(ids);
        }
    }
}

fn object(of: &RecordStep) -> Result<&str, Fault> {
    let object = of.object.as_deref();
    object.ok_or_else(|| Fault::execution("The step names no object"))
}

fn fields(step: &Step<'_>, of: &RecordStep, state: &State) -> Result<Value, Fault> {
    let written = of.fields.as_ref();
    let written = written.ok_or_else(|| Fault::execution("The step has no fields"))?;
    match step.resolve(state, written)? {
        fields @ Value::Object(_) => Ok(fields),
        _ => Err(Fault::execution("The fields of the step are no object")),
    }
}

/// The filter of a step; null where it has none.
fn filter(step: &Step<'_>, of: &RecordStep, state: &State) -> Result<Value, Fault> {
    match &of.filter {
        Some(RecordFilter::Where(written)) => step.resolve(state, written),
        Some(RecordFilter::Id(id)) => Ok(json!({"id": step.resolve(state, id)?})),
        None => Ok(Value::Null),
    }
}

fn is_empty(filter: &Value) -> bool {
    match filter {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// What a filter finds behind an id, in either of its forms.
fn behind(filter: &Value, last: &str) -> Value {
    match filter {
        Value::Array(list) if list.first().is_some_and(Value::is_array) => {
            let mut list = list.clone();
            list.push(json!(["id", ">", last]));
            Value::Array(list)
        }
        Value::Array(_) => json!([filter, ["id", ">", last]]),
        _ => json!({"$and": [filter, {"id": {"$gt": last}}]}),
    }
}
