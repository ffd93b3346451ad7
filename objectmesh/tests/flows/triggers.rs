//! Flows that changes of records start.

use serde_json::{Value, json};

use super::{eventually, records};
use crate::support::TestMesh;

/// Waits until flow-svc follows the changes: until something written has started a flow.
async fn following(mesh: &TestMesh) {
    let mut number = 0;
    eventually("changes are followed", async || {
        number += 1;
        let name = format!("watched probe {number}");
        let body = json!({"name": name, "done": true});
        mesh.post(&mesh.admin, "/data/task", body).await.ok(201);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        !records(mesh, "task", "name", &format!("followed {name}"))
            .await
            .is_empty()
    })
    .await;
}

sizes!(
    a_change_starts_its_flows_once,
    |mesh: TestMesh| async move {
        following(&mesh).await;
        let (id, tasker) = mesh.user("tom", "tasker").await;
        let task = mesh
            .post(&tasker, "/data/task", json!({"name": "watched W"}))
            .await
            .ok(201);
        let path = format!("/data/task/{}", task["id"].as_str().unwrap());
        let change = async |body: Value| mesh.patch(&tasker, &path, body).await.ok(200);
        change(json!({"cost": 1})).await;
        change(json!({"done": true})).await;
        // Done already: the condition does not hold.
        change(json!({"cost": 2})).await;
        let title = format!("watched W by {id}");
        eventually("both flows have run", async || {
            let user = records(&mesh, "task", "name", "followed watched W").await;
            let system = records(&mesh, "announcement", "title", &title).await;
            !user.is_empty() && !system.is_empty()
        })
        .await;
        // A later event is behind all of these: what it starts shows that they are through.
        mesh.delete(&mesh.admin, &path).await;
        eventually("the deletion has been seen", async || {
            !records(&mesh, "task", "name", "gone watched W")
                .await
                .is_empty()
        })
        .await;
        let user = records(&mesh, "task", "name", "followed watched W").await;
        assert_eq!(user.len(), 1);
        assert_eq!(user[0]["created_by"], id.as_str(), "it runs as who wrote");
        assert_eq!(
            records(&mesh, "announcement", "title", &title).await.len(),
            1
        );
        let runs = mesh.get(&tasker, "/flows/on_done/runs").await.ok(200);
        assert_eq!(runs["total"], 1, "{runs:#}");
        let run = &runs["items"][0];
        assert_eq!(run["status"], "completed", "{run:#}");
        let trigger = json!({"type": "record_change", "userId": id, "object": "task", "recordId": task["id"]});
        assert_eq!(run["trigger"], trigger);
    }
);

databases!(
    flows_trigger_flows_to_a_depth,
    |mesh: TestMesh| async move {
        following(&mesh).await;
        mesh.post(&mesh.admin, "/data/task", json!({"name": "chain"}))
            .await
            .ok(201);
        // The first, and one for each of the runs of depth 0 to 10.
        eventually("the chain has ended", async || {
            records(&mesh, "task", "name", "chain").await.len() >= 12
        })
        .await;
        let path = "/flows/chain/runs?limit=200";
        eventually("all runs have ended", async || {
            let runs = mesh.get(&mesh.admin, path).await.ok(200);
            let runs = runs["items"].as_array().unwrap().clone();
            runs.iter().all(|run| run["status"] == "completed")
        })
        .await;
        // Something later has gone through by then.
        let task = mesh.post(
            &mesh.admin,
            "/data/task",
            json!({"name": "watched last", "done": true}),
        );
        task.await.ok(201);
        eventually("a later change is through", async || {
            !records(&mesh, "task", "name", "followed watched last")
                .await
                .is_empty()
        })
        .await;
        assert_eq!(records(&mesh, "task", "name", "chain").await.len(), 12);
        assert_eq!(mesh.get(&mesh.admin, path).await.ok(200)["total"], 11);
    }
);
