use mesh::identity::{Identity, Kind};
use metadata::{Object, Package};
use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::kernel::access::image::Image;

/// A registry without packages: the platform's own objects are not needed here.
fn registry() -> Registry {
    let now = datetime!(2026-11-25 10:00 UTC);
    crate::kernel::compile::registry(Vec::<Package>::new(), 1, now).0
}

fn schema() -> Schema {
    let fields = json!({
        "name": {"type": "text"},
        "region": {"type": "text"},
        "score": {"type": "number", "scale": 0},
        "price": {"type": "currency"},
        "open": {"type": "boolean"},
        "due": {"type": "date"},
        "tags": {"type": "tags"},
        "shown": {"type": "formula", "expression": "name"},
    });
    let (object, findings) = Object::from_value("deal", &json!({"fields": fields}));
    crate::kernel::compile::schema(object.unwrap_or_else(|| panic!("{findings:?}")))
}

fn eval_context() -> EvalContext {
    let mut identity = Identity::nobody(Kind::User);
    identity.subject = "u1".to_owned();
    identity.positions = vec!["north".to_owned(), "south".to_owned()];
    EvalContext::of(
        &std::sync::Arc::new(identity),
        datetime!(2026-11-25 10:00 UTC),
    )
}

fn fits(source: &str, given: &[(&str, Cell)]) -> bool {
    let schema = schema();
    let mut cells = vec![Cell::Null; schema.columns.len()];
    for (field, cell) in given {
        cells[schema.position(field).expect("a field")] = cell.clone();
    }
    let policy = compile(source, &schema, &registry(), &eval_context());
    Image::new(&schema, &cells).fits(&policy)
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

#[test]
fn conditions_select_rows_as_their_expressions_say() {
    let row = [
        ("name", text("Acme_1 Ltd")),
        ("region", text("north")),
        ("score", Cell::Integer(7)),
        ("price", Cell::Decimal("19.99".parse().expect("a decimal"))),
        ("open", Cell::Boolean(true)),
        ("due", Cell::Date(time::macros::date!(2026 - 11 - 25))),
        ("tags", Cell::Json(r#"["a","b"]"#.to_owned())),
    ];
    for (source, expected) in [
        ("region == 'north' && score > 6", true),
        ("record.region = 'north' AND score IN (1, 7)", true),
        ("region in current_user.roles", true),
        ("region in current_user.roles && score < 7", false),
        ("score > 6.5 && score < 7.5 && !(score <= 6.9)", true),
        ("score == 7.5", false),
        ("price >= 19.99 && price < 20", true),
        ("price > 19.985 && !(price > 19.995)", true),
        ("open", true),
        ("!open || due > today()", false),
        ("due <= today() && due < now()", true),
        ("due == '2026-11-25'", true),
        ("'a' in tags && !tags.contains('c')", true),
        ("name.contains('_1')", true),
        // Letters differ by case, and what is a pattern elsewhere stands for itself.
        ("name.contains('acme')", false),
        ("name.contains('%')", false),
        ("!name.startsWith('Acme')", false),
        ("region != 'south' && region != null", true),
        ("1 == 1", true),
        ("score == 'seven'", false),
        ("score > 'seven' || !(score > 'seven')", false),
    ] {
        assert_eq!(fits(source, &row), expected, "{source}");
    }
}

#[test]
fn null_has_no_order_and_differs_from_everything() {
    for (source, expected) in [
        ("region == null && score == null && tags == null", true),
        ("region != 'north'", true),
        ("region == 'north'", false),
        ("score > 3", false),
        ("!(score > 3)", false),
        ("!(score > 3) || region == null", true),
        ("region in ['north']", false),
        ("!(region in ['north'])", true),
        ("region.startsWith('n') || !region.startsWith('n')", false),
        ("'a' in tags", false),
        ("has(region)", false),
    ] {
        assert_eq!(fits(source, &[]), expected, "{source}");
    }
}

#[test]
fn what_is_not_known_matches_nothing_not_even_negated() {
    let row = [("region", text("")), ("name", text("x"))];
    for source in [
        // The user has neither.
        "region == current_user.department",
        "region != current_user.department",
        "!(region == current_user.email)",
        "region in current_user.org_user_ids",
        // The object has no such column, or computes it.
        "missing == 'x'",
        "missing != 'x'",
        "missing == null || name == 'x'",
        "shown == 'x'",
        "name.nothing == null",
        // No filter.
        "name + 'y' == 'xy'",
        "name ==",
        "",
    ] {
        assert!(!fits(source, &row), "{source}");
    }
    // What does not ask for it is not touched.
    assert!(fits(
        "region == current_user.department || name == 'x'",
        &row
    ));
}

#[test]
fn only_a_policy_about_organisations_alone_is_tenant_isolation() {
    let policy = |using: Option<&str>, check: Option<&str>| RowLevelPolicy {
        name: "own".to_owned(),
        label: None,
        object: "*".to_owned(),
        operation: metadata::PolicyOperation::All,
        using: using.map(str::to_owned),
        check: check.map(str::to_owned),
        positions: Vec::new(),
        enabled: true,
        priority: 0,
    };
    let isolates = |policy| is_tenant_isolation(&policy, &schema());
    let own = Some("organization_id == current_user.organization_id");
    assert!(isolates(policy(own, None)));
    assert!(isolates(policy(
        own,
        Some("organization_id = current_user.tenantId")
    )));
    assert!(!isolates(policy(None, None)));
    assert!(!isolates(policy(own, Some("name == 'x'"))));
    assert!(!isolates(policy(
        Some("organization_id == 'o' && name == 'x'"),
        None
    )));
    assert!(!isolates(policy(Some("organization_id =="), None)));
}
