//! The tools over records and metadata, which there are whatever the app declares.

use metadata::canonical;
use serde_json::{Value, json};

use super::{Change, Kind, Read, Tool};
use crate::provider::ToolSpec;

/// The tools over records and metadata.
pub(super) fn tools() -> Vec<Tool> {
    let text = |what: &str| json!({"type": "string", "description": what});
    let object = text("Name of the object, as list_objects gives it");
    let record = text("Id of the record");
    let filter = json!({"type": "object", "description":
        "Filter: {\"field\": value} or {\"field\": {\"$gt\": 1}}; also $eq $ne $gt $gte $lt $lte $in $nin $contains, $and, $or"});
    let names = json!({"type": "array", "items": {"type": "string"}});
    let data = json!({"type": "object", "description": "Values by field name"});
    vec![
        tool(
            "list_objects",
            Kind::Read(Read::ListObjects),
            "Lists the objects (kinds of records) that the user may read",
            json!({}),
            &[],
        ),
        tool(
            "describe_object",
            Kind::Read(Read::DescribeObject),
            "Shows the fields of an object",
            json!({"objectName": object}),
            &["objectName"],
        ),
        tool(
            "query_records",
            Kind::Read(Read::QueryRecords),
            "Finds records of an object",
            json!({
                "objectName": object, "where": filter, "fields": names,
                "orderBy": {"type": "array", "items": {"type": "object", "required": ["field"],
                    "additionalProperties": false,
                    "properties": {"field": {"type": "string"}, "order": {"type": "string", "enum": ["asc", "desc"]}}}},
                "limit": {"type": "integer", "minimum": 1, "maximum": 200},
                "offset": {"type": "integer", "minimum": 0},
            }),
            &["objectName"],
        ),
        tool(
            "get_record",
            Kind::Read(Read::GetRecord),
            "Reads one record",
            json!({"objectName": object, "recordId": record, "fields": names}),
            &["objectName", "recordId"],
        ),
        tool(
            "aggregate_data",
            Kind::Read(Read::AggregateData),
            "Counts, sums and groups records",
            json!({
                "objectName": object, "where": filter,
                "groupBy": {"type": "array", "description": "Field names, or {field, dateGranularity, alias}"},
                "aggregations": {"type": "array", "items": {"type": "object", "required": ["function", "alias"],
                    "properties": {"function": {"type": "string", "enum": ["count", "sum", "avg", "min", "max", "count_distinct"]},
                        "field": {"type": "string"}, "alias": {"type": "string"}}}},
            }),
            &["objectName", "aggregations"],
        ),
        tool(
            "create_record",
            Kind::Change(Change::CreateRecord),
            "Proposes a new record; a person approves it before it is made",
            json!({"objectName": object, "data": data}),
            &["objectName", "data"],
        ),
        tool(
            "update_record",
            Kind::Change(Change::UpdateRecord),
            "Proposes a change of a record; a person approves it before it is made",
            json!({"objectName": object, "recordId": record, "data": data}),
            &["objectName", "recordId", "data"],
        ),
        tool(
            "delete_record",
            Kind::Change(Change::DeleteRecord),
            "Proposes to delete a record; a person approves it before it is done",
            json!({"objectName": object, "recordId": record}),
            &["objectName", "recordId"],
        ),
    ]
}

fn tool(name: &str, kind: Kind, description: &str, properties: Value, required: &[&str]) -> Tool {
    let parameters = json!({"type": "object", "properties": properties, "required": required,
        "additionalProperties": false});
    Tool {
        hash: canonical::hash(&json!([name, parameters])),
        spec: ToolSpec {
            name: name.to_owned(),
            description: description.to_owned(),
            parameters,
        },
        // The model cannot write by itself.
        waits: matches!(kind, Kind::Change(_)),
        kind,
    }
}
