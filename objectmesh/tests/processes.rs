//! Three processes over sockets: the same code as `dev`, joined by TCP.
use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn objectmesh(arguments: &[&str], environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_objectmesh"));
    command
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null());
    command
}

#[tokio::test]
async fn three_processes_serve_what_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, auth, data) = (free_port(), free_port(), free_port());
    let at = |port| format!("127.0.0.1:{port}");
    let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let environment: Vec<(String, String)> = [
        ("GATEWAY__LISTEN", at(gateway)),
        ("AUTH__LISTEN", at(auth)),
        ("DATA__LISTEN", at(data)),
        ("PEERS__AUTH", format!("http://{}", at(auth))),
        ("PEERS__DATA", format!("http://{}", at(data))),
        (
            "AUTH__SECRET",
            "a secret of the tests that is long enough".to_owned(),
        ),
        (
            "MESH__SECRET",
            "a mesh secret of the tests, long enough".to_owned(),
        ),
        ("AUTH__DB__URL", file("auth.db")),
        ("DATA__DB__URL", file("data.db")),
    ]
    .into_iter()
    .map(|(name, value)| (format!("OBJECTMESH__{name}"), value))
    .collect();
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app");
    let migrated = objectmesh(
        &["migrate", "--app", &app.display().to_string()],
        &environment,
    )
    .status()
    .unwrap();
    assert!(migrated.success());
    let _running: Vec<Process> = ["auth", "data", "gateway"]
        .iter()
        .map(|service| {
            Process(
                objectmesh(&["serve", service], &environment)
                    .spawn()
                    .unwrap(),
            )
        })
        .collect();

    let http = reqwest::Client::new();
    let base = format!("http://{}", at(gateway));
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let ready = http.get(format!("{base}/ready")).send().await;
        if ready.is_ok_and(|answer| answer.status() == 200) {
            break;
        }
        assert!(Instant::now() < until, "the processes are not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let post = async |token: &str, path: &str, body: Value| {
        let request = http.post(format!("{base}/api/v1{path}")).bearer_auth(token);
        let answer = request.json(&body).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let person = json!({"name": "Ada", "email": "ada@example.com", "password": "correct horse"});
    let request = http.post(format!("{base}/api/v1/auth/sign-up/email"));
    let answer = request.json(&person).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    let (status, created) = post(&token, "/data/ticket", json!({"subject": "over sockets"})).await;
    assert_eq!(status, 201, "{created:#}");
    let id = created["id"].as_str().unwrap();
    let read = http
        .get(format!("{base}/api/v1/data/ticket/{id}"))
        .bearer_auth(&token);
    let read: Value = read.send().await.unwrap().json().await.unwrap();
    assert_eq!(read, created);
    let (status, refused) = post(&token, "/data/ticket", json!({})).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (400, &json!("VALIDATION_ERROR"))
    );
    let nobody = http
        .get(format!("{base}/api/v1/data/ticket"))
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 401);
}

/// Starts data-svc, which needs no other service, on free ports, and reads the line that says where.
fn start_data(folder: &Path, environment: &[(&str, &str)]) -> (Process, Value) {
    use std::io::BufRead as _;
    let database = format!("sqlite:{}", folder.join("data.db").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_objectmesh"));
    command
        .args(["serve", "data"])
        .env("OBJECTMESH__DATA__LISTEN", "127.0.0.1:0")
        .env("OBJECTMESH__DATA__DB__URL", database)
        .env("OBJECTMESH__ADMIN__LISTEN", "127.0.0.1:0")
        .env(
            "OBJECTMESH__MESH__SECRET",
            "a mesh secret of the tests, long enough",
        )
        .envs(environment.iter().copied())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let process = Process(child);
    for line in out.lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["message"] == "listening" {
            return (process, line);
        }
    }
    panic!("the process ended");
}

fn terminate(process: &Process) {
    let pid = process.0.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.unwrap().success());
}

async fn ended(process: &mut Process) -> std::process::ExitStatus {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = process.0.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "the process still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_process_tells_how_it_is_and_ends_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, listening) = start_data(folder.path(), &[]);
    assert_eq!(listening["service"], "data-svc");
    let admin = listening["admin.address"].as_str().unwrap();
    for (path, expected) in [
        ("health", "ok"),
        ("ready", "ready"),
        ("metrics", "objectmesh_"),
    ] {
        let mut health = health_of(listening["address"].as_str().unwrap()).await;
        assert_eq!(serving_status(&mut health).await, ServingStatus::Serving);
        let answer = reqwest::get(format!("http://{admin}/{path}"))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(expected), "{path}: {text}");
    }
    terminate(&process);
    assert!(ended(&mut process).await.success());
}

/// A client of gRPC health, connected. Not over a `Link`, which leaves alone whoever says that it
/// is not serving.
async fn health_of(address: &str) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

async fn serving_status(health: &mut HealthClient<Channel>) -> ServingStatus {
    let answer = health.check(HealthCheckRequest::default()).await;
    answer.unwrap().get_ref().status()
}

#[tokio::test]
async fn while_it_drains_a_process_serves_on_but_is_not_ready_and_a_second_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let drain = [("OBJECTMESH__MESH__DRAIN_DELAY_MS", "600000")];
    let (mut process, listening) = start_data(folder.path(), &drain);
    let admin = listening["admin.address"].as_str().unwrap();
    // As a client that is connected sees it; a `Link` would not say what it was told.
    let mut health = health_of(listening["address"].as_str().unwrap()).await;
    assert_eq!(serving_status(&mut health).await, ServingStatus::Serving);
    terminate(&process);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = reqwest::get(format!("http://{admin}/ready")).await.unwrap();
        if answer.status() == 503 {
            break;
        }
        assert!(Instant::now() < until, "it still says that it is ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while serving_status(&mut health).await != ServingStatus::NotServing {
        assert!(
            Instant::now() < until,
            "its health still says that it is serving"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Others that connect now are answered as well.
    let mut late = health_of(listening["address"].as_str().unwrap()).await;
    assert_eq!(serving_status(&mut late).await, ServingStatus::NotServing);
    terminate(&process);
    assert_eq!(ended(&mut process).await.code(), Some(1));
}

#[test]
fn without_the_secret_of_the_mesh_no_service_starts_and_all_that_is_wrong_is_told() {
    for service in ["gateway", "data", "auth", "flow", "ai"] {
        let output = Command::new(env!("CARGO_BIN_EXE_objectmesh"))
            .args(["serve", service])
            .env_remove("OBJECTMESH__MESH__SECRET")
            .env("OBJECTMESH__MESH__CONNECTIONS", "0")
            .output()
            .unwrap();
        assert!(!output.status.success(), "{service}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in ["OBJECTMESH__MESH__SECRET", "mesh.connections"] {
            assert!(text.contains(part), "{service}: {text}");
        }
    }
}
