//! A script worker as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    script::worker::run_if_worker().unwrap_or(ExitCode::FAILURE)
}
