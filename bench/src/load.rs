//! The load: connections that each have one request at a time.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};

use crate::{
    http_client::Connection,
    shape::{Side, Usage},
    workload::{Operation, Records},
};

/// One kind of load on one side.
pub(crate) struct Load<'l> {
    /// Who is asked.
    pub(crate) side: &'l Side,
    /// For what.
    pub(crate) operation: Operation,
    /// About which records.
    pub(crate) records: &'l Records,
    /// By how many at a time.
    pub(crate) connections: usize,
}

/// What a load has measured.
pub(crate) struct Measured {
    /// Requests that were not answered with 2xx.
    pub(crate) failures: u64,
    /// Time of each that was, in microseconds.
    latencies: Vec<u32>,
    took: Duration,
}

thread_local! {
    /// Goes on from round to round, so that no two do the same.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

impl Load<'_> {
    /// Asks for that long.
    pub(crate) async fn run(&self, length: Duration) -> anyhow::Result<Measured> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::open(&self.side.address, &self.side.token).await?);
        }
        let (latencies, failures) = (RefCell::new(Vec::new()), Cell::new(0));
        let began = Instant::now();
        let end = began + length;
        let loops: FuturesUnordered<_> = connections
            .iter_mut()
            .map(|connection| self.ask(connection, end, &latencies, &failures))
            .collect();
        loops.collect::<()>().await;
        Ok(Measured {
            failures: failures.get(),
            latencies: latencies.into_inner(),
            took: began.elapsed(),
        })
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        end: Instant,
        latencies: &RefCell<Vec<u32>>,
        failures: &Cell<u64>,
    ) {
        loop {
            let sent = Instant::now();
            if sent >= end {
                return;
            }
            let number = NUMBER.replace(NUMBER.get() + 1);
            let dialect = self.side.dialect;
            let (method, target, body) = self.operation.request(dialect, self.records, number);
            let why = match connection.send(method, &target, body).await {
                Ok((status, _)) if status.is_success() => {
                    let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
                    latencies.borrow_mut().push(micros);
                    continue;
                }
                Ok((status, body)) => format!("{status}: {}", String::from_utf8_lossy(&body)),
                Err(error) => format!("{error:#}"),
            };
            failures.set(failures.get() + 1);
            if failures.get() == 1 {
                eprintln!("bench: {}: {target}: {why}", self.side.name);
            }
            match Connection::open(&self.side.address, &self.side.token).await {
                Ok(fresh) => *connection = fresh,
                Err(_) => return,
            }
        }
    }
}

/// The rounds of an operation on one side together.
#[derive(Default)]
pub(crate) struct Sum {
    /// Requests that were not answered with 2xx.
    pub(crate) failures: u64,
    latencies: Vec<u32>,
    took: Duration,
    cpu: Duration,
    servers: Duration,
    /// Processor time for a request in each round, in microseconds.
    pub(crate) rounds: Vec<f64>,
}

impl Sum {
    /// Adds a round on side `index`.
    pub(crate) fn add(&mut self, failed: u64, measured: Measured, used: &Usage, index: usize) {
        self.failures += failed + measured.failures;
        let count = measured.latencies.len();
        self.latencies.extend(measured.latencies);
        self.took += measured.took;
        self.cpu += used.sides[index];
        self.servers += used.servers;
        self.rounds.push(each(used.sides[index], count));
    }

    /// Requests a second.
    pub(crate) fn throughput(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// Processor time of the side's processes for a request, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        each(self.cpu, self.latencies.len())
    }

    /// Processor time of PostgreSQL and Redis for a request, in microseconds.
    pub(crate) fn servers(&self) -> f64 {
        each(self.servers, self.latencies.len())
    }

    /// The time that this part of the requests (0 to 1) took at most, in milliseconds.
    pub(crate) fn quantile(&mut self, part: f64) -> f64 {
        if self.latencies.is_empty() {
            return f64::NAN;
        }
        let index = ((self.latencies.len() - 1) as f64 * part).round() as usize;
        let (_, found, _) = self.latencies.select_nth_unstable(index);
        f64::from(*found) / 1000.0
    }
}

fn each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}
