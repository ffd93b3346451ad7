//! Runs on SQLite, driven to their end without any peer.

use data_client::{metadata::Metadata, records::Records, registry::Replica};
use futures::FutureExt as _;
use mesh::{
    Link,
    db::{DbConfig, DbError, Statement},
    delegation::Delegation,
    resolver::{Resolver, Tier},
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
    store::Inserted,
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
        let resolver = Resolver::new(Tier::Service, away.clone(), None);
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
            driver: driver(&db),
            tasks,
            run_flow: run_for_action,
            db,
        };
        Self {
            app: Arc::new(app),
            _dir: dir,
        }
    }

    /// Keeps a run of a flow that runs as the system.
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
            grant: None,
            object: None,
            record_id: None,
            input,
            context: json!({}),
            warnings: Vec::new(),
            depth: 0,
        };
        let new = new_run(&flow, new).unwrap();
        let id = new.run.id.clone();
        let kept = self.app.db.write::<_, DbError, _>(move |tx| {
            let new = new.clone();
            async move { store::insert(tx, &new, None).await }.boxed()
        });
        assert!(matches!(kept.await.unwrap(), Inserted::Waiting));
        id
    }

    async fn sql(&self, sql: &'static str) {
        assert!(self.app.db.execute(Statement::new(sql)).await.unwrap() > 0);
    }

    /// Drives a run as the next driver does; gives it as it is then.
    async fn drive(&self, id: &str) -> Run {
        let queue = &self.app.driver.queue;
        let mut jobs = queue.claim(DRIVE, 1, TERM).await.unwrap();
        let job = jobs.pop().unwrap();
        assert_eq!(job.key, id);
        assert_eq!(claimed(&self.app, &job).await, Handled::Kept);
        self.run(id).await
    }

    async fn run(&self, id: &str) -> Run {
        store::find(&self.app.db, id).await.unwrap().unwrap()
    }

    /// How many runs wait for their driver, and how many of those are due.
    async fn waiting(&self) -> (i64, i64) {
        let sql = "SELECT count(*), count(CASE WHEN due_ms <= $1 THEN 1 END) FROM om_queue";
        let now_ms = self.app.db.clock_ms().await.unwrap();
        let counted = self
            .app
            .db
            .query_one(Statement::new(sql).bind(now_ms), |row| {
                Ok((row.req_int(0)?, row.req_int(1)?))
            });
        counted.await.unwrap()
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

/// Waits until so many runs wait for their driver, and none of them is due.
async fn parked(bed: &Bed, count: i64) {
    let settled = async {
        while bed.waiting().await != (count, 0) || bed.app.driver.slots.free() < ACTIVE_MAX {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(30), settled).await;
    assert!(settled.is_ok(), "{:?}", bed.waiting().await);
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
    spawn(&bed.app);
    let mut ids = Vec::new();
    for _ in 0..ACTIVE_MAX + 6 {
        ids.push(bed.begin(waiting(3_600_000), json!({})).await);
    }
    let count = i64::try_from(ids.len()).unwrap();
    bed.app.driver.queue.wake();
    parked(&bed, count).await;
    assert_eq!(bed.run(&ids[0]).await.status, Status::Running);
    let other = bed.begin(flow(), json!({"n": [1]})).await;
    bed.app.driver.queue.wake();
    parked(&bed, count).await;
    let run = bed.run(&other).await;
    assert_eq!(run.status, Status::Completed, "{:?}", run.error);

    // When the pause is over it is tried again, and no more than that.
    let due = "UPDATE om_queue SET due_ms = 0";
    bed.sql(due).await;
    bed.app.driver.queue.wake();
    parked(&bed, count).await;
    let run = bed.run(&ids[0]).await;
    assert_eq!(run.status, Status::Running, "the step knows when it is due");
    bed.sql("UPDATE flow_step SET result = replace(result, '\"dueMs\":', '\"dueMs\":-')")
        .await;
    bed.sql(due).await;
    bed.app.driver.queue.wake();
    parked(&bed, 0).await;
    for id in &ids {
        assert_eq!(bed.run(id).await.status, Status::Failed);
        let steps = store::steps(&bed.app.db, id).await.unwrap();
        let tries = steps.iter().filter(|step| step.node_id == "x").count();
        assert_eq!(tries, 2);
    }
}

#[tokio::test]
async fn a_run_is_begun_again_after_its_pause_and_given_up_when_its_drivers_die() {
    let bed = Bed::new().await;
    let failing = |delay_ms: i64| {
        json!({"steps": [{"name": "x", "type": "teleport"}],
            "errorHandling": {"strategy": "retry", "maxRetries": 2, "retryDelayMs": delay_ms}})
    };
    // Its own alarm wakes the driver: the runs of nobody else are looked for meanwhile.
    let id = bed.begin(failing(20), json!({})).await;
    spawn(&bed.app);
    parked(&bed, 0).await;
    let run = bed.run(&id).await;
    assert_eq!((run.status, run.attempt), (Status::Failed, 3));
    bed.app.tasks.shut_down(Duration::from_secs(10)).await;

    let bed = Bed::new().await;
    let id = bed.begin(flow(), json!({"n": [1]})).await;
    for _ in 0..CLAIMS_MAX {
        let claimed = bed.app.driver.queue.claim(DRIVE, 1, Duration::ZERO).await;
        assert_eq!(claimed.unwrap().len(), 1);
        // Its driver is gone without a step.
    }
    let run = bed.drive(&id).await;
    assert_eq!(run.status, Status::Failed);
    assert!(run.error.unwrap().contains("stopped 10 times"));
}

#[tokio::test]
async fn a_cancelled_run_is_written_by_its_driver_no_more() {
    let bed = Bed::new().await;
    let id = bed.begin(flow(), json!({"n": [1]})).await;
    let job = bed
        .app
        .driver
        .queue
        .claim(DRIVE, 1, TERM)
        .await
        .unwrap()
        .pop();
    let job = job.unwrap();
    let run = store::take_up(&bed.app.db, &job).await.unwrap().unwrap();
    assert!(store::cancel(&bed.app.db, &id, 7).await.unwrap());
    assert!(!store::cancel(&bed.app.db, &id, 8).await.unwrap());
    assert_eq!(to_its_end(&bed.app, &job, run, None).await, Handled::Kept);
    let run = bed.run(&id).await;
    assert_eq!((run.status, run.ended_at_ms), (Status::Cancelled, Some(7)));
    let steps = store::steps(&bed.app.db, &id).await.unwrap();
    assert!(steps.is_empty(), "{steps:?}");
    assert_eq!(bed.waiting().await, (0, 0));
}
