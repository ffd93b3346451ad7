//! Measures the mesh against the bare program of [`bare`], on the same data, with the same load, in
//! interleaved rounds of one run. Prints Markdown; `bench/RESULTS.md` keeps what was measured.
//!
//! ```sh
//! cargo build --release -p objectmesh -p bench && target/release/bench
//! ```
//!
//! Two shapes: `one`, the mesh as one process on SQLite (`objectmesh dev`), against the bare program
//! on a copy of its file; and `five`, a process for each service on PostgreSQL and Redis, against the
//! bare program on a copy of the database. The bare program is an edge and a service, two processes
//! joined by gRPC over TCP, in both. Everything listens on loopback and ends with the run.
//!
//! The load is closed: so many connections, each with one request at a time. It is made by this
//! process, on the same machine, so throughput is what is left of the processors beside it. The
//! figure to compare is processor time for a request: `utime + stime` of the processes of each side
//! in `/proc`, PostgreSQL's and Redis's apart. Before anything is measured the two sides must have
//! answered alike; an answer that is not 2xx fails the run.

mod bare;
mod child;
mod http_client;
mod load;
mod machine;
mod report;
mod shape;
mod workload;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

/// Measures the mesh against a bare axum → tonic → sqlx program.
#[derive(Parser, Debug)]
#[command(name = "bench", version, about)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    plan: Plan,
}

/// How to measure.
#[derive(clap::Args, Clone, Debug)]
struct Plan {
    /// What to measure.
    #[arg(long, value_enum, default_value = "both")]
    shape: Which,
    /// Rounds of each operation on each side.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a round, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// The program to measure; default: beside this one.
    #[arg(long, value_name = "PATH")]
    objectmesh: Option<PathBuf>,
    /// Another build of the program to measure it against, instead of the bare program: before and
    /// after, on one machine at one time. One process only. The other build loads the data, so it may
    /// be the older one.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// Folder for databases and logs; emptied first.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    One,
    Five,
    Both,
}

/// The parts of the bare program, started by the benchmark itself.
#[derive(Subcommand, Debug)]
enum Part {
    /// The bare program's edge.
    #[command(hide = true)]
    BareEdge {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        service: String,
        #[arg(long)]
        secret: String,
    },
    /// The bare program's service.
    #[command(hide = true)]
    BareService {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        database: String,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell when standard error is closed.
            let _told = writeln!(io::stderr(), "bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut runtime = match &cli.part {
        // What makes the load takes one processor at most.
        None => tokio::runtime::Builder::new_current_thread(),
        Some(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    match cli.part {
        None => runtime.block_on(measure(&cli.plan)),
        Some(Part::BareEdge {
            listen,
            service,
            secret,
        }) => runtime.block_on(bare::edge::run(&listen, &service, &secret)),
        Some(Part::BareService { listen, database }) => {
            runtime.block_on(bare::service::run(&listen, &database))
        }
    }
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let program = match &plan.objectmesh {
        Some(path) => path.clone(),
        None => own.with_file_name("objectmesh"),
    };
    anyhow::ensure!(
        program.is_file(),
        "{}: build it first (cargo build --release -p objectmesh)",
        program.display()
    );
    if plan.folder.exists() {
        std::fs::remove_dir_all(&plan.folder).context("the folder of the last run")?;
    }
    std::fs::create_dir_all(&plan.folder)?;
    let place = shape::Place {
        folder: plan.folder.canonicalize()?,
        program: program.canonicalize()?,
        against: plan
            .against
            .as_deref()
            .map(Path::canonicalize)
            .transpose()?,
        own,
    };
    let mut out = io::stdout();
    writeln!(out, "{}", machine::describe()?)?;
    let mut failures = 0;
    if plan.shape != Which::Five {
        let shape = Box::pin(shape::one(&place)).await?;
        failures += measure_shape(plan, shape, &mut out).await?;
    }
    if plan.shape != Which::One && plan.against.is_none() {
        let servers = shape::Servers::start(&place)?;
        let shape = Box::pin(shape::five(&place, &servers)).await?;
        failures += measure_shape(plan, shape, &mut out).await?;
    }
    anyhow::ensure!(failures == 0, "{failures} requests failed");
    Ok(())
}

/// Measures every operation on both sides; answers how many requests failed.
async fn measure_shape(
    plan: &Plan,
    shape: shape::Shape,
    out: &mut impl io::Write,
) -> anyhow::Result<u64> {
    let records = workload::Records::of(&shape.mesh).await?;
    workload::compare(&shape.mesh, &shape.bare, &records).await?;
    writeln!(out, "{}", report::starts(&shape)?)?;
    let length = Duration::from_secs_f64(plan.seconds);
    let names = [shape.mesh.name, shape.bare.name];
    let mut table = report::Table::new(names, shape.has_servers());
    for operation in workload::Operation::ALL {
        let mut sums = [load::Sum::default(), load::Sum::default()];
        for round in 0..plan.rounds {
            // Whoever goes first in one round goes second in the next.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for index in order {
                let side = [&shape.mesh, &shape.bare][index];
                let load = load::Load {
                    side,
                    operation,
                    records: &records,
                    connections: plan.connections,
                };
                // Connections and caches are filled before anything counts.
                let warm = load.run(length.mul_f64(0.15)).await?;
                let before = shape.usage()?;
                let measured = load.run(length).await?;
                let used = shape.usage()?.since(&before);
                sums[index].add(warm.failures, measured, &used, index);
            }
        }
        table.add(operation, &mut sums);
    }
    writeln!(out, "{}", table.text())?;
    Ok(table.failures())
}
