//! A run: what goes in, what comes out, and within which limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::Capabilities;

/// Most memory a script may be given, in bytes.
pub const MEMORY_MAX: usize = 256 << 20;
/// Longest source, in bytes.
pub const SOURCE_MAX: usize = 256 << 10;

/// What a script is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// `input` is the parameters; the return value counts.
    Action,
    /// `input` is the record's payload, which the script may change; the payload counts.
    Hook,
}

/// A script as metadata holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What it is called in stacks and logs.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// JavaScript: the body of an async function (`return` and `await` allowed), or a function
    /// expression (`async (ctx) => { … }`, `function (ctx) { … }`), which is called with `ctx`.
    pub source: String,
    /// What it may use; see [`Capabilities::declared`].
    pub capabilities: Capabilities,
}

/// What `ctx` holds, beside the functions. All but `input` is read-only to the script.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Context {
    /// `ctx.input` and `input`.
    pub input: Value,
    /// `ctx.user`: `{id, name, email, roles, permissions}`.
    pub user: Option<Value>,
    /// `ctx.session`.
    pub session: Option<Value>,
    /// `ctx.org`.
    pub org: Option<Value>,
    /// `ctx.event`: `beforeInsert` and the like.
    pub event: Option<String>,
    /// `ctx.object`: the name of the object.
    pub object: Option<String>,
    /// `ctx.record`: a snapshot.
    pub record: Option<Value>,
    /// `ctx.recordId`, and `input.id` and `input.recordId` where the input has none.
    pub record_id: Option<String>,
    /// `ctx.previous`: the record before an update or a deletion.
    pub previous: Option<Value>,
    /// `ctx.result`: what was written, in after-hooks.
    pub result: Option<Value>,
}

/// What a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub struct Limits {
    /// Time of the processor, without waiting.
    pub cpu: Duration,
    /// Time from start to end, with the host's answers; not the wait for a free worker.
    pub wall: Duration,
    /// Memory of the script, in bytes; at most [`MEMORY_MAX`].
    pub memory: usize,
    /// Longest result, and longest arguments of a call, in bytes of JSON.
    pub output: usize,
    /// Most calls of the host.
    pub calls: u32,
}

impl Limits {
    /// Of hooks: 250 ms, 1 s in all, 32 MiB.
    pub const HOOK: Limits = Limits {
        cpu: Duration::from_millis(250),
        wall: Duration::from_secs(1),
        memory: 32 << 20,
        output: 8 << 20,
        calls: 200,
    };
    /// Of actions: 5 s, 30 s in all, 32 MiB.
    pub const ACTION: Limits = Limits {
        cpu: Duration::from_secs(5),
        wall: Duration::from_secs(30),
        memory: 32 << 20,
        output: 8 << 20,
        calls: 1000,
    };

    /// The limits with what a body asks for: `timeoutMs` shortens the times and never lengthens them,
    /// `memoryMb` is cut to [`MEMORY_MAX`].
    #[must_use]
    pub fn asked(mut self, timeout_ms: Option<u64>, memory_mb: Option<usize>) -> Self {
        if let Some(timeout) = timeout_ms.filter(|ms| *ms > 0).map(Duration::from_millis) {
            self.cpu = self.cpu.min(timeout);
            self.wall = self.wall.min(timeout);
        }
        if let Some(memory) = memory_mb.filter(|mb| *mb > 0) {
            self.memory = memory.saturating_mul(1 << 20).clamp(4 << 20, MEMORY_MAX);
        }
        self
    }
}

/// How a run ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The return value; nothing when the script returned nothing.
    pub value: Option<Value>,
    /// The input as the script left it. Numbers it did not touch are as they were, also those that
    /// JavaScript cannot hold.
    pub input: Value,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// Time of the processor it took.
    pub cpu: Duration,
}

/// How a run ended badly, and what it logged until then.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{kind}")]
pub struct ScriptError {
    /// Why.
    pub kind: ScriptErrorKind,
    /// What it logged.
    pub log: Vec<LogLine>,
}

/// Why a run ended badly.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScriptErrorKind {
    /// The script threw, or let through what its host threw.
    #[error("{}: {}", .0.name, .0.message)]
    Thrown(Thrown),
    /// The source does not parse.
    #[error("line {line}: {message}")]
    Syntax {
        /// What is wrong.
        message: String,
        /// Where, from 1.
        line: u32,
    },
    /// It took too long.
    #[error("the script exceeded its {0}")]
    Timeout(TimeLimit),
    /// It needed more memory than allowed.
    #[error("the script exceeded its memory")]
    OutOfMemory,
    /// It waits for a promise that nothing will resolve.
    #[error("the script waits for a promise that never resolves")]
    NeverResolved,
    /// The result is too long, nested too deep, or no JSON.
    #[error("the result of the script {0}")]
    Output(&'static str),
    /// The worker ended in mid-run; the script may have made calls before.
    #[error("the script's worker ended: {0}")]
    Crashed(String),
    /// No worker was free in time; nothing was run.
    #[error("no worker was free in time")]
    Busy,
    /// No worker could be started; nothing was run.
    #[error("no worker could be started: {0}")]
    Unavailable(String),
}

/// Which time was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// Time of the processor.
    Cpu,
    /// Time from start to end.
    Wall,
}

impl std::fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TimeLimit::Cpu => "processor time",
            TimeLimit::Wall => "time",
        })
    }
}

/// What a script threw. All of it is the script's to write, `code` included.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Thrown {
    /// The error's class, `Error` if it has none.
    pub name: String,
    /// Its message, or the thrown value as text.
    pub message: String,
    /// Its `code`, if it is a text.
    pub code: Option<String>,
    /// Its `status`, if it is a number.
    pub status: Option<u16>,
    /// Its `fields`.
    pub fields: Option<Value>,
    /// The lines of the stack within the script: `escalate_ticket.js:3:9`.
    pub stack: Vec<String>,
    /// The number of the call, from 0, whose refusal this is; the host can know more about it.
    pub call: Option<u32>,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// `console.debug`.
    Debug,
    /// `console.log`, `ctx.log.info`.
    Info,
    /// `console.warn`, `ctx.log.warn`.
    Warn,
    /// `console.error`, `ctx.log.error`.
    Error,
}

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct LogLine {
    /// How important.
    pub level: LogLevel,
    /// The text, cut to 4 KiB.
    pub text: String,
}
