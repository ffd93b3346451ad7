//! The loop of an agent: which tools are called, with what, how often, and what the model is told of them.

use mesh::error::Reason;
use metadata::ItemType;
use serde_json::{Value, json};

use crate::{
    fake_data::Plan,
    provider::{Fake, Step, text},
    tickets,
    world::{World, eventually},
};

/// What a tool puts out, called by way of the echo.
async fn called(world: &World, tool: &str, input: Value) -> Value {
    let answer = world.chat("ann", &format!("call {tool} {input}")).await;
    let calls = answer["toolCalls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{answer:#}");
    assert_eq!(calls[0]["toolName"], tool);
    calls[0]["output"].clone()
}

#[tokio::test]
async fn each_tool_asks_as_the_user_and_tells_what_it_found() {
    let world = World::start(tickets()).await;
    let record = json!({"id": "t1", "subject": "Broken"});
    for (tool, input, output) in [
        (
            "list_objects",
            json!({}),
            json!({"objects": [{"name": "ticket", "label": null, "description": null}]}),
        ),
        (
            "get_record",
            json!({"objectName": "ticket", "recordId": "t1"}),
            record.clone(),
        ),
        (
            "query_records",
            json!({"objectName": "ticket", "where": {"subject": "Broken"}, "limit": 3, "orderBy": [{"field": "id"}]}),
            json!({"items": [record], "total": 1}),
        ),
        (
            "aggregate_data",
            json!({"objectName": "ticket", "aggregations": [{"function": "count", "alias": "n"}]}),
            json!({"items": [record], "total": 1}),
        ),
    ] {
        assert_eq!(called(&world, tool, input).await, output, "{tool}");
    }
    let shape = called(&world, "describe_object", json!({"objectName": "ticket"})).await;
    let names: Vec<_> = shape["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["name"].clone())
        .collect();
    assert_eq!(names, ["id", "subject"]);
    let query = &world.data.calls("query")[0];
    assert_eq!(
        query.body,
        json!({"where": {"subject": "Broken"}, "orderBy": [{"field": "id"}], "limit": 3})
    );
    assert_eq!((query.subject.as_str(), &query.reason), ("ann", &None));
    // What is refused is told to the model, in the words that the user would get.
    for (reason, code) in [
        (Reason::PermissionDenied, "PERMISSION_DENIED"),
        (Reason::ServiceUnavailable, "SERVICE_UNAVAILABLE"),
    ] {
        world.data.plan("query", Plan::Refused(reason));
        let refused = called(&world, "query_records", json!({"objectName": "ticket"})).await;
        assert_eq!(refused, json!({"error": "It is refused", "code": code}));
    }
    let missing = called(&world, "describe_object", json!({"objectName": "vault"})).await;
    assert_eq!(missing["code"], "NOT_FOUND", "{missing}");
}

#[tokio::test]
async fn input_that_does_not_fit_is_told_field_by_field() {
    let data = tickets();
    let close = json!({"objectName": "ticket", "body": "return 1", "params": [{"name": "note", "type": "text", "required": true},
        {"name": "channel", "type": "select", "options": ["mail", "phone"]}]});
    data.declare(ItemType::Action, "close", close);
    let world = World::start(data).await;
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
            "action_close",
            json!({"recordId": "x", "note": "n", "channel": "fax"}),
            "channel must be one of",
        ),
        (
            "create_record",
            json!({"objectName": "ticket", "data": []}),
            "data must be of type object",
        ),
    ] {
        let output = called(&world, tool, input).await;
        assert_eq!(output["error"], "The input does not fit the tool", "{tool}");
        assert!(
            output["fields"].to_string().contains(wrong),
            "{tool} {output}"
        );
    }
    assert!(world.data.state().calls.is_empty(), "nobody was asked");
    assert!(
        world
            .texts("SELECT id FROM ai_pending_actions")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_loop_ends_and_long_outputs_are_cut() {
    let fake = Fake::start(|_, request| match request.get("tools") {
        Some(_) => vec![Step::Call(
            "query_records",
            json!({"objectName": "ticket", "limit": 200}),
        )],
        None => vec![text("Enough.")],
    })
    .await;
    let data = tickets();
    data.state().record = json!({"id": "t1", "subject": "x".repeat(1000)});
    data.state().rows = 40;
    data.declare(ItemType::Agent, "brief", json!({"instructions": "Be brief.", "active": true, "planning": {"maxIterations": 1}, "access": ["bob"]}));
    let world = World::with_provider(data, &fake).await;
    let ask = |more: Value| {
        let mut body = crate::world::hi("go");
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let answer = world.ask("ann", &ask(json!({}))).await.unwrap();
    assert_eq!((fake.count(), &answer["content"]), (11, &json!("Enough.")));
    let last = fake.request(10);
    let outputs = last["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["role"] == "tool");
    let outputs: Vec<&str> = outputs
        .map(|one| one["content"].as_str().unwrap())
        .collect();
    assert_eq!(outputs.len(), 10);
    for output in outputs {
        assert!(output.len() <= 17 * 1024, "{}", output.len());
        let output: Value = serde_json::from_str(output).unwrap();
        assert!(
            output["truncated"].is_string() && output["total"] == 40,
            "{output}"
        );
    }
    // As the request says, or the agent.
    for (who, more, rounds) in [
        ("ann", json!({"maxIterations": 2}), 3),
        ("bob", json!({"agent": "brief"}), 2),
    ] {
        let before = fake.count();
        world.ask(who, &ask(more)).await.unwrap();
        assert_eq!(fake.count() - before, rounds, "{who}");
    }
    // One long text is cut where it is.
    world.data.state().rows = 1;
    world.data.state().record = json!({"id": "t1", "subject": "é".repeat(20_000)});
    let answer = world
        .ask("ann", &ask(json!({"maxIterations": 1})))
        .await
        .unwrap();
    let output = &answer["toolCalls"][0]["output"];
    assert_eq!(
        output["truncated"],
        "only the beginning is shown",
        "{:.200}",
        output.to_string()
    );
}

#[tokio::test]
async fn tools_that_are_not_there_or_not_offered_are_not_called() {
    let fake = Fake::start(|_, request| {
        let messages = request["messages"].as_array().unwrap();
        let last = messages.last().unwrap();
        match (last["role"].as_str(), last["content"].as_str()) {
            (Some("user"), Some("many")) => {
                let many = (0..40).map(|_| {
                    Step::Call(
                        "get_record",
                        json!({"objectName": "ticket", "recordId": "t1"}),
                    )
                });
                many.collect()
            }
            (Some("user"), _) => vec![
                Step::Call("drop_tables", json!({})),
                Step::Call(
                    "delete_record",
                    json!({"objectName": "ticket", "recordId": "x"}),
                ),
                Step::Call("get_record", json!([])),
            ],
            _ => vec![text("Well.")],
        }
    })
    .await;
    let data = tickets();
    let clerk = json!({"instructions": "You are the clerk.", "active": true,
        "tools": [{"type": "query", "name": "query_records"}, {"type": "query", "name": "get_record"}]});
    data.declare(ItemType::Agent, "clerk", clerk);
    let world = World::with_provider(data, &fake).await;
    let answer = world.chat("ann", "go").await;
    let calls = answer["toolCalls"].as_array().unwrap().iter();
    let errors: Vec<_> = calls.map(|call| call["output"]["error"].clone()).collect();
    let expected = [
        "There is no tool drop_tables",
        "There is no tool delete_record",
        "The input does not fit the tool",
    ];
    assert_eq!(errors, expected);
    assert_eq!(
        (&answer["pendingActions"], &answer["content"]),
        (&json!([]), &json!("Well."))
    );
    let offered = fake.request(0)["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].clone())
        .collect::<Vec<_>>();
    assert_eq!(offered, ["query_records", "get_record"]);
    // Of too many calls at once the first are made.
    let answer = world.chat("ann", "many").await;
    assert_eq!(answer["toolCalls"].as_array().unwrap().len(), 32);
    assert_eq!(world.data.calls("get").len(), 32);
    // A caller may choose among the agent's tools, and no others.
    let mut chosen = crate::world::hi("x");
    for (tools, is_fine) in [
        (json!(["get_record"]), true),
        (json!(["delete_record"]), false),
    ] {
        chosen["tools"] = tools;
        assert_eq!(world.ask("ann", &chosen).await.is_ok(), is_fine);
    }
}

#[tokio::test]
async fn a_call_whose_token_was_overtaken_is_made_again_with_another() {
    let data = tickets();
    data.declare(
        ItemType::Action,
        "read",
        json!({"objectName": "ticket", "body": "return 1", "ai": {"readOnly": true}}),
    );
    let world = World::start(data).await;
    world
        .data
        .plan("get", Plan::Refused(Reason::Unauthenticated));
    let record = called(
        &world,
        "get_record",
        json!({"objectName": "ticket", "recordId": "t1"}),
    )
    .await;
    assert_eq!(record["subject"], "Broken");
    let calls = world.data.calls("get");
    assert_eq!(
        (calls.len(), &calls[0].reason, calls[1].reason.as_deref()),
        (2, &None, Some("chat"))
    );
    // What an app does on a call is never done with the user's own token.
    world.flow.state().result = json!({"done": true});
    let output = called(&world, "action_read", json!({"recordId": "t1"})).await;
    assert_eq!(output, json!({"done": true}));
    let reasons: Vec<_> = world
        .auth
        .state()
        .delegated
        .iter()
        .map(|asked| asked.reason.clone())
        .collect();
    assert_eq!(reasons, ["chat", "tool"]);
}

#[tokio::test]
async fn what_waits_for_a_person_is_as_the_app_and_the_settings_say() {
    let data = tickets();
    let action = |more: Value| {
        let mut action = json!({"objectName": "ticket", "body": "return 1"});
        action
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        action
    };
    data.declare(ItemType::Action, "close", action(json!({})));
    data.declare(
        ItemType::Action,
        "wipe",
        action(json!({"variant": "danger"})),
    );
    data.declare(
        ItemType::Action,
        "score",
        action(json!({"ai": {"readOnly": true}})),
    );
    for (approval, waiting) in [
        ("all", [true, true, false]),
        ("destructive", [false, true, false]),
    ] {
        let world = World::start_with(data.clone(), &[("APPROVAL", approval)]).await;
        world.flow.state().result = json!({"done": true});
        for (name, waits) in ["close", "wipe", "score"].into_iter().zip(waiting) {
            let output = called(&world, &format!("action_{name}"), json!({"recordId": "t1"})).await;
            assert_eq!(
                output["status"] == "pending_approval",
                waits,
                "{approval} {name} {output}"
            );
            assert_eq!(output["done"] == true, !waits, "{approval} {name} {output}");
        }
        // A write of a record waits in any case.
        world
            .propose(
                "ann",
                "delete_record",
                &json!({"objectName": "ticket", "recordId": "t1"}),
            )
            .await;
        // A proposal about what is not there is none.
        world.data.state().record = Value::Null;
        let output = called(
            &world,
            "delete_record",
            json!({"objectName": "ticket", "recordId": "t9"}),
        )
        .await;
        assert_eq!(output["code"], "NOT_FOUND", "{output}");
        world.data.state().record = json!({"id": "t1", "subject": "Broken"});
        // What failed is told.
        world.flow.state().refused = Some(Reason::ActionFailed);
        let output = called(&world, "action_score", json!({"recordId": "t1"})).await;
        assert_eq!(output["error"], "It is refused", "{output}");
    }
}

#[tokio::test]
async fn a_proposal_that_is_too_long_is_refused() {
    let world = World::start(tickets()).await;
    let input = json!({"objectName": "ticket", "data": {"subject": "x".repeat(65 * 1024)}});
    let output = called(&world, "create_record", input).await;
    assert!(output["error"].is_string(), "{:.200}", output.to_string());
    eventually("nothing waits", async || {
        world
            .texts("SELECT id FROM ai_pending_actions")
            .await
            .is_empty()
    })
    .await;
}
