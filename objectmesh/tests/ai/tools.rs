//! Tools: what a model may call, within the rights of whoever talks to it.

use serde_json::{Value, json};

use crate::support::TestMesh;

/// What a tool puts out, called by way of the echo.
async fn called(mesh: &TestMesh, token: &str, tool: &str, input: Value) -> Value {
    let body = json!({"messages": [{"role": "user", "content": format!("call {tool} {input}")}]});
    let answer = mesh.post(token, "/ai/chat", body).await.ok(200);
    let calls = answer["toolCalls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{answer:#}");
    assert_eq!(calls[0]["toolName"], tool);
    calls[0]["output"].clone()
}

databases!(
    tools_see_what_the_user_sees_and_no_more,
    |mesh: TestMesh| async move {
        let (_, una) = mesh.user("una", "ai_user").await;
        let ticket = json!({"subject": "Broken", "priority": 3, "cost": 5, "secret_cost": 99});
        let ticket = mesh.post(&mesh.admin, "/data/ticket", ticket).await.ok(201);
        let id = ticket["id"].as_str().unwrap();
        mesh.post(
            &mesh.admin,
            "/data/ticket",
            json!({"subject": "Fine", "priority": 1, "status": "closed"}),
        )
        .await
        .ok(201);
        mesh.post(&mesh.admin, "/data/vault", json!({"name": "gold"}))
            .await
            .ok(201);
        let customer = mesh
            .post(&mesh.admin, "/data/customer", json!({"name": "Acme"}))
            .await
            .ok(201);
        let deal = json!({"name": "Private", "customer": customer["id"]});
        let deal = mesh.post(&mesh.admin, "/data/deal", deal).await;
        let deal = deal.ok(201)["id"].as_str().unwrap().to_owned();

        let objects = called(&mesh, &una, "list_objects", json!({})).await;
        let names: Vec<_> = objects["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert!(
            names.contains(&"ticket") && !names.contains(&"vault"),
            "{names:?}"
        );
        let shape = called(
            &mesh,
            &una,
            "describe_object",
            json!({"objectName": "ticket"}),
        )
        .await;
        let fields: Vec<_> = shape["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert!(
            fields.contains(&"subject") && !fields.contains(&"secret_cost"),
            "{fields:?}"
        );
        let record = called(
            &mesh,
            &una,
            "get_record",
            json!({"objectName": "ticket", "recordId": id}),
        )
        .await;
        assert_eq!(record["subject"], "Broken");
        assert!(record.get("secret_cost").is_none(), "{record:#}");
        let found = called(&mesh, &una, "query_records", json!({"objectName": "ticket", "where": {"status": "open"}, "fields": ["subject"], "orderBy": [{"field": "priority", "order": "desc"}]})).await;
        assert_eq!(
            (&found["total"], &found["items"][0]["subject"]),
            (&json!(1), &json!("Broken")),
            "{found:#}"
        );
        let sums = called(&mesh, &una, "aggregate_data", json!({"objectName": "ticket", "groupBy": ["status"], "aggregations": [{"function": "sum", "field": "priority", "alias": "sum"}, {"function": "count", "alias": "n"}]})).await;
        let mut rows = sums["items"].as_array().unwrap().clone();
        rows.sort_by_key(|row| row["status"].as_str().unwrap().to_owned());
        assert_eq!(
            rows,
            [
                json!({"status": "closed", "sum": 1, "n": 1}),
                json!({"status": "open", "sum": 3, "n": 1})
            ]
        );
        // An action that only reads runs at once, and as the user.
        let score = called(&mesh, &una, "action_score_ticket", json!({"recordId": id})).await;
        assert_eq!(score, json!({"result": 33}));

        // What the user may not read looks missing, whether it is there or not.
        let missing = called(
            &mesh,
            &una,
            "describe_object",
            json!({"objectName": "nothing"}),
        )
        .await;
        let hidden = called(
            &mesh,
            &una,
            "describe_object",
            json!({"objectName": "vault"}),
        )
        .await;
        assert_eq!(hidden["code"], missing["code"], "{hidden} {missing}");
        for (tool, input) in [
            ("query_records", json!({"objectName": "vault"})),
            (
                "aggregate_data",
                json!({"objectName": "vault", "aggregations": [{"function": "count", "alias": "n"}]}),
            ),
            (
                "get_record",
                json!({"objectName": "deal", "recordId": deal}),
            ),
            (
                "query_records",
                json!({"objectName": "ticket", "where": {"secret_cost": 99}}),
            ),
            (
                "aggregate_data",
                json!({"objectName": "ticket", "aggregations": [{"function": "max", "field": "secret_cost", "alias": "m"}]}),
            ),
            (
                "get_record",
                json!({"objectName": "ticket", "recordId": id, "fields": ["secret_cost"]}),
            ),
            (
                "update_record",
                json!({"objectName": "ticket", "recordId": id, "data": {"secret_cost": 1}}),
            ),
            (
                "update_record",
                json!({"objectName": "deal", "recordId": deal, "data": {"name": "x"}}),
            ),
            (
                "create_record",
                json!({"objectName": "vault", "data": {"name": "x"}}),
            ),
            (
                "delete_record",
                json!({"objectName": "deal", "recordId": deal}),
            ),
        ] {
            let output = called(&mesh, &una, tool, input.clone()).await;
            let shown = output.to_string();
            let refused = output["error"].is_string()
                || (tool == "get_record" && output.get("secret_cost").is_none());
            assert!(
                refused && !shown.contains("gold") && !shown.contains("Private"),
                "{tool} {input} {output}"
            );
        }
        let rows = called(&mesh, &una, "query_records", json!({"objectName": "deal"})).await;
        assert_eq!(rows["total"], 0, "{rows}");

        // Input that does not fit the tool is told to the model, field by field.
        for (tool, input, wrong) in [
            (
                "get_record",
                json!({"objectName": "ticket"}),
                "recordId is required",
            ),
            (
                "get_record",
                json!({"objectName": 7, "recordId": "x"}),
                "objectName must be of type string",
            ),
            (
                "query_records",
                json!({"objectName": "ticket", "sql": "drop"}),
                "sql is not known",
            ),
            (
                "query_records",
                json!({"objectName": "ticket", "limit": 1000}),
                "limit is too large",
            ),
            (
                "action_close_ticket",
                json!({"recordId": "x", "note": "n", "channel": "fax"}),
                "channel must be one of",
            ),
        ] {
            let output = called(&mesh, &una, tool, input).await;
            let fields = output["fields"].to_string();
            assert!(fields.contains(wrong), "{tool} {output}");
        }
        // None of it left anything to approve.
        assert_eq!(
            mesh.get(&mesh.admin, "/ai/pending-actions").await.ok(200)["total"],
            0
        );
    }
);
