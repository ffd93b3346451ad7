//! What a view is called when nobody named it.

use serde_json::Value;

use crate::object::Object;

/// The object of a view container: its list's, its form's, or that of any named view in it.
pub(crate) fn view_object(view: &Value) -> Option<String> {
    parts(view)
        .find_map(|part| part.pointer("/data/object").and_then(Value::as_str))
        .or_else(|| view.pointer("/data/object").and_then(Value::as_str))
        .map(str::to_owned)
}

/// The one object that declares every field the view shows.
pub(super) fn object_by_fields(view: &Value, objects: &[Object]) -> Option<String> {
    let mut shown = Vec::new();
    for part in parts(view).chain([view]) {
        for key in ["columns", "fields"] {
            collect(part.get(key), &mut shown);
        }
        for key in ["sections", "groups"] {
            for section in part
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                collect(section.get("fields"), &mut shown);
            }
        }
    }
    if shown.is_empty() {
        return None;
    }
    let declares_all = |object: &&Object| {
        let has = |name: &&str| object.fields.contains_key(*name) || is_server_field(name);
        shown.iter().all(has)
    };
    let mut fitting = objects.iter().filter(declares_all);
    let first = fitting.next()?;
    fitting.next().is_none().then(|| first.name.clone())
}

fn parts(view: &Value) -> impl Iterator<Item = &Value> {
    let single = ["list", "form"].into_iter().filter_map(|key| view.get(key));
    let named = ["listViews", "formViews"]
        .into_iter()
        .filter_map(|key| view.get(key))
        .flat_map(|views| match views {
            Value::Object(map) => map.values().collect::<Vec<_>>(),
            Value::Array(list) => list.iter().collect(),
            _ => Vec::new(),
        });
    single.chain(named)
}

fn collect<'a>(list: Option<&'a Value>, shown: &mut Vec<&'a str>) {
    for entry in list.and_then(Value::as_array).into_iter().flatten() {
        let name = entry.as_str().or_else(|| entry.get("field")?.as_str());
        // A dotted path starts with a field of this object.
        shown.extend(name.and_then(|name| name.split('.').next()));
    }
}

/// Views may show what the server adds, which no object declares.
fn is_server_field(name: &str) -> bool {
    matches!(
        name,
        "id" | "created_at" | "created_by" | "updated_at" | "updated_by" | "version" | "owner_id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn object_from_data_wherever_it_stands() {
        for view in [
            json!({"list": {"data": {"object": "ticket"}}}),
            json!({"form": {"data": {"object": "ticket"}}}),
            json!({"listViews": {"a": {}, "b": {"data": {"object": "ticket"}}}}),
            json!({"data": {"object": "ticket"}}),
        ] {
            assert_eq!(view_object(&view).as_deref(), Some("ticket"), "{view}");
        }
    }

    #[test]
    fn object_from_fields_only_when_one_fits() {
        let object = |name: &str, fields: Value| {
            Object::from_value(name, &json!({"fields": fields}))
                .0
                .unwrap()
        };
        let text = json!({"type": "text"});
        let objects = [
            object("a", json!({"name": text, "city": text})),
            object("b", json!({"name": text, "stage": text})),
        ];
        let by = |view: Value| object_by_fields(&view, &objects);
        let staged = json!({"listViews": {"x": {"columns": ["name", {"field": "stage"}]}}});
        assert_eq!(by(staged).as_deref(), Some("b"));
        assert_eq!(by(json!({"list": {"columns": ["name"]}})), None);
        assert_eq!(by(json!({"list": {}})), None);
    }
}
