//! `GET /api/v1/openapi.json`: valid OpenAPI 3.0, for each caller what that caller may see.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{
    TestMesh,
    process::child::run,
    tools::{node_packages, python},
    with_token,
};
use mesh::Link;
use proto::mesh::v1::{DescribeRequest, describe_service_client::DescribeServiceClient};
use reqwest::Method;
use serde_json::{Value, json};

const PATH: &str = "/openapi.json";

async fn document(mesh: &TestMesh, token: &str) -> Value {
    mesh.get(token, PATH).await.ok(200)
}

fn paths(document: &Value) -> BTreeSet<&str> {
    let paths = document["paths"].as_object().expect("paths");
    paths.keys().map(String::as_str).collect()
}

fn properties<'d>(document: &'d Value, schema: &str) -> BTreeSet<&'d str> {
    let schema = &document["components"]["schemas"][schema];
    let properties = schema["properties"].as_object();
    let properties = properties.unwrap_or_else(|| panic!("no properties: {schema}"));
    properties.keys().map(String::as_str).collect()
}

fn verbs<'d>(document: &'d Value, path: &str) -> BTreeSet<&'d str> {
    let item = document["paths"][path].as_object();
    item.into_iter()
        .flat_map(|item| item.keys().map(String::as_str))
        .collect()
}

databases!(
    each_caller_sees_what_they_may,
    |mesh: TestMesh| async move {
        mesh.get("", PATH).await.refused(401, "UNAUTHENTICATED");
        let (vera, viewer) = mesh.user("vera", "viewer").await;
        let (_, agent) = mesh.user("grace", "agent").await;

        let all = document(&mesh, &mesh.admin).await;
        assert_eq!(all["openapi"], "3.0.3");
        let create = properties(&all, "TicketCreate");
        assert!(
            create.contains("secret_cost") && !create.contains("number"),
            "{create:?}"
        );
        assert!(properties(&all, "Ticket").contains("secret_cost"));
        assert!(properties(&all, "Vault").contains("name"));
        assert!(paths(&all).contains("/api/v1/auth/admin/create-user"));
        assert_eq!(
            all["components"]["schemas"]["TicketCreate"]["required"],
            json!(["subject"])
        );
        let fetch = &all["paths"]["/api/v1/data/ticket/{id}"]["get"];
        let fetched = &fetch["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(fetched["$ref"], "#/components/schemas/Ticket");
        // apiMethods: get, list, create.
        assert_eq!(
            verbs(&all, "/api/v1/data/announcement"),
            BTreeSet::from(["get", "post"])
        );
        assert_eq!(
            verbs(&all, "/api/v1/data/announcement/{id}"),
            BTreeSet::from(["get"])
        );
        assert!(paths(&all).contains("/api/v1/ai/pending-actions/{id}/approve"));
        // What is not built is not promised.
        assert!(
            paths(&all)
                .iter()
                .all(|path| !path.starts_with("/api/v1/approvals"))
        );

        let some = document(&mesh, &agent).await;
        let ticket = properties(&some, "Ticket");
        assert!(
            ticket.contains("cost") && !ticket.contains("secret_cost"),
            "{ticket:?}"
        );
        assert!(
            !some.to_string().contains("secret_cost"),
            "it is named somewhere"
        );
        assert!(
            !some.to_string().contains("hidden_note"),
            "it is named somewhere"
        );
        assert_eq!(
            verbs(&some, "/api/v1/data/ticket/{id}"),
            BTreeSet::from(["delete", "get", "patch", "put"])
        );

        // A formula tells its inputs, so it goes with them, here and in the metadata.
        let invoice = properties(&some, "Invoice");
        assert!(
            invoice.contains("gross") && !invoice.contains("profit"),
            "{invoice:?}"
        );
        assert!(properties(&all, "Invoice").contains("profit"));
        let meta = mesh.get(&agent, "/meta/object/invoice").await.ok(200);
        let fields = meta["item"]["fields"].as_object().expect("fields");
        assert!(fields.contains_key("gross") && !fields.contains_key("profit"));

        let few = document(&mesh, &viewer).await;
        assert_eq!(verbs(&few, "/api/v1/data/ticket"), BTreeSet::from(["get"]));
        assert_eq!(
            verbs(&few, "/api/v1/data/ticket/{id}"),
            BTreeSet::from(["get"])
        );
        let names = few["components"]["schemas"].as_object().expect("schemas");
        for name in ["TicketCreate", "TicketUpdate", "Vault", "Deal", "SysUser"] {
            assert!(!names.contains_key(name), "{name}");
        }
        for word in ["vault", "deal", "sys_user"] {
            assert!(!few.to_string().contains(word), "{word}");
        }
        // Rights that are given show, soon in every replica.
        let body = json!({"user_id": vera, "permission_set": "manager"});
        mesh.post(&mesh.admin, "/data/sys_user_permission_set", body)
            .await
            .ok(201);
        let until = Instant::now() + Duration::from_secs(30);
        while !verbs(&document(&mesh, &viewer).await, "/api/v1/data/ticket").contains("post") {
            assert!(Instant::now() < until, "the new right does not show");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
);

databases!(
    a_scoped_key_sees_what_its_scopes_reach,
    |mesh: TestMesh| async move {
        let body = json!({"name": "reader", "scopes": ["data:read"]});
        let key = mesh.post(&mesh.admin, "/keys", body).await.ok(201);
        let seen = document(&mesh, key["key"].as_str().expect("a key")).await;
        assert_eq!(verbs(&seen, "/api/v1/data/ticket"), BTreeSet::from(["get"]));
        assert!(verbs(&seen, "/api/v1/keys").is_empty());
    }
);

sizes!(it_is_sent_once, |mesh: TestMesh| async move {
    let first = mesh.get(&mesh.admin, PATH).await;
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    let url = format!("{}/api/v1{PATH}", mesh.at.rest[0]);
    let again = async |token: &str, tag: &str| {
        mesh.call(token, Method::GET, &url, None, &[("if-none-match", tag)])
            .await
    };
    // The document names the server that was asked, so the tag is that of one gateway.
    let first = again(&mesh.admin, "\"other\"").await;
    assert_eq!(first.body["servers"][0]["url"], mesh.at.rest[0].as_str());
    let tag = first.header("etag").expect("a tag").to_owned();
    let kept = again(&mesh.admin, &tag).await;
    assert_eq!((kept.status.as_u16(), &kept.body), (304, &Value::Null));
    assert_eq!(kept.header("etag"), Some(&*tag));
    // Somebody else of the same rights has the same document, others do not.
    let (_, other) = mesh.user("otto", "admin_full_access").await;
    assert_eq!(again(&other, &tag).await.status, 304);
    let (_, viewer) = mesh.user("vera", "viewer").await;
    assert_eq!(again(&viewer, &tag).await.status, 200);
    let head = mesh.call(&mesh.admin, Method::HEAD, &url, None, &[]).await;
    assert_eq!(head.header("etag"), Some(&*tag));
});

sizes!(
    the_services_say_the_same_over_grpc,
    |mesh: TestMesh| async move {
        let (_, viewer) = mesh.user("vera", "viewer").await;
        let whole = document(&mesh, &viewer).await;
        let link = Link::connect(mesh.at.data.last().expect("an address")).expect("a link");
        let mut client = DescribeServiceClient::new(link);
        let mut describe = async |with_openapi: bool| {
            let request = DescribeRequest { with_openapi };
            let answer = client.describe(with_token(request, &viewer)).await;
            answer.expect("an answer").into_inner()
        };
        let (bare, told) = (describe(false).await, describe(true).await);
        assert!(bare.openapi.is_empty());
        assert_eq!(bare.rights_key, told.rights_key);
        assert_eq!(bare.registry_revision, told.registry_revision);
        let fragment: Value = serde_json::from_slice(&told.openapi).expect("JSON");
        let paths = fragment["paths"].as_object().expect("paths");
        assert!(paths.len() > 5);
        for (path, item) in paths {
            assert_eq!(&whole["paths"][path], item, "{path}");
        }
        for (name, schema) in fragment["schemas"].as_object().expect("schemas") {
            assert_eq!(&whole["components"]["schemas"][name], schema, "{name}");
        }
        let refused = client_without_credential(&mesh).await;
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    }
);

async fn client_without_credential(mesh: &TestMesh) -> tonic::Status {
    let link = Link::connect(&mesh.at.data[0]).expect("a link");
    let mut client = DescribeServiceClient::new(link);
    let answer = client
        .describe(DescribeRequest { with_openapi: true })
        .await;
    answer.expect_err("a refusal")
}

/// What the program prints for an app is what it would serve, and is valid.
#[test]
fn the_program_prints_a_valid_document() {
    let program = env!("CARGO_BIN_EXE_objectmesh");
    let folder = tempfile::tempdir().expect("a folder");
    let python = python("openapi", include_str!("python/openapi.txt"));
    let linter = node_packages("openapi", include_str!("node/openapi.json"));
    let app = crate::support::app();
    for (name, app) in [("test", Some(app.as_path())), ("example", None)] {
        let mut command = Command::new(program);
        command.arg("openapi");
        if let Some(app) = app {
            command.arg("--app").arg(app);
        }
        let text = run(&mut command);
        assert_eq!(run(&mut command), text, "the same again");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        assert!(paths(&document).contains("/api/v1/openapi.json"));
        let file = folder.path().join(format!("{name}.json"));
        std::fs::write(&file, &text).expect("a file");
        check(&python, &linter, &file);
    }
}

/// Two tools of others find nothing wrong.
fn check(python: &Path, linter: &Path, file: &Path) {
    run(Command::new(python)
        .args(["-m", "openapi_spec_validator", "--schema", "3.0.0"])
        .arg(file));
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/redocly.yaml");
    run(Command::new(linter.join("node_modules/.bin/redocly"))
        .arg("lint")
        .arg(file)
        .arg("--config")
        .arg(rules)
        .args(["--format", "stylish"])
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true"));
}

databases!(
    what_is_served_is_valid_for_everybody,
    |mesh: TestMesh| async move {
        let (_, viewer) = mesh.user("vera", "viewer").await;
        let folder = tempfile::tempdir().expect("a folder");
        for (name, token) in [("admin", &mesh.admin), ("viewer", &viewer)] {
            let document = document(&mesh, token).await;
            let file = folder.path().join(format!("{name}.json"));
            std::fs::write(&file, document.to_string()).expect("a file");
            let checked = tokio::task::spawn_blocking(move || {
                let python = python("openapi", include_str!("python/openapi.txt"));
                let linter = node_packages("openapi", include_str!("node/openapi.json"));
                check(&python, &linter, &file);
            });
            checked.await.expect("it is checked");
        }
    }
);
