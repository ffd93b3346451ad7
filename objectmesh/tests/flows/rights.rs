//! With whose rights the steps of a run act, and for how long.

use reqwest::Method;
use serde_json::{Value, json};

use super::{eventually, records, start};
use crate::support::TestMesh;

sizes!(
    a_key_lends_a_run_no_more_than_its_scopes,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let ticket = json!({"subject": "By a key", "priority": 7});
        let ticket = mesh.post(&agent, "/data/ticket", ticket).await.ok(201);
        let run = async |scopes: Value| {
            let key = json!({"name": "flows", "scopes": scopes});
            let key = mesh.post(&agent, "/keys", key).await.ok(201);
            let headers = [("x-api-key", key["key"].as_str().expect("a key"))];
            let body = Some(json!({"ticketId": ticket["id"]}).to_string());
            mesh.call("", Method::POST, "/flows/triage/start", body, &headers)
                .await
        };
        let all = json!(["actions:execute", "data:read", "data:write"]);
        assert_eq!(run(all).await.ok(200)["status"], "completed");
        for (scopes, node) in [
            (json!(["actions:execute"]), "load"),
            (json!(["actions:execute", "data:read"]), "raise"),
        ] {
            let run = run(scopes).await.ok(200);
            assert_eq!(run["status"], "failed", "{run:#}");
            assert_eq!(run["error"]["nodeId"], node, "{run:#}");
            assert_eq!(run["error"]["reason"], "PERMISSION_DENIED");
        }
        run(json!(["data:read"]))
            .await
            .refused(403, "PERMISSION_DENIED");
    }
);

sizes!(
    a_run_needs_no_session_but_its_user_s_rights,
    |mesh: TestMesh| async move {
        let (id, tasker) = mesh.user("tom", "tasker").await;
        let numbers: Vec<u32> = (0..12).collect();
        let input = |tag: &str| json!({"tag": tag, "numbers": numbers});
        let path = "/flows/many_tasks/start?async=true";
        let ended = async |run: &Value| {
            let path = format!(
                "/flows/many_tasks/runs/{}",
                run["id"].as_str().expect("an id")
            );
            let mut run = Value::Null;
            eventually("the run ends", async || {
                run = mesh.get(&mesh.admin, &path).await.ok(200);
                run["status"] == "completed" || run["status"] == "failed"
            })
            .await;
            run
        };
        let run = mesh.post(&tasker, path, input("signed out")).await.ok(202);
        mesh.post(&tasker, "/auth/sign-out", json!({}))
            .await
            .ok(200);
        let run = ended(&run).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(run["trigger"]["userId"], id.as_str());

        // Rights that are taken away in the middle count from then on.
        let body = json!({"email": "tom@example.com", "password": "correct horse"});
        let session = mesh.post("", "/auth/sign-in", body).await.ok(200);
        let tasker = session["token"].as_str().expect("a token");
        let path = "/flows/beats/start?async=true";
        let run = mesh
            .post(tasker, path, json!({"tag": "beat"}))
            .await
            .ok(202);
        eventually("the run makes tasks", async || {
            !records(&mesh, "task", "name", "beat").await.is_empty()
        })
        .await;
        let query = json!({"where": {"user_id": id}});
        let sets = mesh
            .post(&mesh.admin, "/data/sys_user_permission_set/query", query)
            .await
            .ok(200);
        let set = sets["items"][0]["id"].as_str().expect("an assignment");
        // Who has no set of their own would have that of every member.
        let viewer = json!({"user_id": id, "permission_set": "viewer"});
        mesh.post(&mesh.admin, "/data/sys_user_permission_set", viewer)
            .await
            .ok(201);
        let path = format!("/data/sys_user_permission_set/{set}");
        mesh.delete(&mesh.admin, &path).await.ok(200);
        eventually("the user is refused", async || {
            let task = json!({"name": "by hand"});
            mesh.post(tasker, "/data/task", task).await.status == 403
        })
        .await;
        let path = format!("/flows/beats/runs/{}", run["id"].as_str().expect("an id"));
        eventually("its steps are refused", async || {
            let run = mesh.get(&mesh.admin, &path).await.ok(200);
            run["error"]["reason"] == "PERMISSION_DENIED" && run["error"]["nodeId"] == "make"
        })
        .await;
    }
);

one_process!(
    a_flow_of_the_system_keeps_to_itself_what_it_reads,
    |mesh: TestMesh| async move {
        let (_, announcer) = mesh.user("nell", "announcer").await;
        let input = json!({"title": "A secret"});
        let run = start(&mesh, &announcer, "announce_freely", input).await;
        let path = format!(
            "/flows/announce_freely/runs/{}",
            run["id"].as_str().expect("an id")
        );
        let own = mesh.get(&announcer, &path).await.ok(200);
        assert_eq!(own["steps"][1]["output"], Value::Null, "{own:#}");
        let all = mesh.get(&mesh.admin, &path).await.ok(200);
        assert_eq!(
            all["steps"][1]["output"]["record"]["title"], "A secret",
            "{all:#}"
        );
    }
);
