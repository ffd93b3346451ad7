//! Processes that are killed and frozen in the middle of runs: each run ends, no step that has ended
//! runs again, and each effect is there once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::steps;
use crate::support::{
    app,
    process::{
        cluster::{Cluster, Plan, Service, owned},
        servers::{self, Database},
    },
};

const TASKS: usize = 30;
const SCRIPTED: usize = 20;
/// A whole test at most.
const LIMIT: Duration = Duration::from_secs(180);

struct Mesh {
    cluster: Cluster,
    http: reqwest::Client,
    base: String,
    token: String,
    began: Instant,
    database: Database,
    _folder: tempfile::TempDir,
}

impl Mesh {
    async fn start(replicas: usize, on_sqlite: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = format!("sqlite:{}", folder.path().join("flow.db").display());
        let own = [("OBJECTMESH__FLOW__DB__URL", file.as_str())];
        let environment: &[(&str, &str)] = if on_sqlite { &own } else { &[] };
        let shared = servers::shared();
        let database = Database::with_app(&shared.postgres, &app());
        let plan = Plan {
            replicas,
            database: database.url.clone(),
            redis: shared.redis.clone(),
            environment: owned(environment),
            proxied: false,
        };
        let cluster = Cluster::start(plan).await;
        let base = format!("{}/api/v1", cluster.urls(Service::Gateway)[0]);
        let mut mesh = Self {
            cluster,
            http: reqwest::Client::new(),
            base,
            token: String::new(),
            began: Instant::now(),
            database,
            _folder: folder,
        };
        let person =
            json!({"name": "Ada", "email": "ada@example.com", "password": "correct horse"});
        let (status, answer) = mesh.post("/auth/sign-up/email", &person).await;
        assert_eq!(status, 200, "{answer}");
        mesh.token = answer["token"].as_str().expect("a token").to_owned();
        mesh
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base)).json(body);
        self.send(request).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> (u16, Value) {
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Starts the flow and does not wait for it; gives the path of the run.
    async fn begin(&self, tag: &str) -> String {
        let numbers: Vec<usize> = (0..TASKS).collect();
        let input = json!({"tag": tag, "numbers": numbers});
        let path = "/flows/many_tasks/start?async=true";
        // Until flow-svc has read the metadata it answers 503.
        let run = loop {
            let (status, run) = self.post(path, &input).await;
            if status != 503 {
                assert_eq!(status, 202, "{run:#}");
                break run;
            }
            assert!(self.began.elapsed() < LIMIT, "{run:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        format!(
            "/flows/many_tasks/runs/{}",
            run["id"].as_str().expect("an id")
        )
    }

    /// The run, if flow-svc answers now.
    async fn run(&self, path: &str) -> Option<Value> {
        let request = self.http.get(format!("{}{path}", self.base));
        let request = request
            .timeout(Duration::from_secs(3))
            .bearer_auth(&self.token);
        let answer = request.send().await.ok()?;
        (answer.status() == 200).then_some(())?;
        answer.json().await.ok()
    }

    async fn has_ended(&self, path: &str) -> bool {
        assert!(self.began.elapsed() < LIMIT, "the run does not end");
        let run = self.run(path).await;
        run.is_some_and(|run| run["status"] != "running" && run["status"] != "pending")
    }

    /// Waits for the end, then counts what there is.
    async fn check(&self, path: &str, tag: &str) {
        while !self.has_ended(path).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let run = self.run(path).await.expect("the run");
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(run["output"], json!({"ended": true}));
        let mut expected = vec!["start success".to_owned(), "each success".to_owned()];
        for _ in 0..TASKS {
            expected.extend(["make success".to_owned(), "change success".to_owned()]);
        }
        expected.extend(["told success".to_owned(), "end success".to_owned()]);
        assert_eq!(steps(&run), expected, "{run:#}");
        let query = json!({"where": {"name": {"$startsWith": tag}}, "limit": 200});
        let (status, found) = self.post("/data/task/query", &query).await;
        assert_eq!(status, 200, "{found:#}");
        let mut tasks: HashMap<String, Vec<&Value>> = HashMap::new();
        for task in found["items"].as_array().expect("items") {
            let name = task["name"].as_str().expect("a name").to_owned();
            tasks.entry(name).or_default().push(task);
        }
        assert_eq!(tasks.len(), TASKS + SCRIPTED, "{:?}", tasks.keys());
        for number in 0..TASKS {
            let made = &tasks[&format!("{tag} {number}")];
            assert_eq!(made.len(), 1, "{made:#?}");
            // Made once, changed once.
            assert_eq!(made[0]["cost"], number, "{made:#?}");
            assert_eq!(made[0]["version"], 2, "{made:#?}");
        }
        for number in 0..SCRIPTED {
            let made = &tasks[&format!("{tag} script {number}")];
            assert_eq!(made.len(), 1, "{made:#?}");
        }
    }
}

/// A pause of some length, another one each time and the same in each run of the test.
async fn pause(number: u64) {
    let ms = (number.wrapping_mul(2_654_435_761) >> 7) % 350;
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Kills flow-svc again and again, wherever the run is.
async fn killed_anywhere(on_sqlite: bool) {
    let mut mesh = Mesh::start(1, on_sqlite).await;
    let path = mesh.begin("killed").await;
    let mut kills = 0;
    while kills < 12 && !(kills > 0 && mesh.has_ended(&path).await) {
        pause(kills).await;
        let flow = mesh.cluster.node(Service::Flow, 0);
        flow.kill();
        flow.start();
        flow.ready().await;
        kills += 1;
    }
    assert!(kills >= 2, "the run ended before it was disturbed");
    mesh.check(&path, "killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_kills_on_sqlite() {
    killed_anywhere(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_kills_on_postgres() {
    killed_anywhere(false).await;
}

/// Kills flow-svc while a write of it is on its way: data-svc is frozen then, and does it, or does
/// not, when it goes on.
async fn killed_inside_steps(on_sqlite: bool) {
    let mut mesh = Mesh::start(1, on_sqlite).await;
    let path = mesh.begin("inside").await;
    for number in 0..6 {
        if number > 1 && mesh.has_ended(&path).await {
            break;
        }
        pause(number + 100).await;
        mesh.cluster.node(Service::Data, 0).process().signal("STOP");
        // Long enough for the write to be sent.
        tokio::time::sleep(Duration::from_millis(60)).await;
        mesh.cluster.node(Service::Flow, 0).kill();
        mesh.cluster.node(Service::Data, 0).process().signal("CONT");
        let flow = mesh.cluster.node(Service::Flow, 0);
        flow.start();
        flow.ready().await;
    }
    mesh.check(&path, "inside").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_was_on_its_way_is_done_once_on_sqlite() {
    killed_inside_steps(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_was_on_its_way_is_done_once_on_postgres() {
    killed_inside_steps(false).await;
}

/// Of two replicas one is killed, then the other frozen until its runs have gone to the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_goes_on_with_a_run() {
    let mut mesh = Mesh::start(2, false).await;
    let paths = [mesh.begin("first").await, mesh.begin("second").await];
    for number in 0..4 {
        pause(number + 200).await;
        let replica = usize::from(number % 2 == 1);
        let flow = mesh.cluster.node(Service::Flow, replica);
        if number < 2 {
            flow.kill();
        } else {
            flow.process().signal("STOP");
        }
        // The other takes its runs over in the meantime.
        tokio::time::sleep(Duration::from_millis(3_000)).await;
        let flow = mesh.cluster.node(Service::Flow, replica);
        if number < 2 {
            flow.start();
            flow.ready().await;
        } else {
            flow.process().signal("CONT");
        }
    }
    mesh.check(&paths[0], "first").await;
    mesh.check(&paths[1], "second").await;
}

/// Changes that are made while flow-svc is away, and while it is killed again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_starts_its_flow_once_whatever_is_killed() {
    const CHANGES: usize = 40;
    let mut mesh = Mesh::start(1, false).await;
    let followed = async |mesh: &Mesh, name: &str| -> usize {
        let query = json!({"where": {"name": {"$startsWith": name}}, "limit": 200});
        let (status, found) = mesh.post("/data/task/query", &query).await;
        assert_eq!(status, 200, "{found:#}");
        found["items"].as_array().map_or(0, Vec::len)
    };
    // Somebody follows once something has started.
    let mut number = 0;
    while followed(&mesh, "followed watched probe").await == 0 {
        assert!(mesh.began.elapsed() < LIMIT, "nobody follows");
        number += 1;
        let probe = json!({"name": format!("watched probe {number}"), "done": true});
        mesh.post("/data/task", &probe).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for number in 0..CHANGES {
        let task = json!({"name": format!("watched {number:02}"), "done": true});
        let (status, made) = mesh.post("/data/task", &task).await;
        assert_eq!(status, 201, "{made:#}");
        if number % 10 == 3 {
            mesh.cluster.node(Service::Flow, 0).kill();
        }
        if number % 10 == 6 {
            mesh.cluster.node(Service::Flow, 0).start();
        }
    }
    mesh.cluster.node(Service::Flow, 0).ready().await;
    for number in 0..CHANGES {
        let name = format!("followed watched {number:02}");
        while followed(&mesh, &name).await == 0 {
            assert!(mesh.began.elapsed() < LIMIT, "no {name}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // A last one: what would come twice has come by then.
    let last = json!({"name": "watched last", "done": true});
    mesh.post("/data/task", &last).await;
    while followed(&mesh, "followed watched last").await == 0 {
        assert!(mesh.began.elapsed() < LIMIT, "not the last");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for number in 0..CHANGES {
        let name = format!("followed watched {number:02}");
        assert_eq!(followed(&mesh, &name).await, 1, "{name}");
    }
}

/// A run at which its process ends again and again must not keep the others from going on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_never_gets_on_is_given_up() {
    let mut mesh = Mesh::start(1, false).await;
    let path = mesh.begin("poison").await;
    mesh.cluster.node(Service::Flow, 0).kill();
    // As if ten processes had ended before it came to the end of a step.
    let sql = "UPDATE flow.om_queue SET attempt = 10 WHERE kind = 'flow_run' RETURNING queue_key";
    let hit = servers::sql(&mesh.database.url, sql);
    assert!(path.ends_with(hit.trim()), "{hit} is not {path}");
    mesh.cluster.node(Service::Flow, 0).start();
    mesh.cluster.node(Service::Flow, 0).ready().await;
    while !mesh.has_ended(&path).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let run = mesh.run(&path).await.expect("the run");
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_eq!(run["error"]["code"], "EXECUTION_ERROR");
    let path = mesh.begin("sound").await;
    mesh.check(&path, "sound").await;
}
