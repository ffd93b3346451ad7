//! Profiles under `/compat`, paths under `/.well-known`, and what a 401 says of the way in.

use gateway::Config;
use reqwest::{Method, header::HeaderMap};

use crate::{harness::send, probe::Mesh};

fn with(profiles: &[&str]) -> Config {
    Config {
        compat: profiles.iter().map(|name| (*name).to_owned()).collect(),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_profile_has_its_own_paths_and_bodies_over_the_same_calls() {
    let mesh = Mesh::remote(with(&["sample"])).await;
    let native = r#"{"thing":{"of": "lead"}}"#;
    let get = async |path: &str| mesh.edge.get(path).await.text;
    assert_eq!(get("/api/v1/probe/things/lead/r%221").await, native);
    let prefixed = "/compat/sample/api/v1/probe/things/lead/r%221/";
    let framed = r#"{"object":"lead","id":"r\"1","record":{"of": "lead"}}"#;
    assert_eq!(get(prefixed).await, framed);
    let further = "/compat/sample/api/v1/one/r1?object=lead";
    let framed = r#"{"success":true,"data":{"of": "lead"},"named":false}"#;
    assert_eq!(get(further).await, framed);
    // The same guard, the same refusals, the same ways.
    let refused = send(mesh.edge.anonymous(Method::GET, further)).await;
    refused.refused(401, "UNAUTHENTICATED");
    mesh.edge
        .get("/compat/sample/api/v1/one/r1?x=1")
        .await
        .refused(400, "VALIDATION_ERROR");
    let got = send(mesh.edge.ask(Method::DELETE, prefixed)).await;
    got.refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(got.header("allow"), "GET, HEAD");
    let got = send(mesh.edge.ask(Method::OPTIONS, further)).await;
    assert_eq!(got.header("allow"), "GET, HEAD, OPTIONS");
    let got = send(
        mesh.edge
            .ask(Method::POST, "/compat/sample/api/v1/probe/uploads/a")
            .body("xy"),
    );
    assert_eq!(got.await.json()["size"], 2);
    // What is the profile's is nobody else's.
    mesh.edge
        .get("/api/v1/one/r1")
        .await
        .refused(404, "NOT_FOUND");
    mesh.edge
        .get("/compat/sample/health")
        .await
        .refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_profile_that_is_not_configured_is_not_there() {
    let mesh = Mesh::local(Config::default()).await;
    for path in [
        "/compat",
        "/compat/",
        "/compat/sample",
        "/compat/sample/api/v1/probe/things/lead/r1",
        "/compat/sample/api/v1/one/r1",
        "/compat/none/api/v1/probe/things/lead/r1",
    ] {
        let got = mesh.edge.get(path).await;
        let error = got.refused(404, "NOT_FOUND");
        assert_eq!(error["details"]["reason"], "ROUTE_NOT_FOUND");
        assert_eq!(error["details"]["path"], path);
        let options = send(mesh.edge.ask(Method::OPTIONS, path)).await;
        options.refused(404, "NOT_FOUND");
    }
    let mesh = Mesh::local(with(&["other"])).await;
    let path = "/compat/sample/api/v1/one/r1";
    mesh.edge.get(path).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_401_says_where_the_way_in_is() {
    const PATH: &str = "/api/v1/probe/enter";
    const RESOURCE: &str = "/.well-known/probe-resource/api/v1/probe";
    let config = Config {
        public_url: Some("https://mesh.example.org/".to_owned()),
        ..Config::default()
    };
    let mesh = Mesh::local(config).await;
    let refused = send(mesh.edge.anonymous(Method::POST, PATH)).await;
    refused.refused(401, "UNAUTHENTICATED");
    let expected = format!(r#"Bearer resource_metadata="https://mesh.example.org{RESOURCE}""#);
    assert_eq!(refused.header("www-authenticate"), expected);
    assert_eq!(mesh.edge.post(PATH, "").await.text, r#"{"entered":true}"#);
    // Other routes say what they always did.
    let refused = send(mesh.edge.anonymous(Method::GET, "/api/v1/probe/changes")).await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    // Without a public URL it is where the client asked; where that is no host, nothing is said of it.
    let mesh = Mesh::local(Config::default()).await;
    let refused = send(mesh.edge.anonymous(Method::POST, PATH)).await;
    let expected = format!(
        r#"Bearer resource_metadata="http://{}{RESOURCE}""#,
        mesh.edge.address
    );
    assert_eq!(refused.header("www-authenticate"), expected);
    let request = mesh.edge.anonymous(Method::POST, PATH);
    let refused = send(request.header("host", "a/b")).await;
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    // And what it names is a route like others.
    let got = send(mesh.edge.anonymous(Method::GET, RESOURCE)).await;
    assert_eq!(got.text, r#"{"resource":"the probe"}"#);
    let discovery = mesh.edge.get("/api/v1").await.json();
    let endpoints = discovery["endpoints"].as_array().unwrap();
    let endpoint = endpoints
        .iter()
        .find(|endpoint| endpoint["path"] == RESOURCE)
        .unwrap();
    assert_eq!(endpoint["tags"], serde_json::json!([".well-known"]));
    assert_eq!(discovery["routes"].get(""), None);
}

#[tokio::test]
async fn browsers_may_send_and_read_what_streams_and_files_need() {
    let config = Config {
        trusted_origins: vec!["https://app.example.org".to_owned()],
        ..Config::default()
    };
    let mesh = Mesh::local(config).await;
    let names = |headers: &HeaderMap, name: &str| -> Vec<String> {
        let list = headers[name].to_str().unwrap().split(", ");
        list.map(str::to_owned).collect()
    };
    let request = mesh.edge.anonymous(Method::OPTIONS, "/api/v1/probe/enter");
    let request = request
        .header("origin", "https://app.example.org")
        .header("access-control-request-method", "POST");
    let preflight = send(request).await;
    let allowed = names(&preflight.headers, "access-control-allow-headers");
    for name in [
        "MCP-Protocol-Version",
        "Mcp-Method",
        "Mcp-Name",
        "Last-Event-ID",
        "Range",
    ] {
        assert!(allowed.iter().any(|one| one == name), "{allowed:?}");
    }
    let request = mesh.edge.ask(Method::GET, "/api/v1/probe/files/plain");
    let got = send(request.header("origin", "https://app.example.org")).await;
    let exposed = names(&got.headers, "access-control-expose-headers");
    for name in ["WWW-Authenticate", "Content-Range", "Content-Disposition"] {
        assert!(exposed.iter().any(|one| one == name), "{exposed:?}");
    }
}
