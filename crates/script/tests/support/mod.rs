//! A pool of the workers built beside these tests, and a host that remembers what it was asked.
#![expect(clippy::unwrap_used, reason = "a panic is the report")]
#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "each test uses its part"
)]

use std::{path::PathBuf, sync::Mutex, time::Duration};

use script::{
    Call, Capabilities, Config, Context, Host, HostError, Kind, Limits, Outcome, Pool, Script,
    ScriptError, ScriptErrorKind, Thrown,
};
use serde_json::{Value, json};

pub(crate) fn config() -> Config {
    Config {
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_script-worker"))),
        workers: 1,
        ..Config::default()
    }
}

pub(crate) async fn pool() -> Pool {
    Pool::start(config()).await.unwrap()
}

/// Answers from a list of tickets and refuses what the `secret` object is asked.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) calls: Mutex<Vec<Call>>,
}

impl Desk {
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Host for Desk {
    async fn call(&self, call: Call) -> Result<Value, HostError> {
        self.calls.lock().unwrap().push(call.clone());
        if call.object() == "secret" {
            let mut refusal = HostError::new("PERMISSION_DENIED", "secret is not yours");
            refusal.fields = Some(json!([{"field": "a", "code": "forbidden"}]));
            return Err(refusal);
        }
        let ticket = json!({"id": "t1", "status": "open", "priority": "low"});
        Ok(match call {
            Call::Find { .. } => json!([ticket]),
            Call::FindOne { id, .. } if id.as_deref() == Some("none") => Value::Null,
            Call::FindOne { .. } => ticket,
            Call::Count { .. } => json!(7),
            Call::Aggregate { .. } => json!([{"status": "open", "count": 7}]),
            Call::Insert { data, .. } | Call::Upsert { data, .. } => data,
            Call::Update { id, mut data, .. } => {
                data["id"] = json!(id);
                data
            }
            Call::Delete { .. } => json!(true),
        })
    }
}

/// An action that declares nothing.
pub(crate) fn action(source: &str) -> Script {
    Script {
        name: "test_script".to_owned(),
        kind: Kind::Action,
        source: source.to_owned(),
        capabilities: Capabilities::inferred(source),
    }
}

pub(crate) fn hook(source: &str) -> Script {
    Script {
        kind: Kind::Hook,
        ..action(source)
    }
}

pub(crate) fn input(input: Value) -> Context {
    Context {
        input,
        ..Context::default()
    }
}

/// Short enough for tests, long enough for a busy machine.
pub(crate) fn limits() -> Limits {
    Limits {
        cpu: Duration::from_secs(2),
        wall: Duration::from_secs(30),
        ..Limits::ACTION
    }
}

pub(crate) async fn run(pool: &Pool, source: &str) -> Result<Outcome, ScriptError> {
    let context = input(json!({"n": 1}));
    pool.run(&action(source), &context, limits(), &Desk::default())
        .await
}

/// What an action returns.
#[track_caller]
pub(crate) fn value(outcome: Result<Outcome, ScriptError>) -> Value {
    outcome.unwrap().value.unwrap_or(json!("nothing"))
}

pub(crate) fn thrown(outcome: Result<Outcome, ScriptError>) -> Thrown {
    match outcome.unwrap_err().kind {
        ScriptErrorKind::Thrown(thrown) => thrown,
        other => panic!("{other:?}"),
    }
}
