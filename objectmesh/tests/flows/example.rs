//! The flows of the example app, and those of apps that the reference system's own command line
//! compiled. The latter live outside the repository; where they are absent the test says so.

use std::{collections::BTreeMap, path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use super::{eventually, steps};
use crate::support::process::Program;

const PATIENCE: Duration = Duration::from_secs(60);

struct App {
    program: Program,
    http: reqwest::Client,
    _data: tempfile::TempDir,
}

impl App {
    fn start(path: &Path) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let arguments = ["--app".as_ref(), path.as_os_str()];
        let data_dir = ["--data-dir".as_ref(), data.path().as_os_str()];
        let program = Program::dev(arguments.into_iter().chain(data_dir), PATIENCE);
        Self {
            program,
            http: reqwest::Client::new(),
            _data: data,
        }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.program.base());
        let token = self.program.value("token ");
        let mut request = self.http.request(method.clone(), url).bearer_auth(token);
        if method != Method::GET {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn ok(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, &body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer:#}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flows_of_the_example_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/support-desk");
    let app = App::start(&root);
    let customer = json!({"name": "Sample", "email": "sample@example.com"});
    let customer = app.ok(Method::POST, "/data/customer", customer).await;
    let make = async |priority: &str| {
        let ticket = json!({"subject": "It rains in", "customer": customer["id"],
            "priority": priority, "due_at": "2026-01-02T03:04:05Z"});
        let made = app.ok(Method::POST, "/data/support_ticket", ticket).await;
        made["id"].as_str().expect("an id").to_owned()
    };
    for (priority, step) in [("low", "raise_priority"), ("urgent", "mark_escalated")] {
        let id = make(priority).await;
        let path = "/flows/escalate_overdue/start";
        let run = app.ok(Method::POST, path, json!({"ticketId": id})).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(run["output"], json!({"escalated": true}));
        assert_eq!(steps(&run)[3], format!("{step} success"));
        let path = format!("/data/support_ticket/{id}");
        let ticket = app.ok(Method::GET, &path, Value::Null).await;
        assert_eq!(
            (&ticket["priority"], &ticket["escalated"]),
            (&json!("urgent"), &json!(true))
        );
        let query = json!({"where": {"ticket": id}});
        let notes = app.ok(Method::POST, "/data/comment/query", query).await;
        let text = notes["items"][0]["body"].as_str().expect("a note");
        assert!(
            text.contains(priority) && text.contains("2026-01-02"),
            "{text}"
        );
        assert_eq!(notes["items"].as_array().map(Vec::len), Some(1));
    }
    // The flow of the trigger; the first changes may come before anybody follows them.
    eventually("a resolved ticket is stamped", async || {
        let path = format!("/data/support_ticket/{}", make("low").await);
        let resolved = json!({"status": "resolved"});
        app.ok(Method::PATCH, &path, resolved).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ticket = app.ok(Method::GET, &path, Value::Null).await;
        ticket["resolved_at"].is_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_of_compiled_apps_can_be_started() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let mut ended: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in ["app-crm", "app-crm-v6", "app-todo"] {
        let path = data.join(format!("{name}.objectstack.json"));
        if !path.is_file() {
            eprintln!("skipped: {} is not here", path.display());
            continue;
        }
        let app = App::start(&path);
        let flows = app.ok(Method::GET, "/meta/flow", Value::Null).await;
        for flow in flows["items"].as_array().expect("items") {
            let flow = flow["name"].as_str().expect("a name");
            let path = format!("/flows/{flow}/start");
            let (status, run) = app.call(Method::POST, &path, &json!({})).await;
            // Each is known, sound and open: what is not built yet fails the run, not the start.
            assert_eq!(status, 200, "{flow}: {run:#}");
            let told = match run["status"].as_str().expect("a status") {
                "failed" => format!("failed {}", run["error"]["code"].as_str().unwrap_or("")),
                other => other.to_owned(),
            };
            let code = run["error"]["code"].as_str().unwrap_or("NO_EXECUTOR");
            assert!(
                ["NO_EXECUTOR", "NODE_FAILURE"].contains(&code),
                "{flow}: {run:#}"
            );
            ended.entry(told).or_default().push(flow.to_owned());
        }
    }
    eprintln!("{ended:#?}");
}
