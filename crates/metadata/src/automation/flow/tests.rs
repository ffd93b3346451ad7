//! What becomes of flows as they are written.

use serde_json::{Value, json};

use super::*;

fn of(source: &Value) -> Flow {
    Flow::from_value("sample", source).0.unwrap()
}

fn names(graph: &Graph) -> Vec<String> {
    let name = |node: usize| graph.nodes[node].id.as_str();
    let edges = graph.edges.iter();
    edges
        .map(|edge| format!("{}>{}", name(edge.source), name(edge.target)))
        .collect()
}

#[test]
fn a_list_of_steps_is_a_graph() {
    let flow = of(&json!({"steps": [
        {"name": "a", "type": "query", "object": "task"},
        {"name": "b", "type": "condition", "when": "a.done",
            "then": [{"name": "c", "type": "end"}, {"name": "d", "type": "end"}],
            "else": [{"name": "e", "type": "end"}]},
        {"name": "f", "type": "condition", "when": "true", "then": [{"name": "g", "type": "end"}]},
        {"name": "h", "type": "condition", "when": "true", "else": [{"name": "i", "type": "end"}]},
        {"name": "j", "type": "end"},
    ]}));
    assert_eq!(flow.disabled, None);
    let expected = [
        "a>b", "b>c", "c>d", "b>e", "d>f", "e>f", "f>g", "g>h", "f>h", "h>i", "h>j", "i>j",
    ];
    assert_eq!(names(&flow.graph), expected);
    let labels: Vec<_> = flow
        .graph
        .edges
        .iter()
        .map(|edge| edge.label.as_deref())
        .collect();
    let (then, or) = (Some("then"), Some("default"));
    let first = [None, then, None, or, None, None, then, None, or];
    assert_eq!(labels, [first.as_slice(), &[or, then, None]].concat());
}

#[test]
fn circles_and_loose_ends_keep_a_flow_from_starting() {
    let nodes = json!([{"id": "a", "type": "start"}, {"id": "b"}, {"id": "c"}]);
    let with = |edges: Value| of(&json!({"nodes": nodes, "edges": edges})).disabled;
    let edge = |source: &str, target: &str, kind: &str| json!({"source": source, "target": target, "type": kind});
    let way = || vec![edge("a", "b", "default"), edge("b", "c", "default")];
    assert_eq!(with(json!(way())), None);
    let back = |kind: &str| [way(), vec![edge("c", "b", kind)]].concat();
    assert_eq!(with(json!(back("back"))), None);
    assert!(with(json!(back("default"))).is_some_and(|why| why.contains("circle at `b`")));
    assert!(with(json!([edge("a", "x", "default")])).is_some_and(|why| why.contains("`x`")));
    assert!(of(&json!({})).disabled.is_some());
    assert!(
        of(&json!({"status": "obsolete", "nodes": nodes}))
            .disabled
            .is_some()
    );
    for status in ["draft", "active"] {
        assert_eq!(
            of(&json!({"status": status, "nodes": nodes})).disabled,
            None
        );
    }
}

#[test]
fn a_loop_without_a_body_runs_what_follows_up_to_the_end() {
    let flow = of(&json!({
        "nodes": [
            {"id": "start", "type": "start"}, {"id": "each", "type": "loop"},
            {"id": "a", "type": "assignment"}, {"id": "inner", "type": "loop"},
            {"id": "b", "type": "assignment"}, {"id": "end", "type": "end"},
        ],
        "edges": [
            {"source": "start", "target": "each"}, {"source": "each", "target": "a"},
            {"source": "a", "target": "inner"}, {"source": "inner", "target": "b"},
            {"source": "b", "target": "end"},
        ],
    }));
    assert_eq!(flow.disabled, None);
    assert_eq!(names(&flow.graph), ["start>each", "each>end"]);
    let body = flow.graph.nodes[1].config.bodies()[0];
    assert_eq!(names(body), ["a>inner"]);
    assert_eq!(body.starts, [0]);
    assert_eq!(body.nodes[1].config.bodies()[0].nodes[0].id, "b");
}

#[test]
fn the_start_node_says_what_triggers_it() {
    let with =
        |config: Value| of(&json!({"nodes": [{"id": "s", "type": "start", "config": config}]}));
    let flow = with(json!({"objectName": "task", "triggerType": "record-after-write"}));
    assert_eq!(
        flow.triggers[0].events,
        [ChangeKind::Create, ChangeKind::Update]
    );
    let both = json!(["record-after-insert", "record-after-delete"]);
    let flow = with(json!({"objectName": "task", "triggerType": both}));
    assert_eq!(
        flow.triggers[0].events,
        [ChangeKind::Create, ChangeKind::Delete]
    );
    let flow = with(
        json!({"objectName": "task", "triggerType": ["record-before-update", "record-after-delete"]}),
    );
    let timings: Vec<Timing> = flow.triggers.iter().map(|trigger| trigger.timing).collect();
    assert_eq!(timings, [Timing::Before, Timing::After]);
    for wrong in ["record-after-sunrise", "record-after-update"] {
        let flow = with(json!({"triggerType": wrong}));
        assert_eq!((flow.triggers.len(), flow.warnings.len()), (0, 1));
    }
    let listed =
        json!({"steps": [{"type": "end"}], "trigger": {"object": "task", "when": "after_update"}});
    assert_eq!(of(&listed).triggers[0].events, [ChangeKind::Update]);
}

#[test]
fn nothing_that_is_written_panics() {
    let odd = [
        json!(null),
        json!(1),
        json!("x"),
        json!([]),
        json!([1, "x", null]),
        json!({}),
        json!({"id": 1}),
        json!([{"id": "a", "type": "loop", "config": {"body": [1]}}]),
        json!([{"id": "a"}, {"id": "a"}]),
        json!([[[]]]),
        json!(-1),
        json!(1e300),
        json!(true),
    ];
    let keys = [
        "nodes",
        "edges",
        "steps",
        "variables",
        "inputs",
        "outputs",
        "errorHandling",
        "trigger",
        "schedule",
        "status",
        "version",
        "runAs",
        "requiredPermissions",
    ];
    let sound = json!({
        "nodes": [{"id": "a", "type": "start", "config": {"triggerType": "record-after-update"}},
            {"id": "l", "type": "loop"}, {"id": "l2", "type": "loop"}],
        "edges": [{"source": "a", "target": "l"}, {"source": "l", "target": "l2"},
            {"source": "l2", "target": "l", "type": "back"}],
    });
    for key in keys {
        for value in &odd {
            let mut source = sound.clone();
            source[key] = value.clone();
            let _flow = of(&source);
            let mut step = json!({"type": "foreach", "do": [{"type": "condition"}]});
            step[key] = value.clone();
            let _flow = of(&json!({"steps": [step, value]}));
        }
    }
    // As deep as it gets.
    let mut body = json!({"nodes": [{"id": "a"}]});
    for _ in 0..100 {
        body = json!({"nodes": [{"id": "a", "type": "loop", "config": {"body": body}}]});
    }
    assert!(of(&body).disabled.is_some_and(|why| why.contains("deep")));
}

#[test]
fn steps_say_what_they_do_in_types() {
    let flow = of(&json!({
        "nodes": [
            {"id": "s", "type": "start", "config": {"schedule": {"cron": "0 8 * * *"}}},
            {"id": "g", "type": "get_record", "config": {"objectName": "task", "limit": 5,
                "where": {"done": false}, "orderBy": "name", "outputVariable": "{tasks}"}},
            {"id": "u", "type": "update_record", "config": {"object": "task", "recordId": "{g.id}",
                "values": {"done": true}}},
            {"id": "a", "type": "assignment", "config": {"assignments": [{"variable": "{n}", "value": 1}]}},
            {"id": "t", "type": "try_catch", "config": {"try": {"nodes": [{"id": "x"}]}, "retry": {"attempts": 3}}},
            {"id": "w", "type": "wait", "config": {"timerDuration": "P1D"}},
            {"id": "m", "type": "email", "config": {"to": "{user.email}", "template": "hello"}},
            {"id": "c", "type": "screen", "config": {"fields": [{"name": "why", "required": true}]}},
            {"id": "p", "type": "approval", "config": {"approvers": [{"type": "manager"}]}},
            {"id": "o", "type": "teleport"},
        ],
    }));
    assert!(matches!(flow.schedule, Some(Schedule::Cron { .. })));
    let config = |id: &str| {
        let mut nodes = flow.graph.nodes.iter();
        &nodes.find(|node| node.id == id).unwrap().config
    };
    let NodeConfig::GetRecord { step, limit, .. } = config("g") else {
        panic!("no query");
    };
    assert_eq!((step.object.as_deref(), *limit), (Some("task"), 5));
    assert_eq!(
        flow.graph.nodes[1].output_variable.as_deref(),
        Some("tasks")
    );
    let NodeConfig::UpdateRecord(step) = config("u") else {
        panic!("no update");
    };
    assert_eq!(step.filter, Some(RecordFilter::Id(json!("{g.id}"))));
    let NodeConfig::Assignment { assignments } = config("a") else {
        panic!("no assignment");
    };
    assert_eq!(assignments, &[("n".to_owned(), json!(1))]);
    let NodeConfig::TryCatch(tries) = config("t") else {
        panic!("no try_catch");
    };
    assert_eq!(
        (
            tries.body.nodes.len(),
            tries.retry.as_ref().unwrap().retries
        ),
        (1, 2)
    );
    assert!(matches!(config("w"), NodeConfig::Wait(wait) if wait.duration == Some(json!("P1D"))));
    assert!(matches!(config("m"), NodeConfig::SendEmail(mail) if mail.template.is_some()));
    assert!(matches!(config("c"), NodeConfig::Screen(screen) if screen.fields.len() == 1));
    assert!(matches!(config("p"), NodeConfig::Approval(wait) if wait.locks_record));
    assert!(matches!(config("o"), NodeConfig::Unknown));
}

#[test]
fn inputs_and_outputs_of_both_dialects_are_variables() {
    let flow = of(&json!({
        "variables": [{"name": "a", "type": "integer", "isInput": true, "required": true},
            {"name": "b", "isOutput": true, "defaultValue": 1}],
        "inputs": {"c": {"type": "rating", "required": true, "default": 2}, "d": {}},
        "outputs": ["e"], "steps": [{"type": "end"}],
    }));
    let inputs: Vec<_> = flow
        .inputs()
        .map(|input| (&*input.name, flow.is_needed(input)))
        .collect();
    assert_eq!(inputs, [("a", true), ("c", false), ("d", false)]);
    assert_eq!(flow.outputs().collect::<Vec<_>>(), ["b", "e"]);
    assert_eq!(Value::Object(flow.defaults()), json!({"b": 1, "c": 2}));
    let shapes: Vec<Shape> = flow
        .input_params()
        .iter()
        .map(|param| param.shape)
        .collect();
    assert_eq!(shapes, [Shape::Integer, Shape::Number, Shape::Any]);
}
