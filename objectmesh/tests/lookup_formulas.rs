//! Formulas that read through a reference: the same at every door, and never more than the caller
//! may read there.

use crate::support::TestMesh;
use serde_json::{Value, json};

/// The formulas of a task: name, note and cost of its project, and the headline.
fn formulas(task: &Value) -> Value {
    ["project_name", "project_note", "project_cost", "headline"]
        .iter()
        .map(|field| task[field].clone())
        .collect()
}

async fn made(mesh: &TestMesh, object: &str, fields: Value) -> Value {
    let path = format!("/data/{object}");
    mesh.post(&mesh.admin, &path, fields).await.ok(201)
}

databases!(
    formulas_read_one_level_through_a_reference,
    |mesh: TestMesh| async move {
        let alpha = json!({"name": "Alpha", "budget_note": "tight"});
        let alpha = made(&mesh, "project", alpha).await;
        let beta = made(&mesh, "project", json!({"name": "Beta"})).await;
        let fields = json!({"name": "one", "project": alpha["id"], "cost": 2.5});
        let one = made(&mesh, "task", fields).await;
        // Also what the same write summed up.
        let of_alpha = json!(["Alpha", "tight", 2.5, "Alpha: one"]);
        assert_eq!(formulas(&one), of_alpha);
        assert_eq!(one["project"], alpha["id"]);
        let path = format!("/data/task/{}", one["id"].as_str().expect("an id"));
        let read = mesh.get(&mesh.admin, &path).await.ok(200);
        assert_eq!(formulas(&read), of_alpha);

        let fields = json!({"name": "two", "project": beta["id"], "follows": one["id"]});
        made(&mesh, "task", fields).await;
        made(&mesh, "task", json!({"name": "alone"})).await;
        let list = mesh
            .get(
                &mesh.admin,
                "/data/task?orderBy=name&expand=follows,project",
            )
            .await
            .ok(200);
        let items = list["items"].as_array().expect("items");
        let found: Vec<Value> = items.iter().map(formulas).collect();
        assert_eq!(
            found,
            [
                json!([null, null, null, "alone"]),
                of_alpha.clone(),
                json!(["Beta", null, 0, "Beta: two"]),
            ]
        );
        // In what is expanded, too; and the reference itself stays what was asked for.
        assert_eq!(formulas(&items[2]["follows"]), of_alpha);
        assert_eq!(items[2]["project"]["name"], "Beta");

        let chosen = mesh
            .get(&mesh.admin, "/data/task?orderBy=name&select=headline")
            .await
            .ok(200);
        let chosen = &chosen["items"][1];
        assert_eq!(chosen["headline"], "Alpha: one");
        assert!(chosen.get("project").is_none(), "{chosen:#}");

        let moved = mesh
            .patch(&mesh.admin, &path, json!({"project": beta["id"]}))
            .await
            .ok(200);
        assert_eq!(formulas(&moved), json!(["Beta", null, 2.5, "Beta: one"]));
    }
);

databases!(
    formulas_show_nothing_that_the_caller_may_not_read,
    |mesh: TestMesh| async move {
        let (_, planner) = mesh.user("paula", "planner").await;
        let (_, tasker) = mesh.user("tom", "tasker").await;
        for name in ["Public", "Secret"] {
            let project = json!({"name": name, "budget_note": "n0te"});
            let project = made(&mesh, "project", project).await;
            made(
                &mesh,
                "task",
                json!({"name": name, "project": project["id"]}),
            )
            .await;
        }
        let seen = |token: String| {
            let mesh = &mesh;
            async move {
                let list = mesh.get(&token, "/data/task?orderBy=name").await.ok(200);
                let items = list["items"].as_array().expect("items");
                items.iter().map(formulas).collect::<Vec<_>>()
            }
        };
        // Neither the hidden field nor the hidden row.
        assert_eq!(
            seen(planner).await,
            [
                json!(["Public", null, 0, "Public: Public"]),
                json!([null, null, null, "hidden: Secret"]),
            ]
        );
        // And nothing of an object without a right to it.
        assert_eq!(
            seen(tasker).await,
            [
                json!([null, null, null, "hidden: Public"]),
                json!([null, null, null, "hidden: Secret"]),
            ]
        );
    }
);
