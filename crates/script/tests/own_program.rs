//! A program that is its own worker, as the mesh's executable is. It has no harness, since that would
//! have the first word in `main`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is the report"
)]

use std::process::ExitCode;

use script::{Capabilities, Config, Context, Kind, Limits, NoHost, Pool, Script};
use serde_json::json;

const NAME: &str = "a_program_is_its_own_worker";

fn main() -> ExitCode {
    if let Some(code) = script::worker::run_if_worker() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |argument: &str| arguments.iter().any(|given| given == argument);
    if asked("--list") {
        if !asked("--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let pool = Pool::start(Config::default()).await.unwrap();
        let script = Script {
            name: NAME.to_owned(),
            kind: Kind::Action,
            source: "return input.a + 1".to_owned(),
            capabilities: Capabilities::default(),
        };
        let context = Context {
            input: json!({"a": 1}),
            ..Context::default()
        };
        let runs = (0..8).map(|_| pool.run(&script, &context, Limits::ACTION, &NoHost));
        for outcome in futures::future::join_all(runs).await {
            assert_eq!(outcome.unwrap().value, Some(json!(2)));
        }
    });
    println!("test {NAME} ... ok");
    ExitCode::SUCCESS
}
