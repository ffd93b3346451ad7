//! What the contract promises and nothing stands behind yet: it says so, to whom may call it, and
//! discovery marks it. The list is empty when the contract is whole.

mod support;

use serde_json::json;
use support::TestMesh;

sizes!(what_is_not_built_says_so, |mesh: TestMesh| async move {
    let (_, viewer) = mesh.user("vera", "viewer").await;
    for path in [
        "/approvals/requests",
        "/data/ticket/import",
        "/data/ticket/export",
        "/data/ticket/1/shares",
        "/data/lead/1/convert",
        "/sharing/rules",
        "/reports/open/run",
    ] {
        let answer = mesh.post(&mesh.admin, path, json!({})).await;
        let details = answer.refused(501, "NOT_IMPLEMENTED");
        assert!(
            details["rpc"].as_str().unwrap().starts_with("objectmesh."),
            "{details}"
        );
        // Who asks is checked first, as it will be then.
        mesh.post("", path, json!({}))
            .await
            .refused(401, "UNAUTHENTICATED");
    }
    let form = mesh.get("", "/forms/contact-us").await;
    form.refused(501, "NOT_IMPLEMENTED");
    let refused = mesh
        .get(&viewer, "/sharing/rules")
        .await
        .refused(403, "PERMISSION_DENIED");
    assert_eq!(refused["permission"], "manage_sharing");
    let refused = mesh
        .get(&viewer, "/ai/models")
        .await
        .refused(403, "PERMISSION_DENIED");
    assert_eq!(refused["permission"], "ai:chat");

    let found = mesh.get(&mesh.admin, "").await.ok(200);
    assert_eq!(
        found["services"]["approvals"]["status"], "stub",
        "{found:#}"
    );
    assert_eq!(
        found["services"]["flows"]["provider"], "flow-svc",
        "{found:#}"
    );
    assert!(
        found["routes"]["approvals"].is_null() && found["routes"]["data"].is_string(),
        "{found:#}"
    );
    let endpoints = found["endpoints"].as_array().unwrap();
    let requests = endpoints
        .iter()
        .find(|one| one["path"] == "/api/v1/approvals/requests")
        .unwrap();
    assert_eq!(requests["implemented"], false);
});
