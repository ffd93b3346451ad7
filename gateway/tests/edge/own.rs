//! The routes that are the gateway's own.

use gateway::{Config, Peers};
use mesh::Link;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    fakes,
    harness::{send, start, start_with},
};

#[tokio::test]
async fn discovery_needs_a_session_unless_it_is_opened() {
    let edge = start().await;
    for path in [
        "/api/v1",
        "/api/v1/discovery",
        "/api/v1/",
        "/.well-known/objectstack",
    ] {
        send(edge.anonymous(Method::GET, path))
            .await
            .refused(401, "UNAUTHENTICATED");
        assert_eq!(edge.get(path).await.status, 200);
    }
    let config = Config {
        public_discovery: true,
        ..Config::default()
    };
    let edge = start_with(config, fakes::peers().await).await;
    let bare = send(edge.anonymous(Method::GET, "/api/v1")).await.json();
    let wrapped = send(edge.anonymous(Method::GET, "/.well-known/objectstack"))
        .await
        .json();
    assert_eq!(wrapped, json!({"success": true, "data": bare}));
}

#[tokio::test]
async fn discovery_tells_what_is_there_and_only_that() {
    let edge = start().await;
    let found = edge.get("/api/v1").await.json();
    assert_eq!(
        (&found["version"], &found["apiName"]),
        (&json!("v1"), &json!("objectmesh API"))
    );
    assert_eq!(
        found["routes"],
        json!({"auth": "/api/v1/auth", "metadata": "/api/v1/meta", "data": "/api/v1/data",
            "actions": "/api/v1/actions", "flows": "/api/v1/flows", "ai": "/api/v1/ai",
            "keys": "/api/v1/keys", "discovery": "/api/v1/discovery"})
    );
    assert_eq!(found["services"]["data"]["status"], "available");
    assert_eq!(found["services"]["auth"]["provider"], "auth-svc");
    for (capability, enabled) in [("automation", true), ("cron", false)] {
        let found = &found["capabilities"][capability];
        assert_eq!(found, &json!({"enabled": enabled}), "{capability}");
    }
    assert_eq!(found["deprecation"], Value::Null);
    assert_eq!(
        found["schemaDiscovery"],
        json!({"openapi": "/api/v1/openapi.json"})
    );
    let endpoints = found["endpoints"].as_array().unwrap();
    let list = json!({"method": "GET", "path": "/api/v1/data/:object",
        "summary": "Lists records that fit a filter, ordered and paged",
        "auth": "session", "tags": ["data"]});
    assert!(endpoints.contains(&list), "{endpoints:#?}");
    let users = endpoints
        .iter()
        .find(|one| one["path"] == "/api/v1/auth/admin/list-users");
    assert_eq!(users.unwrap()["permission"], "manage_users");
    let ok = endpoints
        .iter()
        .find(|one| one["path"] == "/api/v1/auth/ok");
    assert_eq!(ok.unwrap()["auth"], "public");
    let mut paths = endpoints.iter().map(|one| one["path"].as_str().unwrap());
    assert!(paths.all(|path| path.starts_with("/api/v1")));
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let edge = start().await;
    let got = send(edge.anonymous(Method::GET, "/ready")).await;
    assert_eq!(
        (got.status.as_u16(), got.json()),
        (200, json!({"status": "ready"}))
    );
    let peers = Peers {
        data: Link::unbound(),
        ..fakes::peers().await
    };
    let edge = start_with(Config::default(), peers).await;
    let got = send(edge.anonymous(Method::GET, "/ready")).await;
    let error = got.refused(503, "SERVICE_UNAVAILABLE");
    assert_eq!(error["details"]["missing"], json!(["data-svc"]));
    assert_eq!(got.header("retry-after"), "1");
    let found = edge.get("/api/v1").await.json();
    assert_eq!(found["services"]["data"]["status"], "unavailable");
    assert_eq!(found["services"]["auth"]["status"], "available");
}

#[tokio::test]
async fn health_versions_and_metrics_are_public() {
    let edge = start().await;
    let got = send(edge.anonymous(Method::GET, "/health")).await;
    assert_eq!(got.text, r#"{"status":"ok"}"#);
    let got = send(edge.anonymous(Method::GET, "/api")).await.json();
    assert_eq!(got["versions"][0]["url"], "/api/v1");

    assert_eq!(edge.get("/api/v1/data/lead/r1").await.status, 200);
    send(edge.anonymous(Method::GET, "/made/up/by/client"))
        .await
        .refused(404, "NOT_FOUND");
    let got = send(edge.anonymous(Method::GET, "/metrics")).await;
    assert!(
        got.header("content-type").starts_with("text/plain"),
        "{got:?}"
    );
    let counted = "objectmesh_http_requests_total{method=\"GET\",\
        route=\"/api/v1/data/{object}/{id}\",status=\"200\"}";
    assert!(got.text.contains(counted), "{}", got.text);
    assert!(
        got.text
            .contains("objectmesh_http_request_duration_seconds_bucket{")
    );
    assert!(got.text.contains("route=\"unmatched\",status=\"404\""));
    assert!(!got.text.contains("made/up"));
}

#[tokio::test]
async fn browsers_are_led_to_the_explorer() {
    let edge = start().await;
    let page = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let got = send(edge.anonymous(Method::GET, "/").header("accept", page)).await;
    assert_eq!(got.status, 302);
    assert_eq!(got.header("location"), "/docs");
    let got = send(edge.anonymous(Method::GET, "/").header("accept", "*/*")).await;
    got.refused(404, "NOT_FOUND");
}
