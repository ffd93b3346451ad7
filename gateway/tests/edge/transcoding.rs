//! Requests reach their RPC and answers look as the contract says.

use reqwest::Method;
use serde_json::json;

use crate::harness::{send, start};

#[tokio::test]
async fn a_list_takes_parameters_and_splices_records() {
    let edge = start().await;
    let query = "where=%7B%22status%22%3A%7B%22%24eq%22%3A%22open%22%7D%7D&$orderby=-created_at&limit=20&a=1&a=2+3";
    let got = edge
        .get(&format!("/api/v1/data/support_ticket/?{query}"))
        .await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("cache-control"), "no-store");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    // 64-bit numbers and the digits of records come through untouched.
    assert!(got.text.ends_with(
        r#",{"big":12345678901234567890.5}],"total":9007199254740993,"nextCursor":null}"#
    ));
    let first = &got.json()["items"][0];
    assert_eq!(first["object"], "support_ticket");
    assert_eq!(first["where"], r#"{"status":{"$eq":"open"}}"#);
    assert_eq!(first["orderBy"], "-created_at");
    assert_eq!(first["limit"], 20);
    assert_eq!(first["count"], json!(null));
    assert_eq!(first["filters"], json!([["a", "1"], ["a", "2 3"]]));
}

#[tokio::test]
async fn a_call_carries_who_asks_and_nothing_else_of_the_client() {
    let edge = start().await;
    let request = edge
        .ask(Method::GET, "/api/v1/data/lead")
        .header("x-request-id", "abc-123")
        .header("user-agent", "test/1.0")
        .header("cookie", "other=1")
        .header("x-forwarded-for", "203.0.113.9")
        .header("grpc-timeout", "1n")
        .header("objectmesh-client-address", "203.0.113.9");
    let got = send(request).await;
    assert_eq!(got.header("x-request-id"), "abc-123");
    let context = &got.json()["items"][0]["context"];
    assert_eq!(
        *context,
        json!({
            "subject": "ann", "requestId": "abc-123", "json": true, "address": "127.0.0.1",
            "userAgent": "test/1.0", "secondsLeft": 9, "cookie": false, "forwarded": false,
        })
    );
}

#[tokio::test]
async fn one_record_is_the_record_itself_with_its_etag() {
    let edge = start().await;
    let got = edge.get("/api/v1/data/lead/01H%2F%C3%BC").await;
    assert_eq!(got.text, r#"{"id":"01H/ü","object":"lead"}"#);
    assert_eq!(got.header("etag"), "\"7\"");
    let got = edge.get("/api/v1/data/lead/unversioned").await;
    assert_eq!(got.headers.get("etag"), None);
    let head = send(edge.ask(Method::HEAD, "/api/v1/data/lead/01H")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!(head.header("etag"), "\"7\"");
    assert_eq!(head.header("content-length"), "28");
}

#[tokio::test]
async fn a_created_record_answers_201_with_its_place() {
    let edge = start().await;
    let body = "{ \"a\" : 1.50, \"a\": 2 }";
    let request = edge
        .ask(Method::POST, "/api/v1/data/lead")
        .header(
            "content-type",
            "application/merge-patch+json; charset=UTF-8",
        )
        .header("idempotency-key", "k-1")
        .body(body);
    let got = send(request).await;
    assert_eq!(got.status, 201);
    assert_eq!(got.header("location"), "/api/v1/data/lead/a%20b%2Fc");
    assert_eq!(got.header("etag"), "\"1\"");
    // The body reaches the service to the byte.
    assert_eq!(got.json(), json!({"got": body, "key": "k-1"}));
}

#[tokio::test]
async fn patch_and_put_take_the_version_from_if_match() {
    let edge = start().await;
    for method in [Method::PATCH, Method::PUT] {
        let request = edge
            .ask(method, "/api/v1/data/lead/r1")
            .header("if-match", "\"7\"");
        let got = send(request.json(&json!({"stage": "won"}))).await;
        assert_eq!(got.json(), json!({"ifMatch": "\"7\"", "id": "r1"}));
        assert_eq!(got.header("etag"), "\"8\"");
    }
    let request = edge
        .ask(Method::PATCH, "/api/v1/data/lead/r1")
        .header("if-match", "\"1\"")
        .json(&json!({}));
    let error = send(request).await.refused(409, "CONCURRENT_UPDATE");
    assert_eq!(error["details"], json!({"currentVersion": 8}));
}

#[tokio::test]
async fn delete_query_and_metadata_have_their_shapes() {
    let edge = start().await;
    let got = send(edge.ask(Method::DELETE, "/api/v1/data/lead/r1")).await;
    assert_eq!(got.text, r#"{"object":"lead","id":"r1","success":true}"#);

    let got = edge.post("/api/v1/data/lead/query", r#"{"limit":1}"#).await;
    assert_eq!(got.text, r#"{"items":[],"nextCursor":"{\"limit\":1}"}"#);

    let got = edge.get("/api/v1/meta").await.json();
    assert_eq!(got["entries"][0]["allowOrgOverride"], false);
    assert_eq!(got["entries"][0]["label"], "");
    let got = edge.get("/api/v1/meta/object").await;
    assert_eq!(
        got.text,
        r#"{"type":"","items":[],"total":0,"nextCursor":null}"#
    );
}

#[tokio::test]
async fn a_metadata_item_can_be_bare_or_not_modified() {
    let edge = start().await;
    let got = edge.get("/api/v1/meta/object/lead").await;
    assert_eq!(
        got.text,
        r#"{"type":"object","name":"lead","item":{"label":"Lead"}}"#
    );
    assert_eq!(got.header("etag"), "\"abc\"");
    assert_eq!(got.header("cache-control"), "private, no-cache");
    assert_eq!(got.header("last-modified"), "Tue, 24 Nov 2026 12:00:00 GMT");
    let vary: Vec<_> = got.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Language", "Origin"]);

    let got = edge.get("/api/v1/meta/object/lead?bare=true").await;
    assert_eq!(got.text, r#"{"label":"Lead"}"#);

    let request = edge
        .ask(Method::GET, "/api/v1/meta/object/lead")
        .header("if-none-match", "\"abc\"");
    let got = send(request).await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (304, ""));
    assert_eq!(got.header("etag"), "\"abc\"");
    // What is not there has neither length nor type.
    assert_eq!(got.headers.get("content-length"), None);
    assert_eq!(got.headers.get("content-type"), None);
}

#[tokio::test]
async fn sign_in_sets_cookies_and_the_token_header() {
    let edge = start().await;
    let body = json!({"email": "ann@example.org", "password": "correct horse", "rememberMe": false,
        "callbackURL": "/home"});
    for path in ["/api/v1/auth/sign-in/email", "/api/v1/auth/sign-in"] {
        let got = send(edge.anonymous(Method::POST, path).json(&body)).await;
        assert_eq!(got.status, 200, "{got:?}");
        let cookies: Vec<_> = got.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1; HttpOnly", "b=2; HttpOnly"]);
        assert_eq!(got.header("set-auth-token"), crate::fakes::TOKEN);
        let answer = got.json();
        assert_eq!(answer["redirect"], true);
        assert_eq!(answer["url"], "/home");
        assert_eq!(answer["user"]["image"], json!(null));
        assert_eq!(answer["user"]["createdAt"], "2023-11-14T22:13:20.120Z");
        assert_eq!(answer["user"].get("role"), None);
        assert_eq!(answer.get("setAuthToken"), None);
    }
    // Only routes that say so set cookies.
    let got = edge.get("/api/v1/auth/list-sessions").await;
    assert_eq!(
        (got.text.as_str(), got.headers.get("set-cookie")),
        ("[]", None)
    );
}

#[tokio::test]
async fn an_optional_body_may_be_absent_empty_or_an_object() {
    let edge = start().await;
    let path = "/api/v1/auth/sign-out";
    let got = send(edge.ask(Method::POST, path)).await;
    assert_eq!(got.text, r#"{"success":true}"#);
    assert_eq!(edge.post(path, "").await.text, r#"{"success":true}"#);
    assert_eq!(edge.post(path, "{}").await.text, r#"{"success":true}"#);
    let error = edge
        .post(path, r#"{"x":1}"#)
        .await
        .refused(400, "VALIDATION_ERROR");
    assert_eq!(error["details"]["fields"][0]["code"], "unknown");
}
