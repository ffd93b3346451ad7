//! Canonical JSON and its hash, by which overlay writes and history name a revision of an item.
//!
//! Invariant: two values that differ only in key order hash alike.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Compact JSON with the keys of every object sorted.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// `sha256:<hex>` of the canonical JSON.
pub fn hash(value: &Value) -> String {
    let digest = Sha256::digest(to_string(value).as_bytes());
    let mut out = String::with_capacity(7 + 64);
    out.push_str("sha256:");
    for byte in digest.iter() {
        out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        out.push(char::from_digit(u32::from(byte & 0xf), 16).unwrap_or('0'));
    }
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for (i, entry) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(entry, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_value(&map[key], out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_does_not_matter() {
        let a = json!({"b": [1, {"y": 1, "x": "\""}], "a": null});
        let b = json!({"a": null, "b": [1, {"x": "\"", "y": 1}]});
        assert_eq!(to_string(&a), r#"{"a":null,"b":[1,{"x":"\"","y":1}]}"#);
        assert_eq!(hash(&a), hash(&b));
        assert_ne!(hash(&a), hash(&json!({})));
    }

    #[test]
    fn hash_is_sha256_in_hex() {
        assert_eq!(
            hash(&json!({})),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }
}
