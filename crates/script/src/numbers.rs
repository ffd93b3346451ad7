//! Numbers that a script only carried through.

use serde_json::Value;

/// Puts back numbers that the script did not change but that JavaScript cannot hold: beyond 2^53 they
/// came back rounded.
pub(crate) fn restore(given: &Value, returned: &mut Value) {
    match (given, returned) {
        (Value::Number(given), Value::Number(returned))
            if given != returned && given.as_f64() == returned.as_f64() =>
        {
            *returned = given.clone();
        }
        (Value::Array(given), Value::Array(returned)) => {
            for (given, returned) in given.iter().zip(returned) {
                restore(given, returned);
            }
        }
        (Value::Object(given), Value::Object(returned)) => {
            for (key, returned) in returned {
                if let Some(given) = given.get(key) {
                    restore(given, returned);
                }
            }
        }
        _ => {}
    }
}
