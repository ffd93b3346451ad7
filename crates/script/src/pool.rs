//! The pool: warm workers, one run each at a time.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, value::RawValue};
use tokio::{
    io::BufReader,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    call::{Call, Capability, Host, HostError},
    numbers,
    protocol::{self, ARGUMENT, End, FromWorker, Job, LOG_LINES_MAX, ToWorker, VERSION},
    run::{
        Context, Limits, LogLine, MEMORY_MAX, Outcome, SOURCE_MAX, Script, ScriptError,
        ScriptErrorKind, TimeLimit,
    },
};

/// How long a worker may take to start.
const START: Duration = Duration::from_secs(10);
/// How long to wait for the exit of a worker that closed its pipes.
const EXIT: Duration = Duration::from_secs(1);
/// How often a run is tried with another worker while none has begun it.
const ATTEMPTS: usize = 3;

/// How a pool works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The program to start as worker; without one this program itself, which then must call
    /// [`crate::worker::run_if_worker`] first in its `main`.
    pub program: Option<PathBuf>,
    /// How many workers, and so how many runs at a time; at least 1.
    pub workers: usize,
    /// How long a run waits for a free worker.
    pub queue: Duration,
    /// After how many runs a worker is replaced.
    pub runs_per_worker: u32,
}

impl Default for Config {
    /// This program, two workers, 5 s, 1000 runs.
    fn default() -> Self {
        Self {
            program: None,
            workers: 2,
            queue: Duration::from_secs(5),
            runs_per_worker: 1000,
        }
    }
}

/// A pool of workers. Cheap to clone; the workers end with the last clone.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    permits: Semaphore,
    /// Workers that run nothing; with those that do, at most [`Config::workers`].
    idle: Mutex<Vec<Worker>>,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Whether it said that it takes a run.
    ready: bool,
    runs: u32,
}

/// How the exchange with a worker ended.
enum Exchange {
    Done(End, Duration),
    /// The worker never began: the run may be given to another.
    NotBegun(io::Error),
    /// The worker failed in mid-run.
    Broken(io::Error),
    /// The time was over.
    Overdue,
    /// The worker did what no worker does.
    Misbehaved(&'static str),
}

impl Pool {
    /// Starts the workers and waits until they are ready. To be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When a worker cannot be started, or the program is none.
    pub async fn start(config: Config) -> io::Result<Pool> {
        let workers = config.workers.max(1);
        let pool = Pool {
            inner: Arc::new(Inner {
                permits: Semaphore::new(workers),
                idle: Mutex::new(Vec::with_capacity(workers)),
                config,
            }),
        };
        let mut started = Vec::with_capacity(workers);
        for _ in 0..workers {
            started.push(pool.spawn()?);
        }
        for worker in &mut started {
            worker.await_ready().await?;
        }
        *pool.idle() = started;
        Ok(pool)
    }

    /// Runs a script to its end, its calls answered by a host.
    ///
    /// A run that is dropped before its end ends its worker; the next run gets another.
    ///
    /// # Errors
    ///
    /// When the script throws, does not parse, exceeds a limit, or its worker fails. In all but
    /// [`ScriptErrorKind::Busy`], [`ScriptErrorKind::Unavailable`] and [`ScriptErrorKind::Syntax`]
    /// it may have made calls before.
    pub async fn run(
        &self,
        script: &Script,
        context: &Context,
        limits: Limits,
        host: &impl Host,
    ) -> Result<Outcome, ScriptError> {
        let mut log = Vec::new();
        match self.attempt(script, context, limits, host, &mut log).await {
            Ok((value, mut input, cpu)) => {
                numbers::restore(&context.input, &mut input);
                Ok(Outcome {
                    value,
                    input,
                    log,
                    cpu,
                })
            }
            Err(kind) => Err(ScriptError { kind, log }),
        }
    }

    async fn attempt(
        &self,
        script: &Script,
        context: &Context,
        limits: Limits,
        host: &impl Host,
        log: &mut Vec<LogLine>,
    ) -> Result<(Option<Value>, Value, Duration), ScriptErrorKind> {
        if script.source.len() > SOURCE_MAX {
            return Err(ScriptErrorKind::Syntax {
                message: format!("the source is longer than {SOURCE_MAX} bytes"),
                line: 1,
            });
        }
        let unavailable = |error: io::Error| ScriptErrorKind::Unavailable(error.to_string());
        let job = job(script, context, limits).map_err(unavailable)?;
        let mut lease = self.lease().await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut worker = match lease.worker.take() {
                Some(worker) => worker,
                None => self.spawn().map_err(unavailable)?,
            };
            match worker.exchange(&job, script, limits, host, log).await {
                Exchange::Done(end, cpu) => {
                    worker.runs += 1;
                    if worker.runs < self.inner.config.runs_per_worker {
                        lease.worker = Some(worker);
                    }
                    return ended(end, cpu);
                }
                Exchange::NotBegun(error) if attempts >= ATTEMPTS => {
                    return Err(unavailable(error));
                }
                Exchange::NotBegun(error) => {
                    tracing::debug!(%error, "a script worker was gone; another takes the run");
                }
                Exchange::Broken(error) => {
                    let status = timeout(EXIT, worker.child.wait()).await;
                    let status = status.ok().and_then(Result::ok);
                    return Err(broken(status, &error));
                }
                Exchange::Misbehaved(what) => {
                    tracing::error!(script = script.name, what, "a script worker misbehaved");
                    return Err(ScriptErrorKind::Crashed(what.to_owned()));
                }
                Exchange::Overdue => return Err(ScriptErrorKind::Timeout(TimeLimit::Wall)),
            }
        }
    }

    /// A free worker, or the right to start one.
    async fn lease(&self) -> Result<Lease<'_>, ScriptErrorKind> {
        let permit = timeout(self.inner.config.queue, self.inner.permits.acquire()).await;
        match permit {
            Ok(Ok(permit)) => Ok(Lease {
                worker: self.idle().pop(),
                pool: self,
                _permit: permit,
            }),
            _ => Err(ScriptErrorKind::Busy),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.inner
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> io::Result<Worker> {
        let mut command = match &self.inner.config.program {
            Some(program) => Command::new(program),
            None => Command::new(this_program()?),
        };
        let mut child = command
            .arg(ARGUMENT)
            .env_clear()
            // Scripts tell the time in UTC wherever they run.
            .env("TZ", "UTC")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a worker without pipes"));
        };
        Ok(Worker {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            ready: false,
            runs: 0,
        })
    }
}

/// The executable of this process, even if its file has been replaced since.
fn this_program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}

/// A place in the pool. Whatever becomes of the run, the place has a warm worker again afterwards.
struct Lease<'p> {
    worker: Option<Worker>,
    pool: &'p Pool,
    _permit: SemaphorePermit<'p>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let runtime_is_there = tokio::runtime::Handle::try_current().is_ok();
        let worker = match self.worker.take() {
            Some(worker) => Some(worker),
            None if runtime_is_there => self.pool.spawn().ok(),
            None => None,
        };
        // Without one the next run starts its own, and tells if that fails.
        self.pool.idle().extend(worker);
    }
}

/// What a worker is told.
fn job(script: &Script, context: &Context, limits: Limits) -> io::Result<ToWorker> {
    let context = serde_json::to_string(context).and_then(RawValue::from_string)?;
    Ok(ToWorker::Run(Box::new(Job {
        name: script.name.clone(),
        kind: script.kind,
        source: script.source.clone(),
        context,
        limits: Limits {
            memory: limits.memory.min(MEMORY_MAX),
            ..limits
        },
        log: script.capabilities.allow(Capability::Log),
        uuid: script.capabilities.allow(Capability::CryptoUuid),
    })))
}

impl Worker {
    /// Waits until the worker takes a run.
    async fn await_ready(&mut self) -> io::Result<()> {
        if self.ready {
            return Ok(());
        }
        match timeout(START, protocol::receive(&mut self.stdout)).await {
            Ok(Ok(FromWorker::Ready { version: VERSION })) => {
                self.ready = true;
                Ok(())
            }
            Ok(Ok(_)) => Err(io::Error::other("the worker is of another build")),
            Ok(Err(error)) => Err(io::Error::other(format!(
                "the program is no script worker; does it call run_if_worker first? ({error})"
            ))),
            Err(_) => Err(io::Error::other("the worker did not start in time")),
        }
    }

    async fn exchange(
        &mut self,
        job: &ToWorker,
        script: &Script,
        limits: Limits,
        host: &impl Host,
        log: &mut Vec<LogLine>,
    ) -> Exchange {
        match timeout(START, self.begin(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Exchange::NotBegun(error),
            Err(elapsed) => return Exchange::NotBegun(elapsed.into()),
        }
        // The time of a run does not count the start of its worker.
        let talk = self.talk(script, limits, host, log);
        timeout(limits.wall, talk)
            .await
            .unwrap_or(Exchange::Overdue)
    }

    async fn begin(&mut self, job: &ToWorker) -> io::Result<()> {
        self.await_ready().await?;
        self.ready = false;
        protocol::send(&mut self.stdin, job).await?;
        match protocol::receive(&mut self.stdout).await? {
            FromWorker::Started => Ok(()),
            _ => Err(io::Error::other("the worker did not begin")),
        }
    }

    /// Answers calls until the run is done.
    async fn talk(
        &mut self,
        script: &Script,
        limits: Limits,
        host: &impl Host,
        log: &mut Vec<LogLine>,
    ) -> Exchange {
        let mut calls = 0;
        loop {
            match protocol::receive(&mut self.stdout).await {
                Ok(FromWorker::Log(line)) if log.len() < LOG_LINES_MAX => log.push(line),
                Ok(FromWorker::Log(_)) => return Exchange::Misbehaved("logged without end"),
                Ok(FromWorker::Call(call)) => {
                    calls += 1;
                    if calls > limits.calls {
                        return Exchange::Misbehaved("called without end");
                    }
                    let answer = answer(&call, script, host).await;
                    let answer = ToWorker::Answer(answer);
                    if let Err(error) = protocol::send(&mut self.stdin, &answer).await {
                        return Exchange::Broken(error);
                    }
                }
                Ok(FromWorker::Done { cpu_ns, end }) => {
                    return Exchange::Done(end, Duration::from_nanos(cpu_ns));
                }
                Ok(FromWorker::Ready { .. } | FromWorker::Started) => {
                    return Exchange::Misbehaved("forgot the run");
                }
                Err(error) => return Exchange::Broken(error),
            }
        }
    }
}

/// The host's answer, where the script may ask.
async fn answer(
    call: &RawValue,
    script: &Script,
    host: &impl Host,
) -> Result<Box<RawValue>, HostError> {
    let call: Call = serde_json::from_str(call.get()).map_err(|error| {
        HostError::new(
            "INVALID_CALL",
            format!("the arguments are not understood: {error}"),
        )
    })?;
    let needed = call.capability();
    if !script.capabilities.allow(needed) {
        return Err(HostError::new(
            "CAPABILITY_DENIED",
            format!("the script does not hold the capability {needed}"),
        ));
    }
    let value = host.call(call).await?;
    let text = serde_json::to_string(&value)
        .map_err(|error| HostError::new("INTERNAL", format!("the answer is no JSON: {error}")))?;
    if text.len() > protocol::FRAME_MAX / 4 {
        return Err(HostError::new(
            "RESULT_TOO_LARGE",
            "the answer is too long for a script; ask for less",
        ));
    }
    RawValue::from_string(text)
        .map_err(|error| HostError::new("INTERNAL", format!("the answer is no JSON: {error}")))
}

fn ended(end: End, cpu: Duration) -> Result<(Option<Value>, Value, Duration), ScriptErrorKind> {
    let parse = |raw: &RawValue| {
        serde_json::from_str(raw.get()).map_err(|_| ScriptErrorKind::Output("is nested too deep"))
    };
    Err(match end {
        End::Returned {
            value,
            nothing,
            input,
        } => {
            let value: Value = parse(&value)?;
            return Ok(((!nothing).then_some(value), parse(&input)?, cpu));
        }
        End::Thrown(thrown) => ScriptErrorKind::Thrown(thrown),
        End::Syntax { message, line } => ScriptErrorKind::Syntax { message, line },
        End::CpuTime => ScriptErrorKind::Timeout(TimeLimit::Cpu),
        End::OutOfMemory => ScriptErrorKind::OutOfMemory,
        End::NeverResolved => ScriptErrorKind::NeverResolved,
        End::OutputTooLong => ScriptErrorKind::Output("is too long"),
    })
}

/// What the exit of a worker in mid-run says.
fn broken(status: Option<ExitStatus>, error: &io::Error) -> ScriptErrorKind {
    let cpu = rustix::process::Signal::XCPU.as_raw();
    match status {
        Some(status) if status.signal() == Some(cpu) => ScriptErrorKind::Timeout(TimeLimit::Cpu),
        Some(status) => ScriptErrorKind::Crashed(status.to_string()),
        None => ScriptErrorKind::Crashed(error.to_string()),
    }
}
