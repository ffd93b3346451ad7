//! A child process that ends with the test: when the test returns, when it panics, and when the
//! test process itself is killed.

use std::{
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Waits for a line on standard input; when the pipe ends without one, whoever held it is gone.
const WATCH: &str = r#"read -r _ || kill -KILL "$1""#;
const POLL: Duration = Duration::from_millis(5);

/// A supervised child process.
pub(crate) struct Supervised {
    child: Child,
    /// A shell that kills the child once nobody holds its standard input any more.
    watch: Child,
}

impl Supervised {
    /// Starts a command.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let watch = Command::new("sh")
            .args(["-c", WATCH, "sh", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is there");
        Self { child, watch }
    }

    /// Its standard output, where the command asked for a pipe; once.
    pub(crate) fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When it has ended.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "no process {} to signal", self.pid());
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    /// Its status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "process {} still runs after {patience:?}",
                self.pid()
            );
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
        // The child is gone, and its number may soon be somebody else's.
        if let Some(mut held) = self.watch.stdin.take() {
            use std::io::Write as _;
            let _told = held.write_all(b"\n");
        }
        let _status = self.watch.wait();
    }
}

/// Runs a command to its end and gives what it printed.
///
/// # Panics
/// When it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}
