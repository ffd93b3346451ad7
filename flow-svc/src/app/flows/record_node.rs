//! Nodes that read and write records. What they may see and do is decided by data-svc.
//!
//! Invariant: what a step is going to write is kept before it writes, and each write has a key of
//! its own, so that a step that is done again after a crash repeats nothing.

use mesh::clock;
use serde_json::{Map, Value, json};

use super::{
    fault::{Fault, Stop},
    interpreter::{Done, Interpreter, Place},
    journal::Visit,
    node::output_variable,
    state::State,
};

/// Records that a step changes or deletes at most.
const RECORDS_MAX: usize = 1000;
/// Records asked for at once.
const PAGE: usize = 200;

/// Names under which a node's configuration may have a thing.
const FIELDS: [&str; 4] = ["fields", "data", "values", "fieldValues"];
const FILTERS: [&str; 4] = ["filter", "filters", "where", "criteria"];

impl Interpreter {
    /// Reads a record, or several.
    pub(super) async fn get_records(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Stop> {
        let object = object(visit)?;
        let config = &visit.node.config;
        let limit = config.get("limit").and_then(Value::as_u64).unwrap_or(1);
        let filter = filter(place, visit, began_ms, state)?;
        let mut query = Map::new();
        if !is_empty(&filter) {
            query.insert("where".to_owned(), filter);
        }
        query.insert("limit".to_owned(), json!(limit.max(1)));
        for (name, key) in [
            ("fields", "fields"),
            ("orderBy", "orderBy"),
            ("sort", "orderBy"),
        ] {
            if let Some(value) = config.get(name).filter(|value| !value.is_null()) {
                query.insert(key.to_owned(), value.clone());
            }
        }
        self.journal.begin(visit, None, began_ms).await?;
        let (records, query) = (&self.app.records, &Value::Object(query));
        let work = move |ctx| async move { records.find(&ctx, object, query).await };
        let mut found = place.who.act(work).await?.items;
        let (value, output) = if limit > 1 {
            let list = Value::Array(found);
            let count = list.as_array().map_or(0, Vec::len);
            (list.clone(), json!({"records": list, "count": count}))
        } else {
            let first = match found.is_empty() {
                true => Value::Null,
                false => found.swap_remove(0),
            };
            (first.clone(), first)
        };
        Ok(Done {
            set: output_variable(config, &value),
            output,
            ..Done::default()
        })
    }

    /// Creates a record.
    pub(super) async fn create_record(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Stop> {
        let object = object(visit)?;
        let plan = match self.journal.plan(visit.path, visit.retry) {
            Some(plan) => plan,
            None => json!({"fields": fields(place, visit, began_ms, state)?}),
        };
        self.journal.begin(visit, Some(&plan), began_ms).await?;
        let (records, fields) = (&self.app.records, &plan["fields"]);
        let key = format!("{}:0", self.journal.key(visit));
        let key = key.as_str();
        let work = move |ctx| async move { records.create(&ctx, object, fields, key).await };
        let record = place.who.act(work).await?;
        Ok(Done {
            set: output_variable(&visit.node.config, &record),
            output: json!({"id": record["id"], "record": record}),
            ..Done::default()
        })
    }

    /// Changes every record found.
    pub(super) async fn update_records(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Stop> {
        let object = object(visit)?;
        let plan = match self.journal.plan(visit.path, visit.retry) {
            Some(plan) => plan,
            None => json!({
                "fields": fields(place, visit, began_ms, state)?,
                "ids": self.found(place, visit, began_ms, state).await?,
            }),
        };
        self.journal.begin(visit, Some(&plan), began_ms).await?;
        let (records, fields) = (&self.app.records, &plan["fields"]);
        let mut last = Value::Null;
        for (number, id) in ids(&plan).enumerate() {
            let key = format!("{}:{number}", self.journal.key(visit));
            let key = key.as_str();
            let work =
                move |ctx| async move { records.update(&ctx, object, id, fields, key).await };
            last = place.who.act(work).await?;
        }
        let count = ids(&plan).count();
        let record = if count == 1 { last } else { Value::Null };
        Ok(Done {
            set: output_variable(&visit.node.config, &record),
            output: json!({"count": count, "ids": plan["ids"], "id": record["id"],
                "record": record}),
            ..Done::default()
        })
    }

    /// Deletes every record found.
    pub(super) async fn delete_records(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Done, Stop> {
        let object = object(visit)?;
        let plan = match self.journal.plan(visit.path, visit.retry) {
            Some(plan) => plan,
            None => json!({"ids": self.found(place, visit, began_ms, state).await?}),
        };
        self.journal.begin(visit, Some(&plan), began_ms).await?;
        let records = &self.app.records;
        for (number, id) in ids(&plan).enumerate() {
            let key = format!("{}:{number}", self.journal.key(visit));
            let key = key.as_str();
            let work = move |ctx| async move { records.delete(&ctx, object, id, key).await };
            place.who.act(work).await?;
        }
        let output = json!({"count": ids(&plan).count(), "ids": plan["ids"]});
        Ok(Done {
            set: output_variable(&visit.node.config, &output),
            output,
            ..Done::default()
        })
    }

    /// Ids of the records that a step is to change.
    async fn found(
        &self,
        place: &Place,
        visit: &Visit<'_>,
        began_ms: i64,
        state: &State,
    ) -> Result<Vec<String>, Stop> {
        let object = object(visit)?;
        let filter = filter(place, visit, began_ms, state)?;
        if is_empty(&filter) {
            let message = "A step that changes or deletes records needs a filter";
            return Err(Fault::execution(message).into());
        }
        let records = &self.app.records;
        let mut ids: Vec<String> = Vec::new();
        loop {
            let after = ids.last().cloned();
            let range = after.map_or_else(|| filter.clone(), |last| behind(&filter, &last));
            let query = json!({"where": range, "fields": ["id"], "orderBy": "id", "limit": PAGE});
            let query = &query;
            let work = move |ctx| async move { records.find(&ctx, object, query).await };
            let page = place.who.act(work).await?.items;
            let count = page.len();
            let found = page.iter().filter_map(|record| record["id"].as_str());
            ids.extend(found.map(str::to_owned));
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
}

fn object<'v>(visit: &Visit<'v>) -> Result<&'v str, Fault> {
    let config = &visit.node.config;
    let object = config.get("objectName").or_else(|| config.get("object"));
    let object = object.and_then(Value::as_str);
    object.ok_or_else(|| Fault::execution("The step names no object"))
}

fn fields(place: &Place, visit: &Visit<'_>, began_ms: i64, state: &State) -> Result<Value, Fault> {
    let config = &visit.node.config;
    let written = FIELDS.iter().find_map(|key| config.get(*key));
    let now = clock::from_unix_ms(began_ms);
    match written {
        Some(written) => match state.resolve(&place.env, now, written)? {
            fields @ Value::Object(_) => Ok(fields),
            _ => Err(Fault::execution("The fields of the step are no object")),
        },
        None => Err(Fault::execution("The step has no fields")),
    }
}

/// The filter of a step; null where it has none.
fn filter(place: &Place, visit: &Visit<'_>, began_ms: i64, state: &State) -> Result<Value, Fault> {
    let config = &visit.node.config;
    let now = clock::from_unix_ms(began_ms);
    if let Some(written) = FILTERS.iter().find_map(|key| config.get(*key)) {
        return state.resolve(&place.env, now, written);
    }
    let id = config.get("recordId").or_else(|| config.get("id"));
    match id {
        Some(id) => Ok(json!({"id": state.resolve(&place.env, now, id)?})),
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

fn ids(plan: &Value) -> impl Iterator<Item = &str> {
    let ids = plan["ids"].as_array();
    ids.into_iter().flatten().filter_map(Value::as_str)
}
