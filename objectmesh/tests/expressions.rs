//! Expressions of metadata in effect: formulas, rules, conditions and defaults, at every door.

use crate::support::TestMesh;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Iso8601};

fn in_days(days: i64) -> String {
    let day = OffsetDateTime::now_utc() + Duration::days(days);
    day.date().format(&Iso8601::DATE).expect("a date")
}

/// The rule that a refusal names, with its field.
fn broken(details: &Value) -> (Value, Value) {
    let first = &details["fields"][0];
    assert_eq!(first["code"], "rule_violation", "{details}");
    (first["field"].clone(), first["rule"].clone())
}

databases!(formulas_are_computed_on_read, |mesh: TestMesh| async move {
    let body = json!({"name": "A", "net": 200.5, "rate": 10, "margin": 50, "discount": 5});
    let made = mesh.post(&mesh.admin, "/data/invoice", body).await.ok(201);
    assert_eq!(made["tax"], 20.05);
    assert_eq!(made["gross"], 220.55);
    assert_eq!(made["profit"], 45);
    assert_eq!(made["overdue"], false);
    assert_eq!(made["due_on"], json!(in_days(30)));

    let path = format!("/data/invoice/{}", made["id"].as_str().expect("an id"));
    let read = mesh.get(&mesh.admin, &path).await.ok(200);
    assert_eq!(read, made);
    // What a formula reads need not be chosen, and is then not shown.
    let chosen = mesh
        .get(&mesh.admin, &format!("{path}?select=gross"))
        .await
        .ok(200);
    assert_eq!(chosen, json!({"id": made["id"], "gross": 220.55}));
    let patch = json!({"net": 100, "due_on": in_days(-1)});
    let patched = mesh.patch(&mesh.admin, &path, patch).await.ok(200);
    assert_eq!(patched["gross"], 110);
    assert_eq!(patched["overdue"], true);
    // Sent back as it was read, what is computed is dropped.
    let mut whole = patched.clone();
    whole["gross"] = json!(1);
    let again = mesh.patch(&mesh.admin, &path, whole).await.ok(200);
    assert_eq!(again["gross"], 110);

    let listed = mesh
        .get(&mesh.admin, "/data/invoice?select=name,tax&orderBy=name")
        .await
        .ok(200);
    let item = json!({"id": made["id"], "name": "A", "tax": 10});
    assert_eq!(listed["items"], json!([item]));
    for refused in ["orderBy=gross", "where={\"gross\":1}"] {
        let path = format!("/data/invoice?{refused}");
        let details = mesh.get(&mesh.admin, &path).await;
        let details = details.refused(400, "VALIDATION_ERROR");
        assert_eq!(details["field"], "gross", "{details}");
    }

    // A result tells what it was made of: who may not read that does not see it.
    let (_, agent) = mesh.user("ann", "agent").await;
    let seen = mesh.get(&agent, &path).await.ok(200);
    assert_eq!(seen["gross"], 110);
    assert!(
        seen.get("margin").is_none() && seen.get("profit").is_none(),
        "{seen}"
    );
    let seen = mesh
        .get(&agent, "/data/invoice?select=name,profit")
        .await
        .ok(200);
    assert_eq!(seen["items"], json!([{"id": made["id"], "name": "A"}]));
    let shown = mesh.get(&agent, "/meta/object/invoice").await.ok(200);
    let shown = &shown["item"]["fields"];
    assert!(
        shown["profit"].is_null() && shown["gross"].is_object(),
        "{shown}"
    );
    let stale = json!({"name": "B", "expectedVersion": 1});
    let details = mesh.patch(&agent, &path, stale).await;
    let details = details.refused(409, "CONCURRENT_UPDATE");
    assert!(
        details["currentRecord"].get("profit").is_none(),
        "{details}"
    );
    assert_eq!(details["currentRecord"]["gross"], 110, "{details}");

    // Without a value for what it reads, a formula has none.
    let body = json!({"name": "B"});
    let made = mesh.post(&mesh.admin, "/data/invoice", body).await.ok(201);
    assert_eq!(made["gross"], Value::Null);
    assert_eq!(made["profit"], Value::Null);
});

databases!(rules_and_conditions_hold, |mesh: TestMesh| async move {
    let admin = &mesh.admin;
    let refused = |body: Value| async {
        let answer = mesh.post(admin, "/data/invoice", body).await;
        answer.refused(400, "VALIDATION_ERROR")
    };
    let details = refused(json!({"name": "A", "net": 10, "discount": 11})).await;
    assert_eq!(
        broken(&details),
        (json!("discount"), json!("discount_below_net"))
    );
    let message = details["fields"][0]["message"].as_str().expect("a message");
    assert!(message.starts_with("The discount"), "{message}");
    let details = refused(json!({"name": "A", "rate": 101})).await;
    assert_eq!(broken(&details), (json!("rate"), json!("rate_in_bounds")));
    // A rule that cannot be evaluated (there is no net amount) lets nothing pass.
    let details = refused(json!({"name": "A", "discount": 11})).await;
    assert_eq!(broken(&details).1, "discount_below_net");
    let details = refused(json!({"name": "A", "paid": true})).await;
    assert_eq!(details["fields"][0]["field"], "paid_on", "{details}");
    assert_eq!(details["fields"][0]["code"], "required", "{details}");

    let body = json!({"name": "A", "net": 10, "reference_no": "R-1"});
    let made = mesh.post(admin, "/data/invoice", body).await.ok(201);
    let path = format!("/data/invoice/{}", made["id"].as_str().expect("an id"));
    let paid = json!({"paid": true, "paid_on": "2026-03-01", "reference_no": "R-2"});
    let paid = mesh.patch(admin, &path, paid).await.ok(200);
    assert_eq!(paid["reference_no"], "R-2");
    let kept = mesh
        .patch(admin, &path, json!({"reference_no": "R-3", "name": "B"}))
        .await
        .ok(200);
    assert_eq!(
        (&kept["reference_no"], &kept["name"]),
        (&json!("R-2"), &json!("B"))
    );
    let details = mesh.patch(admin, &path, json!({"net": 11})).await;
    let details = details.refused(400, "VALIDATION_ERROR");
    assert_eq!(broken(&details).1, "paid_is_final");
    let details = mesh.patch(admin, &path, json!({"paid_on": null})).await;
    details.refused(400, "VALIDATION_ERROR");
    let read = mesh.get(admin, &path).await.ok(200);
    assert_eq!(
        (&read["net"], &read["paid_on"]),
        (&json!(10), &json!("2026-03-01"))
    );
});
