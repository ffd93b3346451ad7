//! What is read, planned, refused, filters apart.

use crate::kernel::query;
use proto::{annotations::v1::QueryParameter, data::v1::ListRecordsRequest};
use serde_json::{Value as Json, json};

use super::{
    filters::print,
    fixture::{body, caller, key, plan, refusal, sees_open, told},
};

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
fn bodies_are_read_strictly() {
    let reason = |text: &str| match query::from_body("ticket", text.as_bytes()) {
        Ok(query) => panic!("{text}: {query:?}"),
        Err(error) => told(&error).1,
    };
    assert_eq!(reason("{"), "MALFORMED_JSON");
    assert_eq!(reason(r#"{"limit":1,"limit":2}"#), "MALFORMED_JSON");
    assert_eq!(reason(r#"{"limit":1} {}"#), "MALFORMED_JSON");
    assert_eq!(reason("[]"), "INVALID_QUERY");
    for key in ["search", "searchFields", "joins", "windowFunctions", "x"] {
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
    assert_eq!(order(json!([])), ["-created_at", "-id"]);
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
