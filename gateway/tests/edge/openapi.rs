//! The document as the gateway puts it together: what it needs, what it leaves out, where it says
//! that the API is.

use gateway::{Config, Peers};
use mesh::Link;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    fakes,
    harness::{Edge, send, start, start_with},
};

const PATH: &str = "/api/v1/openapi.json";

#[tokio::test]
async fn it_joins_the_services_and_names_the_failures() {
    let edge = start().await;
    send(edge.anonymous(Method::GET, PATH))
        .await
        .refused(401, "UNAUTHENTICATED");
    let document = edge.get(PATH).await.json();
    for path in [
        "/api/v1/data/{object}",
        "/api/v1/auth/sign-in/email",
        "/api/v1",
        "/health",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let schemes = document["components"]["securitySchemes"]
        .as_object()
        .unwrap();
    let schemes: Vec<&str> = schemes.keys().map(String::as_str).collect();
    assert_eq!(schemes, ["cookieAuth", "bearerAuth", "apiKeyAuth"]);
    let responses = document["components"]["responses"].as_object().unwrap();
    for status in ["400", "401", "403", "404", "409", "429", "500"] {
        assert!(responses.contains_key(status), "{status}");
    }
    assert_eq!(document["info"]["version"], "v1");
    assert_eq!(document.get("x-unavailable"), None);
}

#[tokio::test]
async fn without_a_needed_service_there_is_none_and_without_another_the_gap_is_named() {
    let peers = Peers {
        data: Link::unbound(),
        ..fakes::peers().await
    };
    let edge = start_with(Config::default(), peers).await;
    let error = edge.get(PATH).await.refused(503, "SERVICE_UNAVAILABLE");
    assert_eq!(error["details"]["missing"], json!(["data-svc"]));

    let peers = Peers {
        ai: Link::unbound(),
        ..fakes::peers().await
    };
    let edge = start_with(Config::default(), peers).await;
    for _ in 0..2 {
        let got = edge.get(PATH).await;
        assert_eq!(got.json()["x-unavailable"], json!(["ai-svc"]));
        assert_eq!(
            (got.header("etag"), got.header("cache-control")),
            ("", "no-store")
        );
    }
}

async fn server(edge: &Edge, headers: &[(&str, &str)]) -> Value {
    let mut request = edge.ask(Method::GET, PATH);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await.json()["servers"][0]["url"].clone()
}

#[tokio::test]
async fn the_server_is_the_public_url_or_where_the_request_went() {
    let forwarded = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "mesh.example.org"),
    ];
    let edge = start().await;
    let own = json!(format!("http://{}", edge.address));
    assert_eq!(server(&edge, &[]).await, own);
    // Nobody vouches for these.
    assert_eq!(server(&edge, &forwarded).await, own);

    let config = Config {
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..Config::default()
    };
    let edge = start_with(config, fakes::peers().await).await;
    let expected = json!("https://mesh.example.org");
    assert_eq!(server(&edge, &forwarded).await, expected);
    let odd = [("x-forwarded-host", "a/b?c")];
    assert_eq!(server(&edge, &odd).await, "/");

    let config = Config {
        public_url: Some("https://public.example.org/".to_owned()),
        ..Config::default()
    };
    let edge = start_with(config, fakes::peers().await).await;
    let document = edge.get(PATH).await.json();
    assert_eq!(document["servers"][0]["url"], "https://public.example.org");
    let cookie = &document["components"]["securitySchemes"]["cookieAuth"]["name"];
    assert!(
        cookie.as_str().unwrap().starts_with("__Secure-"),
        "{cookie}"
    );
}

#[tokio::test]
async fn it_is_not_sent_again_to_who_has_it() {
    let edge = start().await;
    let first = edge.get(PATH).await;
    let tag = first.header("etag").to_owned();
    assert_eq!(
        edge.get(PATH).await.text,
        first.text,
        "the same text each time"
    );
    let ask = |tag: &str| edge.ask(Method::GET, PATH).header("if-none-match", tag);
    let again = send(ask(&format!("\"x\", W/{tag}"))).await;
    assert_eq!((again.status.as_u16(), &*again.text), (304, ""));
    assert_eq!(again.header("etag"), tag);
    assert_eq!(send(ask("\"x\"")).await.status, 200);
    let key = edge
        .anonymous(Method::GET, PATH)
        .header("x-api-key", fakes::KEY);
    let narrowed = send(key.header("if-none-match", &tag)).await;
    assert_eq!(
        narrowed.status, 200,
        "a scoped key has a document of its own"
    );
    assert!(
        narrowed.json()["paths"]["/api/v1/data/{object}"]
            .get("post")
            .is_none()
    );
}
