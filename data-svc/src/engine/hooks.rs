//! Runs hooks (spec/automation.md §3). All of them run before the transaction, on the row as it is
//! to be; what they write is made ready with it and applied in its transaction, so that it stands or
//! falls with the record, and no transaction waits for a script (docs/adr/0005-hooks-before-the-transaction.md).
//!
//! Invariant: a hook reads and writes as the writer, through the same guard as every other door.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use mesh::{Error, Result, error::Reason};
use metadata::ApiMethod;
use script::{Call, Context, Host, HostError, LogLevel, LogLine, Pool, ScriptErrorKind};
use serde_json::{Map, Value, json};

use super::{
    Engine, Work,
    apply::{Effect, NewRow},
};
use crate::{
    domain::{
        cell::Cell,
        expression,
        policy::{Operation, Principal},
        query,
        record::{
            body::Body,
            prepare::{self, Cells, Writer},
        },
        schema::Schema,
    },
    registry::hooks::{Hook, HookEvent},
    store::write::{Action, Change},
};

/// How deep hooks may write what has hooks itself.
const DEPTH_MAX: u8 = 10;
/// Fields that no hook sets.
const MANAGED: [&str; 8] = [
    "id",
    "created_at",
    "created_by",
    "updated_at",
    "updated_by",
    "version",
    "deleted_at",
    "expectedVersion",
];

/// A write that hooks look at.
pub(super) struct Moment<'m> {
    pub(super) schema: &'m Arc<Schema>,
    pub(super) event: HookEvent,
    pub(super) id: &'m str,
    /// The row as it is; none for a new one.
    pub(super) before: Option<&'m [Cell]>,
    /// The row as it is to be, in after-hooks.
    pub(super) after: Option<&'m [Cell]>,
}

impl Engine {
    async fn sandbox(&self) -> Result<&Pool> {
        self.scripts.get().await.map_err(|error| {
            tracing::error!(%error, "the sandbox does not start");
            Error::unavailable("The sandbox for scripts")
        })
    }

    /// Lets before-hooks change what is to be written.
    ///
    /// # Errors
    /// What a hook refuses; TIMEOUT, SERVICE_UNAVAILABLE when it cannot run.
    pub(super) async fn before_hooks(
        &self,
        work: &Work,
        moment: &Moment<'_>,
        cells: &mut Cells,
        effects: &mut Vec<Effect>,
    ) -> Result<()> {
        for hook in hooks(work, moment) {
            let input = named(moment.schema, cells);
            let changed = self
                .hook(work, moment, &hook, input.clone(), effects)
                .await?;
            if let Some(changed) = changed {
                take_over(work, moment.schema, &input, changed, cells)
                    .map_err(|error| error.with("hook", hook.name.as_str()))?;
            }
        }
        Ok(())
    }

    /// Runs the hooks that only look on.
    ///
    /// # Errors
    /// Those of [`Engine::before_hooks`].
    pub(super) async fn after_hooks(
        &self,
        work: &Work,
        moment: &Moment<'_>,
        input: &Cells,
        effects: &mut Vec<Effect>,
    ) -> Result<()> {
        for hook in hooks(work, moment) {
            let input = named(moment.schema, input);
            self.hook(work, moment, &hook, input, effects).await?;
        }
        Ok(())
    }

    /// Runs one hook; gives its input as it left it, and adds what it wrote.
    fn hook<'h>(
        &'h self,
        work: &'h Work,
        moment: &'h Moment<'_>,
        hook: &'h Hook,
        input: Map<String, Value>,
        effects: &'h mut Vec<Effect>,
    ) -> BoxFuture<'h, Result<Option<Map<String, Value>>>> {
        async move {
            let host = HookHost::new(self, work, moment)?;
            match self.run_hook(work, moment, hook, input, &host).await {
                Ok(changed) => {
                    effects.append(&mut host.into_effects());
                    Ok(changed)
                }
                Err(error) if hook.failure_is_logged => {
                    tracing::warn!(hook = hook.name, %error, "a hook failed; its failure does not count");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    async fn run_hook(
        &self,
        work: &Work,
        moment: &Moment<'_>,
        hook: &Hook,
        input: Map<String, Value>,
        host: &HookHost<'_>,
    ) -> Result<Option<Map<String, Value>>> {
        let record = |cells: &[Cell]| expression::record(moment.schema, cells);
        let previous = moment.before.map(record);
        let result = moment.after.map(record);
        let speaker = work.speaker();
        if let Some(condition) = &hook.condition {
            let merged = result.clone().unwrap_or_else(|| {
                let mut merged = previous.clone().unwrap_or_else(|| json!({}));
                if let Value::Object(fields) = &mut merged {
                    fields.extend(input.clone());
                }
                merged
            });
            let before = previous.clone().unwrap_or_default();
            let scope = speaker.scope().record(&merged).previous(&before);
            let program = expression::program(condition);
            let holds = program.and_then(|program| program.holds(&scope).ok());
            if holds == Some(false) {
                return Ok(None);
            }
        }
        let context = Context {
            input: Value::Object(input),
            user: Some(speaker.user().clone()).filter(|user| !user.is_null()),
            org: Some(speaker.organization().clone()).filter(|org| !org.is_null()),
            event: Some(moment.event.as_str().to_owned()),
            object: Some(moment.schema.name().to_owned()),
            record: result.clone().or_else(|| previous.clone()),
            record_id: Some(moment.id.to_owned()),
            previous,
            result,
            ..Context::default()
        };
        let pool = self.sandbox().await?;
        match pool.run(&hook.script, &context, hook.limits, host).await {
            Ok(outcome) => {
                tell(hook, &outcome.log);
                Ok(match outcome.input {
                    Value::Object(input) => Some(input),
                    _ => None,
                })
            }
            Err(failed) => {
                tell(hook, &failed.log);
                Err(refusal(hook, failed.kind, host))
            }
        }
    }
}

fn hooks(work: &Work, moment: &Moment<'_>) -> Vec<Arc<Hook>> {
    if !work.principal.is_bound_by_apps() {
        return Vec::new();
    }
    let hooks = &work.registry.hooks;
    hooks.of_event(moment.schema.name(), moment.event)
}

/// The cells that are named, as the script sees them.
fn named(schema: &Schema, cells: &Cells) -> Map<String, Value> {
    let named = schema.columns.iter().zip(&cells.0);
    named
        .filter_map(|(column, cell)| Some((column.field.name.clone(), cell.as_ref()?.to_json())))
        .collect()
}

/// Takes over what a hook changed; what it left alone keeps its exact value.
fn take_over(
    work: &Work,
    schema: &Arc<Schema>,
    before: &Map<String, Value>,
    mut after: Map<String, Value>,
    cells: &mut Cells,
) -> Result<()> {
    for name in MANAGED {
        after.remove(name);
    }
    for (name, _) in before {
        if !after.contains_key(name)
            && !MANAGED.contains(&name.as_str())
            && let Some(position) = schema.position(name)
        {
            cells.0[position] = None;
        }
    }
    after.retain(|name, value| before.get(name) != Some(value));
    if after.is_empty() {
        return Ok(());
    }
    let text = Value::Object(after).to_string();
    // The app's own code is not bound by what its user may edit.
    let system = Work {
        principal: Principal::System("hook"),
        ..work.clone()
    };
    let grant = system.grant(schema, Operation::Edit)?;
    let payload = prepare::payload(&grant, Body::parse(text.as_bytes())?, Writer::System)?;
    if !payload.problems.is_empty() {
        return Err(prepare::invalid(schema, payload.problems));
    }
    for (slot, cell) in cells.0.iter_mut().zip(payload.cells.0) {
        if cell.is_some() {
            *slot = cell;
        }
    }
    Ok(())
}

fn tell(hook: &Hook, log: &[LogLine]) {
    for line in log {
        let (hook, text) = (hook.name.as_str(), line.text.as_str());
        match line.level {
            LogLevel::Debug => tracing::debug!(hook, text, "a script says"),
            LogLevel::Info => tracing::info!(hook, text, "a script says"),
            LogLevel::Warn | LogLevel::Error => tracing::warn!(hook, text, "a script says"),
        }
    }
}

/// What the caller is told when a hook fails.
fn refusal(hook: &Hook, kind: ScriptErrorKind, host: &HookHost<'_>) -> Error {
    let error = match kind {
        ScriptErrorKind::Thrown(thrown) => {
            if let Some(known) = thrown.call.and_then(|call| host.refused(call)) {
                return known.with("hook", hook.name.as_str());
            }
            let code = thrown.code.as_deref().unwrap_or("HOOK_REJECTED");
            let mut error = Error::validation(code, thrown.message.as_str());
            if let Some(fields) = thrown.fields {
                error = error.with("fields", fields);
            }
            error
        }
        ScriptErrorKind::Timeout(_) => Error::new(
            Reason::Timeout,
            format!("The hook `{}` took too long", hook.name),
        ),
        ScriptErrorKind::Busy | ScriptErrorKind::Unavailable(_) => {
            Error::unavailable("The sandbox for scripts")
        }
        other => Error::new(
            Reason::Internal,
            format!("The hook `{}` failed: {other}", hook.name),
        ),
    };
    error.with("hook", hook.name.as_str())
}

/// Answers a hook's calls, as its writer. What it writes is kept for the transaction.
struct HookHost<'h> {
    engine: &'h Engine,
    /// The writer, one level deeper, with the records that the transaction will have made.
    work: Mutex<Work>,
    effects: Mutex<Vec<Effect>>,
    refused: Mutex<HashMap<u32, Error>>,
    calls: Mutex<u32>,
}

impl<'h> HookHost<'h> {
    fn new(engine: &'h Engine, work: &Work, moment: &Moment<'_>) -> Result<Self> {
        if work.depth >= DEPTH_MAX {
            return Err(Error::validation(
                "HOOK_DEPTH",
                format!("Hooks write what has hooks more than {DEPTH_MAX} levels deep"),
            ));
        }
        let mut work = Work {
            depth: work.depth + 1,
            ..work.clone()
        };
        work.making
            .push((moment.schema.name().to_owned(), moment.id.to_owned()));
        Ok(Self {
            engine,
            work: Mutex::new(work),
            effects: Mutex::default(),
            refused: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    fn into_effects(self) -> Vec<Effect> {
        self.effects
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The error behind a call that was refused.
    fn refused(&self, call: u32) -> Option<Error> {
        lock(&self.refused).remove(&call)
    }

    /// A future of a named type: writes lead to hooks, and hooks to writes.
    fn answer(&self, call: Call) -> BoxFuture<'_, Result<Value>> {
        let work = lock(&self.work).clone();
        async move {
            match call {
                Call::Find { object, query } => self.find(&work, &object, &query).await,
                Call::FindOne {
                    object,
                    id: Some(id),
                    ..
                } => match self.engine.get(&work, &object, &id, "", "").await {
                    Ok(record) => parse(&record.json),
                    Err(error) if error.reason() == Reason::NotFound => Ok(Value::Null),
                    Err(error) => Err(error),
                },
                Call::FindOne { object, query, .. } => {
                    let mut query = query;
                    query["limit"] = json!(1);
                    let mut found = self.find(&work, &object, &query).await?;
                    Ok(found.get_mut(0).map_or(Value::Null, Value::take))
                }
                Call::Count { object, filter } => {
                    let query = json!({"where": filter, "limit": 0});
                    let page = self.page(&work, &object, &query).await?;
                    Ok(json!(page.total))
                }
                Call::Aggregate { object, query } => self.find(&work, &object, &query).await,
                Call::Insert { object, data } => self.insert(&work, &object, &data).await,
                Call::Update { object, id, data } => self.update(&work, &object, &id, &data).await,
                Call::Upsert { object, data } => {
                    let id = data.get("id").and_then(Value::as_str).map(str::to_owned);
                    let found = match &id {
                        Some(id) => self.engine.get(&work, &object, id, "id", "").await.is_ok(),
                        None => false,
                    };
                    match id {
                        Some(id) if found => self.update(&work, &object, &id, &data).await,
                        _ => self.insert(&work, &object, &data).await,
                    }
                }
                Call::Delete { object, id } => {
                    let effect = self.engine.prepare_delete(&work, &object, &id).await?;
                    lock(&self.effects).push(effect);
                    Ok(json!(true))
                }
            }
        }
        .boxed()
    }

    async fn page(&self, work: &Work, object: &str, query: &Value) -> Result<super::read::Page> {
        let query = query::from_body(object, query.to_string().as_bytes())?;
        self.engine.answer_query(work, object, query).await
    }

    async fn find(&self, work: &Work, object: &str, query: &Value) -> Result<Value> {
        let page = self.page(work, object, query).await?;
        page.items.iter().map(|item| parse(&item.json)).collect()
    }

    async fn insert(&self, work: &Work, object: &str, data: &Value) -> Result<Value> {
        let grant = work.open(object, ApiMethod::Create, Operation::Create)?;
        let body = Body::parse(data.to_string().as_bytes())?;
        let row: NewRow = self.engine.prepare_create(work, &grant, body).await?;
        let shown = self.engine.answer(work, &row.schema, &row.cells).await?;
        lock(&self.work)
            .making
            .push((object.to_owned(), row.id.clone()));
        let change = Change::of(work, Action::Create);
        lock(&self.effects).push(Effect::Create(Box::new(row), change));
        parse(&shown.json)
    }

    async fn update(&self, work: &Work, object: &str, id: &str, data: &Value) -> Result<Value> {
        let (job, effects) = self.engine.prepare_change(work, object, id, data).await?;
        let shown = self.engine.answer(work, &job.schema, &job.after).await?;
        let change = Change::of(work, Action::Update);
        lock(&self.effects).push(Effect::Update(Box::new(job), effects, change));
        parse(&shown.json)
    }
}

impl Host for HookHost<'_> {
    async fn call(&self, call: Call) -> Result<Value, HostError> {
        let number = {
            let mut calls = lock(&self.calls);
            *calls += 1;
            *calls - 1
        };
        match self.answer(call).await {
            Ok(value) => Ok(value),
            Err(error) => {
                let mut told = HostError::new(error.reason().rest_code(), error.message());
                let fields = error.field_violations();
                told.fields = (!fields.is_empty()).then(|| json!(fields));
                lock(&self.refused).insert(number, error);
                Err(told)
            }
        }
    }
}

fn parse(json: &[u8]) -> Result<Value> {
    serde_json::from_slice(json).map_err(Error::internal)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
