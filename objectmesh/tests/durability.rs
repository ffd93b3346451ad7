//! What was acknowledged stays, whatever becomes of the process; what was not is there wholly or
//! not at all.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::process::{
    Program,
    cluster::{Cluster, Plan, Service},
    eventually,
    servers::{self, Postgres, Redis},
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
};

const CLIENTS: usize = 8;
const START: Duration = Duration::from_secs(30);

/// A record as its last acknowledged write left it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    version: i64,
    subject: String,
}

/// A write that was sent and not acknowledged.
#[derive(Clone, Debug)]
enum Pending {
    Create(String, Row),
    Update(String, Row),
    Delete(String),
}

/// One client: it writes one record after the other and remembers what it was promised.
#[derive(Debug)]
struct Writer {
    number: usize,
    step: usize,
    rows: BTreeMap<String, Row>,
    deleted: Vec<String>,
    pending: Option<Pending>,
    /// Acknowledged creates, and all acknowledged writes.
    created: usize,
    written: usize,
}

/// Where the writes go, and when to say that there were enough.
struct Target {
    http: Client,
    base: String,
    token: String,
    acknowledged: AtomicUsize,
    enough: usize,
    reached: Notify,
    /// The writers are to leave off, although the server is there.
    over: AtomicBool,
}

impl Target {
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        // An answer counts when all of it has arrived.
        Ok((status, response.json().await?))
    }

    async fn ok(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> Value {
        let (got, answer) = self.call(method, path, body).await.expect("an answer");
        assert_eq!(got.as_u16(), status, "{path}: {answer}");
        answer
    }
}

impl Writer {
    fn new(number: usize) -> Self {
        Self {
            number,
            step: 0,
            rows: BTreeMap::new(),
            deleted: Vec::new(),
            pending: None,
            created: 0,
            written: 0,
        }
    }

    /// Writes until the server is gone, or it is over.
    async fn run(&mut self, target: &Target) {
        while !target.over.load(Ordering::SeqCst) {
            self.step += 1;
            let pending = self.next_write();
            self.pending = Some(pending.clone());
            let (method, path, body, expected) = match &pending {
                Pending::Create(id, row) => {
                    let body = json!({"id": id, "subject": row.subject});
                    (Method::POST, "/data/ticket".to_owned(), Some(body), 201)
                }
                Pending::Update(id, row) => {
                    let body = json!({"subject": row.subject, "expectedVersion": row.version - 1});
                    (Method::PATCH, format!("/data/ticket/{id}"), Some(body), 200)
                }
                Pending::Delete(id) => (Method::DELETE, format!("/data/ticket/{id}"), None, 200),
            };
            let Ok((status, answer)) = target.call(method, &path, body).await else {
                return;
            };
            if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::GATEWAY_TIMEOUT {
                // The server is leaving and did not begin, or a process behind it is gone and
                // nobody knows how far it came.
                return;
            }
            assert_eq!(status.as_u16(), expected, "{path}: {answer}");
            if let Pending::Create(_, row) | Pending::Update(_, row) = &pending {
                assert_eq!(answer["version"], row.version, "{path}: {answer}");
            }
            self.acknowledge(pending);
            if target.acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == target.enough {
                target.reached.notify_one();
            }
        }
    }

    /// Mostly creates and updates of its own records, now and then a delete.
    fn next_write(&self) -> Pending {
        let subject = format!("client {} step {}", self.number, self.step);
        let some = self.rows.iter().nth(self.step * 7 % self.rows.len().max(1));
        match (self.step % 10, some) {
            (9, Some((id, _))) => Pending::Delete(id.clone()),
            (step, Some((id, row))) if step % 2 == 0 => {
                let version = row.version + 1;
                Pending::Update(id.clone(), Row { version, subject })
            }
            _ => {
                let id = format!("c{}-{}", self.number, self.step);
                Pending::Create(
                    id,
                    Row {
                        version: 1,
                        subject,
                    },
                )
            }
        }
    }

    fn acknowledge(&mut self, pending: Pending) {
        self.pending = None;
        self.written += 1;
        match pending {
            Pending::Create(id, row) => {
                self.created += 1;
                self.rows.insert(id, row);
            }
            Pending::Update(id, row) => {
                self.rows.insert(id, row);
            }
            Pending::Delete(id) => {
                self.rows.remove(&id);
                self.deleted.push(id);
            }
        }
    }

    /// Compares with what the server has; the write without an answer counts if it was done.
    fn compare(&mut self, stored: &mut BTreeMap<String, Row>) {
        let pending = self.pending.take();
        let done = match &pending {
            None => false,
            Some(Pending::Create(id, _)) => stored.contains_key(id),
            Some(Pending::Update(id, row)) => stored
                .get(id)
                .is_some_and(|stored| stored.version == row.version),
            Some(Pending::Delete(id)) => !stored.contains_key(id),
        };
        if let Some(pending) = pending.filter(|_| done) {
            self.acknowledge(pending);
        }
        for (id, row) in &self.rows {
            assert_eq!(stored.remove(id).as_ref(), Some(row), "{id} of {self:?}");
        }
        for id in &self.deleted {
            assert_eq!(stored.get(id), None, "{id} was deleted");
        }
    }
}

/// A mesh with the test app on that folder.
fn start(folder: &Path) -> Program {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app");
    let arguments = [
        Path::new("--no-demo"),
        Path::new("--app"),
        &app,
        Path::new("--data-dir"),
        folder,
    ];
    Program::dev(arguments, START)
}

fn target(base: &str, token: &str, enough: usize) -> Target {
    let http = Client::builder().timeout(Duration::from_secs(30)).build();
    Target {
        http: http.expect("a client"),
        base: base.to_owned(),
        token: token.to_owned(),
        acknowledged: AtomicUsize::new(0),
        enough,
        reached: Notify::new(),
        over: AtomicBool::new(false),
    }
}

async fn sign_up(base: &str) -> String {
    let body = json!({"name": "Ada", "email": "ada@example.com", "password": "correct horse"});
    let target = target(base, "", 0);
    let answer = target
        .ok(Method::POST, "/auth/sign-up/email", Some(body), 200)
        .await;
    answer["token"].as_str().expect("a token").to_owned()
}

/// Lets all writers write until so many writes were acknowledged, then ends the process by `end`.
async fn write_until(
    base: &str,
    token: &str,
    writers: Vec<Writer>,
    enough: usize,
    end: impl AsyncFnOnce(&Target),
) -> Vec<Writer> {
    let target = Arc::new(target(base, token, enough));
    let mut running = JoinSet::new();
    for mut writer in writers {
        let target = Arc::clone(&target);
        running.spawn(async move {
            writer.run(&target).await;
            writer
        });
    }
    tokio::select! {
        () = target.reached.notified() => {}
        ended = running.join_next() => panic!("a writer ended early: {ended:?}"),
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("too slow"),
    }
    end(&target).await;
    let writers = tokio::time::timeout(Duration::from_secs(40), running.join_all());
    writers
        .await
        .expect("writers notice that the server is gone")
}

/// Everything stored is what the writers were promised; numbers and audit have no gaps either.
async fn compare(base: &str, token: &str, writers: &mut [Writer]) {
    let target = target(base, token, 0);
    let mut stored = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/data/ticket?limit=200&select=version,subject&cursor={cursor}");
        let page = target.ok(Method::GET, &path, None, 200).await;
        for item in page["items"].as_array().expect("items") {
            let text = |key: &str| item[key].as_str().expect("text").to_owned();
            let row = Row {
                version: item["version"].as_i64().expect("a version"),
                subject: text("subject"),
            };
            assert!(stored.insert(text("id"), row).is_none(), "twice: {item}");
        }
        match page["nextCursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    for writer in writers.iter_mut() {
        writer.compare(&mut stored);
    }
    let (ours, foreign): (Vec<_>, Vec<_>) = stored.keys().partition(|id| id.starts_with('c'));
    assert!(ours.is_empty(), "never acknowledged, or deleted: {ours:?}");

    let created = writers.iter().map(|writer| writer.created).sum::<usize>() + foreign.len();
    let written = writers.iter().map(|writer| writer.written).sum::<usize>() + foreign.len();
    let body = json!({"subject": "the next number"});
    let next = target
        .ok(Method::POST, "/data/ticket", Some(body), 201)
        .await;
    assert_eq!(
        next["number"],
        format!("T-{:04}", created + 1),
        "a number was lost or given twice"
    );
    // One audit entry for each write, the one just made included.
    let path = "/data/sys_audit_log?object_name=ticket&limit=1";
    let audit = target.ok(Method::GET, path, None, 200).await;
    assert_eq!(audit["total"], written + 1, "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut program = start(folder.path());
    let token = sign_up(program.base()).await;
    let mut writers: Vec<Writer> = (0..CLIENTS).map(Writer::new).collect();
    for enough in [131, 607, 1009] {
        let began = std::time::Instant::now();
        let base = program.base().to_owned();
        let kill = async |_: &Target| program.kill();
        writers = write_until(&base, &token, writers, enough, kill).await;
        let unanswered = writers
            .iter()
            .filter(|writer| writer.pending.is_some())
            .count();
        eprintln!(
            "killed after {enough} writes, {:.1} s; {unanswered} unanswered",
            began.elapsed().as_secs_f64()
        );
        program = start(folder.path());
        // The session is as durable as the records.
        compare(program.base(), &token, &mut writers).await;
    }
    program.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_was_begun() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut program = start(folder.path());
    let token = sign_up(program.base()).await;
    let slow = Slow::begin(program.base(), &token).await;

    let writers = (0..CLIENTS).map(Writer::new).collect();
    let end = async |_: &Target| program.terminate();
    let mut writers = write_until(program.base(), &token, writers, 200, end).await;
    program.read_until("stopping", Duration::from_secs(10));
    let answer = slow.end().await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let status = program.wait(Duration::from_secs(40));
    assert_eq!(status.code(), Some(0), "{status}");

    let program = start(folder.path());
    compare(program.base(), &token, &mut writers).await;
    let target = target(program.base(), &token, 0);
    let record = target.ok(Method::GET, "/data/ticket/slow", None, 200).await;
    assert_eq!(record["subject"], "sent late");
    program.stop();
}

/// Whom `kill -9` hits.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Service(Service),
    Postgres,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9_of_each_service_and_of_postgresql() {
    let (mut postgres, redis) = (Postgres::start(), Redis::start());
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app");
    servers::migrate(&postgres.url(), &app);
    let plan = Plan {
        replicas: 1,
        database: postgres.url(),
        redis: redis.url(),
        environment: Vec::new(),
        proxied: false,
    };
    let mut cluster = Cluster::start(plan).await;
    let base = format!("{}/api/v1", cluster.urls(Service::Gateway)[0]);
    let token = sign_up(&base).await;
    let mut writers: Vec<Writer> = (0..CLIENTS).map(Writer::new).collect();
    let services = [Service::Auth, Service::Data, Service::Gateway].map(Victim::Service);
    for (victim, enough) in services
        .into_iter()
        .chain([Victim::Postgres])
        .zip([97, 151, 203, 120])
    {
        let kill = async |target: &Target| {
            match victim {
                Victim::Service(service) => cluster.node(service, 0).kill(),
                Victim::Postgres => postgres.kill(),
            }
            // Not every service is needed by every write: those that go on have to be told.
            let before = target.acknowledged.load(Ordering::SeqCst);
            if matches!(victim, Victim::Service(Service::Auth)) {
                eventually("writes go on without auth-svc", START, async || {
                    target.acknowledged.load(Ordering::SeqCst) > before + 20
                })
                .await;
            }
            target.over.store(true, Ordering::SeqCst);
        };
        writers = write_until(&base, &token, writers, enough, kill).await;
        let unanswered = writers.iter().filter(|writer| writer.pending.is_some());
        eprintln!("killed {victim:?}; {} unanswered", unanswered.count());
        match victim {
            Victim::Service(service) => cluster.node(service, 0).start(),
            Victim::Postgres => postgres.start_again(),
        }
        cluster.ready().await;
        let probe = target(&base, &token, 0);
        eventually("records are read again", START, async || {
            let answer = probe.call(Method::GET, "/data/ticket?limit=1", None).await;
            answer.is_ok_and(|(status, _)| status == StatusCode::OK)
        })
        .await;
        compare(&base, &token, &mut writers).await;
    }
}

/// A request whose head has reached the gateway and whose body has not.
struct Slow {
    stream: TcpStream,
}

impl Slow {
    const BODY: &str = r#"{"id":"slow","subject":"sent late"}"#;

    async fn begin(base: &str, token: &str) -> Self {
        let address = base
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap_or_default();
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = format!(
            "POST /api/v1/data/ticket HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            Self::BODY.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        // The gateway asks for the body: it has begun.
        let mut asked = [0; 25];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut asked));
        read.await.expect("in time").expect("an answer");
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self { stream }
    }

    async fn end(mut self) -> String {
        self.stream
            .write_all(Self::BODY.as_bytes())
            .await
            .expect("sent");
        let mut answer = String::new();
        // The connection ends with the answer, since the server is leaving.
        let read = tokio::time::timeout(
            Duration::from_secs(10),
            self.stream.read_to_string(&mut answer),
        );
        read.await.expect("in time").expect("an answer");
        answer
    }
}
