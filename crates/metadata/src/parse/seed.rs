//! Seed items.

use serde_json::Value;

use crate::reader::{Reader, Sink};
use crate::seed::{Seed, SeedMode};

/// `name` doubles as the object where the item names none: a file `data/account.yaml`.
pub(crate) fn seed(name: &str, value: &Value, path: String, sink: &Sink) -> Option<Seed> {
    let reader = Reader::new(value, path, sink)?;
    let object = reader.string(&["object", "objectName"]);
    let mode = reader.string(&["mode"]);
    let mode = match mode.as_deref().map(|word| (word, SeedMode::parse(word))) {
        None => SeedMode::default(),
        Some((_, Some(mode))) => mode,
        Some((word, None)) => {
            reader.warn(
                "UNKNOWN_SEED_MODE",
                reader.at("mode"),
                format!("seed mode \"{word}\" is unknown; upsert is used"),
                "use insert, update, upsert, replace or ignore",
            );
            SeedMode::default()
        }
    };
    let mut records = Vec::new();
    match reader.raw(&["records", "data"]) {
        Some(Value::Array(list)) => {
            for (i, record) in list.iter().enumerate() {
                let Value::Object(record) = record else {
                    reader.error(
                        "INVALID_RECORD",
                        reader.at(&format!("records[{i}]")),
                        "a seed record must be an object of field values; left out".to_owned(),
                        "write it as a map of field names and values",
                    );
                    continue;
                };
                records.push(record.clone());
            }
        }
        _ => reader.warn(
            "SEED_EMPTY",
            reader.at("records"),
            "the seed has no list of records".to_owned(),
            "add `records:` with one map of field values per record",
        ),
    }
    Some(Seed {
        name: name.to_owned(),
        object: object.unwrap_or_else(|| name.to_owned()),
        external_id: reader
            .string(&["externalId", "external_id"])
            .unwrap_or_else(|| "name".to_owned()),
        mode,
        env: reader.strings(&["env"]).unwrap_or_default(),
        records,
    })
}
