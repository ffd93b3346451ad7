//! Runs on SQLite, driven to their end without any peer.

use data_client::{metadata::Metadata, records::Records, registry::Replica};
use futures::FutureExt as _;
use mesh::{
    Link,
    db::{DbConfig, DbError, Statement},
    delegation::Delegation,
    resolver::{Door, Resolver},
    service_identity::{ServiceIdentity, ServiceToken},
    tasks::Tasks,
};
use script::LazyPool;
use serde_json::json;
use tempfile::TempDir;
use transcoding::Table;

use super::*;
use crate::{
    flows::{
        run_for_action,
        start::{New, new_run},
    },
    slots::Slots,
    store::NewRun,
};

/// flow-svc over a database of its own, whose peers are away.
struct Bed {
    app: Arc<App>,
    _dir: TempDir,
}

impl Bed {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let config = DbConfig {
            service: "flow-svc",
            url: format!("sqlite:{}", dir.path().join("flow.db").display()),
            ..DbConfig::default()
        };
        let db = Db::open(&config).await.unwrap();
        db.migrate(store::MIGRATIONS).await.unwrap();
        let (tasks, away) = (Tasks::default(), Link::unbound());
        let mint = |_| {
            Ok(ServiceToken {
                token: "token".into(),
                expires_at_ms: i64::MAX,
            })
        };
        let own = ServiceIdentity::minting("flow-svc", Box::new(mint));
        let resolver = Resolver::new(Door::Service, away.clone(), None);
        let compile = |snapshot, _: Option<&_>| crate::catalog::Catalog::compile(&snapshot, None);
        let app = App {
            catalog: Replica::follow(&tasks, away.clone(), own.clone(), compile),
            records: Records::new(away.clone()),
            metadata: Metadata::new(away.clone()),
            delegation: Delegation::new(away.clone(), own.clone(), resolver),
            own,
            data: away.clone(),
            auth: away,
            sandbox: LazyPool::new("", 1),
            table: Table::from_descriptors().unwrap(),
            slots: Slots::new(),
            tasks,
            run_flow: run_for_action,
            db,
        };
        Self {
            app: Arc::new(app),
            _dir: dir,
        }
    }

    /// Keeps a run of a flow that runs as the system, driven here.
    async fn begin(&self, flow: Value, input: Value) -> String {
        let mut flow = flow;
        flow["runAs"] = json!("system");
        let (item, _) = Item::new(ItemType::Flow, "sample", flow);
        let flow = Flow::compile(&Arc::new(item)).unwrap();
        let Value::Object(input) = input else {
            panic!("no object");
        };
        let new = New {
            trigger: "api",
            user_id: None,
            beginning: None,
            object: None,
            record_id: None,
            input,
            context: json!({}),
            warnings: Vec::new(),
            depth: 0,
        };
        let new = NewRun {
            driver: Some(self.app.slots.driver.clone()),
            ..new_run(&flow, new).unwrap()
        };
        let id = new.run.id.clone();
        let kept = self.app.db.write::<_, DbError, _>(move |tx| {
            let new = new.clone();
            async move { store::insert(tx, &new).await }.boxed()
        });
        assert!(kept.await.unwrap());
        id
    }

    async fn sql(&self, sql: &'static str) {
        assert!(self.app.db.execute(Statement::new(sql)).await.unwrap() > 0);
    }

    /// Drives a run as the next driver does; gives it as it is then.
    async fn drive(&self, id: &str) -> Run {
        let (db, driver) = (&self.app.db, &self.app.slots.driver);
        assert!(store::claim(db, driver, id).await.unwrap());
        let run = store::find(db, id).await.unwrap().unwrap();
        to_its_end(&self.app, run, None).await;
        store::find(db, id).await.unwrap().unwrap()
    }
}

fn flow() -> Value {
    json!({
        "variables": [{"name": "n", "isInput": true}, {"name": "sum", "isOutput": true, "defaultValue": 0}],
        "nodes": [
            {"id": "start", "type": "start"},
            {"id": "each", "type": "loop", "config": {"collection": "{n}",
                "body": {"nodes": [{"id": "add", "type": "assignment", "config": {"sum": "{sum + item}"}}]}}},
            {"id": "big", "type": "decision", "config": {"conditions": [{"label": "yes", "expression": "sum > 5"}]}},
            {"id": "told", "type": "end", "config": {"outputs": {"big": true}}},
            {"id": "end", "type": "end"},
        ],
        "edges": [
            {"source": "start", "target": "each"}, {"source": "each", "target": "big"},
            {"source": "big", "target": "told", "label": "yes"},
            {"source": "big", "target": "end", "isDefault": true},
        ],
    })
}

#[tokio::test]
async fn a_run_goes_through_loops_and_decisions_to_its_output() {
    let bed = Bed::new().await;
    for (given, expected) in [
        (json!([1, 2]), json!({"sum": 3})),
        (json!([4, 5]), json!({"sum": 9, "big": true})),
        (json!(null), json!({"sum": 0})),
    ] {
        let id = bed.begin(flow(), json!({"n": given})).await;
        let run = bed.drive(&id).await;
        assert_eq!(run.status, Status::Completed, "{:?}", run.error);
        let output: Value = serde_json::from_str(&run.output.unwrap()).unwrap();
        assert_eq!(output, expected);
    }
}

#[tokio::test]
async fn a_run_whose_row_is_damaged_fails_and_says_why() {
    let damages = [
        ("UPDATE flow_run SET input = '{\"n\":'", "input"),
        ("UPDATE flow_run SET input = '[1]'", "input"),
        ("UPDATE flow_run SET context = ''", "context"),
        ("UPDATE flow_run SET warnings = 'none'", "list of warnings"),
        (
            "UPDATE flow_run SET beginning = '{}', run_as = 'user'",
            "beginning",
        ),
        ("UPDATE flow_definition SET definition = '{'", "definition"),
        ("DELETE FROM flow_definition", "definition"),
    ];
    for (damage, what) in damages {
        let bed = Bed::new().await;
        let id = bed.begin(flow(), json!({"n": [1]})).await;
        bed.sql(damage).await;
        let run = bed.drive(&id).await;
        assert_eq!(run.status, Status::Failed, "{damage}");
        let error: Value = serde_json::from_str(&run.error.unwrap()).unwrap();
        assert_eq!(error["reason"], "DAMAGED", "{damage}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("The {what} of this run")),
            "{message}"
        );
        assert!(
            store::steps(&bed.app.db, &id).await.unwrap().is_empty(),
            "{damage}"
        );
    }
}

#[tokio::test]
async fn a_run_does_not_go_on_from_a_step_that_cannot_be_read() {
    let damages = [
        "UPDATE flow_step SET result = '{\"set\":' WHERE node_id = 'add'",
        "UPDATE flow_step SET plan = '?' WHERE node_id = 'add'",
    ];
    for damage in damages {
        let bed = Bed::new().await;
        let failing = json!({"steps": [
            {"name": "add", "type": "assignment", "assignments": {"a": 1}},
            {"name": "more", "type": "teleport"}],
            "errorHandling": {"strategy": "retry", "maxRetries": 5, "retryDelayMs": 0}});
        let id = bed.begin(failing, json!({})).await;
        assert_eq!(bed.drive(&id).await.status, Status::Retrying);
        bed.sql(damage).await;
        let run = bed.drive(&id).await;
        // Damage is not tried again, whatever the flow says of failures.
        assert_eq!(run.status, Status::Failed, "{damage}");
        let error: Value = serde_json::from_str(&run.error.unwrap()).unwrap();
        assert_eq!(
            (&error["reason"], &error["nodeId"]),
            (&json!("DAMAGED"), &json!("add"))
        );
    }
}

#[tokio::test]
async fn what_is_not_built_fails_at_its_step() {
    let bed = Bed::new().await;
    for kind in [
        "try_catch",
        "map",
        "wait",
        "screen",
        "approval",
        "http",
        "notify",
        "teleport",
    ] {
        let id = bed
            .begin(json!({"steps": [{"name": "x", "type": kind}]}), json!({}))
            .await;
        let run = bed.drive(&id).await;
        let error: Value = serde_json::from_str(&run.error.unwrap()).unwrap();
        assert_eq!(
            (run.status, &error["code"]),
            (Status::Failed, &json!("NO_EXECUTOR")),
            "{kind}"
        );
        assert_eq!(error["nodeId"], "x");
    }
}

#[tokio::test]
async fn a_failed_step_leads_where_the_flow_says() {
    let bed = Bed::new().await;
    let with = |more: Value| {
        let mut flow = json!({
            "variables": [{"name": "$error", "isOutput": true}],
            "nodes": [{"id": "s", "type": "start"}, {"id": "x", "type": "teleport"},
                {"id": "mend", "type": "end", "config": {"outputs": {"mended": true}}},
                {"id": "on", "type": "end", "config": {"outputs": {"went": "on"}}}],
            "edges": [{"source": "s", "target": "x"}, {"source": "x", "target": "on"}],
        });
        for (key, value) in more.as_object().unwrap() {
            match value {
                Value::Array(edges) => flow["edges"].as_array_mut().unwrap().extend(edges.clone()),
                other => flow[key] = other.clone(),
            }
        }
        flow
    };
    for (flow, key) in [
        (
            with(json!({"edges": [{"source": "x", "target": "mend", "type": "fault"}]})),
            "mended",
        ),
        (
            with(json!({"errorHandling": {"fallbackNodeId": "mend"}})),
            "mended",
        ),
        (
            with(json!({"errorHandling": {"strategy": "continue"}})),
            "went",
        ),
    ] {
        let id = bed.begin(flow, json!({})).await;
        let run = bed.drive(&id).await;
        assert_eq!(run.status, Status::Completed, "{:?}", run.error);
        let output: Value = serde_json::from_str(&run.output.unwrap()).unwrap();
        assert!(!output[key].is_null(), "{output}");
        assert_eq!(output["$error"]["nodeId"], "x");
    }
}

/// Looks for runs again and again until no run is to be had or driven.
async fn drive_all(app: &Arc<App>) {
    loop {
        look(app, false).await.unwrap();
        while app.slots.free() < ACTIVE_MAX {
            tokio::task::yield_now().await;
        }
        let free = store::claimable(&app.db, &app.slots.driver, 1).await;
        if free.unwrap().is_empty() {
            return;
        }
    }
}

#[tokio::test]
async fn runs_that_wait_for_their_next_attempt_hold_no_slot() {
    let bed = Bed::new().await;
    let waiting = |delay_ms: i64| {
        json!({"nodes": [
                {"id": "s", "type": "start"},
                {"id": "x", "type": "teleport", "retry": {"maxRetries": 1, "retryDelayMs": delay_ms}},
            ],
            "edges": [{"source": "s", "target": "x"}]})
    };
    let mut parked = Vec::new();
    for _ in 0..ACTIVE_MAX + 6 {
        parked.push(bed.begin(waiting(3_600_000), json!({})).await);
    }
    drive_all(&bed.app).await;
    let run = store::find(&bed.app.db, &parked[0]).await.unwrap().unwrap();
    assert_eq!((run.status, run.claims), (Status::Running, 0));
    let other = bed.begin(flow(), json!({"n": [1]})).await;
    drive_all(&bed.app).await;
    let run = store::find(&bed.app.db, &other).await.unwrap().unwrap();
    assert_eq!(run.status, Status::Completed, "{:?}", run.error);

    // When the pause is over it is tried again, and no more than that.
    bed.sql("UPDATE flow_run SET next_at_ms = 0 WHERE status = 'running'")
        .await;
    drive_all(&bed.app).await;
    let run = store::find(&bed.app.db, &parked[0]).await.unwrap().unwrap();
    assert_eq!(run.status, Status::Running, "the step knows when it is due");
    bed.sql("UPDATE flow_step SET result = replace(result, '\"dueMs\":', '\"dueMs\":-')")
        .await;
    bed.sql("UPDATE flow_run SET next_at_ms = 0 WHERE status = 'running'")
        .await;
    drive_all(&bed.app).await;
    for id in &parked {
        let run = store::find(&bed.app.db, id).await.unwrap().unwrap();
        assert_eq!(run.status, Status::Failed);
        let steps = store::steps(&bed.app.db, id).await.unwrap();
        let tries = steps.iter().filter(|step| step.node_id == "x").count();
        assert_eq!(tries, 2);
    }
}
