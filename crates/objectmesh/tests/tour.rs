//! The README, executed: what it prints about the example app is what a new user gets.

mod process;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use mesh::{Link, ctx::set_bearer};
use process::{PROGRAM, Program};
use proto::data::v1::{
    ListRecordsRequest, ListRecordsResponse, record_service_client::RecordServiceClient,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tonic::Request;

const README: &str = include_str!("../../../README.md");
/// How long loading the demo data may take in a debug build on a busy machine.
const FIRST_START: Duration = Duration::from_secs(150);
const START: Duration = Duration::from_secs(30);
const OPEN_TICKETS: usize = 137;
const PASSWORD: &str = "correct horse";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_tells_the_truth() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let program = Program::dev([Path::new("--data-dir"), &data], FIRST_START);
    eprintln!(
        "ready with demo data after {:.1} s",
        program.start.as_secs_f64()
    );
    let loaded = program
        .printed
        .iter()
        .any(|line| line.starts_with("loaded demo data: "));
    assert!(loaded, "{:#?}", program.printed);

    run_tour(folder.path(), program.base());
    the_command_that_dev_suggests_works(&program);
    every_open_ticket_comes_once(program.base(), program.value("token ")).await;
    let page = grpc(program.value("gRPC   data-svc "), program.value("token ")).await;
    let page = page.expect("the README's gRPC call");
    assert_eq!(
        (page.total, page.items.len()),
        (Some(OPEN_TICKETS as i64), 50)
    );
    program.stop();

    let program = Program::dev([Path::new("--data-dir"), &data], START);
    eprintln!("ready again after {:.1} s", program.start.as_secs_f64());
    let loaded = program.printed.iter().any(|line| line.contains("loaded"));
    assert!(!loaded, "loaded again: {:#?}", program.printed);
    every_open_ticket_comes_once(program.base(), program.value("token ")).await;
    program.stop();

    the_readme_s_own_app_serves(folder.path()).await;
}

// The README shows the body of this function as it stands here.
async fn grpc(address: &str, token: &str) -> anyhow::Result<ListRecordsResponse> {
    let link = Link::connect(address)?; // "http://127.0.0.1:7402", or what `dev` printed
    let mut request = Request::new(ListRecordsRequest {
        object: "support_ticket".to_owned(),
        r#where: r#"{"status":{"$eq":"open"}}"#.to_owned(),
        ..ListRecordsRequest::default()
    });
    set_bearer(&mut request, token);
    let page = RecordServiceClient::new(link)
        .list_records(request)
        .await?
        .into_inner();
    Ok(page)
}

#[test]
fn the_readme_s_rust_is_what_runs_here() {
    let here = include_str!("tour.rs");
    let (_, shown) = README.split_once("```rust\n").expect("Rust in the README");
    let (shown, _) = shown.split_once("```").expect("its end");
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().concat();
    assert!(squeeze(here).contains(&squeeze(shown)), "{shown}");
}

#[test]
fn the_readme_begins_with_two_commands() {
    let commands: Vec<&str> = README
        .split("```sh\n")
        .skip(1)
        .take(2)
        .filter_map(|block| block.split("\n```").next())
        .collect();
    assert_eq!(
        commands,
        [
            "cargo run --release --bin objectmesh -- dev",
            "deploy/test.sh"
        ]
    );
    assert!(repository().join("deploy/test.sh").is_file());
    let links = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        assert!(
            repository().join(link).exists(),
            "the README links to {link}"
        );
    }
}

fn repository() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Commands of the README, and what it says that they print.
struct Step {
    commands: String,
    expected: Vec<String>,
}

/// The blocks marked as part of the tour, cut behind each group of `# → ` lines.
fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for block in README.split("<!-- tour -->\n```sh\n").skip(1) {
        let (block, _) = block.split_once("\n```").expect("the end of a block");
        let mut step = Step {
            commands: String::new(),
            expected: Vec::new(),
        };
        for line in block.lines() {
            if let Some(expected) = line.strip_prefix("# → ") {
                step.expected.push(expected.to_owned());
                continue;
            }
            if !step.expected.is_empty() {
                steps.push(std::mem::replace(
                    &mut step,
                    Step {
                        commands: String::new(),
                        expected: Vec::new(),
                    },
                ));
            }
            step.commands.push_str(line);
            step.commands.push('\n');
        }
        steps.push(step);
    }
    steps
}

/// Runs all steps in one shell and compares what each prints with what the README says.
fn run_tour(folder: &Path, base: &str) {
    const MARK: &str = "@@ end of step @@";
    let steps = steps();
    assert!(steps.len() > 15, "the tour is gone");
    let mut script = String::new();
    for step in &steps {
        script.push_str(&step.commands);
        script.push_str(&format!("echo '{MARK}'\n"));
    }
    let script = script
        .replace("http://127.0.0.1:7400/api/v1", base)
        .replace("cargo run --release --bin objectmesh --", PROGRAM);
    let path = folder.join("tour.sh");
    fs::write(&path, &script).expect("a file");
    let output = Command::new("bash")
        .arg(&path)
        .current_dir(folder)
        .env_remove("TOKEN")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    let mark = format!("{MARK}\n");
    let mut outputs = printed.split(&mark);
    let mut wrong = Vec::new();
    for Step { commands, expected } in &steps {
        let printed = outputs.next().unwrap_or_default();
        let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
        let as_told = lines.len() == expected.len()
            && lines
                .iter()
                .zip(expected)
                .all(|(line, expected)| fits(line, expected));
        if !as_told {
            let expected = expected.join("\n");
            wrong.push(format!(
                "$ {commands}--- the README says\n{expected}\n--- it prints\n{printed}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n--- standard error\n{errors}",
        wrong.join("\n\n")
    );
    assert_eq!(errors, "");
}

/// Whether a line is as announced; `…` stands for anything.
fn fits(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.trim().strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_anything() {
    for (line, expected, fitting) in [
        ("200", "200", true),
        ("2000", "200", false),
        (" 137", "137", true),
        (r#"{"a":1,"b":2}"#, r#"{…"b":2}"#, true),
        (r#"{"a":1,"b":2}"#, r#"{"a":…}"#, true),
        (r#"{"a":1,"b":2}"#, r#"{…"b":2…"a":1…}"#, false),
        (r#"{"a":1}"#, r#"{…"b"…"#, false),
        ("ab", "a…b…c", false),
    ] {
        assert_eq!(fits(line, expected), fitting, "{line} as {expected}");
    }
}

/// `try …` is the first thing a new user copies.
fn the_command_that_dev_suggests_works(program: &Program) {
    let mut command = String::new();
    let lines = program
        .printed
        .iter()
        .skip_while(|line| !line.starts_with("try "));
    for line in lines.take_while(|line| !line.is_empty()) {
        command.push_str(line.strip_prefix("try ").unwrap_or(line));
        command.push('\n');
    }
    let output = Command::new("bash")
        .args(["-c", &command])
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let page: Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{command}answers: {text}"));
    assert_eq!(page["total"], OPEN_TICKETS, "{command}answers: {text}");
}

async fn every_open_ticket_comes_once(base: &str, token: &str) {
    let http = reqwest::Client::new();
    let mut seen = BTreeSet::new();
    let mut cursor = String::new();
    let mut pages = 0;
    let mut last_moment = "9999".to_owned();
    loop {
        let mut url = reqwest::Url::parse(&format!("{base}/data/support_ticket")).expect("a URL");
        url.query_pairs_mut()
            .append_pair("where", r#"{"status":{"$eq":"open"}}"#)
            .append_pair("orderBy", "-created_at")
            .append_pair("limit", "20");
        if !cursor.is_empty() {
            url.query_pairs_mut().append_pair("cursor", &cursor);
        }
        let answer = http
            .get(url)
            .bearer_auth(token)
            .send()
            .await
            .expect("an answer");
        let page: Value = answer.json().await.expect("JSON");
        assert_eq!(page["total"], OPEN_TICKETS, "{page}");
        for item in page["items"].as_array().expect("items") {
            assert_eq!(item["status"], "open");
            let moment = item["created_at"].as_str().expect("a moment").to_owned();
            assert!(
                moment <= last_moment,
                "newest first: {moment} after {last_moment}"
            );
            last_moment = moment;
            let id = item["id"].as_str().expect("an id").to_owned();
            assert!(seen.insert(id), "twice: {item}");
        }
        pages += 1;
        match &page["nextCursor"] {
            Value::String(next) => next.clone_into(&mut cursor),
            other => {
                assert_eq!(*other, Value::Null);
                break;
            }
        }
    }
    assert_eq!(
        (seen.len(), pages),
        (OPEN_TICKETS, OPEN_TICKETS.div_ceil(20))
    );
}

/// The app that the tour wrote, served as the README says.
async fn the_readme_s_own_app_serves(folder: &Path) {
    let (app, data) = (folder.join("my-app"), folder.join("my-data"));
    let arguments = [Path::new("--app"), &app, Path::new("--data-dir"), &data];
    let program = Program::dev(arguments, START);
    let client = Client {
        http: reqwest::Client::new(),
        base: program.base(),
    };
    let admin = program.value("token ");
    let email = "new@example.com";
    let person = json!({"name": "New", "email": email, "password": PASSWORD});
    let (status, answer) = client.post(admin, "/auth/admin/create-user", &person).await;
    assert_eq!(status, 200, "{answer}");
    let (token, id) = client.sign_in(email).await;
    let create = async |token: &str, title: &str| {
        let answer = client
            .post(token, "/data/note", &json!({"title": title}))
            .await;
        assert_eq!(answer.0, 201, "{}", answer.1);
        answer.1
    };
    let first = create(&token, "With member_default").await;
    assert_eq!(first["mood"], "good");
    create(admin, "Somebody else's").await;

    let assignment = json!({"user_id": id, "permission_set": "writer"});
    let (status, answer) = client
        .post(admin, "/data/sys_user_permission_set", &assignment)
        .await;
    assert_eq!(status, 201, "{answer}");
    let (token, _) = client.sign_in(email).await;
    let second = create(&token, "As a writer").await;
    let path = format!("/data/note/{}", second["id"].as_str().expect("an id"));
    let (status, refusal) = client.send(Method::DELETE, &token, &path).await;
    assert_eq!(status, 403, "from the next sign-in: {refusal}");
    let (_, mine) = client.send(Method::GET, &token, "/data/note").await;
    assert_eq!(mine["total"], 2, "a private note is its owner's: {mine}");
    let (_, all) = client.send(Method::GET, admin, "/data/note").await;
    assert_eq!(all["total"], 3, "{all}");
    program.stop();
}

struct Client<'a> {
    http: reqwest::Client,
    base: &'a str,
}

impl Client<'_> {
    async fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base));
        answer(request.bearer_auth(token).json(body)).await
    }

    async fn send(&self, method: Method, token: &str, path: &str) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.base));
        answer(request.bearer_auth(token)).await
    }

    /// A session token and the user's id.
    async fn sign_in(&self, email: &str) -> (String, String) {
        let body = json!({"email": email, "password": PASSWORD});
        let request = self.http.post(format!("{}/auth/sign-in", self.base));
        let (status, session) = answer(request.json(&body)).await;
        assert_eq!(status, 200, "{session}");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&session["token"]), text(&session["user"]["id"]))
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}
