//! The sandbox for the JavaScript of hooks and actions.
//!
//! A [`Pool`] keeps warm worker processes, each of which runs one script at a time in an engine (QuickJS)
//! of its own. A worker has no environment, no files, no network, no processes, and no time or memory
//! beyond its limits; one that does not end by itself is killed and replaced. What a script may do, it
//! asks of the [`Host`]: each `ctx.api` call becomes a [`Call`] that the host answers as the caller on
//! whose behalf the script runs.
//!
//! A process of its own, since neither an interrupt handler nor a memory limit of the engine stops what
//! runs inside one of its own operations (`new Array(1e9) + ''`), and since a fault of the engine is then
//! a fault of one run.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use script::{
//!     Call, Capabilities, Config, Context, Host, HostError, Kind, Limits, Pool, Script,
//!     ScriptErrorKind,
//! };
//! use serde_json::{Value, json};
//!
//! struct Engine;
//!
//! impl Host for Engine {
//!     async fn call(&self, call: Call) -> Result<Value, HostError> {
//!         match call {
//!             Call::FindOne { id: Some(id), .. } => Ok(json!({"id": id, "status": "open"})),
//!             _ => Err(HostError::new("PERMISSION_DENIED", "you may only read one ticket")),
//!         }
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     // First of all: workers are this program again.
//!     if let Some(code) = script::worker::run_if_worker() {
//!         return code;
//!     }
//!     let runtime = tokio::runtime::Runtime::new().expect("a runtime");
//!     runtime.block_on(async {
//!         let pool = Pool::start(Config::default()).await.expect("workers");
//!         let source = "const t = await ctx.api.object('ticket').findOne(ctx.recordId); return t.status";
//!         let script = Script {
//!             name: "ticket_status".to_owned(),
//!             kind: Kind::Action,
//!             source: source.to_owned(),
//!             capabilities: Capabilities::declared(&["api.read"], source),
//!         };
//!         let context = Context {
//!             input: json!({}),
//!             record_id: Some("t1".to_owned()),
//!             ..Context::default()
//!         };
//!         match pool.run(&script, &context, Limits::ACTION, &Engine).await {
//!             Ok(outcome) => assert_eq!(outcome.value, Some(json!("open"))),
//!             Err(error) => match error.kind {
//!                 ScriptErrorKind::Thrown(thrown) => println!("400 {:?}", thrown.code),
//!                 ScriptErrorKind::Timeout(_) => println!("504"),
//!                 other => println!("500 {other}"),
//!             },
//!         }
//!     });
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! # What a script sees
//!
//! `ctx` with `input`, `previous`, `result`, `record`, `recordId`, `user`, `session`, `org`, `event`,
//! `object` (see [`Context`]); `ctx.api.object(name)` with `find findOne count aggregate insert create
//! update updateById upsert delete`; the same as `ctx.data.find(name, …)` (with `get`), `ctx.engine` and
//! `ctx.ql`; `ctx.crypto.randomUUID()`; `ctx.log`, `ctx.logger` and `console`; `now()`; `input`. In hooks
//! `ctx.input.data` is `ctx.input` itself, as newer apps read it. Dates come and go as text, in UTC.
//! There is no `eval`, `fetch`, `require`, `process`, timer or module. Nothing of a run is left for the next.
//!
//! Calls are answered one at a time, in the order they are made, also those of `Promise.all`. One that a
//! script does not await is still made before the run ends, and its refusal fails the run.

mod call;
mod lazy;
mod numbers;
mod pool;
mod protocol;
mod run;
pub mod worker;

pub use call::{Call, Capabilities, Capability, Host, HostError, NoHost};
pub use lazy::LazyPool;
pub use pool::{Config, Pool};
pub use run::{
    Context, Kind, Limits, LogLevel, LogLine, MEMORY_MAX, Outcome, SOURCE_MAX, Script, ScriptError,
    ScriptErrorKind, Thrown, TimeLimit,
};
