//! Predicates as filters: what is translated, and that it answers as the expression does.

use expr::{
    Comparison, Filter, Scope,
    filter::{Operand, Predicate, TextTest},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::macros::{date, datetime};

fn path(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

fn compare(name: &str, comparison: Comparison, value: Operand) -> Predicate {
    Predicate::Compare {
        path: path(name),
        comparison,
        value,
    }
}

fn text(value: &str) -> Operand {
    Operand::Text(value.to_owned())
}

fn user() -> Value {
    json!({"id": "u1", "roles": ["sales"], "teams": [], "organization_id": null, "region": ""})
}

fn bind(source: &str) -> Predicate {
    let user = user();
    let scope = Scope::new(datetime!(2026-11-25 14:30 UTC)).user(&user);
    let filter = Filter::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    filter.bind(&scope)
}

#[test]
fn predicates_become_trees_over_fields_and_values() {
    let owner = compare("owner", Comparison::Equal, text("u1"));
    for (source, expected) in [
        ("owner == current_user.id", owner.clone()),
        ("record.owner == os.user.id", owner.clone()),
        ("current_user.id == owner", owner.clone()),
        ("owner = current_user.id", owner.clone()),
        (
            "3 < amount",
            compare("amount", Comparison::Greater, Operand::Number(3.into())),
        ),
        (
            "is_public",
            compare("is_public", Comparison::Equal, Operand::Boolean(true)),
        ),
        (
            "close_date < today()",
            compare(
                "close_date",
                Comparison::Less,
                Operand::Date(date!(2026 - 11 - 25)),
            ),
        ),
        (
            "created_at >= now() - duration('1h')",
            compare(
                "created_at",
                Comparison::GreaterOrEqual,
                Operand::Moment(datetime!(2026-11-25 13:30 UTC)),
            ),
        ),
        (
            "role in current_user.roles",
            Predicate::In {
                path: path("role"),
                values: vec![text("sales")],
            },
        ),
        (
            "stage IN ('a', 'b')",
            Predicate::In {
                path: path("stage"),
                values: vec![text("a"), text("b")],
            },
        ),
        ("a == null", Predicate::IsNull { path: path("a") }),
        (
            "has(record.a)",
            Predicate::Not(Box::new(Predicate::IsNull { path: path("a") })),
        ),
        (
            "name.startsWith('A')",
            Predicate::Text {
                path: path("name"),
                test: TextTest::StartsWith,
                part: "A".to_owned(),
            },
        ),
        (
            "account.owner == 'x'",
            Predicate::Compare {
                path: vec!["account".to_owned(), "owner".to_owned()],
                comparison: Comparison::Equal,
                value: text("x"),
            },
        ),
        (
            "current_user.id in record.members",
            Predicate::Includes {
                path: path("members"),
                value: text("u1"),
            },
        ),
        (
            "current_user.roles.exists(r, r == 'sales') && a == null",
            Predicate::IsNull { path: path("a") },
        ),
        ("1 == 1", Predicate::True),
        ("1 = 1", Predicate::True),
        (
            "'sales' in current_user.roles || owner == 'x'",
            Predicate::True,
        ),
        (
            "'admin' in current_user.roles && owner == 'x'",
            Predicate::False,
        ),
        (
            "'admin' in current_user.roles || owner == current_user.id",
            owner.clone(),
        ),
        (
            "owner == current_user.id AND amount > 1",
            Predicate::And(vec![
                owner,
                compare("amount", Comparison::Greater, Operand::Number(1.into())),
            ]),
        ),
    ] {
        assert_eq!(bind(source), expected, "{source}");
    }
}

#[test]
fn an_attribute_the_user_lacks_opens_nothing() {
    let row = json!({"organization_id": null, "owner": "", "team": null, "region": ""});
    for source in [
        "organization_id == current_user.organization_id",
        "organization_id != current_user.organization_id",
        "!(organization_id == current_user.organization_id)",
        "region == current_user.region",
        "name.startsWith(current_user.region)",
        "team in current_user.teams",
        "current_user.nothing in record.teams",
        "!(current_user.region in record.teams)",
        "!(team in current_user.teams)",
        "owner == current_user.nothing",
        "owner IN (current_user.nothing)",
        "current_user.nothing.deeper > 3",
        "owner == user.roles",
    ] {
        assert_ne!(bind(source).matches(&row), Some(true), "{source}");
    }
}

#[test]
fn what_a_database_cannot_answer_is_refused() {
    for source in [
        "amount > limit",
        "amount + 1 > 3",
        "upper(name) == 'A'",
        "amount > 1 ? true : false",
        "tags.exists(t, t == 'a')",
        "stage in ['a', null]",
        "null in tags",
        "name in tags",
        "previous.stage == stage",
        "a < null",
        "record == null",
        "a.b.c == 1",
        "name.matches('a')",
        "stage ~ 'a'",
        "drop table users",
        "a == 1; b == 2",
        "",
        "owner in [record.a]",
    ] {
        assert!(Filter::compile(source).is_err(), "{source}");
    }
}

/// Expressions over typed fields, as a schema guarantees them.
fn predicate() -> impl Strategy<Value = String> {
    let sign = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (sign.clone(), -2..3_i32).prop_map(|(sign, n)| format!("n {sign} {n}")),
        (sign.clone(), -2..3_i32).prop_map(|(sign, n)| format!("{n}.5 {sign} record.n")),
        (sign.clone(), "[ab]{0,2}").prop_map(|(sign, t)| format!("t {sign} '{t}'")),
        (sign, -2..3_i32).prop_map(|(sign, n)| format!("d {sign} daysFromNow({n})")),
        "[ab]{0,2}".prop_map(|t| format!("t.startsWith('{t}')")),
        "[ab]{0,2}".prop_map(|t| format!("t.endsWith('{t}')")),
        "[ab]{0,2}".prop_map(|t| format!("record.t.contains('{t}')")),
        prop::collection::vec("[ab]{0,2}", 0..3).prop_map(|all| format!(
            "t in [{}]",
            all.iter()
                .map(|t| format!("'{t}'"))
                .collect::<Vec<_>>()
                .join(",")
        )),
        prop::sample::select(vec![
            "b",
            "record.b == false",
            "t == null",
            "n != null",
            "has(record.d)",
            "1 == 1",
            "'a' in record.m",
            "m.contains('ab')",
            "!('' in m)",
            "current_user.id in m",
            "t == current_user.id",
            "t in current_user.roles",
            "'b' in current_user.roles",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

fn row() -> impl Strategy<Value = Value> {
    let number = prop::sample::select(vec![json!(null), json!(-1), json!(0), json!(1.5), json!(2)]);
    let text = prop::sample::select(vec![
        json!(null),
        json!(""),
        json!("a"),
        json!("ab"),
        json!("ba"),
    ]);
    let flag = prop::sample::select(vec![json!(null), json!(true), json!(false)]);
    let day = prop::sample::select(vec![
        json!(null),
        json!("2026-11-24"),
        json!("2026-11-25"),
        json!("2026-11-27"),
    ]);
    let several = prop::sample::select(vec![
        json!(null),
        json!([]),
        json!(["a"]),
        json!(["", "ab"]),
    ]);
    (number, text, flag, day, several)
        .prop_map(|(n, t, b, d, m)| json!({"n": n, "t": t, "b": b, "d": d, "m": m}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// On every row the filter answers as the expression: true, false, or no answer.
    #[test]
    fn a_filter_answers_as_its_expression(source in predicate(), row in row()) {
        let user = json!({"id": "a", "roles": ["ab", "b"]});
        let scope = Scope::new(datetime!(2026-11-25 14:30 UTC)).user(&user);
        let filter = Filter::compile(&source).unwrap();
        let answer = filter.bind(&scope).matches(&row);
        let evaluated = filter.program().holds(&scope.record(&row)).ok();
        prop_assert_eq!(answer, evaluated, "{} over {}", source, row);
    }

    /// Whatever the text, it is compiled or refused.
    #[test]
    fn no_text_panics(source in "[ a-zä0-9.'\"\\\\()\\[\\]{}!&|=<>+*/?:,-]{0,60}") {
        if let Ok(filter) = Filter::compile(&source) {
            let scope = Scope::new(datetime!(2026-11-25 14:30 UTC));
            let _ = filter.bind(&scope).matches(&json!({"a": 1}));
        }
        let _ = expr::Program::compile_condition(&source);
        let _ = expr::Template::compile(&source);
        let _ = expr::Interpolation::compile(&source).resolve(&Scope::new(datetime!(2026-11-25 14:30 UTC)));
        let _ = expr::Cron::parse(&source, None);
    }
}
