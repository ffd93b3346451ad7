//! Summaries: fields that count and sum up the records that point to theirs, kept in the
//! transaction of each write.

use crate::support::TestMesh;
use futures::future::try_join_all;
use serde_json::{Value, json};

const FIELDS: [&str; 6] = [
    "task_count",
    "open_count",
    "cost_total",
    "cost_mean",
    "cost_least",
    "hours_most",
];

/// The summaries of a project, in the order of [`FIELDS`].
async fn summaries(mesh: &TestMesh, project: &str) -> Value {
    let path = format!("/data/project/{project}");
    let found = mesh.get(&mesh.admin, &path).await.ok(200);
    // What children do is no change of the project.
    assert_eq!(found["version"], 1, "{found:#}");
    assert_eq!(found["updated_at"], found["created_at"], "{found:#}");
    FIELDS.iter().map(|field| found[field].clone()).collect()
}

async fn made(mesh: &TestMesh, object: &str, fields: Value) -> String {
    let path = format!("/data/{object}");
    let made = mesh.post(&mesh.admin, &path, fields).await.ok(201);
    made["id"].as_str().expect("an id").to_owned()
}

databases!(
    summaries_follow_every_write_of_their_children,
    |mesh: TestMesh| async move {
        let first = mesh
            .post(&mesh.admin, "/data/project", json!({"name": "First"}))
            .await
            .ok(201);
        let shown: Value = FIELDS.iter().map(|field| first[field].clone()).collect();
        assert_eq!(shown, json!([0, 0, 0, null, null, null]));
        let first = first["id"].as_str().expect("an id").to_owned();
        let second = made(&mesh, "project", json!({"name": "Second"})).await;

        let a = made(
            &mesh,
            "task",
            json!({"name": "a", "project": first, "cost": 0.1, "hours": 2.5}),
        )
        .await;
        let b = made(
            &mesh,
            "task",
            json!({"name": "b", "project": first, "cost": 0.2, "done": true}),
        )
        .await;
        made(&mesh, "task", json!({"name": "c", "project": first})).await;
        made(&mesh, "task", json!({"name": "elsewhere"})).await;
        assert_eq!(
            summaries(&mesh, &first).await,
            json!([3, 2, 0.3, 0.15, 0.1, 2.5])
        );
        assert_eq!(
            summaries(&mesh, &second).await,
            json!([0, 0, 0, null, null, null])
        );

        let (a, b) = (format!("/data/task/{a}"), format!("/data/task/{b}"));
        let change = |path: String, fields: Value| {
            let mesh = &mesh;
            async move {
                mesh.patch(&mesh.admin, &path, fields).await.ok(200);
            }
        };
        change(a.clone(), json!({"cost": 5, "done": true})).await;
        assert_eq!(
            summaries(&mesh, &first).await,
            json!([3, 1, 5.2, 2.6, 0.2, 2.5])
        );
        // To another project, to none, and back.
        change(a.clone(), json!({"project": second})).await;
        assert_eq!(
            summaries(&mesh, &first).await,
            json!([2, 1, 0.2, 0.2, 0.2, null])
        );
        assert_eq!(summaries(&mesh, &second).await, json!([1, 0, 5, 5, 5, 2.5]));
        change(a.clone(), json!({"project": null})).await;
        assert_eq!(
            summaries(&mesh, &second).await,
            json!([0, 0, 0, null, null, null])
        );
        change(a, json!({"project": second})).await;
        mesh.delete(&mesh.admin, &b).await.ok(200);
        assert_eq!(
            summaries(&mesh, &first).await,
            json!([1, 1, 0, null, null, null])
        );

        // Stored, so that they can be asked for.
        let path = format!(
            "/data/project?where={}",
            crate::support::encode(r#"{"cost_total":{"$gt":4}}"#)
        );
        let found = mesh.get(&mesh.admin, &path).await.ok(200);
        assert_eq!(found["total"], 1, "{found:#}");
        assert_eq!(found["items"][0]["name"], "Second");
    }
);

databases!(
    summaries_are_computed_by_the_server_alone,
    |mesh: TestMesh| async move {
        let fields = json!({"name": "Own", "task_count": 9, "cost_total": 9});
        let own = made(&mesh, "project", fields).await;
        made(
            &mesh,
            "task",
            json!({"name": "a", "project": own, "cost": 1}),
        )
        .await;
        let path = format!("/data/project/{own}");
        mesh.patch(&mesh.admin, &path, json!({"name": "Mine", "cost_total": 9}))
            .await
            .ok(200);
        let found = mesh.get(&mesh.admin, &path).await.ok(200);
        assert_eq!(
            (&found["task_count"], &found["cost_total"]),
            (&json!(1), &json!(1))
        );
        // With the parent go its children, and nothing is left to sum up.
        mesh.delete(&mesh.admin, &path).await.ok(200);
        let left = mesh.get(&mesh.admin, "/data/task").await.ok(200);
        assert_eq!(left["total"], 0);
    }
);

sizes!(
    children_written_at_once_are_all_counted,
    |mesh: TestMesh| async move {
        let project = made(&mesh, "project", json!({"name": "Busy"})).await;
        let other = made(&mesh, "project", json!({"name": "Idle"})).await;
        let writes = (0..24).map(|number| {
            let (mesh, project, other) = (&mesh, &project, &other);
            async move {
                let fields = json!({"name": "t", "project": project, "cost": 1});
                let id = made(mesh, "task", fields).await;
                let path = format!("/data/task/{id}");
                match number % 3 {
                    0 => mesh
                        .patch(&mesh.admin, &path, json!({"project": other}))
                        .await
                        .ok(200),
                    1 => mesh.delete(&mesh.admin, &path).await.ok(200),
                    _ => Value::Null,
                };
                Ok::<_, std::convert::Infallible>(())
            }
        });
        let Ok(_) = try_join_all(writes).await;
        assert_eq!(
            summaries(&mesh, &project).await,
            json!([8, 8, 8, 1, 1, null])
        );
        assert_eq!(summaries(&mesh, &other).await, json!([8, 8, 8, 1, 1, null]));
    }
);
