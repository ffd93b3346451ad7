//! A call of a tool: its input is checked, then it runs as the user, or waits for a person. What goes
//! wrong is told to the model, which may try otherwise.

use std::time::Duration;

use data_client::records::{Page, WriteOptions};
use mesh::{Ctx, Error, Result, error::Reason};
use metadata::ItemType;
use serde_json::{Map, Value, json};

use super::{Change, Kind, Read, Services, Tool, schema};

/// Most bytes of an output that a model is told.
const OUTPUT_MAX: usize = 16 * 1024;
/// The longest a call may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Records of a query where the model names no number.
const ROWS: u64 = 20;

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Called {
    /// It put out that.
    Output(Value),
    /// This change waits for a person.
    Waits(Change),
    /// It failed; in words for the model.
    Failed(Value),
}

/// Calls a tool that need not wait, with effects once for each key. The context is the user's.
pub(crate) async fn call(
    services: &Services,
    ctx: &Ctx,
    tool: &Tool,
    input: &Value,
    key: &str,
) -> Called {
    let wrong = schema::violations(&tool.spec.parameters, input);
    if !wrong.is_empty() {
        let shown: Vec<String> = wrong.into_iter().take(10).collect();
        return Called::Failed(
            json!({"error": "The input does not fit the tool", "fields": shown}),
        );
    }
    let done = match &tool.kind {
        Kind::Read(read) => look_up(services, ctx, *read, input).await,
        // A model writes no record by itself, whatever is configured.
        Kind::Change(change) if tool.waits || change.kind().writes_record() => {
            return Called::Waits(change.clone());
        }
        Kind::Change(change) => carry_out(services, ctx, change, input, None, key).await,
    };
    match done {
        Ok(output) => Called::Output(capped(output)),
        Err(error) => Called::Failed(told(&error)),
    }
}

/// An error in words for a model: what the user would be told, and no more.
pub(crate) fn told(error: &Error) -> Value {
    if error.reason() == Reason::Internal {
        tracing::error!(error = ?error.cause(), "a tool failed");
    }
    let mut told = json!({"error": error.message(), "code": error.reason().rest_code()});
    let fields: Vec<String> = error
        .field_violations()
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.message))
        .collect();
    if !fields.is_empty() {
        told["fields"] = json!(fields);
    }
    told
}

async fn look_up(services: &Services, ctx: &Ctx, read: Read, input: &Value) -> Result<Value> {
    let text = |key: &str| input[key].as_str().unwrap_or_default();
    let object = text("objectName");
    match read {
        Read::ListObjects => {
            let objects = services.metadata.items(ctx, ItemType::Object).await?;
            let shown = objects.iter().map(|object| {
                let value = &object.value;
                json!({"name": object.name, "label": value["label"], "description": value["description"]})
            });
            Ok(json!({"objects": shown.collect::<Vec<_>>()}))
        }
        Read::DescribeObject => {
            let found = services
                .metadata
                .item(ctx, ItemType::Object, object)
                .await?;
            Ok(described(&found.value))
        }
        Read::QueryRecords => {
            let mut query = chosen(input, &["where", "fields", "orderBy", "offset"]);
            // A whole number of at most 200, as the schema says; models also write 20.0.
            let limit = input["limit"].as_f64().map_or(ROWS, |limit| limit as u64);
            query.insert("limit".to_owned(), json!(limit));
            let query = Value::Object(query);
            Ok(page(services.records.query(ctx, object, &query).await?))
        }
        Read::GetRecord => {
            let fields = input["fields"].as_array().map_or(&[][..], Vec::as_slice);
            let fields: Vec<&str> = fields.iter().filter_map(Value::as_str).collect();
            let id = text("recordId");
            let found = services.records.get_selected(ctx, object, id, &fields);
            Ok(found.await?.value)
        }
        Read::AggregateData => {
            let query = Value::Object(chosen(input, &["where", "groupBy", "aggregations"]));
            Ok(page(services.records.query(ctx, object, &query).await?))
        }
    }
}

/// Makes a change, once for each key that is not empty; a record must have that version still.
///
/// # Errors
/// Those of the service that makes it.
pub(crate) async fn carry_out(
    services: &Services,
    ctx: &Ctx,
    change: &Change,
    input: &Value,
    version: Option<i64>,
    key: &str,
) -> Result<Value> {
    let text = |key: &str| input[key].as_str().unwrap_or_default();
    let (object, id) = (text("objectName"), text("recordId"));
    let (records, data) = (&services.records, &input["data"]);
    let options = WriteOptions {
        idempotency_key: key,
        version,
    };
    match change {
        Change::CreateRecord => Ok(records.create(ctx, object, data, key).await?.value),
        Change::UpdateRecord => {
            let changed = records.update(ctx, object, id, data, options).await?;
            Ok(changed.value)
        }
        Change::DeleteRecord => {
            records.delete(ctx, object, id, options).await?;
            Ok(json!({"object": object, "id": id, "success": true}))
        }
        Change::Action {
            name,
            object,
            of_record,
        } => {
            let mut params = input.clone();
            let mut record_id = String::new();
            if *of_record && let Some(map) = params.as_object_mut() {
                let given = map.remove("recordId").unwrap_or_default();
                given
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut record_id);
            }
            let object = object.as_deref().unwrap_or_default();
            services
                .invoke(ctx, (object, name, &record_id), &params, key)
                .await
        }
        Change::Flow { name } => {
            let run = services.start(ctx, name, input, key).await?;
            if run["status"] != "failed" {
                return Ok(run);
            }
            let why = run["error"]["message"].as_str();
            let why = why.unwrap_or("the run failed");
            let failed = Error::new(Reason::FlowFailed, format!("Flow {name}: {why}"));
            Err(failed.with("runId", run["id"].clone()))
        }
    }
}

/// A page as a model is told of it.
fn page(page: Page) -> Value {
    let total = page.total;
    json!({"items": page.into_values(), "total": total})
}

fn chosen(input: &Value, keys: &[&str]) -> Map<String, Value> {
    let taken = keys.iter().filter_map(|key| {
        let value = input.get(*key).filter(|value| !value.is_null())?;
        Some(((*key).to_owned(), value.clone()))
    });
    taken.collect()
}

/// What a model needs to know of an object.
fn described(item: &Value) -> Value {
    let mut fields = Vec::new();
    for (name, field) in item["fields"].as_object().into_iter().flatten() {
        let mut shown = json!({"name": name, "label": field["label"], "type": field["type"]});
        for key in [
            "required",
            "readonly",
            "reference",
            "options",
            "multiple",
            "description",
        ] {
            let value = &field[key];
            if !value.is_null() && *value != false {
                shown[key] = value.clone();
            }
        }
        fields.push(shown);
    }
    json!({"name": item["name"], "label": item["label"], "description": item["description"], "fields": fields})
}

/// The output as far as a model is told of it.
fn capped(output: Value) -> Value {
    let text = output.to_string();
    if text.len() <= OUTPUT_MAX {
        return output;
    }
    // Whole rows are worth more than a cut text.
    if let Some(items) = output["items"].as_array() {
        let mut kept = Vec::new();
        let mut size = 64;
        for item in items {
            size += item.to_string().len() + 1;
            if size > OUTPUT_MAX {
                break;
            }
            kept.push(item.clone());
        }
        if !kept.is_empty() {
            let note = format!("only {} of {} rows are shown", kept.len(), items.len());
            return json!({"items": kept, "total": output["total"], "truncated": note});
        }
    }
    let mut end = OUTPUT_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    json!({"truncated": "only the beginning is shown", "text": text[..end]})
}
