//! Whatever fails has the one envelope, in the order of docs/reference/errors.md §8.

use gateway::{Config, Peers};
use mesh::Link;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    fakes,
    harness::{send, start, start_with},
};

#[tokio::test]
async fn unknown_routes_and_wrong_verbs_are_told_before_anything_else() {
    let edge = start().await;
    let got = send(edge.anonymous(Method::POST, "/api/v1/nothing")).await;
    let error = got.refused(404, "NOT_FOUND");
    assert_eq!(error["details"]["reason"], "ROUTE_NOT_FOUND");
    let got = send(edge.anonymous(Method::GET, "/api/v2/data/lead")).await;
    let error = got.refused(404, "NOT_FOUND");
    assert_eq!(error["details"]["supported"], json!(["v1"]));

    let got = send(edge.anonymous(Method::PUT, "/api/v1/data/lead")).await;
    let error = got.refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(error["details"]["allowed"], json!(["GET", "HEAD", "POST"]));
    assert_eq!(got.header("allow"), "GET, HEAD, POST");
    let got = send(edge.anonymous(Method::POST, "/health")).await;
    got.refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(got.header("allow"), "GET, HEAD");
    let got = send(edge.anonymous(Method::from_bytes(b"BREW").unwrap(), "/api/v1/meta")).await;
    got.refused(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_service_refusal_keeps_its_code_message_and_details() {
    let edge = start().await;
    let error = edge
        .get("/api/v1/data/lead/absent")
        .await
        .refused(404, "NOT_FOUND");
    let details = json!({"reason": "RECORD_NOT_FOUND", "object": "lead", "id": "absent"});
    assert_eq!(error["details"], details);
    let got = edge.get("/api/v1/data/busy").await;
    got.refused(429, "RATE_LIMITED");
    assert_eq!(got.header("retry-after"), "7");
    let got = edge.get("/api/v1/data/readonly").await;
    got.refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(got.header("allow"), "GET, HEAD, POST");
}

#[tokio::test]
async fn what_is_unexpected_says_nothing_and_the_connection_lives_on() {
    let edge = start().await;
    for object in ["broken", "panic"] {
        let error = edge
            .get(&format!("/api/v1/data/{object}"))
            .await
            .refused(500, "INTERNAL");
        assert_eq!(error["message"], "Internal server error");
        assert_eq!(error["details"], json!({}));
    }
    let got = edge.get("/api/v1/data/foreign").await;
    got.refused(503, "SERVICE_UNAVAILABLE");
    assert_eq!(got.header("retry-after"), "1");
    assert_eq!(edge.get("/api/v1/data/lead").await.status, 200);
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_503() {
    let peers = fakes::peers().await;
    // A port that was free a moment ago and is closed again.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let data = Link::connect(&uri).unwrap();
    let edge = start_with(Config::default(), Peers { data, ..peers }).await;
    let got = edge.get("/api/v1/data/lead").await;
    got.refused(503, "SERVICE_UNAVAILABLE");
    let peers = Peers {
        data: Link::unbound(),
        ..fakes::peers().await
    };
    let edge = start_with(Config::default(), peers).await;
    edge.get("/api/v1/data/lead")
        .await
        .refused(503, "SERVICE_UNAVAILABLE");
}

#[tokio::test]
async fn a_peer_over_a_socket_answers_the_same() {
    let peers = fakes::peers().await;
    let node = fakes::data_node(&peers.auth).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let data = Link::connect(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let serving = node.serve(listener, std::future::pending());
    let edge = start_with(Config::default(), Peers { data, ..peers }).await;
    edge.spawn(async move {
        let _ = serving.await;
    });
    let request = edge
        .ask(Method::GET, "/api/v1/data/lead")
        .header("user-agent", "test/1.0");
    let context = send(request).await.json()["items"][0]["context"].clone();
    assert_eq!(context["userAgent"], "test/1.0");
    assert_eq!(context["address"], "127.0.0.1");
    assert_eq!(
        edge.get("/api/v1/data/lead/r1").await.header("etag"),
        "\"7\""
    );
    edge.get("/api/v1/data/lead/absent")
        .await
        .refused(404, "NOT_FOUND");
    edge.get("/api/v1/data/panic")
        .await
        .refused(500, "INTERNAL");
}

#[tokio::test]
async fn a_call_that_hangs_ends_at_its_deadline() {
    let edge = start().await;
    // Connected and signed in, so that nothing but the deadline is left to wait for.
    assert_eq!(edge.get("/api/v1/data/lead").await.status, 200);
    tokio::time::pause();
    let got = edge.get("/api/v1/data/hang").await;
    let error = got.refused(504, "TIMEOUT");
    assert!(error["details"]["deadlineMs"].is_number(), "{error}");
}

#[tokio::test]
async fn bodies_are_checked_for_size_then_type_then_syntax() {
    let edge = start().await;
    let path = "/api/v1/data/lead/query";
    let json = "application/json";
    let post = |kind: &str, body: Vec<u8>| {
        let request = edge.ask(Method::POST, path);
        send(request.header("content-type", kind).body(body))
    };
    let large = post("text/plain", vec![b' '; 1024 * 1024 + 1]).await;
    let error = large.refused(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(error["details"]["limit"], 1_048_576);
    for kind in [
        "text/plain",
        "application/json; charset=latin1",
        "multipart/form-data",
        "json",
    ] {
        post(kind, b"{}".to_vec())
            .await
            .refused(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let untyped = send(edge.ask(Method::POST, path).body("{}")).await;
    untyped.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    let zipped = edge
        .ask(Method::POST, path)
        .header("content-encoding", "gzip");
    let zipped = send(zipped.header("content-type", json).body("{}")).await;
    zipped.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    let error = post(json, Vec::new())
        .await
        .refused(400, "VALIDATION_ERROR");
    assert_eq!(error["details"]["reason"], "MALFORMED_JSON");
    assert_eq!(
        post("APPLICATION/JSON;charset=\"utf-8\"", b"{}".to_vec())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_large_body_is_refused_while_it_is_sent() {
    let edge = start().await;
    // 11 MiB to a route that takes 10: the client must read the answer, not a broken pipe.
    let got = edge
        .post("/api/v1/data/lead", &" ".repeat(11 * 1024 * 1024))
        .await;
    got.refused(413, "PAYLOAD_TOO_LARGE");
    // Without a length the limit acts while reading.
    let head = format!(
        "POST /api/v1/data/lead/query HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        fakes::TOKEN
    );
    let chunk = format!("{:x}\r\n{}\r\n", 0x11_0000, " ".repeat(0x11_0000));
    let answer = edge.raw(&format!("{head}{chunk}")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("PAYLOAD_TOO_LARGE"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408() {
    let edge = start().await;
    assert_eq!(edge.get("/api/v1/data/lead").await.status, 200);
    tokio::time::pause();
    let answer = edge
        .raw(&format!(
            "POST /api/v1/data/lead HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
            fakes::TOKEN
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#"{"error":{"code":"TIMEOUT""#), "{answer}");
}

#[tokio::test]
async fn parameters_are_refused_by_name() {
    let edge = start().await;
    let check = async |path: &str, parameter: &str, reason: Option<&str>| {
        let error = edge.get(path).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(error["details"]["parameter"], parameter, "{error}");
        assert_eq!(error["details"]["reason"].as_str(), reason, "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    for value in ["abc", "-1", "4294967296", "1.5", "%2B5", ""] {
        check(&format!("/api/v1/data/lead?limit={value}"), "limit", None).await;
    }
    check("/api/v1/data/lead?count=yes", "count", None).await;
    check("/api/v1/data/lead?limit=1&limit=1", "limit", None).await;
    check("/api/v1/data/lead?limit=1&top=2", "top", None).await;
    check(
        "/api/v1/data/lead?where=1&where=2",
        "where",
        Some("INVALID_FILTER"),
    )
    .await;
    check(
        "/api/v1/data/lead?where=1&filter=2",
        "filter",
        Some("INVALID_FILTER"),
    )
    .await;
    check("/api/v1/data/lead?where=%FF", "where", None).await;
    check("/api/v1/data/lead%00", "object", None).await;
    check("/api/v1/data/%FF/r1", "object", None).await;
    let message = check("/api/v1/meta/object?limt=3", "limt", None).await;
    assert!(message.contains("did you mean `limit`?"), "{message}");
    let got = edge.get("/api/v1/data/lead?limit=1&top=1&order_by=a").await;
    assert_eq!(got.json()["items"][0]["orderBy"], "a", "{got:?}");
}

#[tokio::test]
async fn typed_bodies_are_refused_field_by_field() {
    let edge = start().await;
    let path = "/api/v1/auth/sign-in/email";
    let body = r#"{"emial":"a","password":5,"rememberMe":"yes","password":"x"}"#;
    let got = edge.post(path, body).await;
    let error = got.refused(400, "VALIDATION_ERROR");
    let fields = json!([
        {"field": "emial", "code": "unknown", "message": "emial is not known; did you mean `email`?"},
        {"field": "password", "code": "invalid_type", "message": "password must be a string"},
        {"field": "rememberMe", "code": "invalid_boolean", "message": "rememberMe must be true or false"},
        {"field": "password", "code": "duplicate", "message": "password is given twice"},
    ]);
    assert_eq!(error["details"]["fields"], fields);
    // On /auth/* Better Auth's clients look at the top level.
    assert_eq!(got.json()["code"], "VALIDATION_ERROR");
    assert_eq!(got.json()["message"], error["message"]);
    let deep = format!("{{\"email\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    for body in ["{", "{}x", "\u{feff}{}", "[1,]", "{\"a\":01}", &deep] {
        let error = edge.post(path, body).await.refused(400, "VALIDATION_ERROR");
        assert_eq!(error["details"]["reason"], "MALFORMED_JSON", "{body}");
    }
    let error = edge.post(path, "[]").await.refused(400, "VALIDATION_ERROR");
    assert_eq!(error["details"]["fields"][0]["code"], "invalid_type");
    let wrong = edge.post(path, r#"{"email":"a","password":"b"}"#).await;
    wrong.refused(401, "INVALID_EMAIL_OR_PASSWORD");
    assert_eq!(wrong.json()["code"], "INVALID_EMAIL_OR_PASSWORD");
    assert_eq!(wrong.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn a_missing_right_is_told_before_a_wrong_body() {
    let edge = start().await;
    let path = "/api/v1/auth/admin/create-user";
    let error = edge
        .post(path, r#"{"nonsense":1}"#)
        .await
        .refused(403, "PERMISSION_DENIED");
    assert_eq!(error["details"]["permission"], "manage_users");
    let error = edge.post(path, "{").await.refused(400, "VALIDATION_ERROR");
    assert_eq!(error["details"]["reason"], "MALFORMED_JSON");
}

#[tokio::test]
async fn little_of_what_was_sent_is_told_back() {
    let edge = start().await;
    let long = "z".repeat(4000);
    for got in [
        edge.get(&format!("/nothing/{long}")).await,
        edge.get(&format!("/api/v1/data/lead?limit={long}")).await,
        edge.get(&format!("/api/v1/data/lead/absent?{long}=1"))
            .await,
        edge.get("/api/v1/data/lead?limit=x%20y%20z%20").await,
        edge.post("/api/v1/auth/sign-in/email", &format!("{{\"{long}\":1}}"))
            .await,
        send(
            edge.ask(Method::POST, "/api/v1/data/lead")
                .header("content-type", &long)
                .body("{}"),
        )
        .await,
    ] {
        assert!(got.status.is_client_error(), "{got:?}");
        assert!(!got.text.contains(&long[..201]), "{got:?}");
    }
}

/// The deadline cuts a change off wherever it is, in the gateway or in the service.
#[tokio::test]
async fn a_change_that_the_deadline_cuts_off_has_an_unknown_outcome() {
    let edge = start().await;
    assert_eq!(edge.get("/api/v1/data/lead").await.status, 200);
    tokio::time::pause();
    let got = edge.post("/api/v1/data/hang", "{}").await;
    let error = got.refused(504, "TIMEOUT");
    assert_eq!(error["details"]["outcome"], "unknown");
    assert!(error["details"]["deadlineMs"].is_u64(), "{error}");
}

/// A service that was killed while it worked may have done it or not; one that is not there has not.
#[tokio::test]
async fn a_change_whose_service_fell_silent_is_504_with_an_unknown_outcome() {
    let peers = fakes::peers().await;
    let node = fakes::data_node(&peers.auth).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = listener.local_addr().unwrap();
    let serving = node.serve(listener, std::future::pending());
    // The way there, which can be cut.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let relay = async move {
        let mut ways = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            ways.spawn(async move {
                let mut there = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
            });
        }
    };
    let peers = Peers {
        data: Link::connect(&address).unwrap(),
        ..peers
    };
    let edge = start_with(Config::default(), peers).await;
    edge.spawn(async move {
        let _ = serving.await;
    });
    edge.spawn(async move {
        tokio::select! {
            () = relay => {}
            _ = stopped => {}
        }
    });
    let changing = edge.post("/api/v1/data/gated", "{}");
    let killed = async {
        fakes::ARRIVED.notified().await;
        stop.send(()).unwrap();
    };
    let (got, ()) = futures::join!(changing, killed);
    let error = got.refused(504, "TIMEOUT");
    assert_eq!(error["details"]["outcome"], "unknown");
    let got = edge.post("/api/v1/data/lead", "{}").await;
    let error = got.refused(503, "SERVICE_UNAVAILABLE");
    assert_eq!(error["details"]["outcome"], Value::Null);
}
