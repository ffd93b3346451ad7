//! Processes that the benchmark starts and watches, and their figures in `/proc`.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// `USER_HZ`, in which `/proc` counts: 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// A process of ours; ends with this value.
pub(crate) struct Process {
    /// Its name in messages and of its log.
    pub(crate) name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it without the settings of whoever started us; what it prints goes to
    /// `<folder>/<name>.log`.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            if ["OBJECTMESH__", "OTEL_"]
                .iter()
                .any(|ours| name.starts_with(ours))
            {
                command.env_remove(&variable);
            }
        }
        let log = File::create(folder.join(format!("{name}.log")))?;
        command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self { name, child })
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended, {status}; see its log", self.name),
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()?;
        anyhow::ensure!(asked.success(), "{} cannot be told to end", self.name);
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return anyhow::Ok(status);
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let status = tokio::time::timeout(PATIENCE, ended).await;
        let status = status.with_context(|| format!("{} does not end", self.name))??;
        anyhow::ensure!(status.success(), "{} ended, {status}", self.name);
        Ok(())
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(self.child.id())
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        kilobytes(self.child.id(), "status", "VmRSS:")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Processor time of a process, all its threads, so far.
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    ticks(pid, &[13, 14])
}

/// Sums fields of `/proc/<pid>/stat`, counted from 0 (proc(5) counts from 1).
fn ticks(pid: u32, fields: &[usize]) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces.
    let (_, rest) = stat.rsplit_once(") ").context("/proc/…/stat has no name")?;
    let values: Vec<&str> = rest.split(' ').collect();
    let mut sum = 0;
    for field in fields {
        let value = values.get(field - 2).context("/proc/…/stat is short")?;
        sum += value.parse::<u32>()?;
    }
    Ok(TICK * sum)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

fn kilobytes(pid: u32, file: &str, key: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    let value = value.with_context(|| format!("no {key} in /proc/{pid}/{file}"))?;
    let number: u64 = value.trim().trim_end_matches(" kB").parse()?;
    Ok(number * 1024)
}

/// A server with its children that somebody else started.
pub(crate) struct Server {
    /// Its main process.
    pub(crate) pid: u32,
}

impl Server {
    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let mut found = vec![self.pid];
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if parent(pid) == Some(self.pid) {
                found.push(pid);
            }
        }
        Ok(found)
    }

    /// Processor time of all its processes so far, also of those that have ended.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut sum = ticks(self.pid, &[15, 16])?;
        for pid in self.processes()? {
            // One that has just ended is counted by its parent.
            sum += cpu(pid).unwrap_or_default();
        }
        Ok(sum)
    }

    /// Memory of all its processes, in bytes; what they share is counted once.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for pid in self.processes()? {
            sum += kilobytes(pid, "smaps_rollup", "Pss:").unwrap_or_default();
        }
        Ok(sum)
    }
}
