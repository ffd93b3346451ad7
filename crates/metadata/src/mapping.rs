//! Import mappings: how the columns of a file become fields (docs/reference/data-api.md, "Import").

use serde_json::Value;

use crate::diagnostics::Diagnostic;
use crate::reader::{Reader, Sink};

/// A named mapping of columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// The object that is imported into.
    pub object: Option<String>,
    /// Column and field, in the order written. A column that is not there stands for itself.
    pub columns: Vec<ColumnMapping>,
    /// What is done with rows: insert, update, upsert; the import says where nothing is written.
    pub mode: Option<String>,
    /// The fields by which rows find the records they change.
    pub match_fields: Vec<String>,
}

/// A column and the field it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMapping {
    /// Header of the column.
    pub source: String,
    /// The field.
    pub target: String,
}

impl Mapping {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("mappings.{name}"), &sink);
        let mapping = reader.map(|reader| Self::read(name, &reader));
        (mapping, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            object: reader.string(&["objectName", "object", "targetObject"]),
            columns: columns(reader),
            mode: reader.string(&["mode", "writeMode"]),
            match_fields: reader
                .strings(&["matchFields", "upsertKey", "externalId"])
                .unwrap_or_default(),
        }
    }
}

/// `{column: field}`, or `[{source, target}]`.
fn columns(reader: &Reader<'_>) -> Vec<ColumnMapping> {
    let keys = ["mapping", "fieldMapping", "columns", "fields"];
    if let Some(Value::Object(map)) = reader.raw(&keys) {
        let named = map.iter().filter_map(|(source, target)| {
            Some(ColumnMapping {
                source: source.clone(),
                target: target.as_str()?.to_owned(),
            })
        });
        return named.collect();
    }
    let mut columns = Vec::new();
    for (_, one) in reader.objects(&keys) {
        let ends = one
            .string(&["source", "column"])
            .zip(one.string(&["target", "field"]));
        if let Some((source, target)) = ends {
            columns.push(ColumnMapping { source, target });
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_as_a_map_or_a_list() {
        let of = |mapping: Value| {
            let value = json!({"object": "lead", "mapping": mapping});
            Mapping::from_value("m", &value).0.unwrap().columns
        };
        let map = of(json!({"E-Mail": "email"}));
        assert_eq!(map, of(json!([{"source": "E-Mail", "target": "email"}])));
        assert_eq!(map[0].target, "email");
    }
}
