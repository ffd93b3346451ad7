//! Starting, showing, listing and cancelling runs, and who may.

use mesh::Link;
use proto::flow::v1::{StartFlowRequest, flow_service_client::FlowServiceClient};
use reqwest::Method;
use serde_json::{Value, json};

use super::{eventually, records, start, steps};
use crate::support::{TestMesh, with_token};

/// What the flow `triage` notes when Ann starts it.
const NOTE: &str = "Leaking roof by ann@example.com";

async fn ticket(mesh: &TestMesh, priority: i64) -> String {
    let body = json!({"subject": "Leaking roof", "priority": priority});
    let made = mesh.post(&mesh.admin, "/data/ticket", body).await.ok(201);
    made["id"].as_str().expect("an id").to_owned()
}

databases!(
    a_run_does_its_steps_and_shows_them,
    |mesh: TestMesh| async move {
        let (id, agent) = mesh.user("ann", "agent").await;
        let ticket = ticket(&mesh, 7).await;
        let run = start(&mesh, &agent, "triage", json!({"ticketId": ticket, "x": 1})).await;
        let expected = ["start", "load", "check", "raise", "note", "result", "end"];
        let expected: Vec<String> = expected
            .iter()
            .map(|node| format!("{node} success"))
            .collect();
        assert_eq!(steps(&run), expected, "{run:#}");
        assert_eq!(run["status"], "completed");
        assert_eq!(run["id"], run["runId"]);
        assert_eq!(
            (&run["flow"], &run["flowName"]),
            (&json!("triage"), &json!("triage"))
        );
        assert_eq!(run["flowVersion"], 3);
        assert_eq!(
            run["trigger"],
            json!({"type": "api", "userId": id, "object": null, "recordId": null})
        );
        assert_eq!(run["input"], json!({"ticketId": ticket}));
        assert_eq!(run["warnings"].as_array().unwrap().len(), 1, "{run:#}");
        assert_eq!(run["error"], Value::Null);
        assert!(run["durationMs"].is_i64() && run["completedAt"].is_string());
        assert_eq!(run["steps"][1]["output"]["id"], ticket.as_str());
        assert_eq!(run["steps"][1]["label"], "Load");
        let notes = records(&mesh, "announcement", "title", NOTE).await;
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0]["created_by"], id.as_str());
        assert_eq!(run["output"], json!({"done": true, "note": notes[0]["id"]}));
        let read = mesh
            .get(&agent, &format!("/data/ticket/{ticket}"))
            .await
            .ok(200);
        assert_eq!(read["urgent"], true);

        let path = format!("/flows/triage/runs/{}", run["id"].as_str().unwrap());
        assert_eq!(mesh.get(&agent, &path).await.ok(200), run);
        // The other ways of handing the input in, and the other branches.
        for (priority, name, last) in [
            (1, "input", "calm"),
            (0, "params", "drop"),
            (1, "inputs", "calm"),
        ] {
            let ticket = self::ticket(&mesh, priority).await;
            let run = start(&mesh, &agent, "triage", json!({name: {"ticketId": ticket}})).await;
            assert_eq!(steps(&run)[3], format!("{last} success"), "{run:#}");
        }
        // gRPC is another door to the same.
        let link = Link::connect(&mesh.at.flow[0]).unwrap();
        let request = StartFlowRequest {
            flow: "doubled".to_owned(),
            input: r#"{"n": 21}"#.into(),
            ..StartFlowRequest::default()
        };
        let answer = FlowServiceClient::new(link)
            .start_flow(with_token(request, &agent))
            .await;
        let run: Value = serde_json::from_slice(&answer.unwrap().into_inner().run).unwrap();
        assert_eq!(run["output"], json!({"twice": 42}), "{run:#}");
    }
);

one_process!(
    what_cannot_be_started_says_why,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        mesh.post("", "/flows/triage/start", json!({}))
            .await
            .refused(401, "UNAUTHENTICATED");
        let missing = mesh.post(&agent, "/flows/triage/start", json!({})).await;
        let missing = missing.refused(400, "VALIDATION_ERROR");
        assert_eq!(missing["fields"][0]["field"], "ticketId");
        let list = mesh.post(&agent, "/flows/triage/start", json!([1])).await;
        list.refused(400, "VALIDATION_ERROR");
        mesh.post(&agent, "/flows/nothing/start", json!({}))
            .await
            .refused(404, "NOT_FOUND");
        for flow in ["obsolete", "circular"] {
            let off = mesh
                .post(&agent, &format!("/flows/{flow}/start"), json!({}))
                .await;
            off.refused(409, "FLOW_DISABLED");
        }
        let run = start(&mesh, &agent, "not_yet", json!({})).await;
        assert_eq!(run["status"], "failed");
        assert_eq!(run["error"]["code"], "NO_EXECUTOR", "{run:#}");
        assert_eq!(run["error"]["nodeId"], "teleport");
        let run = start(&mesh, &mesh.admin, "careless", json!({})).await;
        assert_eq!(run["error"]["code"], "EXECUTION_ERROR", "{run:#}");
    }
);

one_process!(
    a_step_is_refused_what_its_user_may_not,
    |mesh: TestMesh| async move {
        let (_, viewer) = mesh.user("vera", "viewer").await;
        let ticket = ticket(&mesh, 7).await;
        let run = start(&mesh, &viewer, "triage", json!({"ticketId": ticket})).await;
        assert_eq!(run["status"], "failed", "{run:#}");
        assert_eq!(run["error"]["reason"], "PERMISSION_DENIED");
        assert_eq!(run["error"]["nodeId"], "raise");
        assert_eq!(steps(&run).last().unwrap(), "raise failure");
        let read = mesh
            .get(&mesh.admin, &format!("/data/ticket/{ticket}"))
            .await
            .ok(200);
        assert_ne!(read["urgent"], true);
        let note = NOTE.replace("ann@", "vera@");
        assert_eq!(
            records(&mesh, "announcement", "title", &note).await.len(),
            0
        );
    }
);

databases!(
    a_run_is_its_starters_and_the_administrators,
    |mesh: TestMesh| async move {
        let (_, ann) = mesh.user("ann", "agent").await;
        let (_, bob) = mesh.user("bob", "agent").await;
        let mut ids = Vec::new();
        for n in 0..3 {
            let run = start(&mesh, &ann, "doubled", json!({"n": n})).await;
            ids.insert(0, run["id"].as_str().unwrap().to_owned());
        }
        let path = format!("/flows/doubled/runs/{}", ids[0]);
        let of = |answer: &Value| -> Vec<String> {
            let items = answer["items"].as_array().unwrap().iter();
            items
                .map(|run| run["id"].as_str().unwrap().to_owned())
                .collect()
        };
        mesh.get(&mesh.admin, &path).await.ok(200);
        mesh.get(&bob, &path).await.refused(404, "NOT_FOUND");
        let cancel = format!("{path}/cancel");
        mesh.post(&bob, &cancel, json!({}))
            .await
            .refused(404, "NOT_FOUND");
        let elsewhere = format!("/flows/triage/runs/{}", ids[0]);
        mesh.get(&ann, &elsewhere).await.refused(404, "NOT_FOUND");
        let all = mesh.get(&ann, "/flows/doubled/runs").await.ok(200);
        assert_eq!(
            all["items"][0]["steps"],
            Value::Null,
            "steps come with the run alone"
        );
        assert_eq!(of(&all), ids);
        assert_eq!(
            (&all["total"], &all["nextCursor"]),
            (&json!(3), &Value::Null)
        );
        assert_eq!(
            of(&mesh.get(&mesh.admin, "/flows/doubled/runs").await.ok(200)),
            ids
        );
        let none = mesh.get(&bob, "/flows/doubled/runs").await.ok(200);
        assert_eq!((of(&none).len(), &none["total"]), (0, &json!(0)));
        let first = mesh.get(&ann, "/flows/doubled/runs?limit=2").await.ok(200);
        assert_eq!(of(&first), ids[..2]);
        let cursor = first["nextCursor"].as_str().unwrap();
        let rest = format!("/flows/doubled/runs?limit=2&cursor={cursor}");
        assert_eq!(of(&mesh.get(&ann, &rest).await.ok(200)), ids[2..]);
        mesh.get(&ann, "/flows/doubled/runs?limit=0")
            .await
            .refused(400, "VALIDATION_ERROR");
        mesh.get(&ann, "/flows/nothing/runs")
            .await
            .refused(404, "NOT_FOUND");
        mesh.post(&ann, &cancel, json!({}))
            .await
            .refused(409, "INVALID_STATE");
    }
);

sizes!(
    a_run_that_goes_on_is_cancelled,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        for ask in ["?async=true", ""] {
            let headers: &[(&str, &str)] = match ask {
                "" => &[("prefer", "respond-async")],
                _ => &[],
            };
            let path = format!("/flows/keeps_failing/start{ask}");
            let run = mesh
                .call(&agent, Method::POST, &path, Some("{}".to_owned()), headers)
                .await;
            let run = run.ok(202);
            let path = format!("/flows/keeps_failing/runs/{}", run["id"].as_str().unwrap());
            eventually("it waits for its next attempt", async || {
                mesh.get(&agent, &path).await.ok(200)["status"] == "retrying"
            })
            .await;
            let cancel = format!("{path}/cancel");
            let cancelled = mesh.post(&agent, &cancel, json!({})).await.ok(200);
            assert_eq!(cancelled["status"], "cancelled", "{cancelled:#}");
            assert!(cancelled["completedAt"].is_string());
            mesh.post(&agent, &cancel, json!({}))
                .await
                .refused(409, "INVALID_STATE");
            assert_eq!(mesh.get(&agent, &path).await.ok(200), cancelled);
        }
    }
);

sizes!(a_key_starts_one_run, |mesh: TestMesh| async move {
    let (_, ann) = mesh.user("ann", "agent").await;
    let (_, bob) = mesh.user("bob", "agent").await;
    let begin = async |token: &str, body: Value| {
        let headers = [("idempotency-key", "once")];
        let body = Some(body.to_string());
        mesh.call(token, Method::POST, "/flows/doubled/start", body, &headers)
            .await
    };
    let first = begin(&ann, json!({"n": 1})).await.ok(200);
    let (second, third) = tokio::join!(begin(&ann, json!({"n": 1})), begin(&ann, json!({"n": 1})));
    assert_eq!(second.ok(200), first);
    assert_eq!(third.ok(200), first);
    begin(&ann, json!({"n": 2}))
        .await
        .refused(422, "VALIDATION_ERROR");
    assert_ne!(
        begin(&bob, json!({"n": 1})).await.ok(200)["id"],
        first["id"]
    );
    let all = mesh.get(&ann, "/flows/doubled/runs").await.ok(200);
    assert_eq!(all["total"], 1);
});

one_process!(
    a_flow_of_the_system_is_started_by_who_may,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let (_, announcer) = mesh.user("nell", "announcer").await;
        let input = || json!({"title": "Closed on Friday"});
        for flow in ["announce", "announce_freely"] {
            let refused = mesh
                .post(&agent, &format!("/flows/{flow}/start"), input())
                .await;
            refused.refused(403, "PERMISSION_DENIED");
        }
        let run = start(&mesh, &mesh.admin, "announce", input()).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        // Who starts it may not write announcements; the flow may.
        let run = start(&mesh, &announcer, "announce_freely", input()).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        // And what it read or wrote is not told to who may not read it.
        assert_eq!(run["steps"][1]["output"], Value::Null, "{run:#}");
        assert_eq!(
            records(&mesh, "announcement", "title", "Closed on Friday")
                .await
                .len(),
            2
        );
    }
);

sizes!(a_disabled_users_run_fails, |mesh: TestMesh| async move {
    let (id, agent) = mesh.user("ann", "agent").await;
    let path = "/flows/keeps_failing_soon/start?async=true";
    let run = mesh.post(&agent, path, json!({})).await.ok(202);
    let body = json!({"userId": id});
    mesh.post(&mesh.admin, "/auth/admin/ban-user", body)
        .await
        .ok(200);
    let path = format!(
        "/flows/keeps_failing_soon/runs/{}",
        run["id"].as_str().unwrap()
    );
    eventually("the run fails", async || {
        let run = mesh.get(&mesh.admin, &path).await.ok(200);
        run["status"] == "failed" && run["error"]["details"]["reason"] == "USER_DISABLED"
    })
    .await;
});

sizes!(
    a_run_goes_on_when_its_caller_leaves,
    |mesh: TestMesh| async move {
        let (_, tasker) = mesh.user("tom", "tasker").await;
        let numbers: Vec<u32> = (0..15).collect();
        let request = reqwest::Client::new()
            .post(mesh.url("/flows/many_tasks/start"))
            .bearer_auth(&tasker)
            .json(&json!({"tag": "left", "numbers": numbers}));
        // The call is dropped as soon as the run is there.
        let is_there = eventually("the run begins", async || {
            let runs = mesh.get(&tasker, "/flows/many_tasks/runs").await.ok(200);
            runs["total"] == 1
        });
        tokio::select! {
            answer = request.send() => panic!("{answer:?} before the caller left"),
            () = is_there => {}
        }
        eventually("the run ends", async || {
            let runs = mesh.get(&tasker, "/flows/many_tasks/runs").await.ok(200);
            runs["items"][0]["status"] == "completed"
        })
        .await;
        assert_eq!(records(&mesh, "task", "name", "left 14").await.len(), 1);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_ten_seconds() {
    let mesh = TestMesh::start(crate::support::Size::Sqlite).await;
    let began = std::time::Instant::now();
    let run = mesh
        .post(&mesh.admin, "/flows/keeps_failing/start", json!({}))
        .await
        .ok(202);
    let waited = began.elapsed().as_secs_f64();
    assert_eq!(run["status"], "retrying", "{run:#}");
    assert!((9.5..12.0).contains(&waited), "{waited}");
}

one_process!(
    flows_are_described_to_who_may_start_them,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let paths = |document: Value| document["paths"].clone();
        let of_admin = paths(mesh.get(&mesh.admin, "/openapi.json").await.ok(200));
        let of_agent = paths(mesh.get(&agent, "/openapi.json").await.ok(200));
        let start = &of_agent["/api/v1/flows/triage/start"]["post"];
        assert_eq!(start["summary"], "Triage a ticket", "{start:#}");
        let schema = &start["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], json!(["ticketId"]));
        assert_eq!(schema["properties"]["ticketId"]["type"], "string");
        assert!(of_admin["/api/v1/flows/announce/start"].is_object());
        for flow in ["announce", "announce_freely", "obsolete", "circular"] {
            let path = format!("/api/v1/flows/{flow}/start");
            assert_eq!(of_agent[&path], Value::Null, "{flow}");
        }
    }
);
