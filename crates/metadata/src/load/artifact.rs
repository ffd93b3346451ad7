//! Compiled artifacts: the bare stack and the envelope.

use std::path::Path;

use serde_json::Value;

use super::{Raw, Stack, spread};
use crate::diagnostics::Diagnostic;
use crate::item_type::ItemType;
use crate::reader::kind;

pub(super) fn stack(value: Value, origin: Option<&Path>) -> Stack {
    let mut stack = Stack {
        manifest_file: origin.map(Path::to_path_buf),
        ..Stack::default()
    };
    read_stack(unwrap_envelope(value), origin, &mut stack);
    stack
}

/// The stack inside an envelope; its `functions` list counts where the stack has none.
fn unwrap_envelope(value: Value) -> Value {
    let Value::Object(mut map) = value else {
        return value;
    };
    if !map.contains_key("schemaVersion") || !map.get("metadata").is_some_and(Value::is_object) {
        return Value::Object(map);
    }
    let functions = map.remove("functions");
    let mut stack = map.remove("metadata").unwrap_or_default();
    if let (Some(functions), Value::Object(inner)) = (functions, &mut stack) {
        inner.entry("functions").or_insert(functions);
    }
    stack
}

/// Reads the keys of a bare stack. Also used for a manifest file that holds a whole stack.
pub(super) fn read_stack(value: Value, file: Option<&Path>, stack: &mut Stack) {
    let Value::Object(map) = value else {
        stack.diagnostics.push(
            Diagnostic::error(
                "INVALID_ARTIFACT",
                "",
                format!("an artifact is a JSON object, found {}", kind(&value)),
            )
            .with_hint("compile the application again, or point at its artifact")
            .with_file(file.map(Path::to_path_buf)),
        );
        return;
    };
    for (key, value) in map {
        match key.as_str() {
            "manifest" => {
                if let Some(seeds) = value.get("data").filter(|data| data.is_array()) {
                    spread(ItemType::Seed, "manifest.data", seeds.clone(), file, stack);
                }
                stack.manifest = value;
            }
            "objectExtensions" => read_extensions(value, file, stack),
            "auth" => stack.auth = Some(value),
            _ => match ItemType::from_collection_key(&key) {
                Some(item_type) => spread(item_type, &key, value, file, stack),
                None => {
                    stack.extra.insert(key, value);
                }
            },
        }
    }
}

pub(super) fn read_extensions(value: Value, file: Option<&Path>, stack: &mut Stack) {
    let mut collected = Stack::default();
    spread(
        ItemType::Object,
        "objectExtensions",
        value,
        file,
        &mut collected,
    );
    let extensions: Vec<Raw> = collected.items;
    stack.extensions.extend(extensions);
    stack.diagnostics.extend(collected.diagnostics);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn envelope_is_unwrapped_only_when_it_is_one() {
        let inner = json!({"manifest": {"id": "a.b"}});
        let envelope = json!({"schemaVersion": "1", "metadata": inner, "functions": ["f"]});
        let unwrapped = unwrap_envelope(envelope);
        assert_eq!(
            unwrapped,
            json!({"manifest": {"id": "a.b"}, "functions": ["f"]})
        );
        let bare = json!({"schemaVersion": "1", "objects": []});
        assert_eq!(unwrap_envelope(bare.clone()), bare);
    }
}
