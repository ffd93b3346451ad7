//! Hooks in effect: what they change, refuse and write, as the writer and within their budgets.

use crate::support::TestMesh;
use serde_json::{Value, json};

async fn notes(mesh: &TestMesh) -> Vec<Value> {
    let listed = mesh
        .get(&mesh.admin, "/data/purchase_note?orderBy=created_at,id")
        .await
        .ok(200);
    listed["items"].as_array().expect("items").clone()
}

fn path(record: &Value) -> String {
    format!("/data/purchase/{}", record["id"].as_str().expect("an id"))
}

databases!(hooks_change_and_refuse, |mesh: TestMesh| async move {
    let (_, agent) = mesh.user("ann", "agent").await;
    let body = json!({"name": "Paper", "state": "closed", "amount": 12.5});
    let made = mesh.post(&agent, "/data/purchase", body).await.ok(201);
    assert_eq!(made["note"], "closed by ann");
    assert_eq!(made["amount"], 12.5);
    let details = mesh.delete(&agent, &path(&made)).await;
    let details = details.refused(400, "VALIDATION_ERROR");
    assert_eq!(
        (&details["reason"], &details["hook"]),
        (&json!("CLOSED"), &json!("purchase_rules"))
    );

    let made = mesh
        .post(&agent, "/data/purchase", json!({"name": "Pens"}))
        .await
        .ok(201);
    assert_eq!(
        (&made["state"], &made["note"]),
        (&json!("open"), &Value::Null)
    );
    let closed = mesh
        .patch(&agent, &path(&made), json!({"state": "closed"}))
        .await
        .ok(200);
    assert_eq!(closed["note"], "closed by ann");
    let again = json!({"state": "closed", "note": "mine"});
    let again = mesh.patch(&agent, &path(&made), again).await.ok(200);
    assert_eq!(again["note"], "mine");
    let open = mesh
        .patch(&agent, &path(&made), json!({"state": "open"}))
        .await;
    open.ok(200);
    mesh.delete(&agent, &path(&made)).await.ok(200);
});

databases!(
    what_a_hook_writes_stands_or_falls_with_the_record,
    |mesh: TestMesh| async move {
        let (agent_id, agent) = mesh.user("ann", "agent").await;
        let made = mesh
            .post(&agent, "/data/purchase", json!({"name": "Paper"}))
            .await
            .ok(201);
        mesh.patch(&agent, &path(&made), json!({"name": "Pens"}))
            .await
            .ok(200);
        let written = notes(&mesh).await;
        let texts: Vec<&Value> = written.iter().map(|note| &note["text"]).collect();
        assert_eq!(texts, ["afterInsert Paper 0", "afterUpdate Pens 1"]);
        for note in &written {
            assert_eq!(note["purchase"], made["id"]);
            // As the writer, with an audit entry of its own.
            assert_eq!(note["created_by"], json!(agent_id));
        }

        let refused = mesh
            .post(&agent, "/data/purchase", json!({"name": "late"}))
            .await;
        let details = refused.refused(400, "VALIDATION_ERROR");
        assert_eq!(details["hook"], "purchase_log");
        let refused = mesh
            .patch(&agent, &path(&made), json!({"name": "late"}))
            .await;
        refused.refused(400, "VALIDATION_ERROR");
        // What its user may not do, a hook may not do.
        let refused = mesh
            .post(&agent, "/data/purchase", json!({"name": "vault"}))
            .await;
        let details = refused.refused(403, "PERMISSION_DENIED");
        assert_eq!(details["object"], "vault");
        assert_eq!(notes(&mesh).await, written);
        let list = mesh.get(&mesh.admin, "/data/purchase").await.ok(200);
        assert_eq!(list["total"], 1);
        assert_eq!(list["items"][0]["name"], "Pens");

        let made = mesh
            .post(&mesh.admin, "/data/purchase", json!({"name": "vault"}))
            .await;
        made.ok(201);
        let vault = mesh.get(&mesh.admin, "/data/vault").await.ok(200);
        assert_eq!(vault["total"], 1);
    }
);

databases!(
    a_hook_ends_by_its_budget_and_leaves_nothing,
    |mesh: TestMesh| async move {
        for name in ["endless", "native"] {
            let refused = mesh
                .post(&mesh.admin, "/data/purchase", json!({"name": name}))
                .await;
            refused.refused(504, "TIMEOUT");
        }
        for _ in 0..3 {
            let made = mesh
                .post(&mesh.admin, "/data/purchase", json!({"name": "leak"}))
                .await;
            assert_eq!(made.ok(201)["note"], "1");
        }
        let list = mesh.get(&mesh.admin, "/data/purchase").await.ok(200);
        assert_eq!(list["total"], 3);
    }
);
