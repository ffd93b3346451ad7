//! A rolling restart: every process of the mesh, one after the other, while clients go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinSet;

use super::{
    app,
    client::{Answer, Client, Request},
};
use crate::process::{cluster::Cluster, eventually};

/// The load: a request is due every so often, whatever became of those before; more seldom on a
/// machine that is busy with other things, since this is no test of overload.
const EVERY: Duration = Duration::from_millis(50);
/// How long a process that was told to stop serves on: several looks of the load balancer.
const DRAIN_DELAY_MS: &str = "400";
/// Requests sent one by one at first.
const ALONE: u32 = 40;
/// Requests that each restart meets at least.
const MET: u32 = 15;
const STOPS: Duration = Duration::from_secs(40);

/// What was acknowledged.
#[derive(Default)]
struct Written {
    /// Versions of the records by id.
    versions: Mutex<BTreeMap<String, i64>>,
    /// Records nobody writes at the moment.
    free: Mutex<Vec<String>>,
    /// Subjects of the records created.
    subjects: Mutex<BTreeSet<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The load of one test.
struct Load {
    client: Client,
    token: String,
    written: Written,
    over: AtomicBool,
    sent: AtomicU32,
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// The fixed interval between requests: what one takes when it is alone.
    async fn interval(&self) -> Duration {
        let began = tokio::time::Instant::now();
        for number in 0..ALONE {
            self.request(number).await;
        }
        EVERY.max(began.elapsed() / ALONE)
    }

    /// Sends requests at a fixed rate until it is over, and waits for their answers.
    async fn run(self: Arc<Self>, every: Duration) {
        let (mut requests, mut due) = (JoinSet::new(), tokio::time::Instant::now());
        while !self.over.load(Ordering::SeqCst) {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let load = Arc::clone(&self);
            requests.spawn(async move { load.request(number).await });
            due += every;
            tokio::time::sleep_until(due).await;
        }
        requests.join_all().await;
    }

    async fn request(&self, number: u32) {
        match number % 4 {
            0 => self.create(number).await,
            1 => self.patch(number).await,
            2 => {
                self.read(
                    number,
                    Request::get("/data/ticket?limit=5&orderBy=-created_at"),
                )
                .await
            }
            _ => {
                let id = lock(&self.written.versions).keys().next_back().cloned();
                let path = id.map_or("/data/ticket".to_owned(), |id| format!("/data/ticket/{id}"));
                self.read(number, Request::get(path)).await;
            }
        }
    }

    /// Sends it once; whatever is no success is noted as a failure.
    async fn send(&self, number: u32, request: Request, expected: u16) -> Option<Answer> {
        let request = request.by(&self.token);
        let problem = match self.client.send(&request).await {
            Ok(answer) if answer.status == expected => return Some(answer),
            Ok(answer) => format!("{} {}", answer.status, answer.body),
            Err(error) => format!("{error:?}"),
        };
        lock(&self.failed).push(format!("{number} {request:?}: {problem}"));
        None
    }

    async fn read(&self, number: u32, request: Request) {
        self.send(number, request, 200).await;
    }

    async fn create(&self, number: u32) {
        let subject = format!("created by {number}");
        let request = Request::post("/data/ticket", json!({"subject": subject}))
            .with("idempotency-key", format!("rolling-{number}"));
        if let Some(answer) = self.send(number, request, 201).await {
            let id = answer.body["id"].as_str().expect("an id").to_owned();
            lock(&self.written.versions).insert(id.clone(), 1);
            lock(&self.written.free).push(id);
            lock(&self.written.subjects).insert(subject);
        }
    }

    async fn patch(&self, number: u32) {
        let Some(id) = lock(&self.written.free).pop() else {
            return self
                .read(number, Request::get("/data/ticket?limit=1"))
                .await;
        };
        let version = lock(&self.written.versions)[&id];
        let path = format!("/data/ticket/{id}");
        let request = Request::patch(path, json!({"priority": number % 10}))
            .with("if-match", format!("\"{version}\""));
        if let Some(answer) = self.send(number, request, 200).await {
            assert_eq!(answer.body["version"], version + 1, "{}", answer.body);
            lock(&self.written.versions).insert(id.clone(), version + 1);
            lock(&self.written.free).insert(0, id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_of_every_process_fails_no_request() {
    let settings = [("OBJECTMESH__MESH__DRAIN_DELAY_MS", DRAIN_DELAY_MS)];
    let mut cluster = Cluster::shared(&app(), 2, &settings).await;
    let client = Client::of(&cluster);
    let token = client.sign_up("ada").await;
    let load = Arc::new(Load {
        client: client.clone(),
        token: token.clone(),
        written: Written::default(),
        over: AtomicBool::new(false),
        sent: AtomicU32::new(ALONE),
        failed: Mutex::default(),
    });
    let (mut watch, mut running) = (JoinSet::new(), JoinSet::new());
    watch.spawn(async move { client.keep_watch().await });
    let every = load.interval().await;
    eprintln!("a request every {every:?}");
    running.spawn(Arc::clone(&load).run(every));
    for number in 0..cluster.nodes.len() {
        let node = &mut cluster.nodes[number];
        let service = node.service;
        let before = load.sent.load(Ordering::SeqCst);
        let status = node.stop(STOPS).await;
        assert!(status.success(), "{service:?}: {status}\n{}", node.log());
        node.start();
        node.ready().await;
        // Fast as a restart may be, every one of them meets some load.
        eventually("requests go on", STOPS, async || {
            load.sent.load(Ordering::SeqCst) >= before + MET
        })
        .await;
        eprintln!(
            "{service:?} restarted: {} requests, {} failed",
            load.sent.load(Ordering::SeqCst) - before,
            lock(&load.failed).len()
        );
    }
    load.over.store(true, Ordering::SeqCst);
    running.join_all().await;
    watch.abort_all();
    let failed = lock(&load.failed).clone();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());

    // Nothing was lost, nothing was done twice.
    let stored = load.client.all(&token, "ticket", "version,subject").await;
    let versions: BTreeMap<String, i64> = stored
        .iter()
        .map(|row| {
            let id = row["id"].as_str().expect("an id").to_owned();
            (id, row["version"].as_i64().expect("a version"))
        })
        .collect();
    assert_eq!(versions, *lock(&load.written.versions));
    let subjects: Vec<&str> = stored
        .iter()
        .map(|row| row["subject"].as_str().expect("a subject"))
        .collect();
    assert_eq!(subjects.len(), lock(&load.written.subjects).len());
}
