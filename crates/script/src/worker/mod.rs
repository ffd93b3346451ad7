//! The worker: a process that runs one script at a time, each in an engine of its own.
//!
//! It is this program started again with a hidden argument, so a program that runs scripts must ask
//! [`run_if_worker`] before anything else.

mod confine;
mod engine;
mod source;

use std::{
    cell::RefCell,
    io::{self, Stdin, Stdout},
    process::ExitCode,
    rc::Rc,
    thread,
};

use serde_json::value::RawValue;

use crate::{
    call::HostError,
    protocol::{self, ARGUMENT, FromWorker, Job, LOG_LINE_MAX, LOG_LINES_MAX, ToWorker, VERSION},
    run::{LogLevel, LogLine},
};

/// Whether this process was started as a worker: then serves its pool until that goes away, and gives
/// what `main` must return. To be called first in `main`, before threads, runtimes and arguments.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     if let Some(code) = script::worker::run_if_worker() {
///         return code;
///     }
///     // … the program itself
///     ExitCode::SUCCESS
/// }
/// ```
#[must_use]
pub fn run_if_worker() -> Option<ExitCode> {
    if std::env::args_os()
        .nth(1)
        .is_none_or(|first| first != ARGUMENT)
    {
        return None;
    }
    Some(match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("script worker: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Serves on a thread of its own, since the stack that scripts may use must be there whatever the
/// stack of the main thread is.
fn serve() -> io::Result<()> {
    let serving = thread::Builder::new()
        .name("engine".to_owned())
        .stack_size(engine::THREAD_STACK)
        .spawn(serve_here)?;
    serving
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the worker panicked")))
}

fn serve_here() -> io::Result<()> {
    let watchdog = confine::Watchdog::start()?;
    confine::confine()?;
    let port = Rc::new(RefCell::new(Port {
        stdin: io::stdin(),
        stdout: io::stdout(),
        lines: 0,
    }));
    loop {
        let job = port.borrow_mut().job()?;
        match job {
            Some(job) => run(&job, &watchdog, &port)?,
            None => return Ok(()),
        }
    }
}

fn run(job: &Job, watchdog: &confine::Watchdog, port: &Rc<RefCell<Port>>) -> io::Result<()> {
    let begin = confine::cpu_ns();
    let budget = u64::try_from(job.limits.cpu.as_nanos()).unwrap_or(u64::MAX);
    let deadline = begin.saturating_add(budget);
    let armed = watchdog.arm(deadline);
    let engine = engine::Engine::new(job, deadline)?;
    let end = engine.run(job, port)?;
    drop(armed);
    port.borrow_mut().send(&FromWorker::Done {
        cpu_ns: confine::cpu_ns().saturating_sub(begin),
        end,
    })
    // The engine is dropped behind the answer: nobody waits for it.
}

/// The way to the pool.
struct Port {
    stdin: Stdin,
    stdout: Stdout,
    lines: usize,
}

impl Port {
    fn send(&mut self, message: &FromWorker) -> io::Result<()> {
        protocol::write(&mut self.stdout, message)
    }

    /// Waits for the next run; nothing when the pool is gone.
    fn job(&mut self) -> io::Result<Option<Box<Job>>> {
        self.send(&FromWorker::Ready { version: VERSION })?;
        let Some(ToWorker::Run(job)) = protocol::read(&mut self.stdin)? else {
            return Ok(None);
        };
        self.lines = 0;
        self.send(&FromWorker::Started)?;
        Ok(Some(job))
    }

    /// Makes a call and waits for the answer.
    fn call(&mut self, call: Box<RawValue>) -> io::Result<Result<Box<RawValue>, HostError>> {
        self.send(&FromWorker::Call(call))?;
        match protocol::read(&mut self.stdin)? {
            Some(ToWorker::Answer(answer)) => Ok(answer),
            _ => Err(io::Error::other("the pool went away")),
        }
    }

    /// Logs a line, within the bounds of a log.
    fn log(&mut self, level: LogLevel, text: &str) -> io::Result<()> {
        self.lines += 1;
        let line = match self.lines.cmp(&LOG_LINES_MAX) {
            std::cmp::Ordering::Less => LogLine {
                level,
                text: cut(text, LOG_LINE_MAX).to_owned(),
            },
            std::cmp::Ordering::Equal => LogLine {
                level: LogLevel::Warn,
                text: "further lines are dropped".to_owned(),
            },
            std::cmp::Ordering::Greater => return Ok(()),
        };
        self.send(&FromWorker::Log(line))
    }
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}
