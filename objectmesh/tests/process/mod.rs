//! The program as processes: started, watched through what they print, broken on purpose, and ended
//! for sure, also when the test panics or is killed.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses another part of it"
)]

pub mod child;
pub mod cluster;
pub mod ports;
pub mod proxy;
pub mod servers;

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use child::Supervised;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_objectmesh");

/// A running `objectmesh dev`.
pub(crate) struct Program {
    child: Supervised,
    lines: Receiver<String>,
    /// What it has printed until it was ready.
    pub(crate) printed: Vec<String>,
    /// How long it took until it was ready.
    pub(crate) start: Duration,
}

impl Program {
    /// Starts `objectmesh dev` on free ports and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready within `patience`.
    pub(crate) fn dev<S: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = S>,
        patience: Duration,
    ) -> Self {
        let began = Instant::now();
        let mut command = Command::new(PROGRAM);
        clean(&mut command);
        command
            .args(["dev", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = Supervised::spawn(&mut command);
        let stdout = child.stdout();
        let (sender, lines) = channel();
        // Ends with the pipe, that is, with the program.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Lines that nobody waits for are still read, lest the program blocks.
                let _unread = sender.send(line);
            }
        });
        let mut program = Self {
            child,
            lines,
            printed: Vec::new(),
            start: Duration::ZERO,
        };
        program.printed = program.read_until("ready in ", patience);
        program.start = began.elapsed();
        program
    }

    /// The lines up to the one that starts with `start`, inclusive.
    ///
    /// # Panics
    /// When that line does not come within `patience`.
    pub(crate) fn read_until(&mut self, start: &str, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let mut read = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let found = line.starts_with(start);
                    read.push(line);
                    if found {
                        return read;
                    }
                }
                Err(why) => {
                    panic!("no line `{start}…` ({why}) within {patience:?}; printed: {read:#?}")
                }
            }
        }
    }

    /// What is printed behind a word at the beginning of a line: `REST`, `token`.
    ///
    /// # Panics
    /// When there is no such line.
    pub(crate) fn value(&self, word: &str) -> &str {
        let line = self.printed.iter().find_map(|line| line.strip_prefix(word));
        line.unwrap_or_else(|| panic!("no line `{word}` in {:#?}", self.printed))
            .trim()
    }

    /// URL of the REST API, ending in `/api/v1`.
    pub(crate) fn base(&self) -> &str {
        self.value("REST ")
    }

    /// Asks it to stop, as a supervisor does.
    pub(crate) fn terminate(&self) {
        self.child.signal("TERM");
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.child.kill();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `patience`.
    pub(crate) fn wait(mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            // Its output ends with it.
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the program still runs after {patience:?}")
                }
            }
        }
        self.child.wait(patience)
    }

    /// Asks it to stop and waits until it did, in good order.
    pub(crate) fn stop(self) {
        self.terminate();
        let status = self.wait(Duration::from_secs(40));
        assert!(status.success(), "{status}");
    }
}

/// Takes our settings out of the environment that a child inherits: it gets its own.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        let is_ours = ["OBJECTMESH__", "OPENAI_", "ANTHROPIC_"];
        if is_ours.iter().any(|prefix| name_text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within `patience`; `what` says what was waited for.
pub(crate) async fn eventually(
    what: &str,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) {
    let began = Instant::now();
    while !holds().await {
        assert!(
            began.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
