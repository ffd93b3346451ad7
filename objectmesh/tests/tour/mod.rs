//! The README and the pages under `docs/guide` and `docs/reference`, executed: what they print about the
//! example app is what a new user gets.

mod front_page;
mod grpc;
mod links;
mod own_app;
mod pages;

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::process::Program;
use pages::{Page, Pages, Shell};
use serde_json::Value;

/// How long loading the demo data may take in a debug build on a busy machine.
const FIRST_START: Duration = Duration::from_secs(150);
const START: Duration = Duration::from_secs(30);
const OPEN_TICKETS: usize = 137;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_tell_the_truth() {
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

    let pages = Pages::read();
    let helpers = pages.helpers();
    let shell = Shell::new(folder.path(), program.base());
    // These count records: they come before the pages that leave some behind.
    crate::tree::none(&shell.run(&pages.readme, ""));
    crate::tree::none(&run_all(&shell, &pages.guide, &helpers));
    the_command_that_dev_suggests_works(&program);
    let open = every_open_ticket_comes_once(program.base(), program.value("token ")).await;
    assert_eq!(open, OPEN_TICKETS);
    let page = grpc::call(program.value("gRPC   data-svc "), program.value("token ")).await;
    let page = page.expect("the gRPC call that is shown");
    assert_eq!(
        (page.total, page.items.len()),
        (Some(OPEN_TICKETS as i64), 50)
    );
    let refused = grpc::refused(program.value("gRPC   data-svc "), program.value("token ")).await;
    let (reason, more) = refused.expect("the refusal that is shown");
    assert_eq!((&*reason, &*more), ("NOT_FOUND", "RECORD_NOT_FOUND"));
    crate::tree::none(&run_all(&shell, &pages.reference, &helpers));
    let open = every_open_ticket_comes_once(program.base(), program.value("token ")).await;
    program.stop();

    let program = Program::dev([Path::new("--data-dir"), &data], START);
    eprintln!("ready again after {:.1} s", program.start.as_secs_f64());
    let loaded = program.printed.iter().any(|line| line.contains("loaded"));
    assert!(!loaded, "loaded again: {:#?}", program.printed);
    let kept = every_open_ticket_comes_once(program.base(), program.value("token ")).await;
    assert_eq!(kept, open, "nothing is lost by a restart");
    program.stop();

    own_app::serves(&shell.folder(&pages.readme)).await;
}

/// Runs pages one after the other; what is wrong with them.
fn run_all(shell: &Shell, pages: &[Page], helpers: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for page in pages {
        let began = Instant::now();
        // Seen when a page never comes to its end.
        eprint!("{}: {} steps", page.name, page.steps.len());
        findings.extend(shell.run(page, helpers));
        eprintln!(", {:.1} s", began.elapsed().as_secs_f64());
    }
    findings
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

/// How many open tickets there are; each is on one page only, the newest first.
async fn every_open_ticket_comes_once(base: &str, token: &str) -> usize {
    let http = reqwest::Client::new();
    let mut seen = BTreeSet::new();
    let mut cursor = String::new();
    let mut pages = 0;
    let mut last_moment = "9999".to_owned();
    let mut total = None;
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
        let told = page["total"].as_u64().expect("a total") as usize;
        assert_eq!(*total.get_or_insert(told), told, "{page}");
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
    assert_eq!((Some(seen.len()), pages), (total, seen.len().div_ceil(20)));
    seen.len()
}
