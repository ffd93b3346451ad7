//! Who asks: credentials, public routes, cookies and origins.

use gateway::Config;
use reqwest::Method;
use serde_json::json;

use crate::{
    fakes::{self, COOKIE, KEY, TOKEN},
    harness::{send, start, start_with},
};

#[tokio::test]
async fn a_route_that_is_not_public_needs_a_good_credential() {
    let edge = start().await;
    let path = "/api/v1/data/lead";
    let got = send(edge.anonymous(Method::GET, path)).await;
    got.refused(401, "UNAUTHENTICATED");
    assert_eq!(got.header("www-authenticate"), "Bearer");
    let identity_token = fakes::identity_token(fakes::ann());
    for bad in [
        "Bearer nonsense",
        "Basic YTpi",
        "Bearer",
        &format!("Bearer {identity_token}"),
    ] {
        let request = edge
            .anonymous(Method::GET, path)
            .header("authorization", bad);
        // A bad credential does not fall back to a good cookie.
        let got = send(request.header("cookie", COOKIE)).await;
        got.refused(401, "UNAUTHENTICATED");
    }
    for (name, value) in [
        ("authorization", format!("Bearer {TOKEN}")),
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", format!("ApiKey {KEY}")),
        ("x-api-key", KEY.to_owned()),
        ("cookie", COOKIE.to_owned()),
    ] {
        let got = send(edge.anonymous(Method::GET, path).header(name, value)).await;
        assert_eq!(
            got.json()["items"][0]["context"]["subject"],
            "ann",
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_service_decides_what_a_key_may_do() {
    let edge = start().await;
    let request = edge.anonymous(Method::DELETE, "/api/v1/data/lead/r1");
    let error = send(request.header("x-api-key", KEY))
        .await
        .refused(403, "PERMISSION_DENIED");
    assert_eq!(error["details"], json!({"reason": "SCOPE"}));
}

#[tokio::test]
async fn public_routes_answer_with_and_without_a_caller() {
    let edge = start().await;
    let path = "/api/v1/auth/get-session";
    assert_eq!(send(edge.anonymous(Method::GET, path)).await.text, "null");
    let request = edge.anonymous(Method::GET, path).bearer_auth("nonsense");
    assert_eq!(send(request).await.text, "null");
    let got = edge.get(path).await.json();
    assert_eq!(got["user"]["email"], "ann@example.org");
    assert_eq!(got["session"]["ipAddress"], json!(null));
    let got = send(edge.anonymous(Method::GET, "/api/v1/auth/ok")).await;
    assert_eq!(got.text, r#"{"ok":true}"#);
}

#[tokio::test]
async fn a_change_by_cookie_needs_a_trusted_origin() {
    let edge = start().await;
    let own = format!("http://{}", edge.address);
    let send_from = async |path: &str, name: &'static str, value: &str| {
        let request = edge.anonymous(Method::POST, path).header("cookie", COOKIE);
        send(request.header(name, value).json(&json!({}))).await
    };
    let data = "/api/v1/data/lead";
    for foreign in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let error = send_from(data, "origin", foreign)
            .await
            .refused(403, "PERMISSION_DENIED");
        assert_eq!(error["details"], json!({"reason": "INVALID_ORIGIN"}));
        let got = send_from("/api/v1/auth/update-user", "origin", foreign).await;
        got.refused(403, "INVALID_ORIGIN");
        assert_eq!(got.json()["code"], "INVALID_ORIGIN");
    }
    send_from(data, "x-nothing", "")
        .await
        .refused(403, "PERMISSION_DENIED");
    send_from(data, "sec-fetch-site", "cross-site")
        .await
        .refused(403, "PERMISSION_DENIED");
    assert_eq!(send_from(data, "origin", &own).await.status, 201);
    assert_eq!(
        send_from(data, "sec-fetch-site", "same-origin")
            .await
            .status,
        201
    );
    // The origin is told before the body is looked at.
    let request = edge.anonymous(Method::POST, data).header("cookie", COOKIE);
    send(request.body("x"))
        .await
        .refused(403, "PERMISSION_DENIED");
    // Reads and other credentials need none.
    let request = edge.anonymous(Method::GET, data).header("cookie", COOKIE);
    assert_eq!(
        send(request.header("origin", "https://evil.example"))
            .await
            .status,
        200
    );
    let request = edge
        .ask(Method::POST, data)
        .header("origin", "https://evil.example");
    assert_eq!(send(request.json(&json!({}))).await.status, 201);
}

#[tokio::test]
async fn development_trusts_every_port_of_localhost() {
    let config = Config {
        dev_origins: true,
        ..Config::default()
    };
    let edge = start_with(config, fakes::peers().await).await;
    let request = edge
        .anonymous(Method::POST, "/api/v1/data/lead")
        .header("cookie", COOKIE)
        .header("origin", "http://localhost:5173");
    let got = send(request.json(&json!({}))).await;
    assert_eq!(got.status, 201);
    assert_eq!(
        got.header("access-control-allow-origin"),
        "http://localhost:5173"
    );
}

#[tokio::test]
async fn a_session_that_ended_is_refused_at_once() {
    let edge = start().await;
    let session = mesh::session::hash(TOKEN);
    edge.sessions
        .mark_live(&session, fakes::LONG)
        .await
        .unwrap();
    assert_eq!(edge.get("/api/v1/data/lead").await.status, 200);
    edge.sessions.mark_ended(&session).await.unwrap();
    let error = edge
        .get("/api/v1/data/lead")
        .await
        .refused(401, "UNAUTHENTICATED");
    assert_eq!(error["details"]["reason"], "EXPIRED_TOKEN");
}
