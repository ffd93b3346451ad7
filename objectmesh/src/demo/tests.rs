use std::collections::{HashMap, HashSet};

use super::{options, *};

const INDUSTRIES: &[&str] = &[
    "technology",
    "manufacturing",
    "retail",
    "hospitality",
    "logistics",
    "healthcare",
    "finance",
    "education",
    "other",
];
const BASE: i64 = 1_780_000_000_000;

fn all() -> Vec<DemoRecord> {
    let ids: Vec<String> = (1..=4)
        .map(|number| format!("01JUSER000000000000000000{number}"))
        .collect();
    records(BASE, &ids).collect()
}

fn of<'a>(records: &'a [DemoRecord], object: &str) -> Vec<&'a Map<String, Value>> {
    records
        .iter()
        .filter(|record| record.object == object)
        .map(|record| &record.fields)
        .collect()
}

fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> &'a str {
    fields.get(key).and_then(Value::as_str).unwrap_or("")
}

fn checksum(records: &[DemoRecord]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for record in records {
        for byte in record
            .object
            .bytes()
            .chain(serde_json::to_vec(&record.fields).unwrap())
        {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[test]
fn the_same_arguments_give_the_same_records() {
    let records = all();
    assert!(records == all());
    assert_eq!(format!("{:016x}", checksum(&records)), "918fe89ff4d5ee1a");
}

#[test]
fn ids_do_not_depend_on_the_base_time() {
    let now: Vec<_> = records(BASE, &[])
        .map(|record| record.fields["id"].clone())
        .collect();
    let later = records(BASE + 40 * 86_400_000, &[]).map(|record| record.fields["id"].clone());
    assert!(later.eq(now));
}

#[test]
fn counts_are_as_promised() {
    let records = all();
    for (object, count) in [
        ("customer", CUSTOMERS),
        ("knowledge_article", 30),
        ("account", 40),
        ("contact", 80),
        ("lead", 60),
        ("opportunity", 50),
        ("support_ticket", TICKETS),
        ("comment", COMMENTS),
    ] {
        assert_eq!(of(&records, object).len(), count, "{object}");
    }
    let tickets = of(&records, "support_ticket");
    assert_eq!(
        tickets
            .iter()
            .filter(|ticket| ticket["status"] == "open")
            .count(),
        137
    );
}

#[test]
fn emails_slugs_and_ids_are_unique_and_well_formed() {
    let records = all();
    for (object, key) in [
        ("customer", "email"),
        ("knowledge_article", "slug"),
        ("account", "name"),
    ] {
        let values: HashSet<&str> = of(&records, object)
            .iter()
            .map(|fields| text(fields, key))
            .collect();
        assert_eq!(values.len(), of(&records, object).len(), "{object}.{key}");
        assert!(
            key == "name"
                || values
                    .iter()
                    .all(|value| value.is_ascii() && !value.is_empty())
        );
    }
    let seeds = include_str!("../../../examples/support-desk/data/knowledge_article.yaml");
    for article in of(&records, "knowledge_article") {
        assert!(!seeds.contains(&format!("slug: {}\n", text(article, "slug"))));
    }
    let ids: HashSet<&str> = records
        .iter()
        .map(|record| text(&record.fields, "id"))
        .collect();
    assert_eq!(ids.len(), records.len());
    let crockford = |id: &&str| {
        id.len() == 26
            && id
                .bytes()
                .all(|byte| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&byte))
    };
    assert!(ids.iter().all(crockford));
}

#[test]
fn no_letter_of_a_name_is_lost_in_its_address() {
    for country in names::countries() {
        let lists = [country.given, country.family, country.stems, country.trades];
        for letter in lists
            .into_iter()
            .flatten()
            .flat_map(|name| name.to_lowercase().chars().collect::<Vec<_>>())
        {
            let lost =
                letter.is_alphabetic() && names::address_part(&letter.to_string(), '-').is_empty();
            assert!(!lost, "{letter}");
        }
    }
}

#[test]
fn references_point_to_records_that_came_before() {
    let mut seen: HashMap<&str, HashSet<String>> = HashMap::new();
    for record in all() {
        for (key, target) in [
            ("customer", "customer"),
            ("ticket", "support_ticket"),
            ("account", "account"),
            ("primary_contact", "contact"),
        ] {
            if let Some(id) = record.fields.get(key).and_then(Value::as_str) {
                assert!(seen[target].contains(id), "{} {key} {id}", record.object);
            }
        }
        for key in ["assignee", "created_by", "owner_id"] {
            if record.fields.contains_key(key) {
                assert!(text(&record.fields, key).starts_with("01JUSER"));
            }
        }
        let id = text(&record.fields, "id").to_owned();
        seen.entry(record.object).or_default().insert(id);
    }
}

#[test]
fn history_is_in_order_and_in_the_past() {
    let records = all();
    let base = calendar::datetime(BASE);
    let mut opened: HashMap<&str, &str> = HashMap::new();
    let mut last = "";
    for ticket in of(&records, "support_ticket") {
        let created = text(ticket, "created_at");
        assert!(last <= created);
        last = created;
        opened.insert(text(ticket, "id"), created);
        let done = matches!(text(ticket, "status"), "resolved" | "closed");
        assert_eq!(done, ticket.contains_key("resolved_at"));
        if done {
            assert!(text(ticket, "resolved_at") > created, "{ticket:?}");
            assert!(
                text(ticket, "resolved_at") <= text(ticket, "updated_at"),
                "{ticket:?}"
            );
            assert!(ticket["first_response_minutes"].as_i64().unwrap() >= 0);
        }
        assert!(text(ticket, "due_at") > created);
    }
    let (mut ticket, mut previous) = ("", "");
    for comment in of(&records, "comment") {
        let created = text(comment, "created_at");
        if ticket != text(comment, "ticket") {
            (ticket, previous) = (text(comment, "ticket"), opened[text(comment, "ticket")]);
        }
        assert!(previous <= created, "{previous} {comment:?}");
        previous = created;
    }
    for record in &records {
        let (created, updated) = (
            text(&record.fields, "created_at"),
            text(&record.fields, "updated_at"),
        );
        assert!(created <= updated && updated <= base.as_str(), "{record:?}");
    }
}

#[test]
fn sentences_are_complete() {
    for record in all() {
        for key in ["subject", "description", "body", "notes"] {
            let value = text(&record.fields, key);
            assert!(!value.contains(['{', '}']), "{value}");
            assert!(
                key != "subject" || value.is_empty() || (5..=200).contains(&value.chars().count()),
                "{value}"
            );
        }
    }
}

#[test]
fn options_and_fields_are_those_of_the_example_app() {
    macro_rules! object {
        ($name:literal) => {
            (
                $name,
                include_str!(concat!(
                    "../../../examples/support-desk/objects/",
                    $name,
                    ".yaml"
                )),
            )
        };
    }
    let objects: HashMap<&str, &str> = HashMap::from([
        object!("customer"),
        object!("support_ticket"),
        object!("comment"),
        object!("knowledge_article"),
        object!("account"),
        object!("contact"),
        object!("lead"),
        object!("opportunity"),
    ]);
    let lists: [(&str, &str, &[&str]); 13] = [
        ("customer", "tier", options::TIERS),
        (
            "support_ticket",
            "status",
            &["open", "in_progress", "waiting", "resolved", "closed"],
        ),
        (
            "support_ticket",
            "priority",
            &["low", "medium", "high", "urgent"],
        ),
        (
            "support_ticket",
            "channel",
            &["email", "phone", "web", "chat"],
        ),
        ("comment", "kind", &["reply", "note"]),
        (
            "knowledge_article",
            "category",
            &[
                "getting_started",
                "hardware",
                "account",
                "billing",
                "integrations",
                "mobile",
                "troubleshooting",
            ],
        ),
        ("account", "industry", INDUSTRIES),
        ("lead", "industry", INDUSTRIES),
        (
            "lead",
            "status",
            &["new", "contacted", "qualified", "unqualified", "converted"],
        ),
        ("lead", "lead_source", options::LEAD_SOURCES),
        ("opportunity", "lead_source", options::LEAD_SOURCES),
        (
            "opportunity",
            "stage",
            &[
                "qualification",
                "needs_analysis",
                "proposal",
                "negotiation",
                "closed_won",
                "closed_lost",
            ],
        ),
        ("contact", "salutation", &["mr", "ms", "mx", "dr", "prof"]),
    ];
    let records = all();
    for (object, field, values) in lists {
        for value in values {
            assert!(
                objects[object].contains(&format!("{{ value: {value}, ")),
                "{object} {value}"
            );
        }
        for fields in of(&records, object) {
            let value = text(fields, field);
            assert!(
                value.is_empty() || values.contains(&value),
                "{object}.{field} {value}"
            );
        }
    }
    for record in &records {
        for key in record.fields.keys() {
            let system = matches!(
                key.as_str(),
                "id" | "created_at" | "updated_at" | "created_by"
            );
            let declared = objects[record.object].contains(&format!("\n  {key}:\n"));
            assert!(system || declared, "{}.{key}", record.object);
        }
    }
}
