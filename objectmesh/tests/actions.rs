//! Actions: what they take, do and answer, over REST and gRPC alike, within their caller's rights.

use std::time::Duration;

use crate::{
    process::eventually,
    support::{TestMesh, with_token},
};
use mesh::Link;
use proto::flow::v1::{InvokeActionRequest, action_service_client::ActionServiceClient};
use serde_json::{Value, json};

async fn ticket(mesh: &TestMesh, token: &str, subject: &str) -> String {
    let body = json!({"subject": subject, "priority": 3});
    let made = mesh.post(token, "/data/ticket", body).await.ok(201);
    made["id"].as_str().expect("an id").to_owned()
}

async fn invoke(
    mesh: &TestMesh,
    token: &str,
    request: InvokeActionRequest,
) -> Result<Value, mesh::Error> {
    let link = Link::connect(&mesh.at.flow[0]).expect("an address");
    let mut client = ActionServiceClient::new(link);
    loop {
        let answer = client.invoke_action(with_token(request.clone(), token));
        let error = match answer.await {
            Ok(answer) => {
                let result = answer.into_inner().result;
                return Ok(serde_json::from_slice(&result).expect("JSON"));
            }
            Err(status) => mesh::Error::from_status(&status),
        };
        // The user got their rights a moment ago, and the change overtook the token that flow-svc had for
        // the call. The gateway asks again by itself; here it is the client's part.
        if error.detail("reason") != Some(&json!("REVOKED_TOKEN")) {
            return Err(error);
        }
    }
}

fn request(object: &str, action: &str, record_id: &str, input: &Value) -> InvokeActionRequest {
    InvokeActionRequest {
        object: object.to_owned(),
        action: action.to_owned(),
        record_id: record_id.to_owned(),
        input: input.to_string().into(),
        idempotency_key: String::new(),
    }
}

sizes!(
    an_action_is_the_same_by_every_door,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let expected = json!({"closed": true, "by": "ann", "channel": "mail", "was": "open"});
        // Flat, nested in two ways, and with the record in the path.
        let bodies = [
            json!({"recordId": "ID", "note": "done"}),
            json!({"recordId": "ID", "params": {"note": "done"}}),
            json!({"id": "ID", "inputs": {"note": "done"}}),
        ];
        for body in bodies {
            let id = ticket(&mesh, &agent, "Flat").await;
            let body: Value = serde_json::from_str(&body.to_string().replace("ID", &id)).unwrap();
            let done = mesh
                .post(&agent, "/actions/close_ticket", body)
                .await
                .ok(200);
            assert_eq!(done, expected);
            let record = mesh
                .get(&agent, &format!("/data/ticket/{id}"))
                .await
                .ok(200);
            assert_eq!(record["status"], "closed");
            assert_eq!(record["description"], "done");
        }
        for path in [
            "/actions/ticket/close_ticket/ID",
            "/actions/ticket/close_ticket",
        ] {
            let id = ticket(&mesh, &agent, "Path").await;
            let mut body = json!({"note": "done"});
            if !path.ends_with("ID") {
                body["recordId"] = json!(id);
            }
            let done = mesh
                .post(&agent, &path.replace("ID", &id), body)
                .await
                .ok(200);
            assert_eq!(done, expected);
        }
        let id = ticket(&mesh, &agent, "gRPC").await;
        let call = request("ticket", "close_ticket", &id, &json!({"note": "done"}));
        assert_eq!(invoke(&mesh, &agent, call).await.unwrap(), expected);

        // An expression, an API call, and a script that returns a list or nothing.
        let id = ticket(&mesh, &agent, "Others").await;
        let scored = mesh
            .post(
                &agent,
                &format!("/actions/ticket/score_ticket/{id}"),
                json!({}),
            )
            .await;
        assert_eq!(scored.ok(200), json!({"result": 33}));
        let raised = mesh
            .post(
                &agent,
                &format!("/actions/ticket/raise_ticket/{id}"),
                json!({"priority": 9}),
            )
            .await
            .ok(200);
        assert_eq!(
            (&raised["priority"], &raised["urgent"]),
            (&json!(9), &json!(true))
        );
        let made = mesh
            .post(
                &agent,
                "/actions/global/open_three_tickets",
                json!({"subject": "Many"}),
            )
            .await
            .ok(200);
        assert_eq!(made["result"].as_array().unwrap().len(), 3);
        let note = json!({"note": "x"});
        mesh.post(&agent, &format!("/actions/ticket/close_ticket/{id}"), note)
            .await
            .ok(200);
        let body = json!({"recordIds": [id, "01ARZ3NDEKTSV4RRFFQ69G5FAV"]});
        let many = mesh
            .post(&agent, "/actions/reopen_ticket", body)
            .await
            .ok(200);
        assert_eq!(many["results"][0]["result"], json!({"success": true}));
        assert_eq!(many["results"][1]["error"]["code"], "NOT_FOUND");

        // What every object offers.
        let made = mesh
            .post(
                &agent,
                "/actions/ticket/create",
                json!({"subject": "Built in"}),
            )
            .await;
        let id = made.ok(200)["id"].as_str().unwrap().to_owned();
        let copy = mesh
            .post(
                &agent,
                &format!("/actions/ticket/clone/{id}"),
                json!({"priority": 5}),
            )
            .await
            .ok(200);
        assert_eq!(
            (&copy["subject"], &copy["priority"]),
            (&json!("Built in"), &json!(5))
        );
        assert_ne!(copy["id"], json!(id));
        mesh.post(&agent, &format!("/actions/ticket/delete/{id}"), json!({}))
            .await
            .ok(200);
        mesh.get(&agent, &format!("/data/ticket/{id}"))
            .await
            .refused(404, "NOT_FOUND");
    }
);

databases!(what_does_not_fit_is_refused, |mesh: TestMesh| async move {
    let (_, agent) = mesh.user("ann", "agent").await;
    let (_, viewer) = mesh.user("vera", "viewer").await;
    let id = ticket(&mesh, &agent, "Refused").await;
    let close = format!("/actions/ticket/close_ticket/{id}");

    for path in [
        "/actions/nothing",
        "/actions/ticket/nothing",
        "/actions/nowhere/close_ticket",
    ] {
        let details = mesh
            .post(&agent, path, json!({}))
            .await
            .refused(404, "NOT_FOUND");
        assert_eq!(details["reason"], "ACTION_NOT_FOUND");
    }
    let body = json!({"priority": "high", "channel": "fax", "colour": "red"});
    let details = mesh
        .post(&agent, &close, body)
        .await
        .refused(400, "VALIDATION_ERROR");
    let fields: Vec<&str> = details["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["note", "priority", "channel", "colour"]);
    let details = mesh
        .post(&agent, &close, json!({"recordId": "another", "note": "x"}))
        .await
        .refused(400, "VALIDATION_ERROR");
    assert_eq!(details["fields"][0]["field"], "recordId");
    let body = json!({"note": "x", "recordIds": [id]});
    mesh.post(&agent, "/actions/close_ticket", body)
        .await
        .refused(400, "VALIDATION_ERROR");
    let malformed = mesh
        .call(
            &agent,
            reqwest::Method::POST,
            &close,
            Some("{\"note\"".to_owned()),
            &[],
        )
        .await
        .refused(400, "VALIDATION_ERROR");
    assert_eq!(malformed["reason"], "MALFORMED_JSON");

    // Rights are those of whoever calls, by either door.
    let refused = mesh.post(&viewer, &close, json!({"note": "x"})).await;
    let details = refused.refused(403, "PERMISSION_DENIED");
    assert_eq!(details["object"], "ticket");
    let call = request("ticket", "close_ticket", &id, &json!({"note": "x"}));
    let refused = invoke(&mesh, &viewer, call).await.unwrap_err();
    assert_eq!(refused.reason(), mesh::error::Reason::PermissionDenied);
    let open = mesh
        .get(&agent, &format!("/data/ticket/{id}"))
        .await
        .ok(200);
    assert_eq!(open["status"], "open");
    let (_, stranger) = mesh.user("stan", "onlooker").await;
    // Who may not read tickets at all is told so by data-svc; what is not there is missing.
    mesh.post(&stranger, &close, json!({"note": "x"}))
        .await
        .refused(403, "PERMISSION_DENIED");
    let body = json!({"note": "x"});
    mesh.post(
        &agent,
        "/actions/ticket/close_ticket/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        body,
    )
    .await
    .refused(404, "NOT_FOUND");
    let details = mesh.post(&agent, "/actions/count_users", json!({})).await;
    assert_eq!(
        details.refused(403, "PERMISSION_DENIED")["permission"],
        "manage_users"
    );
    let counted = mesh
        .post(&mesh.admin, "/actions/count_users", json!({}))
        .await
        .ok(200);
    assert!(counted["result"].as_i64().unwrap() >= 4, "{counted}");
    let details = mesh
        .post(
            &agent,
            &format!("/actions/ticket/reopen_ticket/{id}"),
            json!({}),
        )
        .await;
    assert_eq!(details.refused(403, "PERMISSION_DENIED")["reason"], "GUARD");

    // The script's own word is the code.
    mesh.post(&agent, &close, json!({"note": "x"}))
        .await
        .ok(200);
    let details = mesh
        .post(&agent, &close, json!({"note": "x"}))
        .await
        .refused(400, "TICKET_CLOSED");
    assert_eq!(details["action"], "close_ticket");
    assert_eq!(details["fields"][0]["field"], "status");
    mesh.post(&agent, "/actions/loop_for_ever", json!({}))
        .await
        .refused(504, "TIMEOUT");

    for (name, reason) in [
        ("call_elsewhere", "NOT_INVOKABLE"),
        ("open_manual", "NOT_INVOKABLE"),
    ] {
        let details = mesh
            .post(&agent, &format!("/actions/{name}"), json!({}))
            .await;
        assert_eq!(
            details.refused(400, "VALIDATION_ERROR")["reason"],
            reason,
            "{name}"
        );
    }
    mesh.post(&agent, "/actions/native_thing", json!({}))
        .await
        .refused(501, "NOT_IMPLEMENTED");
    mesh.post("", &close, json!({}))
        .await
        .refused(401, "UNAUTHENTICATED");
});

sizes!(
    a_key_makes_an_invocation_repeatable,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let (_, other) = mesh.user("bob", "agent").await;
        let body = json!({"subject": "Once"}).to_string();
        let call = async |token: &str, body: &str| {
            let headers = [("idempotency-key", "k1")];
            let path = "/actions/open_three_tickets";
            mesh.call(
                token,
                reqwest::Method::POST,
                path,
                Some(body.to_owned()),
                &headers,
            )
            .await
        };
        let together = futures::future::join_all((0..8).map(|_| call(&agent, &body))).await;
        let first = call(&agent, &body).await.ok(200);
        for answer in together {
            assert_eq!(answer.ok(200), first);
        }
        let count = async || {
            let found = mesh
                .get(&mesh.admin, "/data/ticket?subject=Once%201")
                .await
                .ok(200);
            found["total"].as_i64().unwrap()
        };
        assert_eq!(count().await, 1);
        let details = call(&agent, &json!({"subject": "Twice"}).to_string()).await;
        assert_eq!(
            details.refused(422, "VALIDATION_ERROR")["reason"],
            "IDEMPOTENCY_KEY_REUSED"
        );
        // Another caller's key is another key.
        assert_ne!(call(&other, &body).await.ok(200), first);
        assert_eq!(count().await, 2);
    }
);

databases!(
    a_key_does_not_outlive_the_right_to_the_action,
    |mesh: TestMesh| async move {
        let (id, ann) = mesh.user("ann", "admin_full_access").await;
        let call = async |key: &str| {
            let headers = [("idempotency-key", key)];
            let (method, path) = (reqwest::Method::POST, "/actions/count_users");
            mesh.call(&ann, method, path, Some("{}".to_owned()), &headers)
                .await
        };
        call("k1").await.ok(200);
        let path = format!("/data/sys_user_permission_set?user_id={id}");
        let given = mesh.get(&mesh.admin, &path).await.ok(200);
        let given = given["items"][0]["id"].as_str().unwrap();
        let path = format!("/data/sys_user_permission_set/{given}");
        mesh.delete(&mesh.admin, &path).await.ok(200);
        eventually("the right is gone", Duration::from_secs(20), async || {
            call("k2").await.status == 403
        })
        .await;
        call("k1").await.refused(403, "PERMISSION_DENIED");
    }
);

sizes!(
    a_key_makes_changes_and_deletions_repeatable,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let id = ticket(&mesh, &agent, "Keyed").await;
        let path = format!("/data/ticket/{id}");
        let call =
            async |method: reqwest::Method, body: Option<Value>, key: &str, version: &str| {
                let headers = [("idempotency-key", key), ("if-match", version)];
                let body = body.map(|body| body.to_string());
                mesh.call(&agent, method, &path, body, &headers).await
            };
        let patch = || Some(json!({"status": "pending"}));
        let many = (0..6).map(|_| call(reqwest::Method::PATCH, patch(), "p", "1"));
        for answer in futures::future::join_all(many).await {
            assert_eq!(answer.ok(200)["version"], 2);
        }
        // Without the key the version of then is no longer that of now.
        let headers = [("if-match", "1")];
        let body = patch().map(|body| body.to_string());
        let refused = mesh
            .call(&agent, reqwest::Method::PATCH, &path, body, &headers)
            .await;
        refused.refused(409, "CONCURRENT_UPDATE");
        let other = Some(json!({"status": "open"}));
        let refused = call(reqwest::Method::PATCH, other, "p", "1").await;
        refused.refused(422, "VALIDATION_ERROR");

        let many = (0..6).map(|_| call(reqwest::Method::DELETE, None, "d", "2"));
        for answer in futures::future::join_all(many).await {
            assert_eq!(
                answer.ok(200),
                json!({"object": "ticket", "id": id, "success": true})
            );
        }
        mesh.delete(&agent, &path).await.refused(404, "NOT_FOUND");
    }
);

databases!(
    openapi_shows_each_action_with_its_input,
    |mesh: TestMesh| async move {
        let (_, agent) = mesh.user("ann", "agent").await;
        let (_, onlooker) = mesh.user("stan", "onlooker").await;
        let document = mesh.get(&agent, "/openapi.json").await.ok(200);
        let path = "/api/v1/actions/ticket/close_ticket/{recordId}";
        let post = &document["paths"][path]["post"];
        assert_eq!(post["summary"], "Close", "{:#}", document["paths"]);
        assert_eq!(post["description"], "Close a ticket with a note.");
        let schema = &post["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema["required"], json!(["note"]));
        assert_eq!(schema["properties"]["priority"]["type"], "number");
        assert_eq!(
            schema["properties"]["channel"]["enum"],
            json!(["mail", "phone"])
        );
        assert_eq!(schema["additionalProperties"], json!(false));
        let paths = &document["paths"];
        assert!(paths["/api/v1/actions/global/open_three_tickets"].is_object());
        // Neither what nobody can invoke, nor what this caller may not.
        assert!(paths["/api/v1/actions/global/open_manual"].is_null());
        assert!(paths["/api/v1/actions/global/count_users"].is_null());
        let document = mesh.get(&onlooker, "/openapi.json").await.ok(200);
        assert!(document["paths"][path].is_null());
        assert!(!document.to_string().contains("close_ticket"));
        let document = mesh.get(&mesh.admin, "/openapi.json").await.ok(200);
        assert!(document["paths"]["/api/v1/actions/global/count_users"].is_object());
    }
);

sizes!(an_action_starts_a_flow, |mesh: TestMesh| async move {
    let (_, agent) = mesh.user("ann", "agent").await;
    let id = ticket(&mesh, &agent, "By flow").await;
    let done = mesh
        .post(
            &agent,
            &format!("/actions/ticket/settle_ticket/{id}"),
            json!({"words": "settled"}),
        )
        .await
        .ok(200);
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(done["output"], json!({"settled": true}));
    let record = mesh
        .get(&agent, &format!("/data/ticket/{id}"))
        .await
        .ok(200);
    assert_eq!(
        (&record["status"], &record["description"]),
        (&json!("closed"), &json!("settled"))
    );
    let path = format!("/flows/settle/runs/{}", done["runId"].as_str().unwrap());
    let run = mesh.get(&agent, &path).await.ok(200);
    assert_eq!(run["trigger"]["type"], "action");
    assert_eq!(run["trigger"]["recordId"], json!(id));
    // The flow runs as whoever invokes it.
    let (_, viewer) = mesh.user("vera", "viewer").await;
    let id = ticket(&mesh, &agent, "Not by a viewer").await;
    let refused = mesh
        .post(
            &viewer,
            &format!("/actions/ticket/settle_ticket/{id}"),
            json!({"words": "x"}),
        )
        .await
        .refused(400, "FLOW_FAILED");
    assert!(refused["runId"].is_string(), "{refused}");
    let record = mesh
        .get(&agent, &format!("/data/ticket/{id}"))
        .await
        .ok(200);
    assert_eq!(record["status"], "open");

    let document = mesh.get(&agent, "/openapi.json").await.ok(200);
    let post = &document["paths"]["/api/v1/flows/settle/start"]["post"];
    let schema = &post["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(
        schema["properties"]["words"],
        json!({"type": "string"}),
        "{post:#}"
    );
});
