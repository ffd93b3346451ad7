//! Bodies that a service writes itself, what it may say of them, and events with ids.

use gateway::Config;
use reqwest::Method;

use crate::{
    harness::send,
    probe::{CONTENT, Mesh},
};

fn path(name: &str) -> String {
    format!("/api/v1/probe/files/{name}")
}

#[tokio::test]
async fn a_service_says_what_is_allowed_of_its_body() {
    for mesh in [
        Mesh::local(Config::default()).await,
        Mesh::remote(Config::default()).await,
    ] {
        let got = mesh.edge.get(&path("plain")).await;
        assert_eq!((got.status.as_u16(), got.text.as_str()), (200, CONTENT));
        let expected = [
            ("content-type", "image/png"),
            ("content-length", "16"),
            ("accept-ranges", "bytes"),
            (
                "content-disposition",
                "attachment; filename*=UTF-8''a%20b.png",
            ),
            ("etag", "\"e1\""),
            ("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT"),
            ("cache-control", "private, no-cache"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
        ];
        for (name, value) in expected {
            assert_eq!(got.header(name), value, "{name}");
        }
        // HEAD says the same, without the body.
        let head = send(mesh.edge.ask(Method::HEAD, &path("plain"))).await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
        for (name, value) in expected {
            assert_eq!(head.header(name), value, "{name}");
        }
        let request = mesh.edge.ask(Method::GET, &path("plain"));
        let part = send(request.header("range", "bytes=0-3")).await;
        assert_eq!((part.status.as_u16(), part.text.as_str()), (206, "0123"));
        assert_eq!(part.header("content-range"), "bytes 0-3/16");
        assert_eq!(part.header("content-length"), "4");
        let request = mesh.edge.ask(Method::GET, &path("plain"));
        let fresh = send(request.header("if-none-match", "\"e1\"")).await;
        assert_eq!((fresh.status.as_u16(), fresh.text.as_str()), (304, ""));
        assert_eq!(fresh.header("etag"), "\"e1\"");
        for absent in ["content-length", "content-type", "transfer-encoding"] {
            assert_eq!(fresh.headers.get(absent), None, "{absent}");
        }
    }
}

#[tokio::test]
async fn what_a_service_may_not_say_is_dropped() {
    let mesh = Mesh::remote(Config::default()).await;
    let got = mesh.edge.get(&path("sly")).await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (200, CONTENT));
    assert_eq!(got.header("etag"), "\"e2\"");
    for absent in [
        "set-cookie",
        "location",
        "access-control-allow-origin",
        "content-length",
    ] {
        assert_eq!(got.headers.get(absent), None, "{absent}");
    }
    // A further status that the route names; one with nothing to say; and failures as ever.
    let got = mesh.edge.get(&path("gone")).await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (404, "{}"));
    let got = mesh.edge.get(&path("accepted")).await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (202, ""));
    assert_eq!(got.headers.get("content-type"), None);
    let got = mesh.edge.get(&path("empty")).await;
    assert_eq!(
        (got.status.as_u16(), got.header("content-length")),
        (200, "0")
    );
    mesh.edge
        .get(&path("other"))
        .await
        .refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_look_whole() {
    for mesh in [
        Mesh::local(Config::default()).await,
        Mesh::remote(Config::default()).await,
    ] {
        for name in ["broken", "short"] {
            // With the first bytes the answer itself may be lost.
            let response = mesh.edge.ask(Method::GET, &path(name)).send().await;
            if let Ok(response) = response {
                assert_eq!(response.status(), 200);
                assert!(response.bytes().await.is_err(), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn events_have_ids_names_and_a_time_to_come_back() {
    let mesh = Mesh::remote(Config::default()).await;
    let request = mesh.edge.ask(Method::GET, "/api/v1/probe/changes");
    let got = send(request.header("last-event-id", "p0")).await;
    assert_eq!(got.header("content-type"), "text/event-stream");
    assert_eq!(
        got.text,
        "retry: 3000\n\n\
         event: position\nid: p1\ndata: {}\n\n\
         : ping\n\n\
         event: change\nid: p2\ndata: {\"after\":\"p0\"}\n\n\
         id: p3\n\n\
         data: {\"reason\":\"Internal server error\"}\n\n"
    );
    let head = send(mesh.edge.ask(Method::HEAD, "/api/v1/probe/changes")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-type"), "text/event-stream");
}
