//! What belongs to no route: ids, limits of the head, CORS, connections.

use std::io::Read as _;

use gateway::Config;
use reqwest::Method;
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    fakes,
    harness::{Edge, Got, send, start, start_with},
};

#[tokio::test]
async fn a_request_id_is_echoed_when_it_is_well_formed() {
    let edge = start().await;
    let check = async |given: &str, echoed: bool| {
        let request = edge
            .anonymous(Method::GET, "/nothing")
            .header("x-request-id", given);
        let got = send(request).await;
        got.refused(404, "NOT_FOUND");
        assert_eq!(got.header("x-request-id") == given, echoed, "{given}");
    };
    check("01H-abc_~", true).await;
    check(&"x".repeat(128), true).await;
    check(&"x".repeat(129), false).await;
    check("two words", false).await;
    let got = send(edge.anonymous(Method::GET, "/health")).await;
    assert_eq!(got.header("x-request-id").len(), 26);
}

#[tokio::test]
async fn long_urls_and_headers_are_refused_with_the_envelope() {
    let edge = start().await;
    let got = edge
        .get(&format!("/api/v1/meta?x={}", "y".repeat(8200)))
        .await;
    got.refused(414, "VALIDATION_ERROR");
    let request = edge
        .ask(Method::GET, "/api/v1/meta")
        .header("x-big", "y".repeat(33_000));
    send(request).await.refused(431, "VALIDATION_ERROR");
}

#[tokio::test]
async fn what_decides_who_asks_and_where_is_said_once() {
    let edge = start().await;
    let ask = async |headers: &str, expected: &str| {
        let request = format!("GET /api/v1/meta HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answer = edge.raw(&request).await;
        assert!(answer.starts_with(expected), "{headers}{answer}");
        answer
    };
    let bearer = format!("Authorization: Bearer {}\r\n", fakes::TOKEN);
    let cookie = format!("Cookie: {}\r\n", fakes::COOKIE);
    ask(&format!("Host: a\r\n{bearer}"), "HTTP/1.1 200 ").await;
    ask(&format!("Host: a\r\n{cookie}"), "HTTP/1.1 200 ").await;
    let refused = "HTTP/1.1 400 ";
    let answer = ask(&bearer, refused).await;
    assert!(answer.contains("The Host header is missing"), "{answer}");
    ask(&format!("Host: a\r\nHost: b\r\n{bearer}"), refused).await;
    ask(&format!("Host: a\r\n{bearer}{bearer}"), refused).await;
    ask("Host: a\r\nX-API-Key: k\r\nX-API-Key: l\r\n", refused).await;
    ask(&format!("Host: a\r\n{cookie}{cookie}"), refused).await;
    let twice = format!("Host: a\r\nCookie: {0}; other=1; {0}\r\n", fakes::COOKIE);
    let answer = ask(&twice, refused).await;
    assert!(answer.contains(r#""parameter":"Cookie""#), "{answer}");
}

#[tokio::test]
async fn json_is_compressed_for_who_takes_it() {
    let edge = start().await;
    let plain = edge.get("/api/v1").await;
    assert_eq!(plain.header("content-encoding"), "");
    assert!(
        plain.header("vary").contains("accept-encoding"),
        "{plain:?}"
    );
    let packed = edge
        .ask(Method::GET, "/api/v1")
        .header("accept-encoding", "br, gzip;q=0.5");
    let packed = packed.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let bytes = packed.bytes().await.unwrap();
    assert!(bytes.len() < plain.text.len() / 3, "{}", bytes.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*bytes)
        .read_to_string(&mut text)
        .unwrap();
    let text: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text["endpoints"], plain.json()["endpoints"]);
    // What is short stays as it is.
    let short = edge
        .anonymous(Method::GET, "/health")
        .header("accept-encoding", "gzip");
    assert_eq!(send(short).await.json(), json!({"status": "ok"}));
}

async fn preflight(edge: &Edge, origin: &str) -> Got {
    let request = edge
        .anonymous(Method::OPTIONS, "/api/v1/data/lead")
        .header("origin", origin)
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "if-match");
    send(request).await
}

#[tokio::test]
async fn cors_opens_to_trusted_origins_only() {
    let config = Config {
        trusted_origins: vec!["https://app.example.org".to_owned()],
        ..Config::default()
    };
    let edge = start_with(config, fakes::peers().await).await;
    let got = preflight(&edge, "https://app.example.org").await;
    assert_eq!(got.status, 204);
    assert_eq!(
        got.header("access-control-allow-origin"),
        "https://app.example.org"
    );
    assert_eq!(got.header("access-control-allow-credentials"), "true");
    assert!(got.header("access-control-allow-methods").contains("PATCH"));
    assert!(
        got.header("access-control-allow-headers")
            .contains("If-Match")
    );
    assert_eq!(got.header("access-control-max-age"), "7200");
    assert_eq!(got.header("vary"), "Origin");
    for origin in ["https://evil.example", "null", "http://app.example.org"] {
        let got = preflight(&edge, origin).await;
        assert_eq!(got.status, 204);
        let mut names = got.headers.keys().map(|name| name.as_str());
        assert!(
            !names.any(|name| name.starts_with("access-control")),
            "{got:?}"
        );
    }
    // Answers, refusals too, are readable for the trusted one.
    let request = edge
        .anonymous(Method::GET, "/api/v1/data/lead")
        .header("origin", "https://app.example.org");
    let got = send(request).await;
    got.refused(401, "UNAUTHENTICATED");
    assert_eq!(
        got.header("access-control-allow-origin"),
        "https://app.example.org"
    );
    assert_eq!(
        got.header("access-control-expose-headers"),
        "set-auth-token, ETag, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, \
         X-RateLimit-Reset, Retry-After, Location, WWW-Authenticate, Content-Range, \
         Content-Disposition"
    );
}

#[tokio::test]
async fn options_without_a_browser_tells_what_a_path_takes() {
    let edge = start().await;
    let got = send(edge.anonymous(Method::OPTIONS, "/api/v1/data/lead/r1")).await;
    assert_eq!(got.status, 204);
    assert_eq!(
        got.header("allow"),
        "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"
    );
    let got = send(edge.anonymous(Method::OPTIONS, "/api/v1/nothing")).await;
    got.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn only_trusted_proxies_name_the_client() {
    let config = Config {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..Config::default()
    };
    let edge = start_with(config, fakes::peers().await).await;
    let request = edge
        .ask(Method::GET, "/api/v1/data/lead")
        .header("x-forwarded-for", "6.6.6.6, 203.0.113.9");
    let got = send(request).await.json();
    assert_eq!(got["items"][0]["context"]["address"], "203.0.113.9");
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_lets_requests_finish() {
    let mut edge = start().await;
    assert_eq!(edge.get("/health").await.json(), json!({"status": "ok"}));
    let (answer, answered) = oneshot::channel();
    let running = edge.ask(Method::GET, "/api/v1/data/gated");
    edge.spawn(async move {
        answer.send(send(running).await).unwrap();
    });
    fakes::ARRIVED.notified().await;
    edge.stop.take().unwrap().send(()).unwrap();
    let mut ended = edge.ended.take().unwrap();
    // Not before the request did.
    assert!(ended.try_recv().is_err());
    fakes::GO.notify_one();
    assert_eq!(answered.await.unwrap().status, 200);
    ended.await.unwrap().unwrap();
    assert!(edge.ask(Method::GET, "/health").send().await.is_err());
}
