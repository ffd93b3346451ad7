//! Clients that are not ours: a stock Better Auth client, and clients that stock generators make
//! from the proto files and from `openapi.json`, used on the example app.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::support::{
    Size, TestMesh,
    process::{Program, child::run},
    tools::{locked_node_packages, python},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the example app may take to start in a debug build on a busy machine.
const START: Duration = Duration::from_secs(60);
const EMAIL: &str = "admin@example.com";
const PASSWORD: &str = "correct horse";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn better_auth_s_client_in_one_process() {
    better_auth(Size::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn better_auth_s_client_between_replicas() {
    better_auth(Size::Replicas).await;
}

async fn better_auth(size: Size) {
    let mesh = TestMesh::start(size).await;
    let folder = node_folder(&["better_auth.mjs"]);
    let mut command = Command::new("node");
    command
        .current_dir(folder.path())
        .args(["better_auth.mjs", EMAIL, PASSWORD])
        .args(&mesh.at.rest);
    let printed = printed_by(command).await;
    assert!(printed["calls"].as_u64() > Some(40), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ai_sdk_s_client_in_one_process() {
    ai_sdk(Size::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ai_sdk_s_client_between_processes() {
    ai_sdk(Size::Processes).await;
}

async fn ai_sdk(size: Size) {
    let mesh = TestMesh::start(size).await;
    let made = json!({"subject": "The only one"});
    mesh.post(&mesh.admin, "/data/ticket", made).await.ok(201);
    let folder = node_folder(&["ai_sdk.mjs"]);
    let mut command = Command::new("node");
    command
        .current_dir(folder.path())
        .args(["ai_sdk.mjs", &mesh.admin, &mesh.at.rest[0]]);
    let printed = printed_by(command).await;
    assert_eq!(printed["answers"], 3, "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_generated_from_the_protos() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = example_app(&folder.path().join("data"));
    let address = |word: &str| {
        let url = program.value(word);
        url.trim_start_matches("http://").to_owned()
    };
    let out = folder.path().join("generated");
    std::fs::create_dir(&out).expect("a folder");
    let mut command = Command::new(python("clients", include_str!("clients/requirements.txt")));
    command
        .arg(scripts().join("from_protos.py"))
        .arg(root().join("proto"))
        .arg(out)
        .args([address("gRPC   auth-svc "), address("gRPC   data-svc ")])
        .args([EMAIL, PASSWORD]);
    let printed = printed_by(command).await;
    assert!(printed["calls"].as_u64() > Some(10), "{printed}");
    assert!(printed["modules"].as_u64() > Some(50), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_typed_by_the_openapi_document() {
    let folder = node_folder(&["from_openapi.ts", "tsconfig.json", "package.json"]);
    let program = example_app(&folder.path().join("data"));
    document(&program, &folder.path().join("openapi.json")).await;
    let node = |arguments: &[&str]| {
        let mut command = Command::new("node");
        command.current_dir(folder.path()).args(arguments);
        command
    };
    run(&mut node(&[
        "node_modules/openapi-typescript/bin/cli.js",
        "openapi.json",
        "--output",
        "api.d.ts",
    ]));
    // Strict, and nothing is written when a type does not fit.
    run(&mut node(&["node_modules/typescript/bin/tsc", "-p", "."]));
    let used = node(&["from_openapi.js", origin(&program), EMAIL, PASSWORD]);
    let printed = printed_by(used).await;
    assert!(printed["calls"].as_u64() > Some(5), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_generated_from_the_openapi_document() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = example_app(&folder.path().join("data"));
    let at = folder.path().join("openapi.json");
    document(&program, &at).await;
    let python = python("clients", include_str!("clients/requirements.txt"));
    let generator = python.with_file_name("openapi-python-client");
    // What it cannot read it would leave out with a warning.
    run(Command::new(generator)
        .args(["generate", "--fail-on-warning", "--meta", "none", "--path"])
        .arg(at)
        .arg("--config")
        .arg(scripts().join("openapi_python_client.yaml"))
        .arg("--output-path")
        .arg(folder.path().join("support_desk")));
    let mut command = Command::new(python);
    command
        .arg(scripts().join("from_openapi.py"))
        .arg(folder.path())
        .args([origin(&program), EMAIL, PASSWORD]);
    let printed = printed_by(command).await;
    assert!(printed["calls"].as_u64() > Some(5), "{printed}");
    assert!(printed["modules"].as_u64() > Some(100), "{printed}");
}

/// Signs the app's first user up, who becomes its administrator, and writes the document that they
/// get.
async fn document(program: &Program, path: &Path) {
    let http = reqwest::Client::new();
    let sign_up = http
        .post(format!("{}/auth/sign-up/email", program.base()))
        .header("content-type", "application/json")
        .body(json!({"name": "Ada", "email": EMAIL, "password": PASSWORD}).to_string());
    let answer = sign_up.send().await.expect("an answer");
    let text = answer.text().await.expect("a body");
    let session: Value = serde_json::from_str(&text).expect("JSON");
    let token = session["token"].as_str().expect("a token");
    let document = http.get(format!("{}/openapi.json", program.base()));
    let answer = document.bearer_auth(token).send().await;
    let answer = answer.expect("an answer").error_for_status();
    let text = answer.expect("the document").text().await.expect("a body");
    std::fs::write(path, text).expect("a file");
}

/// Where the app's server is.
fn origin(program: &Program) -> &str {
    program.base().trim_end_matches("/api/v1")
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where the scripts of these tests are.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The example app without its demo data.
fn example_app(data: &Path) -> Program {
    let app = root().join("examples/support-desk");
    let arguments = [
        Path::new("--no-demo"),
        Path::new("--app"),
        &app,
        Path::new("--data-dir"),
        data,
    ];
    Program::dev(arguments, START)
}

/// A folder with these files of `clients/`, where node finds the packages.
fn node_folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in files {
        let source = scripts().join(file);
        std::fs::copy(source, folder.path().join(file)).expect("a copy");
    }
    let packages = locked_node_packages(
        "clients",
        include_str!("clients/package.json"),
        include_str!("clients/package-lock.json"),
    );
    let modules = folder.path().join("node_modules");
    std::os::unix::fs::symlink(packages.join("node_modules"), modules).expect("a link");
    folder
}

/// Runs a script and gives the JSON document that it printed.
async fn printed_by(mut command: Command) -> Value {
    let printed = tokio::task::spawn_blocking(move || run(&mut command)).await;
    let printed = printed.expect("the script runs");
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}
