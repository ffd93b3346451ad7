//! Where log lines go: a buffer, and a thread that writes it out.
//!
//! Requests never wait for it. A line costs a copy into the buffer; the thread writes what has come
//! together. When nobody reads and the buffer is full, lines are dropped and counted.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Bytes that wait at most.
const BUFFER: usize = 8 << 20;
/// How long the thread lets lines come together, unless one of them is urgent.
const TOGETHER: Duration = Duration::from_millis(5);

/// A handle; clones write to the same place.
#[derive(Clone)]
pub(super) struct Output(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told to the thread: there are lines.
    more: Condvar,
    /// Told to who waits: there are none any more.
    empty: Condvar,
}

#[derive(Default)]
struct State {
    waiting: String,
    dropped: u64,
    urgent: bool,
    /// The thread writes what it took.
    busy: bool,
}

impl Output {
    /// An output to that writer.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub(super) fn start(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let output = Self(Arc::new(Shared {
            state: Mutex::default(),
            more: Condvar::new(),
            empty: Condvar::new(),
        }));
        let own = Arc::clone(&output.0);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || own.run(writer))?;
        Ok(output)
    }

    /// Hands a line over. An urgent one is written at once.
    pub(super) fn write(&self, line: &str, urgent: bool) {
        let mut state = self.0.state();
        if state.waiting.len() + line.len() > BUFFER {
            state.dropped += 1;
            drop(state);
            metrics::counter!("objectmesh_log_lines_dropped_total").increment(1);
            return;
        }
        let first = state.waiting.is_empty();
        state.waiting.push_str(line);
        let wake = first || (urgent && !state.urgent);
        state.urgent |= urgent;
        drop(state);
        if wake {
            self.0.more.notify_one();
        }
    }

    /// Waits until everything is written, at most that long.
    pub(super) fn flush(&self, patience: Duration) {
        let mut state = self.0.state();
        state.urgent = true;
        self.0.more.notify_one();
        let pending = |state: &mut State| state.busy || !state.waiting.is_empty();
        // Whether it was in time or not, the process ends.
        let _in_time = self.0.empty.wait_timeout_while(state, patience, pending);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut writer: impl Write) {
        let mut taken = String::new();
        loop {
            let mut state = self.state();
            state.busy = false;
            if state.waiting.is_empty() {
                state.urgent = false;
                self.empty.notify_all();
            }
            let lines = |state: &mut State| state.waiting.is_empty();
            state = self
                .more
                .wait_while(state, lines)
                .unwrap_or_else(PoisonError::into_inner);
            let calm = |state: &mut State| !state.urgent;
            (state, _) = self
                .more
                .wait_timeout_while(state, TOGETHER, calm)
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut taken, &mut state.waiting);
            state.urgent = false;
            state.busy = true;
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                taken.push_str(&lost(dropped));
            }
            // There is nowhere to tell that the log cannot be written.
            let _written = writer
                .write_all(taken.as_bytes())
                .and_then(|()| writer.flush());
            taken.clear();
        }
    }
}

fn lost(lines: u64) -> String {
    format!("{{\"level\":\"WARN\",\"message\":\"log lines were dropped\",\"lines\":{lines}}}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes lines only when it is let.
    struct Gate {
        open: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A gate that is gone stays open.
            let _ = self.open.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_output_blocks_nobody_and_tells_what_is_lost() {
        let (gate, open) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let output = Output::start(Gate {
            open,
            written: sink,
        })
        .unwrap();
        let line = "x".repeat(1023) + "\n";
        for _ in 0..(3 * BUFFER / line.len()) {
            output.write(&line, false);
        }
        drop(gate);
        output.flush(Duration::from_secs(20));
        // What was lost is told once more lines come.
        output.write("last\n", true);
        output.flush(Duration::from_secs(20));
        let written = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(written.contains("log lines were dropped"), "nothing told");
        assert!(written.contains("last\n"), "the last line is missing");
        assert!(written.len() < 3 * BUFFER, "nothing was dropped");
        assert!(written.len() > BUFFER, "too much was dropped");
    }
}
