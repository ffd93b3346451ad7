//! Bodies that are passed on as they arrive.

use std::time::Duration;

use bytes::Bytes;
use gateway::Config;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::{Body, Method};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    fakes::{LONG, TOKEN},
    harness::send,
    probe::{Event, HexOf, Mesh},
};

const PATH: &str = "/api/v1/probe/uploads/a%20b";

/// A body of these pieces, without a length.
fn pieces(pieces: Vec<Vec<u8>>) -> Body {
    let frame = |piece| Ok::<_, std::io::Error>(Frame::data(Bytes::from(piece)));
    let pieces = tokio_stream::iter(pieces.into_iter().map(frame));
    Body::wrap(StreamBody::new(pieces))
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

/// The head of an upload over a bare connection.
fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: image/png\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// What comes back until the gateway closes, or the answer is whole.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&answer);
            let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                let head = head.to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                length.is_some_and(|length| body.len() == length.parse::<usize>().unwrap())
            });
            if whole {
                return text.into_owned();
            }
            match stream.read(&mut piece).await.unwrap() {
                0 => return text.into_owned(),
                read => answer.extend_from_slice(&piece[..read]),
            }
        }
    };
    tokio::time::timeout(LONG, read).await.expect("an answer")
}

fn idle(ms: u64) -> Config {
    Config {
        upload_idle_ms: ms,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_body_arrives_in_pieces_after_the_fields() {
    for mut mesh in [
        Mesh::local(Config::default()).await,
        Mesh::remote(Config::default()).await,
    ] {
        let content = bytes(300_000);
        let digest = format!("{:x}", HexOf(&Sha256::digest(&content)));
        let (head, tail) = content.split_at(200_000);
        let (head, tail) = (head.to_vec(), tail.to_vec());
        for body in [
            Body::from(content.clone()),
            pieces(vec![head, Vec::new(), tail]),
        ] {
            let request = mesh.edge.ask(Method::POST, PATH);
            let got = send(request.header("content-type", "image/png").body(body)).await;
            assert_eq!(got.status, 201, "{got:?}");
            assert_eq!(got.header("location"), "/api/v1/probe/files/a%20b");
            let answer = got.json();
            assert_eq!(answer["name"], "a b");
            assert_eq!(answer["size"], 300_000);
            assert_eq!(answer["digest"], digest);
            assert_eq!(answer["mediaType"], "image/png");
            assert!(answer["largest"].as_u64().unwrap() <= 64 * 1024, "{answer}");
            assert_eq!(mesh.event().await, Event::Begun("a b".to_owned()));
            assert_eq!(mesh.event().await, Event::Whole(300_000));
        }
        // None at all is one, too.
        let got = send(mesh.edge.ask(Method::POST, PATH)).await;
        assert_eq!((got.status.as_u16(), &got.json()["size"]), (201, &json!(0)));
    }
}

#[tokio::test]
async fn nothing_is_taken_from_who_may_not_or_of_what_does_not_fit() {
    let mut mesh = Mesh::remote(Config::default()).await;
    let anonymous = mesh.edge.anonymous(Method::POST, PATH).body("x");
    send(anonymous).await.refused(401, "UNAUTHENTICATED");
    let request = mesh.edge.ask(Method::POST, &format!("{PATH}?moed=x"));
    send(request.body("x"))
        .await
        .refused(400, "VALIDATION_ERROR");
    let request = mesh
        .edge
        .ask(Method::POST, PATH)
        .header("content-encoding", "gzip");
    let error = send(request.body("x"))
        .await
        .refused(415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(error["details"]["supported"], json!(["*/*"]));
    // Its length says it all; not a byte is needed.
    let mut stream = TcpStream::connect(&mesh.edge.address).await.unwrap();
    let head = head("/api/v1/probe/small/x", 100_001).replace("POST", "PUT");
    stream.write_all(head.as_bytes()).await.unwrap();
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert!(refused.contains(r#""limit":100000"#), "{refused}");
    // The service heard of none of them.
    send(mesh.edge.ask(Method::PUT, "/api/v1/probe/small/last")).await;
    assert_eq!(mesh.event().await, Event::Begun("last".to_owned()));
}

#[tokio::test]
async fn a_body_that_grows_over_the_limit_is_cut_off_and_never_whole() {
    for mut mesh in [
        Mesh::local(Config::default()).await,
        Mesh::remote(Config::default()).await,
    ] {
        let request = mesh.edge.ask(Method::PUT, "/api/v1/probe/small/x");
        let body = pieces(vec![bytes(60_000), bytes(40_000), bytes(1)]);
        let error = send(request.body(body))
            .await
            .refused(413, "PAYLOAD_TOO_LARGE");
        assert_eq!(error["details"]["limit"], 100_000);
        assert_eq!(mesh.event().await, Event::Begun("x".to_owned()));
        let event = mesh.event().await;
        assert!(matches!(event, Event::Broken | Event::Dropped), "{event:?}");
        let request = mesh.edge.ask(Method::PUT, "/api/v1/probe/small/x");
        let body = pieces(vec![bytes(60_000), bytes(40_000)]);
        assert_eq!(
            send(request.body(body)).await.json(),
            json!({"size": 100_000})
        );
    }
}

#[tokio::test]
async fn a_client_that_stalls_is_told_so_and_its_call_ends() {
    for mut mesh in [
        Mesh::local(idle(1000)).await,
        Mesh::remote(idle(1000)).await,
    ] {
        let mut stream = TcpStream::connect(&mesh.edge.address).await.unwrap();
        let head = head(PATH, 1000);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b"the beginning").await.unwrap();
        let refused = answer(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 408 "), "{refused}");
        assert!(refused.contains(r#""code":"TIMEOUT""#), "{refused}");
        assert!(refused.contains(r#""idleMs":1000"#), "{refused}");
        assert_eq!(mesh.event().await, Event::Begun("a b".to_owned()));
        let event = mesh.event().await;
        assert!(matches!(event, Event::Broken | Event::Dropped), "{event:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    for mut mesh in [
        Mesh::local(Config::default()).await,
        Mesh::remote(Config::default()).await,
    ] {
        let mut stream = TcpStream::connect(&mesh.edge.address).await.unwrap();
        stream.write_all(head(PATH, 1000).as_bytes()).await.unwrap();
        stream.write_all(b"the beginning").await.unwrap();
        assert_eq!(mesh.event().await, Event::Begun("a b".to_owned()));
        drop(stream);
        let event = mesh.event().await;
        assert!(matches!(event, Event::Broken | Event::Dropped), "{event:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_is_no_whole_body() {
    let mut mesh = Mesh::remote(Config::default()).await;
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        let stream = TcpStream::connect(&mesh.edge.address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        mesh.edge.spawn(async move {
            let _ = connection.await;
        });
        let request = http::Request::post(format!("http://{}{PATH}", mesh.edge.address))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-length", "100");
        let mut client = client.ready().await.unwrap();
        let request = request.body(()).unwrap();
        let (_answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"0123456789"), false)
            .unwrap();
        assert_eq!(mesh.event().await, Event::Begun("a b".to_owned()));
        body.send_reset(reason);
        let event = mesh.event().await;
        assert!(matches!(event, Event::Broken | Event::Dropped), "{event:?}");
    }
}

#[tokio::test]
async fn a_service_that_refuses_early_is_heard_at_once() {
    for mesh in [
        Mesh::local(Config::default()).await,
        Mesh::remote(Config::default()).await,
    ] {
        // Before a byte of the body was sent.
        let mut stream = TcpStream::connect(&mesh.edge.address).await.unwrap();
        let head = head(&format!("{PATH}?mode=refuse"), 50_000_000);
        stream.write_all(head.as_bytes()).await.unwrap();
        let refused = answer(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 409 "), "{refused}");
        // To a client that sends all the while, without a broken connection.
        for (mode, status) in [("refuse", 409), ("ignore", 201)] {
            let request = mesh.edge.ask(Method::POST, &format!("{PATH}?mode={mode}"));
            let got = send(request.body(bytes(20_000_000))).await;
            assert_eq!(got.status, status, "{got:?}");
        }
    }
}

#[tokio::test]
async fn a_service_that_does_not_read_slows_its_client_down() {
    const CHUNK: usize = 256 * 1024;
    const TOTAL: usize = 200 * CHUNK;
    for mut mesh in [
        Mesh::local(Config::default()).await,
        Mesh::remote(Config::default()).await,
    ] {
        let mut stream = TcpStream::connect(&mesh.edge.address).await.unwrap();
        let head = head(&format!("{PATH}?mode=gated"), TOTAL);
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(mesh.event().await, Event::Begun("a b".to_owned()));
        let content = bytes(CHUNK);
        let mut sent = 0;
        let mut write = async |most: Duration| {
            let left = &content[sent % CHUNK..];
            let written = tokio::time::timeout(most, stream.write(left)).await;
            written.map(|written| {
                sent += written.unwrap();
                sent
            })
        };
        // Until nothing moves any more; a slow machine makes it less.
        let mut before = 0;
        while let Ok(sent) = write(Duration::from_millis(500)).await {
            before = sent;
        }
        assert!(before < TOTAL / 2, "{before} bytes were taken");
        mesh.go.notify_one();
        while write(LONG).await.unwrap() < TOTAL {}
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert_eq!(mesh.event().await, Event::Whole(TOTAL as u64));
    }
}

#[tokio::test]
async fn the_deadline_of_an_upload_is_for_the_silence_of_its_service() {
    let mut mesh = Mesh::remote(Config::default()).await;
    // Two seconds for the service; the client takes more than that, and may.
    let mut stream = TcpStream::connect(&mesh.edge.address).await.unwrap();
    let path = "/api/v1/probe/small/patient";
    let head = head(path, 10).replace("POST", "PUT");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(mesh.event().await, Event::Begun("patient".to_owned()));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        stream.write_all(b"x").await.unwrap();
    }
    let answered = answer(&mut stream).await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert_eq!(mesh.event().await, Event::Whole(10));
    // A service that does nothing is given up, and what it did is not known.
    let request = mesh.edge.ask(Method::PUT, "/api/v1/probe/small/silent");
    let error = send(request.body("x")).await.refused(504, "TIMEOUT");
    assert_eq!(error["details"]["outcome"], "unknown");
    assert_eq!(error["details"]["deadlineMs"], 2000);
    assert_eq!(mesh.event().await, Event::Begun("silent".to_owned()));
    assert_eq!(mesh.event().await, Event::Dropped);
}

#[tokio::test]
async fn uploads_leave_room_for_other_requests() {
    let config = Config {
        max_in_flight: 4,
        ..Config::default()
    };
    let mut mesh = Mesh::local(config).await;
    let request = mesh.edge.ask(Method::POST, &format!("{PATH}?mode=gated"));
    let others = async {
        assert_eq!(mesh.event().await, Event::Begun("a b".to_owned()));
        let second = send(mesh.edge.ask(Method::POST, PATH).body("x")).await;
        second.refused(503, "SERVICE_UNAVAILABLE");
        assert_eq!(mesh.edge.get("/api/v1/probe/things/a/b").await.status, 200);
        mesh.go.notify_one();
    };
    let (first, ()) = tokio::join!(send(request.body("0123456789")), others);
    assert_eq!(first.status, 201);
    let third = send(mesh.edge.ask(Method::POST, PATH).body("x")).await;
    assert_eq!(third.status, 201);
}
