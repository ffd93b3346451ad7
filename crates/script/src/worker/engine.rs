//! One run of one script in an engine of its own.

use std::{cell::Cell, cell::RefCell, collections::VecDeque, io, rc::Rc};

use rquickjs::{
    CatchResultExt, CaughtError, Context, Ctx, Function, Object, Promise, Runtime, Value,
    context::EvalOptions, promise::PromiseState,
};
use serde_json::value::RawValue;

use super::{Port, confine, source};
use crate::{
    protocol::{End, Job},
    run::{Kind, LogLevel, Thrown},
};

const PRELUDE: &str = include_str!("prelude.js");
/// Stack of scripts: enough for some thousand frames.
const STACK: usize = 1 << 20;
/// Stack of the thread they run on: what the engine uses beyond its own count is far from the end.
pub(super) const THREAD_STACK: usize = 8 * STACK;
/// Longest message and most lines of stack that are told of an error.
const MESSAGE_MAX: usize = 8 << 10;
const STACK_LINES_MAX: usize = 20;

/// An engine without anything in it.
pub(super) struct Engine {
    // Dropped in this order.
    context: Context,
    _runtime: Runtime,
    /// Whether the time ran out.
    expired: Rc<Cell<bool>>,
}

/// Why a run stops early.
enum Stop {
    /// The way to the pool is gone.
    Io(io::Error),
    End(End),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

impl Engine {
    /// An engine that stops when the processor time of the process reaches a deadline.
    pub(super) fn new(job: &Job, deadline: u64) -> io::Result<Engine> {
        let engine = Runtime::new().and_then(|runtime| {
            runtime.set_memory_limit(job.limits.memory);
            runtime.set_max_stack_size(STACK);
            let expired = Rc::new(Cell::new(false));
            let flag = Rc::clone(&expired);
            runtime.set_interrupt_handler(Some(Box::new(move || {
                flag.set(flag.get() || confine::cpu_ns() > deadline);
                flag.get()
            })));
            Ok(Engine {
                context: Context::full(&runtime)?,
                _runtime: runtime,
                expired,
            })
        });
        engine.map_err(io::Error::other)
    }

    /// Runs the script to its end.
    pub(super) fn run(&self, job: &Job, port: &Rc<RefCell<Port>>) -> io::Result<End> {
        let calls = Rc::new(RefCell::new(VecDeque::new()));
        let ended = self.context.with(|ctx| {
            let run = Run {
                ctx,
                engine: self,
                job,
                port,
                calls,
            };
            run.script()
        });
        match ended {
            // What an engine that was stopped says of it does not matter.
            Ok(_) | Err(Stop::End(_)) if self.expired.get() => Ok(End::CpuTime),
            Ok(end) | Err(Stop::End(end)) => Ok(end),
            Err(Stop::Io(error)) => Err(error),
        }
    }
}

struct Run<'js, 'r> {
    ctx: Ctx<'js>,
    engine: &'r Engine,
    job: &'r Job,
    port: &'r Rc<RefCell<Port>>,
    /// Calls that are not sent yet.
    calls: Rc<RefCell<VecDeque<String>>>,
}

impl<'js> Run<'js, '_> {
    fn script(&self) -> Result<End, Stop> {
        let bridge = self.prelude()?;
        let script = self.compile()?;
        let invoke: Function<'js> = self.ok(&bridge, bridge.get("invoke"))?;
        let promise: Promise<'js> = self.ok(&bridge, invoke.call((script,)))?;
        let answer: Function<'js> = self.ok(&bridge, bridge.get("answer"))?;
        loop {
            while self.ctx.execute_pending_job() {}
            if self.engine.expired.get() {
                return Ok(End::CpuTime);
            }
            let Some(call) = self.calls.borrow_mut().pop_front() else {
                break;
            };
            let settled = promise.state() != PromiseState::Pending;
            let call = RawValue::from_string(call).map_err(io::Error::other)?;
            let (good, message) = match self.port.borrow_mut().call(call)? {
                Ok(value) => (true, value.get().to_owned()),
                Err(refusal) => (
                    false,
                    serde_json::to_string(&refusal).map_err(io::Error::other)?,
                ),
            };
            let refusal: Value<'js> = self.ok(&bridge, answer.call((good, message)))?;
            if settled && !good {
                // The script ended without waiting for it, so nobody else will tell.
                return Ok(self.thrown(&bridge, refusal));
            }
        }
        match promise.state() {
            PromiseState::Pending => Ok(End::NeverResolved),
            PromiseState::Rejected => {
                let outcome: Option<rquickjs::Result<Value<'js>>> = promise.result();
                drop(outcome);
                let reason = self.ctx.catch();
                Ok(self.thrown(&bridge, reason))
            }
            PromiseState::Resolved => self.returned(&bridge, &promise),
        }
    }

    fn prelude(&self) -> Result<Object<'js>, Stop> {
        let ctx = &self.ctx;
        let made = (|| {
            let native = Object::new(ctx.clone())?;
            let calls = Rc::clone(&self.calls);
            let most = self.job.limits.memory.max(self.job.limits.output);
            native.set(
                "send",
                Function::new(ctx.clone(), move |call: String| {
                    let mut calls = calls.borrow_mut();
                    // What waits is outside of the memory that the engine counts.
                    let waiting: usize = calls.iter().map(String::len).sum();
                    let fits = waiting + call.len() <= most;
                    if fits {
                        calls.push_back(call);
                    }
                    fits
                }),
            )?;
            let port = Rc::clone(self.port);
            native.set(
                "log",
                Function::new(ctx.clone(), move |level: String, text: String| {
                    let level = match level.as_str() {
                        "debug" => LogLevel::Debug,
                        "warn" => LogLevel::Warn,
                        "error" => LogLevel::Error,
                        _ => LogLevel::Info,
                    };
                    // A pool that is gone is met again by the next message.
                    let _ = port.borrow_mut().log(level, &text);
                }),
            )?;
            native.set("uuid", Function::new(ctx.clone(), random_uuid))?;
            let config = Object::new(ctx.clone())?;
            config.set("log", self.job.log)?;
            config.set("uuid", self.job.uuid)?;
            config.set(
                "kind",
                match self.job.kind {
                    Kind::Action => "action",
                    Kind::Hook => "hook",
                },
            )?;
            let limits = Object::new(ctx.clone())?;
            limits.set("calls", self.job.limits.calls)?;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            limits.set("output", self.job.limits.output as f64)?;
            config.set("limits", limits)?;
            config.set("context", ctx.json_parse(self.job.context.get())?)?;
            let prelude: Function<'js> = ctx.eval_with_options(PRELUDE, options("prelude.js"))?;
            prelude.call((native, config))
        })();
        // Only a context that is too large for the script's memory fails here.
        made.catch(ctx).map_err(|error| {
            if is_out_of_memory(&error) || matches!(error, CaughtError::Value(_)) {
                Stop::End(End::OutOfMemory)
            } else {
                Stop::Io(io::Error::other(format!("the prelude failed: {error}")))
            }
        })
    }

    /// The script as a function of its context.
    fn compile(&self) -> Result<Function<'js>, Stop> {
        let file = file_name(&self.job.name);
        let compile = |text: String| {
            let made = self
                .ctx
                .eval_with_options::<Function<'js>, _>(text, options(&file));
            made.catch(&self.ctx)
        };
        if let Some(expression) = source::as_expression(&self.job.source)
            && let Ok(script) = compile(expression)
        {
            return Ok(script);
        }
        compile(source::as_body(&self.job.source)).map_err(|error| {
            Stop::End(match error {
                error if is_out_of_memory(&error) => End::OutOfMemory,
                CaughtError::Exception(exception) => End::Syntax {
                    line: line_of(&exception.stack().unwrap_or_default(), &file),
                    message: super::cut(&exception.message().unwrap_or_default(), MESSAGE_MAX)
                        .to_owned(),
                },
                _ => End::OutOfMemory,
            })
        })
    }

    /// What the script returned, and what it made of its input.
    fn returned(&self, bridge: &Object<'js>, promise: &Promise<'js>) -> Result<End, Stop> {
        let Some(value) = promise.result::<Value<'js>>() else {
            return Ok(End::NeverResolved);
        };
        let value = self.ok(bridge, value)?;
        let as_json: Function<'js> = self.ok(bridge, bridge.get("value"))?;
        let value: Option<String> = self.ok(bridge, as_json.call((value,)))?;
        let input: Function<'js> = self.ok(bridge, bridge.get("input"))?;
        let input: Option<String> = self.ok(bridge, input.call(()))?;
        let input = input.unwrap_or_else(|| "null".to_owned());
        let most = self.job.limits.output;
        if value.as_ref().is_some_and(|value| value.len() > most) || input.len() > most {
            return Ok(End::OutputTooLong);
        }
        let raw = |text| RawValue::from_string(text).map_err(io::Error::other);
        Ok(End::Returned {
            nothing: value.is_none(),
            value: raw(value.unwrap_or_else(|| "null".to_owned()))?,
            input: raw(input)?,
        })
    }

    /// The result, or the end that its error is.
    fn ok<T>(&self, bridge: &Object<'js>, result: rquickjs::Result<T>) -> Result<T, Stop> {
        result.map_err(|error| match error {
            rquickjs::Error::Exception => {
                let thrown = self.ctx.catch();
                Stop::End(self.thrown(bridge, thrown))
            }
            rquickjs::Error::Allocation => Stop::End(End::OutOfMemory),
            other => Stop::End(End::Thrown(Thrown {
                name: "Error".to_owned(),
                message: other.to_string(),
                ..Thrown::default()
            })),
        })
    }

    fn is_out_of_memory(&self) -> bool {
        let sample = rquickjs::String::from_str(self.ctx.clone(), &"x".repeat(64 << 10));
        let lacks = sample.is_err();
        if lacks {
            drop(self.ctx.catch());
        }
        lacks
    }

    /// An error as data.
    fn thrown(&self, bridge: &Object<'js>, error: Value<'js>) -> End {
        // An engine that cannot even make an error throws null; so do some scripts. By now the memory
        // may be free again, but a script that throws nothing at all does not throw null either.
        let throws = ["throw", "reject"].iter();
        let throws = throws
            .into_iter()
            .any(|word| self.job.source.contains(word));
        if error.is_null() && (!throws || self.is_out_of_memory()) {
            return End::OutOfMemory;
        }
        let told = bridge
            .get::<_, Function<'js>>("describe")
            .and_then(|describe| describe.call::<_, String>((error,)));
        let Ok(told) = told else {
            drop(self.ctx.catch());
            return End::OutOfMemory;
        };
        let mut thrown: DescribedError = serde_json::from_str(&told).unwrap_or_default();
        if thrown.rest.name == "InternalError" && thrown.rest.message == "out of memory" {
            return End::OutOfMemory;
        }
        thrown.rest.message = super::cut(&thrown.rest.message, MESSAGE_MAX).to_owned();
        thrown.rest.name = super::cut(&thrown.rest.name, 100).to_owned();
        thrown.rest.stack = stack_lines(&thrown.stack, &file_name(&self.job.name));
        End::Thrown(thrown.rest)
    }
}

/// An error as the prelude describes it.
#[derive(Default, serde::Deserialize)]
struct DescribedError {
    stack: String,
    #[serde(flatten)]
    rest: Thrown,
}

fn is_out_of_memory(error: &CaughtError<'_>) -> bool {
    match error {
        CaughtError::Error(error) => matches!(error, rquickjs::Error::Allocation),
        CaughtError::Exception(exception) => {
            exception.message().as_deref() == Some("out of memory")
        }
        CaughtError::Value(value) => value.is_null(),
    }
}

fn options(file: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(file.to_owned());
    options
}

/// The name of a script as that of a file.
fn file_name(name: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name: String = name.chars().filter(fits).take(100).collect();
    format!("{}.js", if name.is_empty() { "script" } else { &name })
}

/// The places of a stack that are in the script.
fn stack_lines(stack: &str, file: &str) -> Vec<String> {
    let place = |line: &str| {
        let at = line.find(file)?;
        let place = line.get(at..)?.trim_end_matches(')');
        Some(place.to_owned())
    };
    stack
        .lines()
        .filter_map(place)
        .take(STACK_LINES_MAX)
        .collect()
}

/// The line of the first place of a stack in the script.
fn line_of(stack: &str, file: &str) -> u32 {
    let places = stack_lines(stack, file);
    let line = places.first().and_then(|place| {
        let digits = place.get(file.len()..)?.strip_prefix(':')?;
        digits.split(':').next()?.parse().ok()
    });
    line.unwrap_or(1)
}

/// A random UUID (version 4).
fn random_uuid() -> String {
    let mut bytes = [0_u8; 16];
    // Of 16 bytes the kernel gives all or, before it is seeded, none; then it waits.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}
