//! Mutations that wait for a person: who sees them, who decides, and what is done, once.

use std::time::Duration;

use futures::future::join_all;
use mesh::{
    Link,
    config::Secret,
    delegation::{Delegation, DelegationGrant, Task},
    resolver::{Resolver, Tier},
    service_identity::ServiceIdentity,
};
use proto::ai::v1::{
    ApprovePendingActionRequest, RejectPendingActionRequest,
    pending_action_service_client::PendingActionServiceClient,
};
use serde_json::{Value, json};

use crate::support::{Size, TestMesh, process::eventually};

/// Proposes by way of the echo; gives the pending action as the answer shows it.
async fn proposed(mesh: &TestMesh, token: &str, tool: &str, input: Value) -> Value {
    let body = json!({"messages": [{"role": "user", "content": format!("call {tool} {input}")}]});
    let answer = mesh.post(token, "/ai/chat", body).await.ok(200);
    let pending = answer["pendingActions"].as_array().unwrap();
    assert_eq!(pending.len(), 1, "{answer:#}");
    let output = &answer["toolCalls"][0]["output"];
    assert_eq!(
        output,
        &json!({"status": "pending_approval", "pendingActionId": pending[0]["id"]})
    );
    pending[0].clone()
}

fn approve(id: &Value) -> String {
    format!("/ai/pending-actions/{}/approve", id.as_str().unwrap())
}

fn shown(id: &Value) -> String {
    format!("/ai/pending-actions/{}", id.as_str().unwrap())
}

sizes!(
    a_mutation_waits_and_is_done_as_the_user,
    |mesh: TestMesh| async move {
        let (una_id, una) = mesh.user("una", "ai_user").await;
        let (ada_id, approver) = mesh.user("ada", "ai_approver").await;
        let ticket = mesh
            .post(
                &una,
                "/data/ticket",
                json!({"subject": "Broken", "priority": 3}),
            )
            .await
            .ok(201);
        let id = ticket["id"].as_str().unwrap().to_owned();
        let record = format!("/data/ticket/{id}");

        // Create.
        let made = mesh
            .post(&una, "/ai/conversations", json!({}))
            .await
            .ok(201);
        let talk = format!("/ai/conversations/{}", made["id"].as_str().unwrap());
        let input = json!({"objectName": "ticket", "data": {"subject": "From a model"}});
        let body = json!({"content": format!("call create_record {input}")});
        let turn = mesh
            .post(&una, &format!("{talk}/messages"), body)
            .await
            .ok(200);
        let pending = &turn["pendingActions"][0];
        assert_eq!(pending["tool_input"], input, "{turn:#}");
        assert_eq!(
            pending["diff"],
            json!({"before": null, "after": {"subject": "From a model"}})
        );
        assert_eq!(
            (
                &pending["status"],
                &pending["requested_by"],
                &pending["proposed_by"]
            ),
            (&json!("pending"), &json!(una_id), &json!("assistant"))
        );
        assert_eq!(
            (
                &pending["conversation_id"],
                &pending["object_name"],
                &pending["record_id"]
            ),
            (&made["id"], &json!("ticket"), &Value::Null)
        );
        assert!(pending["digest"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(mesh.get(&una, "/data/ticket").await.ok(200)["total"], 1);
        let listed = mesh
            .get(&approver, "/ai/pending-actions?status=pending")
            .await
            .ok(200);
        assert_eq!(
            (&listed["total"], &listed["items"][0]["id"]),
            (&json!(1), &pending["id"])
        );
        let done = mesh
            .post(
                &approver,
                &approve(&pending["id"]),
                json!({"digest": pending["digest"], "comment": "go"}),
            )
            .await
            .ok(200);
        assert_eq!(
            (&done["id"], &done["status"]),
            (&pending["id"], &json!("executed"))
        );
        let new = mesh
            .get(
                &una,
                &format!("/data/ticket/{}", done["result"]["id"].as_str().unwrap()),
            )
            .await
            .ok(200);
        assert_eq!(
            (&new["subject"], &new["created_by"]),
            (&json!("From a model"), &json!(una_id))
        );
        let row = mesh.get(&approver, &shown(&pending["id"])).await.ok(200);
        assert_eq!(
            (&row["status"], &row["decided_by"], &row["comment"]),
            (&json!("executed"), &json!(ada_id), &json!("go"))
        );
        let full = mesh.get(&una, &talk).await.ok(200);
        let note = full["messages"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(note["role"], "system");
        assert!(
            note["content"].as_str().unwrap().contains("approved"),
            "{note}"
        );
        // Once is once.
        let details = mesh
            .post(&approver, &approve(&pending["id"]), json!({}))
            .await
            .refused(409, "INVALID_STATE");
        assert_eq!(details["status"], "executed");
        let reject = format!("{}/reject", shown(&pending["id"]));
        mesh.post(&approver, &reject, json!({}))
            .await
            .refused(409, "INVALID_STATE");

        // Update: with the difference.
        let input = json!({"objectName": "ticket", "recordId": id, "data": {"priority": 5}});
        let pending = proposed(&mesh, &una, "update_record", input).await;
        assert_eq!(
            pending["diff"],
            json!({"before": {"priority": 3}, "after": {"priority": 5}})
        );
        assert_eq!(pending["record_version"], 1);
        mesh.post(&approver, &approve(&pending["id"]), json!({}))
            .await
            .ok(200);
        assert_eq!(mesh.get(&una, &record).await.ok(200)["priority"], 5);

        // Reject: nothing is done.
        let input = json!({"objectName": "ticket", "recordId": id});
        let pending = proposed(&mesh, &una, "delete_record", input.clone()).await;
        assert_eq!(pending["diff"]["before"]["subject"], "Broken");
        let reject = format!("{}/reject", shown(&pending["id"]));
        let rejected = mesh
            .post(&approver, &reject, json!({"reason": "no"}))
            .await
            .ok(200);
        assert_eq!(
            rejected,
            json!({"id": pending["id"], "status": "rejected", "reason": "no"})
        );
        mesh.post(&approver, &approve(&pending["id"]), json!({}))
            .await
            .refused(409, "INVALID_STATE");
        mesh.get(&una, &record).await.ok(200);

        // An action, then the deletion.
        let pending = proposed(
            &mesh,
            &una,
            "action_close_ticket",
            json!({"recordId": id, "note": "done"}),
        )
        .await;
        assert_eq!(
            (&pending["action_name"], &pending["diff"]),
            (&json!("close_ticket"), &Value::Null)
        );
        let done = mesh
            .post(&approver, &approve(&pending["id"]), json!({}))
            .await
            .ok(200);
        assert_eq!(done["result"]["closed"], true, "{done:#}");
        assert_eq!(mesh.get(&una, &record).await.ok(200)["status"], "closed");
        let pending = proposed(&mesh, &una, "delete_record", input).await;
        mesh.post(&approver, &approve(&pending["id"]), json!({}))
            .await
            .ok(200);
        mesh.get(&una, &record).await.refused(404, "NOT_FOUND");
    }
);

databases!(
    a_flow_waits_and_is_run_as_the_user,
    |mesh: TestMesh| async move {
        let (_, una) = mesh.user("una", "ai_user").await;
        let (_, approver) = mesh.user("ada", "ai_approver").await;
        let ticket = json!({"subject": "To close"});
        let ticket = mesh.post(&una, "/data/ticket", ticket).await.ok(201);
        let input = json!({"ticketId": ticket["id"]});
        let pending = proposed(&mesh, &una, "flow_close_by_action", input).await;
        assert_eq!(pending["action_name"], "close_by_action");
        let done = mesh
            .post(&approver, &approve(&pending["id"]), json!({}))
            .await
            .ok(200);
        assert_eq!(done["result"]["status"], "completed", "{done:#}");
        let record = format!("/data/ticket/{}", ticket["id"].as_str().unwrap());
        assert_eq!(mesh.get(&una, &record).await.ok(200)["status"], "closed");
        // A run that fails is a failure.
        let input = json!({"ticketId": ticket["id"]});
        let pending = proposed(&mesh, &una, "flow_close_by_action", input).await;
        mesh.post(&approver, &approve(&pending["id"]), json!({}))
            .await
            .refused(422, "ACTION_FAILED");
    }
);

databases!(
    who_sees_decides_and_what_changed_meanwhile,
    |mesh: TestMesh| async move {
        let (una_id, una) = mesh.user("una", "ai_user").await;
        let (_, approver) = mesh.user("ada", "ai_approver").await;
        let (_, decider) = mesh.user("dora", "ai_decider").await;
        let ticket = mesh
            .post(
                &una,
                "/data/ticket",
                json!({"subject": "Broken", "cost": 4}),
            )
            .await
            .ok(201);
        let id = ticket["id"].as_str().unwrap().to_owned();
        let record = format!("/data/ticket/{id}");

        // A field that the approver may not see: masked, and not to be approved.
        let input = json!({"objectName": "ticket", "recordId": id, "data": {"cost": 9, "subject": "Costly"}});
        let costly = proposed(&mesh, &una, "update_record", input).await;
        let seen = mesh.get(&approver, &shown(&costly["id"])).await.ok(200);
        assert_eq!(
            seen["tool_input"]["data"],
            json!({"subject": "Costly"}),
            "{seen:#}"
        );
        assert_eq!(
            seen["diff"],
            json!({"before": {"subject": "Broken"}, "after": {"subject": "Costly"}})
        );
        let refused = mesh
            .post(&approver, &approve(&costly["id"]), json!({}))
            .await;
        assert!(
            !refused.body.to_string().contains("cost"),
            "{:#}",
            refused.body
        );
        refused.refused(403, "PERMISSION_DENIED");
        assert_eq!(
            mesh.get(&approver, &shown(&costly["id"])).await.ok(200)["status"],
            "pending"
        );

        // Another digest; then another version of the record.
        let subject = |subject: &str| json!({"objectName": "ticket", "recordId": id, "data": {"subject": subject}});
        let pending = proposed(&mesh, &una, "update_record", subject("Fixed")).await;
        let details = mesh
            .post(
                &approver,
                &approve(&pending["id"]),
                json!({"digest": costly["digest"]}),
            )
            .await
            .refused(409, "CONCURRENT_UPDATE");
        assert_eq!(details["reason"], "DIGEST_MISMATCH");
        mesh.patch(&una, &record, json!({"priority": 2}))
            .await
            .ok(200);
        let details = mesh
            .post(
                &approver,
                &approve(&pending["id"]),
                json!({"digest": pending["digest"]}),
            )
            .await
            .refused(409, "CONCURRENT_UPDATE");
        assert_eq!(details["reason"], "TARGET_CHANGED");
        assert_eq!(
            mesh.get(&approver, &shown(&pending["id"])).await.ok(200)["status"],
            "pending"
        );
        assert_eq!(mesh.get(&una, &record).await.ok(200)["subject"], "Broken");

        // What is about something that one may not read is not there.
        let hidden = proposed(
            &mesh,
            &mesh.admin,
            "create_record",
            json!({"objectName": "vault", "data": {"name": "gold"}}),
        )
        .await;
        let customer = mesh
            .post(&mesh.admin, "/data/customer", json!({"name": "Acme"}))
            .await
            .ok(201);
        let own = json!({"name": "Private", "customer": customer["id"]});
        let own = mesh.post(&mesh.admin, "/data/deal", own).await.ok(201);
        let deal = json!({"objectName": "deal", "recordId": own["id"], "data": {"name": "Mine"}});
        let deal = proposed(&mesh, &mesh.admin, "update_record", deal).await;
        for pending in [&hidden, &deal] {
            mesh.get(&approver, &shown(&pending["id"]))
                .await
                .refused(404, "NOT_FOUND");
            mesh.post(&approver, &approve(&pending["id"]), json!({}))
                .await
                .refused(404, "NOT_FOUND");
            let reject = format!("{}/reject", shown(&pending["id"]));
            mesh.post(&decider, &reject, json!({}))
                .await
                .refused(404, "NOT_FOUND");
        }
        let listed = mesh.get(&approver, "/ai/pending-actions").await.ok(200);
        assert_eq!(listed["total"], 2, "{listed:#}");
        let page = mesh
            .get(&approver, "/ai/pending-actions?limit=1")
            .await
            .ok(200);
        assert_eq!(page["items"][0]["id"], pending["id"]);
        let cursor = page["nextCursor"].as_str().unwrap();
        let page = mesh
            .get(
                &approver,
                &format!("/ai/pending-actions?limit=1&cursor={cursor}"),
            )
            .await
            .ok(200);
        assert_eq!(
            (&page["items"][0]["id"], &page["nextCursor"]),
            (&costly["id"], &Value::Null)
        );
        assert_eq!(
            mesh.get(&approver, "/ai/pending-actions?objectName=deal")
                .await
                .ok(200)["total"],
            0
        );
        for query in ["status=odd", "limit=0", "cursor=x"] {
            mesh.get(&approver, &format!("/ai/pending-actions?{query}"))
                .await
                .refused(400, "VALIDATION_ERROR");
        }
        // The right to approve does not show the queue.
        mesh.get(&decider, "/ai/pending-actions")
            .await
            .refused(403, "PERMISSION_DENIED");
        mesh.post(
            &approver,
            &approve(&json!("01J00000000000000000000000")),
            json!({}),
        )
        .await
        .refused(404, "NOT_FOUND");
        for body in [json!({"digest": 1}), json!({"extra": 1}), json!([])] {
            let path = approve(&pending["id"]);
            mesh.post(&approver, &path, body)
                .await
                .refused(400, "VALIDATION_ERROR");
        }

        // Who asked has lost their rights by now: it fails, and says so.
        let pending = proposed(&mesh, &una, "update_record", subject("Fixed")).await;
        let last = proposed(&mesh, &una, "update_record", subject("Last")).await;
        let body = json!({"user_id": una_id, "permission_set": "ai_reader"});
        mesh.post(&mesh.admin, "/data/sys_user_permission_set", body)
            .await
            .ok(201);
        let held = mesh
            .get(
                &mesh.admin,
                &format!("/data/sys_user_permission_set?user_id={una_id}&permission_set=ai_user"),
            )
            .await
            .ok(200);
        let held = held["items"][0]["id"].as_str().unwrap().to_owned();
        mesh.delete(
            &mesh.admin,
            &format!("/data/sys_user_permission_set/{held}"),
        )
        .await
        .ok(200);
        let answer = mesh
            .post(&decider, &approve(&pending["id"]), json!({}))
            .await;
        let details = answer.refused(422, "ACTION_FAILED");
        assert_eq!(
            (&details["id"], &details["status"]),
            (&pending["id"], &json!("failed")),
            "{details:#}"
        );
        assert!(details["error"]["message"].is_string(), "{details:#}");
        assert_eq!(
            mesh.get(&approver, &shown(&pending["id"])).await.ok(200)["status"],
            "failed"
        );
        // So does what a user asked for who is disabled by now.
        let body = json!({"userId": una_id});
        mesh.post(&mesh.admin, "/auth/admin/ban-user", body)
            .await
            .ok(200);
        let answer = mesh.post(&decider, &approve(&last["id"]), json!({})).await;
        answer.refused(422, "ACTION_FAILED");
        assert_eq!(
            mesh.get(&mesh.admin, &record).await.ok(200)["subject"],
            "Broken"
        );
    }
);

sizes!(of_fifty_approvals_one_counts, |mesh: TestMesh| async move {
    let (_, approver) = mesh.user("ada", "ai_approver").await;
    let input = json!({"objectName": "ticket", "data": {"subject": "Only one"}});
    let pending = proposed(&mesh, &mesh.admin, "create_record", input).await;
    let path = approve(&pending["id"]);
    let all = (0..50).map(|_| mesh.post(&approver, &path, json!({})));
    let answers = join_all(all).await;
    let mut executed = 0;
    for answer in answers {
        if answer.status == 200 {
            executed += 1;
        } else {
            answer.refused(409, "INVALID_STATE");
        }
    }
    assert_eq!(executed, 1);
    assert_eq!(
        mesh.get(&mesh.admin, "/data/ticket").await.ok(200)["total"],
        1
    );
});

/// Whoever acts for a user, an agent say, has that user's rights; deciding is not among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_decides_nothing() {
    const SECRET: &str = "a mesh secret of a test that is long enough";
    let settings = [("OBJECTMESH__MESH__SECRET", SECRET)];
    let mesh = TestMesh::start_with(Size::Sqlite, &settings).await;
    let input = json!({"objectName": "ticket", "data": {"subject": "By itself"}});
    let pending = proposed(&mesh, &mesh.admin, "create_record", input).await;
    let auth = Link::connect(&mesh.at.auth[0]).expect("an address");
    let own = ServiceIdentity::new("flow-svc", auth.clone(), Secret::new(SECRET));
    let resolver = Resolver::new(Tier::Service, auth.clone(), None);
    let user = pending["requested_by"].as_str().unwrap();
    let task = Task {
        run_id: "run".to_owned(),
        reason: "test".to_owned(),
        while_waiting: false,
    };
    let delegated =
        Delegation::new(auth, own, resolver).act(DelegationGrant::by_itself(user, None), task);
    let ctx = delegated
        .ctx(Duration::from_secs(5))
        .await
        .expect("a token");
    let ai = Link::connect(&mesh.at.ai[0]).expect("an address");
    let mut actions = PendingActionServiceClient::new(ai);
    let id = pending["id"].as_str().unwrap().to_owned();
    let approve = ApprovePendingActionRequest {
        id: id.clone(),
        decision: "{}".into(),
    };
    let refused = actions.approve_pending_action(ctx.request(approve)).await;
    let refused = mesh::Error::from_status(&refused.expect_err("refused"));
    assert_eq!(
        refused.detail("reason"),
        Some(&json!("AGENT_CANNOT_DECIDE")),
        "{refused}"
    );
    let reject = RejectPendingActionRequest {
        id,
        decision: "{}".into(),
    };
    let refused = actions.reject_pending_action(ctx.request(reject)).await;
    assert!(refused.is_err());
    let row = mesh.get(&mesh.admin, &shown(&pending["id"])).await.ok(200);
    assert_eq!(row["status"], "pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_decides_in_time_is_over() {
    let settings = [("OBJECTMESH__AI__PENDING_ACTION_LIFETIME_S", "1")];
    let mesh = TestMesh::start_with(Size::Sqlite, &settings).await;
    let input = json!({"objectName": "ticket", "data": {"subject": "Too late"}});
    let pending = proposed(&mesh, &mesh.admin, "create_record", input).await;
    eventually("it is over", Duration::from_secs(5), async || {
        mesh.get(&mesh.admin, &shown(&pending["id"])).await.ok(200)["status"] == "expired"
    })
    .await;
    let details = mesh
        .post(&mesh.admin, &approve(&pending["id"]), json!({}))
        .await
        .refused(409, "INVALID_STATE");
    assert_eq!(details["status"], "expired");
    assert_eq!(
        mesh.get(&mesh.admin, "/data/ticket").await.ok(200)["total"],
        0
    );
}
