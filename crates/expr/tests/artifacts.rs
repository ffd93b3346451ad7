//! Every expression of the real artifacts compiles, and has the value it should.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::Path;

use expr::{Cron, Interpolation, Program, ResultType, Scope, Template};
use serde_json::{Value, json};
use time::macros::datetime;

/// Keys whose text is CEL without an envelope.
const CONDITIONS: [&str; 4] = ["condition", "expression", "entryCriteria", "criteria"];

/// The texts of an artifact by their language: CEL, schedules, and texts with braces.
#[derive(Default)]
struct Texts {
    cel: Vec<String>,
    cron: Vec<String>,
    braces: Vec<String>,
}

impl Texts {
    fn collect(&mut self, key: &str, value: &Value) {
        match value {
            Value::String(text) if CONDITIONS.contains(&key) => self.cel.push(text.clone()),
            Value::String(text) if key == "schedule" || key == "cron" => {
                self.cron.push(text.clone());
            }
            // Scripts have braces of their own.
            Value::String(text) if text.contains('{') && key != "source" => {
                self.braces.push(text.clone());
            }
            Value::Object(envelope) if envelope.get("dialect") == Some(&json!("cel")) => {
                let source = envelope.get("source").and_then(Value::as_str).unwrap();
                self.cel.push(source.to_owned());
            }
            Value::Object(entries) => entries
                .iter()
                .for_each(|(key, value)| self.collect(key, value)),
            Value::Array(items) => items.iter().for_each(|item| self.collect(key, item)),
            _ => {}
        }
    }
}

fn artifact(name: &str) -> Option<Texts> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = root.join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not here", path.display());
        return None;
    };
    let mut texts = Texts::default();
    texts.collect("", &serde_json::from_str(&text).unwrap());
    Some(texts)
}

#[test]
fn every_expression_of_the_artifacts_is_understood() {
    let now = datetime!(2026-11-25 14:30 UTC);
    // What holds for a record of any object, none of whose fields are set.
    let record = json!({"stage": "closed_won", "status": "completed", "amount": 200_000, "discount_percent": 50,
        "close_date": "2026-12-01", "first_name": "Ada", "last_name": "Lovelace", "probability": 33,
        "quantity": 3, "unit_price": 19.99, "lead_score": 50});
    let none = json!({});
    let vars =
        json!({"completedTask": {"is_recurring": true}, "lead_record": {"status": "converted"}});
    let scope = Scope::new(now).record(&record).previous(&none).vars(&vars);
    let mut found = 0;
    for name in ["app-crm-v6", "app-crm", "app-todo"] {
        let Some(texts) = artifact(&format!("{name}.objectstack.json")) else {
            continue;
        };
        for source in &texts.cel {
            let program = Program::compile(source)
                .unwrap_or_else(|error| panic!("{name}: {source}: {error}"));
            let value = program
                .evaluate(&scope)
                .unwrap_or_else(|error| panic!("{name}: {source}: {error}"));
            println!("{name}: {source} = {value}");
        }
        for source in &texts.cron {
            assert!(
                Cron::parse(source, None).unwrap().next_after(now).is_some(),
                "{source}"
            );
        }
        for source in &texts.braces {
            Interpolation::compile(source).resolve(&scope).unwrap();
            Template::compile(source).unwrap();
        }
        assert!(texts.cel.len() > 10 && !texts.braces.is_empty(), "{name}");
        found += texts.cel.len();
    }
    println!("{found} expressions");
}

#[test]
fn the_formulas_of_the_artifacts_have_the_values_their_authors_mean() {
    let now = datetime!(2026-11-25 14:30 UTC);
    for (source, record, wanted, expected) in [
        (
            "(first_name == null ? '' : first_name + ' ') + last_name",
            json!({"first_name": "Ada", "last_name": "Lovelace"}),
            ResultType::Text,
            json!("Ada Lovelace"),
        ),
        (
            "(first_name == null ? '' : first_name + ' ') + last_name",
            json!({"last_name": "Lovelace"}),
            ResultType::Text,
            json!("Lovelace"),
        ),
        (
            "(amount == null ? 0 : amount) * (probability == null ? 0 : probability) / 100",
            json!({"amount": 1050.10, "probability": 33}),
            ResultType::Number,
            json!(346.533),
        ),
        (
            "(record.amount == null ? 0 : record.amount) * (record.probability == null ? 0 : record.probability) / 100",
            json!({}),
            ResultType::Number,
            json!(0),
        ),
        (
            "record.close_date == null ? 0 : daysBetween(today(), record.close_date)",
            json!({"close_date": "2026-12-25"}),
            ResultType::Number,
            json!(30),
        ),
        (
            "record.quantity * record.unit_price",
            json!({"quantity": 3, "unit_price": 19.99}),
            ResultType::Number,
            json!(59.97),
        ),
        (
            "record.close_date != null && record.close_date < now() && record.stage != \"closed_won\" && record.stage != \"closed_lost\"",
            json!({"close_date": "2026-11-24", "stage": "new"}),
            ResultType::Boolean,
            json!(true),
        ),
        (
            "daysFromNow(30)",
            json!({}),
            ResultType::Date,
            json!("2026-12-25"),
        ),
        (
            "daysAgo(2)",
            json!({}),
            ResultType::Moment,
            json!("2026-11-23T00:00:00.000Z"),
        ),
    ] {
        let scope = Scope::new(now).record(&record);
        let value = Program::compile(source)
            .unwrap()
            .evaluate_as(&scope, wanted);
        assert_eq!(value, Ok(expected), "{source} over {record}");
    }
    // An entry criterion over a field nobody filled in is not met, and says why.
    let record = json!({"discount_percent": null});
    let scope = Scope::new(now).record(&record);
    assert!(
        Program::compile("record.discount_percent > 20")
            .unwrap()
            .holds(&scope)
            .is_err()
    );
}
