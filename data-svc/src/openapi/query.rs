//! What a query's body takes: ObjectQL, as far as this runtime serves it.

use mesh::openapi::{Fragment, reference};
use serde_json::{Value, json};

/// Name of the component.
pub(super) const QUERY: &str = "ObjectQuery";

/// Says what the generic query route takes.
pub(super) fn describe(fragment: &mut Fragment) {
    let path = fragment.paths.get_mut("/api/v1/data/{object}/query");
    if let Some(operation) = path.and_then(|path| path.get_mut("post")) {
        let schema = operation
            .get_mut("requestBody")
            .and_then(|body| body.pointer_mut("/content/application~1json/schema"));
        if let Some(schema) = schema {
            *schema = reference(QUERY);
            fragment.schemas.insert(QUERY.to_owned(), schema_of_query());
        }
    }
}

/// The component.
pub(super) fn schema_of_query() -> Value {
    let names = json!({"anyOf": [
        {"type": "array", "items": {"type": "string"}},
        {"type": "string"},
    ]});
    let described = |mut schema: Value, text: &str| {
        schema["description"] = json!(text);
        schema
    };
    let number = |text: &str| json!({"type": "integer", "minimum": 0, "description": text});
    json!({
        "type": "object",
        "description": "An ObjectQL query. Every key may be left out.",
        "properties": {
            "where": described(
                json!({"anyOf": [{"type": "object"}, {"type": "array", "items": {}}]}),
                "Which records: fields with values or operators, for example \
                 `{\"status\":{\"$in\":[\"open\",\"pending\"]}}`, joined by `$and`, `$or`, `$not`.",
            ),
            "fields": described(
                names,
                "Fields to answer; `id` always comes along. Also as `select`.",
            ),
            "orderBy": described(
                json!({"anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {}},
                    {"type": "object", "additionalProperties": {"type": "string"}},
                ]}),
                "Sort keys: `-created_at,subject`, or `[{\"field\":\"created_at\",\"order\":\"desc\"}]`.",
            ),
            "limit": number("Records a page; default 50, at most the object's `maxPageSize`."),
            "offset": number("Records to skip; not together with `cursor`."),
            "cursor": {
                "type": "string",
                "description": "Where to go on: `nextCursor` of the page before.",
            },
            "expand": described(
                json!({"anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {}},
                    {"type": "object"},
                ]}),
                "Lookup fields to replace by the records they point to: `customer,owner_id`.",
            ),
            "groupBy": described(
                json!({"type": "array", "items": {"anyOf": [{"type": "string"}, {
                    "type": "object",
                    "required": ["field"],
                    "properties": {
                        "field": {"type": "string"},
                        "dateGranularity": {
                            "type": "string",
                            "enum": ["year", "quarter", "month", "week", "day", "hour"],
                        },
                        "alias": {"type": "string"},
                    },
                }]}}),
                "Answers a row for each combination of these values instead of records; dates may be cut.",
            ),
            "aggregations": described(
                json!({"type": "array", "items": {
                    "type": "object",
                    "required": ["function", "alias"],
                    "properties": {
                        "function": {
                            "type": "string",
                            "enum": ["count", "count_distinct", "sum", "avg", "min", "max"],
                        },
                        "field": {"type": "string"},
                        "alias": {"type": "string"},
                        "distinct": {"type": "boolean"},
                        "filter": {"type": "object"},
                    },
                }}),
                "What is counted and added up in each group, or over all; `alias` names it in the answer.",
            ),
            "having": described(
                json!({"anyOf": [{"type": "object"}, {"type": "array", "items": {}}]}),
                "Which groups: as `where`, over group keys and aliases.",
            ),
            "count": {"type": "boolean", "description": "False leaves `total` out."},
            "distinct": {
                "type": "boolean",
                "description": "Answers each combination of the chosen fields once, and only those fields.",
            },
        },
    })
}
