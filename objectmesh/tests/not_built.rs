//! What the contract promises and nothing stands behind yet: it says so, to whom may call it, and
//! discovery marks it. The list is empty when the contract is whole.

use crate::support::TestMesh;
use serde_json::json;

databases!(what_is_not_built_says_so, |mesh: TestMesh| async move {
    let (_, viewer) = mesh.user("vera", "viewer").await;
    for path in [
        "/approvals/requests",
        "/email/send",
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
    let found = mesh.get(&mesh.admin, "").await.ok(200);
    assert_eq!(found["services"]["ai"]["status"], "available", "{found:#}");
    assert_eq!(
        found["services"]["flows"]["provider"], "flow-svc",
        "{found:#}"
    );
    assert!(
        found["routes"]["approvals"].is_null() && found["routes"]["ai"].is_string(),
        "{found:#}"
    );
    let endpoints = found["endpoints"].as_array().unwrap();
    for (path, implemented) in [
        ("/api/v1/ai/chat", true),
        ("/api/v1/flows/{flow}/start", true),
        ("/api/v1/actions/{action}", true),
        ("/api/v1/approvals/requests", false),
    ] {
        let mut same = endpoints.iter().filter(|one| one["path"] == path);
        let all = same.all(|one| (one["implemented"] != false) == implemented);
        assert!(all, "{path}: {found:#}");
    }
});
