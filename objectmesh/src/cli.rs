//! The command line.

use std::{io, process::ExitCode};

use crate::commands::{
    dev::{self, Dev},
    migrate::{self, Migrate},
    openapi::{self, OpenApi},
    serve::{self, Serve},
    validate::{self, Validate},
};
use clap::{Parser, Subcommand};
use mesh::telemetry::{self, LogFormat, Settings};

/// Declare objects, permissions, actions, flows and agents as metadata; get a secured REST and
/// gRPC API at once.
#[derive(Parser, Debug)]
#[command(name = "objectmesh", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serves the mesh in one process, on SQLite, with nothing to install.
    Dev(Dev),
    /// Serves one service of the mesh.
    Serve(Serve),
    /// Brings the database up to date and installs apps into it.
    Migrate(Migrate),
    /// Checks an app: diagnostics with file, path and fix.
    Validate(Validate),
    /// Prints the OpenAPI document of an app, as an administrator sees it.
    #[command(name = "openapi")]
    OpenApi(OpenApi),
}

/// The program, once it is known not to be a worker of scripts.
#[tokio::main]
pub async fn main() -> ExitCode {
    let ended = run(Cli::parse()).await;
    telemetry::shut_down().await;
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            use io::Write as _;
            // Nothing is left to tell when standard error is closed.
            let _told = writeln!(io::stderr(), "objectmesh: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<bool> {
    let filter = |default: &str| std::env::var("RUST_LOG").unwrap_or_else(|_| default.to_owned());
    match cli.command {
        Command::Dev(command) => {
            let settings = Settings::load(None, std::env::vars())?;
            telemetry::start("objectmesh", LogFormat::Text, "warn", &settings)?;
            dev::run(command).await?;
        }
        Command::Serve(command) => {
            let settings = Settings::load(command.config.as_deref(), std::env::vars())?;
            telemetry::start(command.service.name(), LogFormat::Json, "info", &settings)?;
            serve::run(command).await?;
        }
        Command::Migrate(command) => {
            telemetry::init(LogFormat::Text, &filter("warn"));
            migrate::run(&command, &mut io::stdout()).await?;
        }
        Command::Validate(command) => {
            telemetry::init(LogFormat::Text, &filter("warn"));
            return validate::run(&command, &mut io::stdout());
        }
        Command::OpenApi(command) => {
            telemetry::init(LogFormat::Text, &filter("warn"));
            openapi::run(&command, &mut io::stdout())?;
        }
    }
    Ok(true)
}
