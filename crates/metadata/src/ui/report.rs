//! Reports and the datasets they may be made over (docs/reference/reports-forms.md).

use serde_json::Value;

use super::view::Column;
use crate::diagnostics::Diagnostic;
use crate::reader::{Reader, Sink};

/// Grouped and summed up records.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// One or two sentences.
    pub description: Option<String>,
    /// The object whose records they are.
    pub object: Option<String>,
    /// How they are arranged.
    pub kind: ReportKind,
    /// What is shown or summed up of them.
    pub columns: Vec<Column>,
    /// What makes a row.
    pub groupings_down: Vec<Grouping>,
    /// What makes a column of a matrix.
    pub groupings_across: Vec<Grouping>,
    /// Which records count, as a where object.
    pub filter: Option<Value>,
    /// A query in place of columns and groupings, as written (ObjectQL).
    pub query: Option<Value>,
    /// How it is drawn, as written.
    pub chart: Option<Value>,
    /// The parts of a joined report.
    pub blocks: Vec<Report>,
    /// The dataset it is made over, in place of an object.
    pub dataset: Option<String>,
    /// Dimensions of the dataset that make rows.
    pub rows: Vec<String>,
    /// Measures of the dataset.
    pub values: Vec<String>,
}

/// How the records of a report are arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportKind {
    /// One row a record; also where nothing is said.
    Tabular,
    /// One row a group.
    Summary,
    /// Groups down and across.
    Matrix,
    /// Several reports.
    Joined,
    /// One that is not known here.
    Other(String),
}

/// What records are grouped by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Its number among those written.
    pub place: usize,
    /// The field.
    pub field: String,
    /// Whether the groups are in falling order.
    pub is_descending: bool,
    /// What moments are rounded down to: day, week, month, quarter, year.
    pub date_granularity: Option<String>,
}

impl Report {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("reports.{name}"), &sink);
        let report = reader.map(|reader| Self::read(name, &reader));
        (report, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let mut report = Self::part(name, reader);
        for (place, block) in reader.objects(&["blocks"]) {
            let name = block.string(&["name"]);
            let name = name.unwrap_or_else(|| format!("block_{}", place + 1));
            report.blocks.push(Self::part(&name, &block));
        }
        report
    }

    /// A report without its blocks, which have none themselves.
    fn part(name: &str, reader: &Reader<'_>) -> Self {
        let kind = reader.string(&["type"]);
        let names = |key: &str| match reader.raw(&[key]) {
            Some(Value::Array(_)) => reader.strings(&[key]).unwrap_or_default(),
            _ => Vec::new(),
        };
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            description: reader.string(&["description"]),
            object: reader.string(&["objectName", "object"]),
            kind: match kind.as_deref() {
                None | Some("tabular") => ReportKind::Tabular,
                Some("summary") => ReportKind::Summary,
                Some("matrix") => ReportKind::Matrix,
                Some("joined") => ReportKind::Joined,
                Some(other) => ReportKind::Other(other.to_owned()),
            },
            columns: Column::read_all(reader, "columns"),
            groupings_down: groupings(reader, "groupingsDown"),
            groupings_across: groupings(reader, "groupingsAcross"),
            filter: reader.raw(&["filter", "runtimeFilter"]).cloned(),
            query: reader.raw(&["query"]).cloned(),
            chart: reader.raw(&["chart"]).cloned(),
            blocks: Vec::new(),
            dataset: reader.string(&["dataset"]),
            rows: names("rows"),
            values: names("values"),
        }
    }
}

fn groupings(reader: &Reader<'_>, key: &str) -> Vec<Grouping> {
    let mut groupings = Vec::new();
    let list = reader.raw(&[key]).and_then(Value::as_array);
    for (place, entry) in list.into_iter().flatten().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        if let Some(field) = entry.as_str().or_else(|| text("field")) {
            groupings.push(Grouping {
                place,
                field: field.to_owned(),
                is_descending: text("sortOrder") == Some("desc"),
                date_granularity: text("dateGranularity").map(str::to_owned),
            });
        }
    }
    groupings
}

/// Dimensions and measures over an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// The object.
    pub object: Option<String>,
    /// What it may be grouped by.
    pub dimensions: Vec<Dimension>,
    /// What may be summed up.
    pub measures: Vec<Measure>,
    /// Which records count, as a where object.
    pub filter: Option<Value>,
}

/// What a dataset may be grouped by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimension {
    /// Its name.
    pub name: String,
    /// The field.
    pub field: String,
    /// What moments are rounded down to.
    pub date_granularity: Option<String>,
}

/// What may be summed up over a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// sum, avg, max, min, count, unique; count unless written.
    pub aggregate: String,
    /// The field; a count needs none.
    pub field: Option<String>,
    /// Which of the records count, as a where object.
    pub filter: Option<Value>,
}

impl Dataset {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("datasets.{name}"), &sink);
        let dataset = reader.map(|reader| Self::read(name, &reader));
        (dataset, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let mut dimensions = Vec::new();
        for (_, one) in reader.objects(&["dimensions"]) {
            let (name, field) = (one.string(&["name"]), one.string(&["field"]));
            if let Some(field) = field.or_else(|| name.clone()) {
                dimensions.push(Dimension {
                    name: name.unwrap_or_else(|| field.clone()),
                    field,
                    date_granularity: one.string(&["dateGranularity"]),
                });
            }
        }
        let mut measures = Vec::new();
        for (place, one) in reader.objects(&["measures"]) {
            let name = one.string(&["name"]);
            measures.push(Measure {
                name: name.unwrap_or_else(|| format!("measure_{}", place + 1)),
                aggregate: one
                    .string(&["aggregate", "function"])
                    .unwrap_or_else(|| "count".to_owned()),
                field: one.string(&["field"]),
                filter: one.raw(&["filter"]).cloned(),
            });
        }
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            object: reader.string(&["object", "objectName"]),
            dimensions,
            measures,
            filter: reader.raw(&["filter"]).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_says_what_it_groups_and_sums_up() {
        let value = json!({"objectName": "deal", "type": "matrix", "columns": [{"field": "amount", "aggregate": "sum"}],
            "groupingsDown": [{"field": "closed_at", "dateGranularity": "month"}],
            "groupingsAcross": ["stage"], "blocks": [{"objectName": "lead", "columns": ["name"]}]});
        let report = Report::from_value("r", &value).0.unwrap();
        assert_eq!(report.kind, ReportKind::Matrix);
        assert_eq!(report.columns[0].aggregate.as_deref(), Some("sum"));
        assert_eq!(
            report.groupings_down[0].date_granularity.as_deref(),
            Some("month")
        );
        assert_eq!(report.groupings_across[0].field, "stage");
        assert_eq!(report.blocks[0].object.as_deref(), Some("lead"));
    }
}
