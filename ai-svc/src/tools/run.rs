//! A call of a tool: its input is checked, then it runs as the user, or waits for a person. What goes
//! wrong is told to the model, which may try otherwise.

use std::time::Duration;

use mesh::{Ctx, Error, Result, error::Reason};
use serde_json::{Map, Value, json};

use super::{Kind, Services, Tool};
use crate::domain::schema;

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
    /// It waits for a person.
    Waits,
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
    if tool.waits {
        return Called::Waits;
    }
    match run(services, ctx, tool, input, key).await {
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

async fn run(
    services: &Services,
    ctx: &Ctx,
    tool: &Tool,
    input: &Value,
    key: &str,
) -> Result<Value> {
    let text = |key: &str| input[key].as_str().unwrap_or_default();
    let object = text("objectName");
    match &tool.kind {
        Kind::ListObjects => {
            let objects = services.items(ctx, "object").await?;
            let shown = objects.iter().map(|object| {
                json!({"name": object["name"], "label": object["label"], "description": object["description"]})
            });
            Ok(json!({"objects": shown.collect::<Vec<_>>()}))
        }
        Kind::DescribeObject => {
            let item = services.item(ctx, "object", object).await?;
            Ok(described(&item))
        }
        Kind::QueryRecords => {
            let mut query = chosen(input, &["where", "fields", "orderBy", "offset"]);
            let limit = input["limit"].as_u64().unwrap_or(ROWS);
            query.insert("limit".to_owned(), json!(limit));
            services.query(ctx, object, &Value::Object(query)).await
        }
        Kind::GetRecord => {
            let fields = input["fields"].as_array().map_or(&[][..], Vec::as_slice);
            let fields: Vec<&str> = fields.iter().filter_map(Value::as_str).collect();
            let fields = fields.join(",");
            let found = services.get(ctx, object, text("recordId"), &fields);
            Ok(found.await?.0)
        }
        Kind::AggregateData => {
            let query = chosen(input, &["where", "groupBy", "aggregations"]);
            services.query(ctx, object, &Value::Object(query)).await
        }
        Kind::Action { .. } | Kind::Flow { .. } => {
            carry_out(services, ctx, &tool.kind, input, None, key).await
        }
        Kind::CreateRecord | Kind::UpdateRecord | Kind::DeleteRecord => Err(Error::internal(
            anyhow::anyhow!("a write of a record that does not wait"),
        )),
    }
}

/// Makes a mutation, once for each key that is not empty; a record must have that version still.
///
/// # Errors
/// Those of the service that makes it.
pub(crate) async fn carry_out(
    services: &Services,
    ctx: &Ctx,
    kind: &Kind,
    input: &Value,
    version: Option<i64>,
    key: &str,
) -> Result<Value> {
    let text = |key: &str| input[key].as_str().unwrap_or_default();
    let target = (text("objectName"), text("recordId"));
    // An object that keeps no versions says 0.
    let version = version.filter(|version| *version > 0);
    let version = version.map_or_else(String::new, |version| version.to_string());
    match kind {
        Kind::CreateRecord => services.create(ctx, target.0, &input["data"], key).await,
        Kind::UpdateRecord => {
            let patch = &input["data"];
            services.update(ctx, target, patch, &version, key).await
        }
        Kind::DeleteRecord => services.delete(ctx, target, &version, key).await,
        Kind::Action {
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
        Kind::Flow { name } => {
            let run = services.start(ctx, name, input, key).await?;
            if run["status"] != "failed" {
                return Ok(run);
            }
            let why = run["error"]["message"].as_str();
            let why = why.unwrap_or("the run failed");
            let failed = Error::new(Reason::FlowFailed, format!("Flow {name}: {why}"));
            Err(failed.with("runId", run["id"].clone()))
        }
        Kind::ListObjects
        | Kind::DescribeObject
        | Kind::QueryRecords
        | Kind::GetRecord
        | Kind::AggregateData => Err(Error::internal(anyhow::anyhow!("this changes nothing"))),
    }
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
