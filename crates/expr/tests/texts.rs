//! Templates, placeholders and schedules.
#![expect(clippy::unwrap_used, reason = "tests")]

use expr::{Cron, CronError, Escape, Interpolation, Program, Scope, Template};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};

fn data() -> Value {
    json!({
        "name": "Ada & <Co>", "amount": 1234567.5, "rate": 12.345, "due": "2026-05-01T10:00:00Z",
        "none": null, "tags": ["a", "b"], "owner": {"email": "a@b.c"}, "long": "äöüäöü",
    })
}

fn render(source: &str, escape: Escape) -> String {
    let data = data();
    let scope = Scope::new(datetime!(2026-11-25 14:30 UTC)).record(&data);
    let template = Template::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    template.render(&scope, escape).unwrap()
}

#[test]
fn templates_put_values_into_texts() {
    for (source, expected) in [
        ("Hello {{name}}!", "Hello Ada & <Co>!"),
        ("{{ record.owner.email | upper }}", "A@B.C"),
        (
            "{{none}}{{nothing.deeper}}|{{nothing | default:\"n/a\"}}",
            "|n/a",
        ),
        (
            "{{amount | currency}} {{amount | currency:EUR}} {{amount|currency:CHF}}",
            "$1,234,567.50 €1,234,567.50 CHF 1,234,567.50",
        ),
        (
            "{{amount | number}} {{amount | number:0}} {{rate | percent:1}}",
            "1,234,567.5 1,234,568 12.3%",
        ),
        (
            "{{due | date}} {{due | datetime}}",
            "2026-05-01 2026-05-01T10:00:00.000Z",
        ),
        (
            "{{long | truncate:3}} {{tags}} {{tags.1}} {{owner | json}}",
            "äöü… [\"a\",\"b\"] b {\"email\":\"a@b.c\"}",
        ),
        ("{{amount > 3 || none ? 'big' : 'small'}}", "big"),
        ("no braces } here {", "no braces } here {"),
        ("{{name | number}}", "Ada & <Co>"),
    ] {
        assert_eq!(render(source, Escape::None), expected, "{source}");
    }
    assert_eq!(
        render("<b>{{name}}</b>{{{name}}}", Escape::Html),
        "<b>Ada &amp; &lt;Co&gt;</b>Ada & <Co>"
    );
    let template = Template::compile("{{a.b}} {{c | upper}}").unwrap();
    assert_eq!(template.paths().collect::<Vec<_>>(), ["a.b", "c"]);
}

#[test]
fn faulty_templates_say_where() {
    for (source, column, part) in [
        ("ab {{name", 4, "not closed"),
        ("{{name | shout}}", 1, "no formatter `shout`"),
        ("x {{a b}}", 3, "neither a path nor an expression"),
        ("{{}}", 1, "neither"),
    ] {
        let error = Template::compile(source).unwrap_err();
        assert_eq!(error.position.column, column, "{source}");
        assert!(error.message.contains(part), "{source}: {error}");
    }
}

#[test]
fn one_placeholder_alone_keeps_its_type() {
    let record = json!({"name": "Acme", "amount": 5, "tags": ["a"]});
    let user = json!({"id": "u1", "email": "u@x"});
    let input = json!({"ticketId": "t1"});
    let vars = json!({"load": {"record": {"id": "r1"}}, "item": {"f": true}, "n": 2});
    let scope = Scope::new(datetime!(2026-11-25 14:30 UTC))
        .record(&record)
        .user(&user)
        .input(&input)
        .vars(&vars);
    for (source, expected) in [
        ("{amount}", json!(5)),
        ("{record.tags}", json!(["a"])),
        ("{load.record.id}", json!("r1")),
        ("{$User.Id} {$User.Email}", json!("u1 u@x")),
        ("{$record.name}", json!("Acme")),
        ("{NOW()}", json!("2026-11-25T14:30:00.000Z")),
        ("{TODAY()}", json!("2026-11-25")),
        ("{TODAY() + 7}", json!("2026-12-02")),
        ("{n * 3 + amount}", json!(11)),
        ("{!trigger.record.name}", json!("Acme")),
        ("{!user.id}", json!("u1")),
        ("{!inputs.ticketId}", json!("t1")),
        ("{!step.load.record.id}", json!("r1")),
        ("{!item.f}", json!(true)),
        ("{{name}}", json!("Acme")),
        ("{nothing}", json!(null)),
        ("Won: {name}, {nothing}.", json!("Won: Acme, .")),
        ("{tomorrow}", json!("{tomorrow}")),
        ("{3_days_ago}", json!("{3_days_ago}")),
        ("{current_week_start}", json!("{current_week_start}")),
        ("{\"a\":1} {", json!("{\"a\":1} {")),
        ("plain", json!("plain")),
    ] {
        let resolved = Interpolation::compile(source).resolve(&scope).unwrap();
        assert_eq!(resolved, expected, "{source}");
    }
    let config = json!({"filter": {"id": "{record.name}", "n": 3}, "list": ["{n}", null]});
    assert_eq!(
        Interpolation::resolve_all(&config, &scope).unwrap(),
        json!({"filter": {"id": "Acme", "n": 3}, "list": [2, null]})
    );
    assert!(!Interpolation::compile("a > 3").has_placeholders());
}

#[test]
fn conditions_with_placeholders_are_expressions() {
    let record = json!({"status": "open", "amount": 5, "injected": "x' || 'a' == 'a"});
    let user = json!({"id": "u1"});
    let scope = Scope::new(datetime!(2026-11-25 14:30 UTC))
        .record(&record)
        .user(&user);
    for (source, expected) in [
        ("{status} == 'open'", true),
        ("'{record.status}' == \"open\" && {amount} > 3", true),
        ("{{amount}} < 3", false),
        ("{$User.Id} == 'u1'", true),
        ("'{injected}' == 'x'", false),
        ("'{nothing}' == ''", true),
        ("status == 'open' && {'a': 1}.a == 1", true),
        ("status in ['open'] || amount > 9", true),
    ] {
        let program = Program::compile_condition(source).unwrap();
        assert_eq!(program.holds(&scope), Ok(expected), "{source}");
    }
    assert!(Program::compile_condition("{status} ==").is_err());
}

fn times(
    pattern: &str,
    zone: Option<&str>,
    after: OffsetDateTime,
    count: usize,
) -> Vec<OffsetDateTime> {
    let cron = Cron::parse(pattern, zone).unwrap();
    std::iter::successors(cron.next_after(after), |last| cron.next_after(*last))
        .take(count)
        .collect()
}

#[test]
fn schedules_fire_in_their_zone() {
    assert_eq!(
        times("0 8 * * *", None, datetime!(2026-11-25 08:00 UTC), 2),
        [
            datetime!(2026-11-26 08:00 UTC),
            datetime!(2026-11-27 08:00 UTC)
        ]
    );
    assert_eq!(
        times(
            "0 8 * * MON-FRI",
            Some("Europe/Berlin"),
            datetime!(2026-11-27 08:00 UTC),
            1
        ),
        [datetime!(2026-11-30 07:00 UTC)]
    );
    assert!(times("0 0 30 2 *", None, datetime!(2026-01-01 00:00 UTC), 1).is_empty());
}

#[test]
fn a_skipped_time_fires_right_after_and_a_repeated_one_once() {
    // Berlin skips 02:00–03:00 on 29 March 2026 and repeats it on 25 October.
    assert_eq!(
        times(
            "30 2 * * *",
            Some("Europe/Berlin"),
            datetime!(2026-03-28 12:00 UTC),
            2
        ),
        [
            datetime!(2026-03-29 01:00 UTC),
            datetime!(2026-03-30 00:30 UTC)
        ]
    );
    assert_eq!(
        times(
            "30 2 * * *",
            Some("Europe/Berlin"),
            datetime!(2026-10-24 12:00 UTC),
            2
        ),
        [
            datetime!(2026-10-25 00:30 UTC),
            datetime!(2026-10-26 01:30 UTC)
        ]
    );
}

#[test]
fn faulty_schedules_are_refused() {
    for pattern in [
        "",
        "every day",
        "61 * * * *",
        "* * * *",
        "0 0 0 * * * *",
        &"*".repeat(300),
    ] {
        assert!(
            matches!(Cron::parse(pattern, None), Err(CronError::Pattern(_))),
            "{pattern}"
        );
    }
    assert_eq!(
        Cron::parse("0 8 * * *", Some("Mars/Base")).unwrap_err(),
        CronError::Zone("Mars/Base".to_owned())
    );
}
