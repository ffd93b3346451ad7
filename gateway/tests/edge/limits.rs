//! How often who may ask, over sockets and over one Redis.

use gateway::{Config, Limits, RateLimit};
use reqwest::Method;
use serde_json::json;

use crate::{
    fakes::{self, KEY},
    harness::{Edge, Got, send, start_limited},
};

const SIGN_IN: &str = "/api/v1/auth/sign-in/email";
const RECORD: &str = "/api/v1/data/lead/r1";

async fn limited(limits: RateLimit) -> Edge {
    let limits = Limits::in_memory(&limits).unwrap();
    start_limited(Config::default(), fakes::peers().await, limits).await
}

async fn sign_in(edge: &Edge, forwarded: Option<&str>) -> Got {
    let mut request = edge.anonymous(Method::POST, SIGN_IN);
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded);
    }
    send(request.json(&json!({"email": "a@example.org", "password": "wrong"}))).await
}

/// Checks that it was refused for coming too often, and gives the seconds to wait.
fn too_many(got: &Got) -> u64 {
    let error = got.refused(429, "RATE_LIMITED");
    let seconds = error["details"]["retryAfter"].as_u64().unwrap();
    assert_eq!(got.header("retry-after"), seconds.to_string());
    assert_eq!(got.header("x-ratelimit-remaining"), "0");
    seconds
}

#[tokio::test]
async fn ways_in_from_this_machine_can_be_left_uncounted() {
    let limits = RateLimit {
        auth_per_minute: 1,
        exempt_loopback: true,
        ..RateLimit::default()
    };
    let edge = limited(limits).await;
    for _ in 0..3 {
        let got = sign_in(&edge, None).await;
        got.refused(401, "INVALID_EMAIL_OR_PASSWORD");
    }
}

#[tokio::test]
async fn ways_in_are_limited_by_address_and_say_so() {
    let limits = RateLimit {
        auth_per_minute: 3,
        ..RateLimit::default()
    };
    let edge = limited(limits).await;
    for left in ["2", "1", "0"] {
        let got = sign_in(&edge, None).await;
        got.refused(401, "INVALID_EMAIL_OR_PASSWORD");
        assert_eq!(got.header("x-ratelimit-limit"), "3");
        assert_eq!(got.header("x-ratelimit-remaining"), left);
        let reset: i64 = got.header("x-ratelimit-reset").parse().unwrap();
        let wait = reset - mesh::clock::unix_ms() / 1000;
        assert!((1..=61).contains(&wait), "{wait}");
    }
    // The header of a stranger changes nothing, nor does the other name of the route.
    let refused = sign_in(&edge, Some("203.0.113.9")).await;
    assert!((1..=20).contains(&too_many(&refused)));
    let request = edge.anonymous(Method::POST, "/api/v1/auth/sign-in");
    too_many(&send(request.json(&json!({}))).await);
    // What does not exist is told before, and no other route is touched.
    send(edge.anonymous(Method::PUT, SIGN_IN))
        .await
        .refused(405, "METHOD_NOT_ALLOWED");
    let got = edge.get(RECORD).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.header("x-ratelimit-limit"), "");
    // Who is in can always get out.
    assert_eq!(edge.post("/api/v1/auth/sign-out", "{}").await.status, 200);
}

#[tokio::test]
async fn behind_a_proxy_each_client_is_counted_alone() {
    let limits = RateLimit {
        auth_per_minute: 1,
        ..RateLimit::default()
    };
    let config = Config {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..Config::default()
    };
    let limits = Limits::in_memory(&limits).unwrap();
    let edge = start_limited(config, fakes::peers().await, limits).await;
    let first = sign_in(&edge, Some("203.0.113.9")).await;
    assert_eq!(first.status, 401);
    // What comes before the last hop may be made up.
    too_many(&sign_in(&edge, Some("6.6.6.6, 203.0.113.9")).await);
    assert_eq!(sign_in(&edge, Some("203.0.113.10")).await.status, 401);
    // One customer has a whole IPv6 network.
    assert_eq!(sign_in(&edge, Some("2001:db8:1:2::1")).await.status, 401);
    too_many(&sign_in(&edge, Some("2001:db8:1:2:9::9")).await);
    assert_eq!(sign_in(&edge, Some("2001:db8:1:3::1")).await.status, 401);
}

#[tokio::test]
async fn reads_and_writes_are_counted_for_each_caller() {
    let limits = RateLimit {
        reads_per_minute: 2,
        writes_per_minute: 1,
        ..RateLimit::default()
    };
    let edge = limited(limits).await;
    assert_eq!(edge.get(RECORD).await.header("x-ratelimit-remaining"), "1");
    // A query is a read although it is a POST.
    let query = edge.post("/api/v1/data/lead/query", "{}").await;
    assert_eq!(query.header("x-ratelimit-remaining"), "0");
    too_many(&edge.get("/api/v1").await);
    // The limit comes before the body is looked at; writes have one of their own.
    assert_eq!(edge.post("/api/v1/data/lead", "{}").await.status, 201);
    too_many(&edge.post("/api/v1/data/lead", "nonsense").await);
    // A key counts alone, not with the session of its owner.
    for left in ["1", "0"] {
        let got = send(edge.anonymous(Method::GET, RECORD).header("x-api-key", KEY)).await;
        assert_eq!(
            (got.status.as_u16(), got.header("x-ratelimit-remaining")),
            (200, left)
        );
    }
    too_many(&send(edge.anonymous(Method::GET, RECORD).header("x-api-key", KEY)).await);
    // Strangers are counted by their address.
    for left in ["1", "0"] {
        let got = send(edge.anonymous(Method::GET, RECORD).bearer_auth("guess")).await;
        got.refused(401, "UNAUTHENTICATED");
        assert_eq!(got.header("x-ratelimit-remaining"), left);
    }
    too_many(&send(edge.anonymous(Method::GET, RECORD)).await);
}

/// The tests' Redis, and a class of its own for each test: sign-ins from an address that is made up.
fn redis() -> Option<String> {
    let url = std::env::var("TEST_REDIS_URL").ok();
    if url.is_none() {
        eprintln!("skipped: TEST_REDIS_URL is not set");
    }
    url
}

/// A gateway that believes its clients about their address.
async fn shared(url: &str, limits: &RateLimit) -> Edge {
    let config = Config {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..Config::default()
    };
    let limits = Limits::shared(limits, url).unwrap();
    start_limited(config, fakes::peers().await, limits).await
}

/// An address that no other run of a test had.
fn fresh_address() -> String {
    let bytes = mesh::id::secret();
    let part = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    format!("2001:{:x}:{:x}:{:x}::1", part(0), part(2), part(4))
}

#[tokio::test]
async fn gateways_share_one_limit() {
    let Some(url) = redis() else { return };
    let limits = RateLimit {
        auth_per_minute: 4,
        ..RateLimit::default()
    };
    let (one, other) = (shared(&url, &limits).await, shared(&url, &limits).await);
    let address = fresh_address();
    for (edge, left) in [(&one, "3"), (&other, "2"), (&one, "1"), (&other, "0")] {
        let got = sign_in(edge, Some(&address)).await;
        assert_eq!(got.status, 401);
        assert_eq!(got.header("x-ratelimit-remaining"), left);
    }
    for edge in [&one, &other] {
        assert!((1..=15).contains(&too_many(&sign_in(edge, Some(&address)).await)));
    }
}

#[tokio::test]
async fn tokens_taken_in_sets_never_exceed_the_limit() {
    let Some(url) = redis() else { return };
    // Sets of ten: 600 a minute is ten a second.
    let limits = RateLimit {
        auth_per_minute: 600,
        ..RateLimit::default()
    };
    let edges = [shared(&url, &limits).await, shared(&url, &limits).await];
    let address = fresh_address();
    let began = std::time::Instant::now();
    let mut admitted = 0;
    for turn in 0..900 {
        let got = sign_in(&edges[turn % 2], Some(&address)).await;
        match got.status.as_u16() {
            401 => admitted += 1,
            _ => {
                too_many(&got);
                break;
            }
        }
    }
    let flow = began.elapsed().as_secs() * 10 + 10;
    assert!(
        admitted <= 600 + flow,
        "{admitted} in {:?}",
        began.elapsed()
    );
    // The other gateway may hold one set when the first is refused.
    assert!(admitted >= 600 - 20, "{admitted}");
}

#[tokio::test]
async fn without_redis_a_gateway_counts_alone() {
    // A port that was free a moment ago and is closed again.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", gone.local_addr().unwrap());
    drop(gone);
    let limits = RateLimit {
        auth_per_minute: 2,
        ..RateLimit::default()
    };
    let edge = shared(&url, &limits).await;
    let address = fresh_address();
    for left in ["1", "0"] {
        let got = sign_in(&edge, Some(&address)).await;
        assert_eq!(
            (got.status.as_u16(), got.header("x-ratelimit-remaining")),
            (401, left)
        );
    }
    too_many(&sign_in(&edge, Some(&address)).await);
}
