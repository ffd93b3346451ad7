//! The program as its users run it, watched from outside: one process, or one for each service.

use crate::process::ports;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ports::Port;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_objectmesh");

/// What is configured alike for every process; a secret that must show up nowhere.
pub(crate) const AUTH_SECRET: &str = "MARKED-SECRET-of-the-auth-service-long-enough";
pub(crate) const MESH_SECRET: &str = "MARKED-SECRET-of-the-whole-mesh-long-enough";
/// The administrator's password.
pub(crate) const PASSWORD: &str = "MARKED-SECRET-password";

/// A running mesh.
pub(crate) struct Running {
    processes: Vec<Process>,
    /// URL of the gateway.
    pub(crate) base: String,
    pub(crate) http: Client,
    /// The administrator's session token.
    pub(crate) token: String,
    folder: tempfile::TempDir,
    _ports: Vec<Port>,
}

struct Process {
    name: &'static str,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Running {
    /// Everything in one process, with the log as `serve` writes it.
    pub(crate) async fn one(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let app = app();
        let arguments = [
            "dev",
            "--no-demo",
            "--listen",
            "127.0.0.1:0",
            "--app",
            &app,
            "--data-dir",
            data.to_str().unwrap(),
        ];
        let mut environment = environment.to_vec();
        environment.push(("OBJECTMESH__TELEMETRY__LOG_FORMAT", "json"));
        environment.push(("OBJECTMESH__TELEMETRY__LOG", "info"));
        environment.push(("OBJECTMESH__AUTH__SECRET", AUTH_SECRET));
        let mut running = Self::new(folder, String::new(), Vec::new());
        running.start("dev", &arguments, &environment);
        let printed = running.file("dev");
        eventually("the address is printed", async || {
            let printed = fs::read_to_string(&printed).unwrap_or_default();
            let mut lines = printed.lines();
            let rest = lines.find_map(|line| line.strip_prefix("REST ")?.strip_suffix("/api/v1"));
            running.base = rest.unwrap_or_default().trim().to_owned();
            !running.base.is_empty()
        })
        .await;
        running.ready().await;
        running
    }

    /// A process for each service.
    pub(crate) async fn several(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [(); 5].map(|()| Port::lease());
        let [gateway, auth, data, flow, ai] = ports.each_ref().map(Port::number);
        let base = format!("http://{}", ports[0].address());
        let at = |port| format!("127.0.0.1:{port}");
        let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
        let own = [
            ("OBJECTMESH__GATEWAY__LISTEN", at(gateway)),
            ("OBJECTMESH__AUTH__LISTEN", at(auth)),
            ("OBJECTMESH__DATA__LISTEN", at(data)),
            ("OBJECTMESH__PEERS__AUTH", format!("http://{}", at(auth))),
            ("OBJECTMESH__PEERS__DATA", format!("http://{}", at(data))),
            ("OBJECTMESH__FLOW__LISTEN", at(flow)),
            ("OBJECTMESH__AI__LISTEN", at(ai)),
            ("OBJECTMESH__PEERS__FLOW", format!("http://{}", at(flow))),
            ("OBJECTMESH__PEERS__AI", format!("http://{}", at(ai))),
            ("OBJECTMESH__AUTH__SECRET", AUTH_SECRET.to_owned()),
            ("OBJECTMESH__MESH__SECRET", MESH_SECRET.to_owned()),
            ("OBJECTMESH__AUTH__DB__URL", file("auth.db")),
            ("OBJECTMESH__DATA__DB__URL", file("data.db")),
            ("OBJECTMESH__FLOW__DB__URL", file("flow.db")),
            ("OBJECTMESH__AI__DB__URL", file("ai.db")),
        ];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let all: Vec<(&str, &str)> = own.chain(environment.iter().copied()).collect();
        let mut running = Self::new(folder, base, ports.into());
        let app = app();
        let mut migrate = running.command("migrate", &["migrate", "--app", &app], &all);
        assert!(migrate.status().unwrap().success());
        for service in ["auth", "data", "flow", "ai", "gateway"] {
            running.start(service, &["serve", service], &all);
        }
        running.ready().await;
        running
    }

    fn new(folder: tempfile::TempDir, base: String, ports: Vec<Port>) -> Self {
        Self {
            processes: Vec::new(),
            base,
            http: Client::new(),
            token: String::new(),
            folder,
            _ports: ports,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.out"))
    }

    fn command(&self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (variable, _) in std::env::vars() {
            if ["OBJECTMESH__", "OTEL_", "RUST_LOG"]
                .iter()
                .any(|p| variable.starts_with(p))
            {
                command.env_remove(variable);
            }
        }
        let out = File::create(self.file(name)).unwrap();
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out);
        command
    }

    fn start(&mut self, name: &'static str, arguments: &[&str], environment: &[(&str, &str)]) {
        let child = self.command(name, arguments, environment).spawn().unwrap();
        self.processes.push(Process { name, child });
    }

    async fn ready(&mut self) {
        eventually("the mesh is ready", async || {
            let ready = self.http.get(format!("{}/ready", self.base)).send().await;
            ready.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        let person = json!({"name": "Ada", "email": "ada@example.com", "password": PASSWORD});
        let answer = self.post("/auth/sign-up/email", person).await;
        let answer: Value = answer.json().await.unwrap();
        self.token = answer["token"].as_str().expect("a token").to_owned();
    }

    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}/api/v1{path}", self.base));
        match self.token.as_str() {
            "" => request,
            token => request.bearer_auth(token),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(reqwest::Method::GET, path)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Response {
        let request = self.request(reqwest::Method::POST, path);
        request.json(&body).send().await.unwrap()
    }

    /// What a process has printed so far.
    pub(crate) fn printed(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// What all have printed so far.
    pub(crate) fn all_printed(&self) -> String {
        let printed = self
            .processes
            .iter()
            .map(|process| self.printed(process.name));
        printed.collect()
    }

    /// The log lines of a process with that value of a field.
    pub(crate) fn lines(&self, name: &str, field: &str, value: &str) -> Vec<Value> {
        let printed = self.printed(name);
        let lines = printed.lines().filter(|line| line.starts_with('{'));
        // The last line may be half written.
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line[field] == value).collect()
    }

    /// Asks all processes to stop and waits until they have.
    pub(crate) fn stop(&mut self, patience: Duration) {
        for process in &self.processes {
            let pid = process.child.id().to_string();
            let sent = Command::new("kill").args(["-TERM", &pid]).status();
            assert!(sent.unwrap().success());
        }
        let until = Instant::now() + patience;
        for process in &mut self.processes {
            while process.child.try_wait().unwrap().is_none() {
                assert!(Instant::now() < until, "{} still runs", process.name);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn app() -> String {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/app");
    app.display().to_string()
}

/// Waits until `holds` does.
///
/// # Panics
/// When it does not within a minute.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
