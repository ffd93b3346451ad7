//! Filters of the fake data-svc: as much of ObjectQL as flows send it.

use serde_json::Value;

/// Whether a record fits a filter in either of its forms; everything fits none.
pub(crate) fn matches(filter: &Value, record: &Value) -> bool {
    match filter {
        Value::Null => true,
        Value::Array(list) => match list.first() {
            Some(Value::String(field)) => {
                compares(list[1].as_str().unwrap(), &record[field.as_str()], &list[2])
            }
            _ => list.iter().all(|one| matches(one, record)),
        },
        Value::Object(conditions) => conditions.iter().all(|(key, wanted)| match key.as_str() {
            "$and" => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|one| matches(one, record)),
            field => match wanted.as_object() {
                Some(operators) => operators
                    .iter()
                    .all(|(operator, wanted)| compares(operator, &record[field], wanted)),
                None => &record[field] == wanted,
            },
        }),
        other => panic!("no filter: {other}"),
    }
}

fn compares(operator: &str, value: &Value, wanted: &Value) -> bool {
    match operator {
        "=" => value == wanted,
        ">" | "$gt" => value.as_str() > wanted.as_str(),
        "$startsWith" => value
            .as_str()
            .unwrap()
            .starts_with(wanted.as_str().unwrap()),
        other => panic!("the fake does not know `{other}`"),
    }
}
