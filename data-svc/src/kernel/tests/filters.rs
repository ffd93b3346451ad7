//! Filters: what they become, and which are refused.

use crate::kernel::{
    model::{
        cell::Cell,
        predicate::{Comparison, Predicate},
    },
    query,
};
use serde_json::{Value as Json, json};

use super::fixture::{body, caller, key, plan, refusal, told};

fn rows(filter: &Json) -> String {
    print(&plan(&json!({"where": filter})).expect("planned").rows)
}

/// A predicate as a short text.
pub(crate) fn print(predicate: &Predicate) -> String {
    let list = |parts: &[Predicate], by: &str| {
        let parts: Vec<String> = parts.iter().map(print).collect();
        format!("({})", parts.join(by))
    };
    let cell = |cell: &Cell| cell.to_json().to_string();
    let comparison = |comparison: &Comparison| match comparison {
        Comparison::Eq => "=",
        Comparison::Lt => "<",
        Comparison::Lte => "<=",
        Comparison::Gt => ">",
        Comparison::Gte => ">=",
    };
    match predicate {
        Predicate::True => "true".to_owned(),
        Predicate::False => "false".to_owned(),
        Predicate::And(all) => list(all, " & "),
        Predicate::Or(any) => list(any, " | "),
        Predicate::Not(inner) => format!("!{}", print(inner)),
        Predicate::Compare(column, how, value) => {
            format!("{}{}{}", column.name, comparison(how), cell(value))
        }
        Predicate::CompareColumns(one, how, two) => {
            format!("{}{}{}", one.name, comparison(how), two.name)
        }
        Predicate::In(column, cells) => {
            let cells: Vec<String> = cells.iter().map(cell).collect();
            format!("{} in [{}]", column.name, cells.join(","))
        }
        Predicate::IsNull(column) => format!("{} null", column.name),
        Predicate::Text(column, how, text) => format!("{} {how:?} {text}", column.name),
        Predicate::Member(column, member) => format!("{} has {member}", column.name),
        Predicate::MemberSet(column, members) => format!("{} is {members:?}", column.name),
        Predicate::JsonPath(column, path, value) => {
            format!("{}.{}={}", column.name, path.join("."), cell(value))
        }
        Predicate::Related {
            column,
            table,
            predicate,
        } => {
            format!("{}->{table}[{}]", column.name, print(predicate))
        }
    }
}

#[test]
fn operators_become_typed_predicates() {
    for (filter, expected) in [
        (json!({}), "true"),
        (json!({"status": "open"}), r#"status="open""#),
        (json!({"status": {"$eq": null}}), "status null"),
        (json!({"status": {"$ne": "open"}}), r#"!status="open""#),
        (json!({"status": {"$ne": null}}), "!status null"),
        (
            json!({"amount": {"$gt": 1, "$lte": 2.5}}),
            "(amount>1 & amount<=2.5)",
        ),
        (json!({"amount": {"$gt": null}}), "false"),
        (
            json!({"status": {"$in": ["a", null, "a"]}}),
            r#"(status in ["a"] | status null)"#,
        ),
        (json!({"status": {"$in": []}}), "false"),
        (json!({"status": {"$nin": []}}), "true"),
        (json!({"status": {"$nin": ["a"]}}), r#"!status in ["a"]"#),
        (
            json!({"estimate": {"$between": [1, 3]}}),
            "(estimate>=1 & estimate<=3)",
        ),
        (
            json!({"subject": {"$contains": "50%"}}),
            "subject Contains 50%",
        ),
        (
            json!({"subject": {"$notContains": "x"}}),
            "!subject Contains x",
        ),
        (json!({"subject": {"$null": true}}), "subject null"),
        (json!({"subject": {"$exists": true}}), "!subject null"),
        (
            json!({"subject": {"$not": {"$startsWith": "a"}}}),
            "!subject StartsWith a",
        ),
        (json!({"$not": {}}), "false"),
        (json!({"$or": []}), "false"),
        (json!({"$and": [{}]}), "true"),
        (json!({"$not": {"$not": {"urgent": true}}}), "urgent=true"),
        (json!({"estimate": {"$field": "score"}}), "estimate=score"),
        (
            json!({"estimate": {"$lt": {"$field": "score"}}}),
            "estimate<score",
        ),
        (json!({"tags": "a"}), "tags has a"),
        (json!({"tags": ["b", "a", "b"]}), r#"tags is ["a", "b"]"#),
        (json!({"tags": {"$null": true}}), "tags is []"),
        (
            json!({"tags": {"$in": ["a", "b"]}}),
            "(tags has a | tags has b)",
        ),
        (
            json!({"account": {"$in": ["x", {"id": "y"}]}}),
            r#"account in ["x","y"]"#,
        ),
        (json!({"meta.color": "red"}), r#"meta.color="red""#),
        (json!({"meta": {"size": {"width": 3}}}), "meta.size.width=3"),
        (json!({"token": {"$null": false}}), "!token null"),
    ] {
        assert_eq!(rows(&filter), expected, "{filter}");
    }
}

#[test]
fn arrays_read_as_conditions() {
    for (filter, expected) in [
        (json!(["status", "=", "open"]), r#"status="open""#),
        (json!(["status", "is_null"]), "status null"),
        (
            json!([["status", "!=", "open"], ["subject", "like", "x"]]),
            r#"(!status="open" & subject Contains x)"#,
        ),
        (
            json!([
                "or",
                ["estimate", ">=", 3],
                ["and", ["urgent", "==", true], ["tags", "not_in", ["a"]]]
            ]),
            "(estimate>=3 | (urgent=true & !tags has a))",
        ),
    ] {
        assert_eq!(rows(&filter), expected, "{filter}");
    }
    // A JSON string of either form.
    assert_eq!(rows(&json!("{\"urgent\":true}")), "urgent=true");
}

#[test]
fn dates_and_numbers_take_the_type_of_the_field() {
    for (filter, expected) in [
        (
            json!({"due_at": {"$lte": "2026-03-07"}}),
            r#"due_at<"2026-03-08T00:00:00.000Z""#,
        ),
        (
            json!({"due_at": {"$gte": "2026-03-07"}}),
            r#"due_at>="2026-03-07T00:00:00.000Z""#,
        ),
        (
            json!({"due_at": {"$between": ["2026-03-07", "2026-03-07"]}}),
            r#"(due_at>="2026-03-07T00:00:00.000Z" & due_at<"2026-03-08T00:00:00.000Z")"#,
        ),
        (
            json!({"due_at": "2026-03-07T01:00:00+01:00"}),
            r#"due_at="2026-03-07T00:00:00.000Z""#,
        ),
        (
            json!({"due_on": {"$lte": "2026-03-07T10:00:00Z"}}),
            r#"due_on<="2026-03-07""#,
        ),
        (
            json!({"due_on": {"$lt": "{3_days_ago}"}}),
            r#"due_on<"2026-05-27""#,
        ),
        (
            json!({"due_at": {"$lte": "{today}"}}),
            r#"due_at<"2026-05-31T00:00:00.000Z""#,
        ),
        (
            json!({"due_at": {"$lt": {"$cel": "now()"}}}),
            r#"due_at<"2026-05-30T10:20:30.456Z""#,
        ),
        (
            json!({"due_on": {"$cel": " today() "}}),
            r#"due_on="2026-05-30""#,
        ),
        (json!({"opens": {"$gt": "09:30"}}), r#"opens>"09:30:00""#),
        (json!({"account": "{current_user_id}"}), r#"account="u1""#),
        (json!({"subject": "{today}"}), r#"subject="{today}""#),
        // Between two values of the type: folded, never rounded.
        (json!({"estimate": {"$gt": 1.5}}), "estimate>1"),
        (json!({"estimate": {"$gte": -1.5}}), "estimate>-2"),
        (json!({"estimate": {"$lt": 1.5}}), "estimate<=1"),
        (json!({"estimate": 1.5}), "false"),
        (json!({"amount": {"$ne": 1.005}}), "true"),
        (json!({"amount": {"$gt": "1.005"}}), "amount>1"),
        (
            json!({"estimate": i64::MAX}),
            "estimate=9223372036854775807",
        ),
    ] {
        assert_eq!(rows(&filter), expected, "{filter}");
    }
}

#[test]
fn relations_become_related_predicates_with_their_rights() {
    for (filter, expected) in [
        (
            json!({"account.industry": "it"}),
            r#"account->account[industry="it"]"#,
        ),
        (
            json!({"account": {"industry": "it"}}),
            r#"account->account[industry="it"]"#,
        ),
        (json!({"account": {"id": "a1"}}), r#"account="a1""#),
        (
            json!({"account.industry": {"$ne": "it"}}),
            r#"!account->account[industry="it"]"#,
        ),
        (
            json!({"account.industry": null}),
            "!account->account[!industry null]",
        ),
        (
            json!({"account.size": {"$between": [1, 2]}}),
            "account->account[(size>=1 & size<=2)]",
        ),
        (
            json!({"account.parent.name": {"$exists": true}}),
            "account->account[parent->account[!name null]]",
        ),
        (
            json!({"account": {"$or": [{"industry": "it"}, {"size": 1}]}}),
            r#"(account->account[industry="it"] | account->account[size=1])"#,
        ),
        (
            json!({"watchers.name": "x"}),
            r#"watchers->account[name="x"]"#,
        ),
    ] {
        assert_eq!(rows(&filter), expected, "{filter}");
    }
    let account = caller();
    let visible = Predicate::IsNull(
        account
            .grant("account")
            .schema
            .column("parent")
            .expect("parent")
            .clone(),
    );
    let caller = account.seeing("account", visible);
    let query = body(&json!({"where": {"account.name": "x"}})).expect("read");
    let plan = query::plan(query, "ticket", &caller, &key()).expect("planned");
    assert_eq!(
        print(&plan.rows),
        r#"account->account[(name="x" & parent null)]"#
    );
}

#[test]
fn bad_filters_are_refused() {
    let deep = (0..12).fold(json!({"status": "x"}), |inner, _| json!({"$not": inner}));
    let wide: Vec<Json> = (0..201).map(|_| json!({"status": "x"})).collect();
    for filter in [
        json!({"amount": {"$gt": "abc"}}),
        json!({"amount": {"$gt": "NaN"}}),
        json!({"score": "inf"}),
        json!({"amount": 1e30}),
        json!({"estimate": 9_223_372_036_854_775_808_u64}),
        json!({"status": {"$regex": "x"}}),
        json!({"status": {"$foo": "x"}}),
        json!({"status": {}}),
        json!({"status": ["a"]}),
        json!({"status": {"$in": "a"}}),
        json!({"status": 5}),
        json!({"estimate": {"$between": [1]}}),
        json!({"subject": {"$null": "yes"}}),
        json!({"urgent": {"$gt": true}}),
        json!({"estimate": {"$contains": "1"}}),
        json!({"meta": "x"}),
        json!({"meta": {"$contains": "x"}}),
        json!({"meta.a\"b": 1}),
        json!({"meta.0": 1}),
        json!({"due_at": "{todya}"}),
        json!({"due_on": "soon"}),
        json!({"account": "{nobody}"}),
        json!({"due_at": {"$cel": "now() - duration('1d')"}}),
        json!({"subject": {"$cel": "now()"}}),
        json!({"subject": "a\u{0}b"}),
        json!({"subject": {"$like": "a\\"}}),
        json!({"subject": {"$like": "%a".repeat(11)}}),
        json!({"subject": {"$like": "a".repeat(30_000)}}),
        json!({"$and": {}}),
        json!({"$nor": []}),
        json!({"$not": []}),
        json!({"$gt": 1}),
        json!({"status": {"$eq": "x", "y": 1}}),
        json!({"token": "x"}),
        json!({"subject": {"$field": "estimate"}}),
        json!([]),
        json!(["status"]),
        json!(["status", "~", 1]),
        json!(5),
        json!("x"),
        json!(null),
        json!("{\"a\":1,\"a\":2}"),
        json!({"status": {"$in": vec!["x"; 1_001]}}),
        deep,
        json!({"$or": wide}),
    ] {
        let (code, reason) = match body(&json!({"where": filter})) {
            Ok(_) => refusal(&json!({"where": filter})),
            Err(error) => told(&error),
        };
        assert_eq!(
            (code.as_str(), reason.as_str()),
            ("VALIDATION_ERROR", "INVALID_FILTER"),
            "{filter}"
        );
    }
    for filter in [
        json!({"nope": 1}),
        json!({"double_amount": 1}),
        json!({"status.x": 1}),
        json!({"a\";--": 1}),
        json!({"": 1}),
        json!({"account.": 1}),
        json!({"account.nope": 1}),
        json!({"estimate": {"$field": "nope"}}),
    ] {
        assert_eq!(
            refusal(&json!({"where": filter})).1,
            "INVALID_FIELD",
            "{filter}"
        );
    }
    // 30 kB of text is a value like any other.
    plan(&json!({"where": {"subject": {"$contains": "%_!\\".repeat(8_000)}}})).expect("planned");
}

#[test]
fn errors_name_field_operator_and_the_nearest_name() {
    let error = plan(&json!({"where": {"amount": {"$gt": "abc"}}})).expect_err("mismatch");
    assert_eq!(error.detail("object"), Some(&json!("ticket")));
    assert_eq!(error.detail("field"), Some(&json!("amount")));
    assert_eq!(error.detail("operator"), Some(&json!("$gt")));
    let error = plan(&json!({"where": {"stauts": 1}})).expect_err("unknown");
    assert_eq!(error.detail("hint"), Some(&json!("did you mean `status`?")));
    let error = body(&json!({"ordreBy": "x"})).expect_err("unknown");
    assert_eq!(
        error.detail("hint"),
        Some(&json!("did you mean `orderBy`?"))
    );
}
