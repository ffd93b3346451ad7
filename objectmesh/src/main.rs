//! The `objectmesh` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: the workers of scripts are this program again.
    if let Some(code) = script::worker::run_if_worker() {
        return code;
    }
    objectmesh::cli::main()
}
