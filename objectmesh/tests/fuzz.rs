//! The document put to the test: a fuzzer calls everything it promises, with what it allows and
//! with what it does not, and compares the answers with it.

use std::process::Command;

use crate::support::{Size, TestMesh, tools::python};
use serde_json::json;

/// What is not called: it would end the session that the fuzzer has, or lock its user out. The
/// platform's own objects are as those of the app, and would only take longer. One action never ends.
const LEFT_ALONE: &str = "/auth/(sign-out|revoke-|change-password|admin/(ban|unban|remove|set-))|/openapi.json$|/data/sys_|/loop_for_ever";
/// The same inputs every time.
const SEED: &str = "20260301";

/// No server error, and no answer that the document does not describe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_does_what_the_document_says() {
    fuzz("examples,fuzzing", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: deploy/test-long.sh runs it"]
async fn the_api_does_what_the_document_says_at_length() {
    fuzz("examples,coverage,fuzzing", "10").await;
}

/// Calls every operation in these phases, with so many inputs for each.
async fn fuzz(phases: &'static str, examples: &'static str) {
    let off = [
        ("OBJECTMESH__RATE_LIMIT__AUTH_PER_MINUTE", "0"),
        ("OBJECTMESH__RATE_LIMIT__FORMS_PER_MINUTE", "0"),
    ];
    let mesh = TestMesh::start_with(Size::Sqlite, &off).await;
    // Something to find, with every field set somewhere.
    let customer = mesh.post(
        &mesh.admin,
        "/data/customer",
        json!({"name": "Acme", "city": "Bonn"}),
    );
    let customer = customer.await.ok(201);
    let ticket = json!({"subject": "Full", "description": "x", "priority": 3, "weight": 2.5,
        "cost": 12.34, "secret_cost": 1, "urgent": true, "due_on": "2026-03-07",
        "due_at": "2026-03-07T08:00:00Z", "tags": ["a"], "extra": [1, {"deep": null}],
        "contact_email": "ada@example.com", "customer": customer["id"]});
    mesh.post(&mesh.admin, "/data/ticket", ticket).await.ok(201);
    mesh.post(&mesh.admin, "/data/ticket", json!({"subject": "Empty"}))
        .await
        .ok(201);

    let document = mesh.get(&mesh.admin, "/openapi.json").await.ok(200);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, document.to_string()).expect("a file");
    let (base, token) = (mesh.at.rest[0].clone(), mesh.admin.clone());
    let ran = tokio::task::spawn_blocking(move || {
        let python = python("openapi", include_str!("python/openapi.txt"));
        let mut command = Command::new(python.with_file_name("schemathesis"));
        command
            .current_dir(folder.path())
            .arg("run")
            .arg(&file)
            .args(["--url", &base])
            .args(["-H", &format!("Authorization: Bearer {token}")])
            .args(["--phases", phases, "--mode", "all"])
            .args(["--checks", CHECKS])
            .args([
                "--seed",
                SEED,
                "--max-examples",
                examples,
                "--generation-deterministic",
            ])
            .args([
                "--exclude-path-regex",
                LEFT_ALONE,
                // Python 3.11 loses count when several threads read sources at once.
                "--workers",
                "1",
                "--no-shrink",
            ])
            // Several credentials at once would say nothing: the first one counts.
            .args(["--generation-with-security-parameters", "false"])
            .args(["--warnings", "off", "--no-color", "--request-timeout", "20"]);
        command.output().expect("schemathesis runs")
    });
    let ran = ran.await.expect("it runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    // It did call the API.
    assert!(said.contains("Test cases"), "{said}");
}

/// What every answer has to pass. Methods that are not in the document are not tried: what is not
/// built yet has a route already, and an object may leave out some methods of the route for any.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,ignored_auth,missing_required_header";
