//! Reads JSON that came from a client, strictly.
//!
//! Invariant: what comes out is no deeper than 64, no object has a key twice or more than 1,000
//! keys, no array more than 10,000 elements.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

const DEPTH_MAX: usize = 64;
const KEYS_MAX: usize = 1_000;
const ELEMENTS_MAX: usize = 10_000;

/// Reads one JSON text; the error is a sentence for the client.
pub(super) fn read(text: &[u8]) -> Result<Json, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0 }
        .deserialize(&mut reader)
        .map_err(|error| error.to_string())?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// The same JSON with sorted keys, so that equal filters have equal text.
pub(super) fn canonical(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<(&String, &Json)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Json::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.clone(), canonical(value)))
                    .collect(),
            )
        }
        Json::Array(items) => Json::Array(items.iter().map(canonical).collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.clone(),
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn below<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!("deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(below)? {
            if items.len() == ELEMENTS_MAX {
                return Err(de::Error::custom(format!(
                    "an array of more than {ELEMENTS_MAX} elements"
                )));
            }
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key `{key}` occurs twice")));
            }
            if map.len() == KEYS_MAX {
                return Err(de::Error::custom(format!(
                    "an object of more than {KEYS_MAX} keys"
                )));
            }
            let value = access.next_value_seed(below)?;
            map.insert(key, value);
        }
        Ok(Json::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a18_a24_duplicates_depth_and_trailing_data_are_refused() {
        assert!(read(br#"{"a":1,"b":[true,null,"x",1.5,-3]}"#).is_ok());
        assert!(read(br#"{"a":1,"a":2}"#).is_err_and(|error| error.contains("twice")));
        assert!(read(br#"{"a":1} x"#).is_err());
        assert!(read(b"\xef\xbb\xbf{}").is_err());
        assert!(read(br#""\ud800""#).is_err());
        assert!(read(b"1e400").is_err());
        assert!(read("[".repeat(10_000).as_bytes()).is_err());
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert!(read(deep.as_bytes()).is_err_and(|error| error.contains("deeper")));
        let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert!(read(deep.as_bytes()).is_ok());
    }
}
