//! The `objectmesh` program.

use std::process::ExitCode;

/// glibc's keeps what argon2 and large answers took in an arena for each thread; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: the workers of scripts are this program again.
    if let Some(code) = script::worker::run_if_worker() {
        return code;
    }
    objectmesh::cli::main()
}
