//! What was measured, as Markdown.

use std::fmt::Write as _;

use crate::{
    load::Sum,
    machine,
    shape::{Group, Shape},
    workload::Operation,
};

const MIB: f64 = 1024.0 * 1024.0;

/// Start and idle memory of both sides, under a heading.
pub(crate) fn starts(shape: &Shape) -> anyhow::Result<String> {
    let mut text = format!("\n## {}\n\n{}\n\n", shape.name, machine::load()?);
    text.push_str("| | start to ready | idle memory (RSS) | of which |\n|---|---|---|---|\n");
    for (name, group) in [
        (shape.mesh.name, &shape.mesh_processes),
        (shape.bare.name, &shape.bare_processes),
    ] {
        line(&mut text, name, group)?;
    }
    for (name, memory) in &shape.server_memory {
        writeln!(
            text,
            "| {name} (PSS) | | {:.0} MB | |",
            *memory as f64 / MIB
        )?;
    }
    Ok(text)
}

fn line(text: &mut String, name: &str, group: &Group) -> anyhow::Result<()> {
    let sum: u64 = group.idle.iter().map(|(_, memory)| memory).sum();
    let parts: Vec<String> = group
        .idle
        .iter()
        .map(|(name, memory)| format!("{name} {:.0}", *memory as f64 / MIB))
        .collect();
    writeln!(
        text,
        "| {name} | {:.0} ms | {:.0} MB | {} |",
        group.ready_after.as_secs_f64() * 1e3,
        sum as f64 / MIB,
        parts.join(", ")
    )?;
    Ok(())
}

/// The table of operations.
pub(crate) struct Table {
    text: String,
    has_servers: bool,
    failures: u64,
}

impl Table {
    /// An empty one; `has_servers` when there are database servers to be told apart.
    pub(crate) fn new([one, other]: [&str; 2], has_servers: bool) -> Self {
        let mut text = format!(
            "| operation ({one} / {other}) | requests/s | ratio | p50 ms | p99 ms | CPU µs/request | ratio (rounds) |",
        );
        let mut rule = String::from("\n|---|---|---|---|---|---|---|");
        if has_servers {
            text.push_str(" PostgreSQL + Redis µs/request |");
            rule.push_str("---|");
        }
        text.push_str(&rule);
        text.push('\n');
        Self {
            text,
            has_servers,
            failures: 0,
        }
    }

    /// Adds an operation: the mesh and the bare program.
    pub(crate) fn add(&mut self, operation: Operation, [mesh, bare]: &mut [Sum; 2]) {
        self.failures += mesh.failures + bare.failures;
        let rounds = mesh.rounds.iter().zip(&bare.rounds);
        let ratios: Vec<f64> = rounds.map(|(mesh, bare)| mesh / bare).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let mut line = format!(
            "| {} | {:.0} / {:.0} | {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {:.0} / {:.0} | **{:.2}** ({least:.2}–{most:.2}) |",
            operation.name(),
            mesh.throughput(),
            bare.throughput(),
            mesh.throughput() / bare.throughput(),
            mesh.quantile(0.5),
            bare.quantile(0.5),
            mesh.quantile(0.99),
            bare.quantile(0.99),
            mesh.cpu(),
            bare.cpu(),
            mesh.cpu() / bare.cpu(),
        );
        if self.has_servers {
            line.push_str(&format!(" {:.0} / {:.0} |", mesh.servers(), bare.servers()));
        }
        line.push('\n');
        self.text.push_str(&line);
    }

    /// As Markdown.
    pub(crate) fn text(&self) -> String {
        format!("{}\nfailed requests: {}", self.text, self.failures)
    }

    /// Requests that failed on either side.
    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }
}
