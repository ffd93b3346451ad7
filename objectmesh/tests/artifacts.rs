//! Apps compiled by the reference system's own command line run unmodified: their objects over REST,
//! with seeds, formulas and hooks in effect. They live outside the repository; where they are absent
//! the tests say so and pass.
#![expect(
    clippy::print_stdout,
    reason = "what an app holds and what is skipped is worth reading"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::process::{PROGRAM, Program};
use reqwest::Method;
use serde_json::{Map, Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

fn artifact(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = root.join(name);
    if !path.is_file() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

/// An app, running.
struct App {
    program: Program,
    token: String,
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
            token: program.value("token ").to_owned(),
            program,
            http: reqwest::Client::new(),
            _data: data,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.program.base());
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body:#}");
        body
    }

    async fn create(&self, object: &str, record: &Value) -> Value {
        let path = format!("/data/{object}");
        let (status, body) = self.call(Method::POST, &path, Some(record.clone())).await;
        assert_eq!(status, 201, "{object} {record}: {body:#}");
        body
    }

    /// The objects of the app, as `/meta` shows them.
    async fn objects(&self) -> Vec<Value> {
        let all = self.get("/meta/object").await;
        let all = all["items"].as_array().expect("items").clone();
        let own = |item: &Value| !item["name"].as_str().expect("a name").starts_with("sys_");
        all.into_iter().filter(own).collect()
    }

    /// A record with a value in every required field.
    async fn sample(&self, object: &Value) -> Value {
        let mut record = Map::new();
        for (name, field) in object["fields"].as_object().expect("fields") {
            let has_default = !field["defaultValue"].is_null();
            if field["required"] != true || field["system"] == true || has_default {
                continue;
            }
            let value = match field["type"].as_str().expect("a type") {
                "text" | "textarea" => json!(format!("Sample {name}")),
                "email" => json!("sample@example.com"),
                "number" | "currency" | "percent" => json!(1),
                "boolean" => json!(false),
                "date" => json!("2026-03-07"),
                "select" => {
                    let options = field["options"].as_array().expect("options");
                    let default = options.iter().find(|option| option["default"] == true);
                    default.unwrap_or(&options[0])["value"].clone()
                }
                "lookup" | "master_detail" => {
                    let target = field["reference"].as_str().expect("a target");
                    let list = self.get(&format!("/data/{target}?limit=1")).await;
                    list["items"][0]["id"].clone()
                }
                other => panic!("a required {other} field: {name}"),
            };
            record.insert(name.clone(), value);
        }
        Value::Object(record)
    }

    /// Creates, reads, lists, expands, changes and deletes a record of an object.
    async fn round(&self, object: &Value) {
        let name = object["name"].as_str().expect("a name");
        let sample = self.sample(object).await;
        let made = self.create(name, &sample).await;
        for (field, value) in sample.as_object().expect("a record") {
            assert_eq!(&made[field], value, "{name}.{field}");
        }
        let fields = object["fields"].as_object().expect("fields");
        for (field, declared) in fields {
            if declared["type"] == "formula" {
                assert!(!made[field].is_null(), "{name}.{field} in {made:#}");
            }
        }
        let path = format!("/data/{name}/{}", made["id"].as_str().expect("an id"));
        assert_eq!(self.get(&path).await, made);
        let references: Vec<&str> = fields
            .iter()
            .filter(|(_, field)| {
                matches!(field["type"].as_str(), Some("lookup" | "master_detail"))
                    && field["system"] != true
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if !references.is_empty() {
            let expand = references.join(",");
            let read = self.get(&format!("{path}?expand={expand}")).await;
            for field in references {
                if made[field].is_string() {
                    assert_eq!(read[field]["id"], made[field], "{name}.{field}");
                }
            }
        }
        let text = fields.iter().find(|(name, field)| {
            field["type"] == "text" && field["readonly"] != true && sample.get(name).is_some()
        });
        let (field, _) = text.expect("a text field");
        let patch = json!({field: "Changed"});
        let (status, patched) = self.call(Method::PATCH, &path, Some(patch)).await;
        assert_eq!(status, 200, "{path}: {patched:#}");
        assert_eq!(patched[field], "Changed");
        let (status, body) = self.call(Method::DELETE, &path, None).await;
        assert_eq!(status, 200, "{path}: {body:#}");
        let (status, _) = self.call(Method::GET, &path, None).await;
        assert_eq!(status, 404);
    }
}

/// Prints what the app holds of each type, how much of it runs here, and every warning.
async fn print_coverage(app: &App, path: &Path) {
    let verdict = Command::new(PROGRAM).arg("validate").arg(path).output();
    let verdict = String::from_utf8(verdict.expect("it runs").stdout).expect("UTF-8");
    let mut idle: BTreeMap<&str, usize> = BTreeMap::new();
    for line in verdict
        .lines()
        .filter(|line| line.contains("by this version"))
    {
        let types = [
            "actions",
            "flows",
            "workflows",
            "approvals",
            "hooks",
            "webhooks",
            "jobs",
            "agents",
            "reports",
            "sharingRules",
            "policies",
        ];
        for of in types {
            if line.contains(&format!(" {of}.")) {
                *idle.entry(of).or_default() += 1;
            }
        }
    }
    let types = app.get("/meta").await;
    println!(
        "{}\n{:<16}{:>6}{:>12}",
        path.display(),
        "type",
        "items",
        "idle here"
    );
    for entry in types["entries"].as_array().expect("entries") {
        let of = entry["type"].as_str().expect("a type");
        let held = app.get(&format!("/meta/{of}")).await;
        let held = held["items"].as_array().expect("items").iter();
        let own = held.filter(|item| item["_provenance"] == "package").count();
        if own > 0 {
            let idle = idle
                .get(format!("{of}s").as_str())
                .copied()
                .unwrap_or_default();
            println!("{of:<16}{own:>6}{idle:>12}");
        }
    }
    println!("{verdict}");
}

/// Starts an artifact and takes every object through a round; `seeded` says how many records of
/// which object it brings.
async fn run(name: &str, seeded: &[(&str, u64)]) -> Option<App> {
    let path = artifact(name)?;
    let app = App::start(&path);
    print_coverage(&app, &path).await;
    for (object, count) in seeded {
        let list = app.get(&format!("/data/{object}?limit=1")).await;
        assert_eq!(list["total"], *count, "{object}");
    }
    for object in app.objects().await {
        app.round(&object).await;
    }
    Some(app)
}

/// The hook that keeps the probability of a closed deal.
async fn closed_deals_have_their_probability(app: &App) {
    let account = app.get("/data/crm_account?limit=1").await["items"][0]["id"].clone();
    let deal = json!({"name": "Won", "account": account, "stage": "prospecting", "amount": 1000,
        "probability": 20});
    let deal = app.create("crm_opportunity", &deal).await;
    assert_eq!(deal["expected_revenue"], 200);
    let won = json!({"name": "Won", "account": account, "stage": "closed_won", "amount": 1000,
        "probability": 20});
    let path = "/data/crm_opportunity";
    let (status, won) = app.call(Method::POST, path, Some(won)).await;
    // Where a state machine lets no deal begin closed, it says so.
    if status == 201 {
        assert_eq!(
            (&won["probability"], &won["expected_revenue"]),
            (&json!(100), &json!(1000))
        );
    } else {
        assert_eq!(
            won["error"]["details"]["fields"][0]["field"], "stage",
            "{won:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crm_of_the_contracts_era_runs() {
    let seeded = [
        ("crm_account", 3),
        ("crm_contact", 3),
        ("crm_opportunity", 12),
    ];
    let Some(app) = run("app-crm-v6.objectstack.json", &seeded).await else {
        return;
    };
    // Seeds by natural key, and with moments that are computed.
    let path =
        "/data/crm_opportunity?limit=1&where={\"close_date\":{\"$null\":false}}&expand=account";
    let deal = app.get(path).await["items"][0].clone();
    assert!(deal["account"]["name"].is_string(), "{deal:#}");
    assert!(deal["expected_revenue"].is_number(), "{deal:#}");
    closed_deals_have_their_probability(&app).await;
    app.program.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crm_of_today_runs() {
    let seeded = [
        ("crm_lead", 5),
        ("crm_activity", 5),
        ("crm_opportunity", 12),
    ];
    let Some(app) = run("app-crm.objectstack.json", &seeded).await else {
        return;
    };
    let account = app.get("/data/crm_account?limit=1").await["items"][0]["id"].clone();
    let deal = json!({"name": "Cheap", "account": account, "stage": "prospecting",
        "discount_percent": 41});
    let path = "/data/crm_opportunity";
    let (status, refused) = app.call(Method::POST, path, Some(deal)).await;
    assert_eq!(status, 400, "{refused:#}");
    let field = &refused["error"]["details"]["fields"][0];
    assert_eq!(
        (&field["code"], &field["rule"]),
        (&json!("rule_violation"), &json!("discount_cap"))
    );
    closed_deals_have_their_probability(&app).await;
    app.program.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_todo_app_runs() {
    let Some(app) = run("app-todo.objectstack.json", &[("todo_task", 8)]).await else {
        return;
    };
    // Its hook fills in what a task lacks, and refuses what it does not want.
    let task = app
        .create("todo_task", &json!({"subject": "Water the plants"}))
        .await;
    assert_eq!(
        (&task["priority"], &task["status"]),
        (&json!("normal"), &json!("not_started"))
    );
    let spam = json!({"subject": "spam for you", "status": "not_started", "priority": "low"});
    let (status, refused) = app.call(Method::POST, "/data/todo_task", Some(spam)).await;
    assert_eq!(status, 400, "{refused:#}");
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("Spam tasks"), "{refused:#}");
    let path = format!("/data/todo_task/{}", task["id"].as_str().expect("an id"));
    let done = json!({"status": "completed"});
    let (status, done) = app.call(Method::PATCH, &path, Some(done)).await;
    assert_eq!(status, 200, "{done:#}");
    assert!(done["completed_date"].is_string(), "{done:#}");
    app.program.stop();
}
