//! Many writers at once.

use std::sync::Arc;

use crate::support::TestMesh;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

sizes!(
    of_64_writers_with_versions_each_success_is_one_increment,
    |mesh: TestMesh| async move {
        let mesh = Arc::new(mesh);
        let created = mesh
            .post(&mesh.admin, "/data/ticket", json!({"subject": "0"}))
            .await
            .ok(201);
        let path = format!("/data/ticket/{}", created["id"].as_str().expect("an id"));
        let mut clients = JoinSet::new();
        for client in 0..64 {
            let (mesh, path) = (Arc::clone(&mesh), path.clone());
            clients.spawn(async move {
                let (mut won, mut lost) = (0, 0);
                for _ in 0..3 {
                    let current = mesh.get(&mesh.admin, &path).await.ok(200);
                    let version = current["version"].to_string();
                    let body = json!({"subject": format!("by {client}")}).to_string();
                    let answer = mesh
                        .call(
                            &mesh.admin,
                            Method::PATCH,
                            &path,
                            Some(body),
                            &[("if-match", &version)],
                        )
                        .await;
                    match answer.status.as_u16() {
                        200 => {
                            let after = &answer.body["version"];
                            assert_eq!(after.as_i64(), current["version"].as_i64().map(|v| v + 1));
                            won += 1;
                        }
                        _ => {
                            answer.refused(409, "CONCURRENT_UPDATE");
                            lost += 1;
                        }
                    }
                }
                (won, lost)
            });
        }
        let (mut won, mut lost) = (0, 0);
        while let Some(result) = clients.join_next().await {
            let (w, l) = result.expect("no panic");
            won += w;
            lost += l;
        }
        assert_eq!(won + lost, 64 * 3);
        let last = mesh.get(&mesh.admin, &path).await.ok(200);
        assert_eq!(
            last["version"].as_i64(),
            Some(1 + won),
            "successes are version increments"
        );
        assert!(won >= 3, "somebody always wins");
    }
);

sizes!(
    without_versions_the_last_write_wins_and_none_is_lost,
    |mesh: TestMesh| async move {
        let mesh = Arc::new(mesh);
        let created = mesh
            .post(&mesh.admin, "/data/ticket", json!({"subject": "0"}))
            .await
            .ok(201);
        let path = format!("/data/ticket/{}", created["id"].as_str().expect("an id"));
        let mut clients = JoinSet::new();
        for client in 0..16 {
            let (mesh, path) = (Arc::clone(&mesh), path.clone());
            clients.spawn(async move {
                let field = if client % 2 == 0 {
                    "subject"
                } else {
                    "description"
                };
                let body = json!({field: format!("by {client}")});
                mesh.patch(&mesh.admin, &path, body).await.status.as_u16()
            });
        }
        let statuses: Vec<u16> = clients.join_all().await;
        let won = statuses.iter().filter(|status| **status == 200).count();
        assert!(
            statuses.iter().all(|status| matches!(status, 200 | 409)),
            "{statuses:?}"
        );
        let last = mesh.get(&mesh.admin, &path).await.ok(200);
        assert_eq!(last["version"].as_u64(), Some(1 + won as u64));
    }
);

sizes!(
    numbers_have_no_gaps_and_no_twins,
    |mesh: TestMesh| async move {
        let mesh = Arc::new(mesh);
        let mut clients = JoinSet::new();
        for client in 0..40 {
            let mesh = Arc::clone(&mesh);
            clients.spawn(async move {
                // Every fifth one is refused by the database, after its number was taken.
                let email = if client % 5 == 0 {
                    json!("same@example.com")
                } else {
                    Value::Null
                };
                let body = json!({"subject": "x", "contact_email": email});
                let answer = mesh.post(&mesh.admin, "/data/ticket", body).await;
                (answer.status == 201)
                    .then(|| answer.body["number"].as_str().expect("a number").to_owned())
            });
        }
        let mut numbers: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
        numbers.sort();
        let expected: Vec<String> = (1..=numbers.len()).map(|n| format!("T-{n:04}")).collect();
        assert_eq!(numbers, expected);
        assert_eq!(numbers.len(), 33);
    }
);

sizes!(
    a_value_is_taken_by_exactly_one,
    |mesh: TestMesh| async move {
        let mesh = Arc::new(mesh);
        let mut clients = JoinSet::new();
        for _ in 0..20 {
            let mesh = Arc::clone(&mesh);
            clients.spawn(async move {
                let body = json!({"subject": "x", "contact_email": "one@example.com"});
                mesh.post(&mesh.admin, "/data/ticket", body)
                    .await
                    .status
                    .as_u16()
            });
        }
        let mut statuses = clients.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses[0], 201);
        assert!(
            statuses[1..].iter().all(|status| *status == 409),
            "{statuses:?}"
        );
    }
);
