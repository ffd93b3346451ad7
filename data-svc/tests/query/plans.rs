//! What is read, planned, refused.

use data_svc::domain::{
    cell::Cell,
    predicate::{Comparison, Predicate},
    query,
};
use proto::{annotations::v1::QueryParameter, data::v1::ListRecordsRequest};
use serde_json::{Value as Json, json};

use crate::fixture::{body, caller, key, plan, refusal, sees_open, told};

fn rows(filter: &Json) -> String {
    print(&plan(&json!({"where": filter})).expect("planned").rows)
}

/// A predicate as a short text.
fn print(predicate: &Predicate) -> String {
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
fn a03_unreadable_fields_answer_nothing_anywhere() {
    let denied = ("PERMISSION_DENIED".to_owned(), String::new());
    for query in [
        json!({"where": {"margin": 1}}),
        json!({"where": {"$or": [{"status": "open"}, {"$not": {"margin": {"$gt": 1}}}]}}),
        json!({"where": {"$and": [{"$or": []}, {"margin": null}]}}),
        json!({"where": {"account.rating": 1}}),
        json!({"where": {"account": {"parent": {"rating": 1}}}}),
        json!({"where": {"safe.anything": 1}}),
        json!({"where": {"estimate": {"$field": "margin"}}}),
        json!({"where": {"pass": "x"}}),
        json!({"where": {"hush": {"$startsWith": "x"}}}),
        json!({"orderBy": "-margin"}),
        json!({"orderBy": "pass"}),
        json!({"select": ["margin"], "distinct": true}),
        json!({"expand": {"account": {"where": {"rating": 1}}}}),
    ] {
        assert_eq!(refusal(&query), denied, "{query}");
    }
    let plan =
        plan(&json!({"select": ["subject", "margin", "pass", "token", "hush"]})).expect("planned");
    let names: Vec<&str> = plan
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["id", "subject"]);
    // A name is suggested only if it may be read.
    let query = body(&json!({"where": {"margim": 1}})).expect("read");
    let error = query::plan(query, "ticket", &caller(), &key()).expect_err("unknown");
    assert_eq!(error.detail("hint"), None);
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

#[test]
fn bodies_are_read_strictly() {
    let reason = |text: &str| match query::from_body("ticket", text.as_bytes()) {
        Ok(query) => panic!("{text}: {query:?}"),
        Err(error) => told(&error).1,
    };
    assert_eq!(reason("{"), "MALFORMED_JSON");
    assert_eq!(reason(r#"{"limit":1,"limit":2}"#), "MALFORMED_JSON");
    assert_eq!(reason(r#"{"limit":1} {}"#), "MALFORMED_JSON");
    assert_eq!(reason("[]"), "INVALID_QUERY");
    for key in [
        "groupBy",
        "aggregations",
        "having",
        "search",
        "searchFields",
        "joins",
        "windowFunctions",
        "x",
    ] {
        assert_eq!(
            reason(&json!({key: ["a"]}).to_string()),
            "INVALID_QUERY",
            "{key}"
        );
    }
    assert_eq!(reason(r#"{"object":"lead"}"#), "INVALID_QUERY");
    assert_eq!(
        reason(r#"{"select":["a"],"fields":["b"]}"#),
        "INVALID_QUERY"
    );
    assert_eq!(
        reason(r#"{"where":{"a":1},"filter":{"a":2}}"#),
        "INVALID_FILTER"
    );
    assert_eq!(reason(r#"{"limit":-1}"#), "");
    assert_eq!(reason(r#"{"limit":"5"}"#), "");
    assert_eq!(reason(r#"{"cursor":"x","offset":1}"#), "");
    assert_eq!(reason(r#"{"orderBy":"a:desc"}"#), "INVALID_SORT");
    assert_eq!(
        reason(r#"{"orderBy":[{"field":"a","order":"up"}]}"#),
        "INVALID_SORT"
    );
    let query = body(
        &json!({"object": "ticket", "filter": {"a": 1}, "where": {"a": 1}, "sort": ["-a", "b"],
        "top": 5, "$skip": 2, "populate": "account.parent", "count": false, "groupBy": null}),
    );
    let query = query.expect("read");
    assert_eq!(
        (query.limit, query.offset, query.count),
        (Some(5), Some(2), false)
    );
    assert_eq!(query.expand[0].nested[0].field, "parent");
}

#[test]
fn sorts_end_in_a_tie_breaker() {
    let order = |value: Json| -> Vec<String> {
        let plan = plan(&json!({"orderBy": value})).expect("planned");
        plan.order
            .iter()
            .map(|order| {
                format!(
                    "{}{}",
                    if order.descending { "-" } else { "" },
                    order.column.name
                )
            })
            .collect()
    };
    assert_eq!(order(Json::Null), ["-created_at", "-id"]);
    assert_eq!(order(json!("-status, amount")), ["-status", "amount", "id"]);
    assert_eq!(
        order(json!("subject desc,status ASC")),
        ["-subject", "status", "id"]
    );
    assert_eq!(order(json!({"amount": "desc"})), ["-amount", "-id"]);
    assert_eq!(
        order(json!([{"field": "amount", "direction": "desc"}])),
        ["-amount", "-id"]
    );
    assert_eq!(order(json!(["id", "subject"])), ["id"]);
    for bad in [
        json!("nope"),
        json!("account.name"),
        json!("double_amount"),
        json!("tags"),
        json!("meta"),
        json!("status,-status"),
        json!("token"),
        json!(5),
        json!("a b c"),
    ] {
        let reason = match body(&json!({"orderBy": bad})) {
            Ok(_) => refusal(&json!({"orderBy": bad})).1,
            Err(error) => told(&error).1,
        };
        assert_eq!(reason, "INVALID_SORT", "{bad}");
    }
}

#[test]
fn limits_are_clamped_and_offsets_bounded() {
    assert_eq!(plan(&json!({})).expect("planned").limit, 50);
    assert_eq!(plan(&json!({"limit": 5_000})).expect("planned").limit, 100);
    assert_eq!(plan(&json!({"limit": 0})).expect("planned").limit, 0);
    assert_eq!(refusal(&json!({"offset": u64::MAX})).0, "VALIDATION_ERROR");
}

#[test]
fn parameters_are_filters_unless_reserved() {
    let list = |filters: &[(&str, &str)]| ListRecordsRequest {
        object: "ticket".to_owned(),
        filters: filters
            .iter()
            .map(|(name, value)| QueryParameter {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        ..ListRecordsRequest::default()
    };
    let rows = |request: &ListRecordsRequest| {
        let query = query::from_list_request(request)?;
        Ok::<_, mesh::Error>(print(
            &query::plan(query, "ticket", &caller(), &key())?.rows,
        ))
    };
    let request = list(&[
        ("status", "open"),
        ("estimate", "5"),
        ("status", "null"),
        ("account.size", "3"),
    ]);
    let expected = r#"(status in ["open","null"] & estimate=5 & account->account[size=3])"#;
    assert_eq!(rows(&request).expect("planned"), expected);
    let mut request = list(&[("urgent", "true")]);
    request.r#where = r#"{"status":{"$eq":"open"}}"#.to_owned();
    assert_eq!(
        rows(&request).expect("planned"),
        r#"(status="open" & urgent=true)"#
    );
    for (name, value, reason) in [
        ("pageSize", "5", "INVALID_FIELD"),
        ("nope", "5", "INVALID_FIELD"),
        ("groupBy", "status", "INVALID_QUERY"),
        ("search", "x", "INVALID_QUERY"),
        ("page", "2", "INVALID_QUERY"),
        ("estimate", "x", "INVALID_FILTER"),
    ] {
        let error = rows(&list(&[(name, value)])).expect_err(name);
        assert_eq!(told(&error).1, reason, "{name}");
    }
    assert_eq!(
        told(&rows(&list(&[("margin", "5")])).expect_err("unreadable")).0,
        "PERMISSION_DENIED"
    );
    for text in ["5", "\"x\"", "null", "{", "{\"a\":1,\"a\":1}"] {
        let mut request = list(&[]);
        request.r#where = text.to_owned();
        assert_eq!(
            told(&rows(&request).expect_err(text)).1,
            "INVALID_FILTER",
            "{text}"
        );
    }
}

#[test]
fn a04_expansions_grant_nothing() {
    let planned =
        plan(&json!({"select": ["subject"], "expand": ["account.parent", "safe", "watchers"]}))
            .expect("planned");
    let names: Vec<&str> = planned
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["id", "subject", "account", "watchers", "safe"]);
    let [account, safe, watchers] = planned.expand.as_slice() else {
        panic!("{:?}", planned.expand);
    };
    assert!(account.target.is_some() && !account.multiple && watchers.multiple);
    assert!(account.columns.iter().all(|column| column.name != "rating"));
    assert_eq!(account.nested[0].field, "parent");
    assert!(safe.target.is_none() && safe.columns.is_empty());
    let planned = plan(&json!({"expand": {"account": {"fields": ["name"], "where": {"size": {"$gt": 1}}, "limit": 1,
        "expand": {"parent": true}}}}))
    .expect("planned");
    let columns: Vec<&str> = planned.expand[0]
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(columns, ["id", "name", "parent"]);
    assert_eq!(
        planned.expand[0].filter.as_ref().map(print).as_deref(),
        Some("size>1")
    );
    for (expand, reason) in [
        (json!("nope"), "INVALID_FIELD"),
        (json!("subject"), "INVALID_FIELD"),
        (json!("account.parent.parent.parent"), "INVALID_QUERY"),
        (json!({"account": {"groupBy": 1}}), "INVALID_QUERY"),
        (json!({"account": {"where": {"nope": 1}}}), "INVALID_FIELD"),
        (json!({"account": {"where": 5}}), "INVALID_FILTER"),
        (json!(5), "INVALID_QUERY"),
    ] {
        let told = match body(&json!({"expand": expand})) {
            Ok(_) => refusal(&json!({"expand": expand})),
            Err(error) => told(&error),
        };
        assert_eq!(told.1, reason, "{expand}");
    }
    assert_eq!(refusal(&json!({"select": ["nope"]})).1, "INVALID_FIELD");
}

#[test]
fn distinct_needs_chosen_scalar_fields() {
    let planned =
        plan(&json!({"select": ["status", "urgent"], "distinct": true, "orderBy": "-urgent"}))
            .expect("planned");
    let names: Vec<&str> = planned
        .fetch_columns()
        .iter()
        .map(|column| column.name.clone().leak() as &str)
        .collect();
    assert_eq!(names, ["status", "urgent"]);
    assert!(planned.distinct);
    assert!(!plan(&json!({"distinct": true})).expect("planned").distinct);
    assert!(
        !plan(&json!({"distinct": true, "select": ["id", "status"]}))
            .expect("planned")
            .distinct
    );
    assert_eq!(
        refusal(&json!({"select": ["status"], "distinct": true, "orderBy": "subject"})).1,
        "INVALID_SORT"
    );
    assert_eq!(
        refusal(&json!({"select": ["tags"], "distinct": true})).1,
        "INVALID_QUERY"
    );
}

#[test]
fn the_grants_rows_are_in_every_plan() {
    let caller = caller();
    let open = sees_open(&caller);
    let caller = caller.seeing("ticket", open);
    let query =
        body(&json!({"where": {"$or": [{"urgent": true}, {"estimate": 1}]}})).expect("read");
    let plan = query::plan(query, "ticket", &caller, &key()).expect("planned");
    assert_eq!(
        print(&plan.rows),
        r#"((urgent=true | estimate=1) & status="open")"#
    );
}

#[test]
fn a_object_that_may_not_be_read_is_not_planned() {
    let query = body(&json!({})).expect("read");
    let error = query::plan(query.clone(), "vault", &caller(), &key()).expect_err("denied");
    assert_eq!(told(&error).0, "PERMISSION_DENIED");
    let error = query::plan(query, "ticket\"; drop", &caller(), &key()).expect_err("unknown");
    assert_eq!(
        told(&error),
        ("NOT_FOUND".to_owned(), "OBJECT_NOT_FOUND".to_owned())
    );
}
