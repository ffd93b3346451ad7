//! Actions as invoking them needs them: what metadata says of them, their parameters resolved and
//! their code compiled.

use std::{sync::Arc, time::Duration};

use expr::Program;
use metadata::{
    Action as Spec, ActionKind, Body, Condition, Item, Object, Param, automation::Language,
};
use script::{Capabilities, Kind as ScriptKind, Limits, Script};

/// An action that is given no time of its own, and at most.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// An operation that an app declares.
#[derive(Debug)]
pub(crate) struct Action {
    /// What metadata says of it.
    pub(crate) spec: Arc<Spec>,
    /// The item it was compiled from.
    pub(crate) item: Arc<Item>,
    /// What it takes; none where it takes anything.
    pub(crate) params: Option<Vec<Param>>,
    /// Must hold for the record, where there is one.
    pub(crate) guard: Guard,
    /// The longest it may take.
    pub(crate) timeout: Duration,
    /// What it does.
    pub(crate) run: Run,
}

/// An enforced condition.
#[derive(Debug)]
pub(crate) enum Guard {
    /// Everybody passes.
    Open,
    /// Who meets it passes.
    Condition(Program),
    /// It does not compile, so nobody passes.
    Broken,
}

/// What an action does.
#[derive(Debug)]
pub(crate) enum Run {
    /// Its own code.
    Code(Code),
    /// A route of the REST API: path with placeholders.
    Api(String),
    /// A flow.
    Flow(String),
    /// Something of the user interface, which no API can do: its target.
    Interface(String),
    /// A function of that name would be needed, which no metadata can bring.
    Bodiless(String),
    /// Why it cannot run.
    Broken(String),
}

/// Code of an app, ready to run.
#[derive(Debug)]
pub(crate) enum Code {
    /// JavaScript.
    Script(Box<Script>, Limits),
    /// CEL; its value is the result.
    Expression(Box<Program>),
}

impl Action {
    /// Compiles the action of an item, nothing for an item that is none; `object_of` finds the objects
    /// whose fields its parameters stand for.
    pub(crate) fn compile<'o>(
        item: &Arc<Item>,
        object_of: impl Fn(&str) -> Option<&'o Object>,
    ) -> Option<Self> {
        let spec = item.definition.action()?;
        let timeout = spec.timeout_ms.map(Duration::from_millis);
        Some(Self {
            item: Arc::clone(item),
            params: spec.resolved_params(object_of),
            guard: match &spec.guard {
                Condition::Always => Guard::Open,
                Condition::When(condition) => {
                    let program = Program::compile_condition(&condition.source);
                    program.map_or(Guard::Broken, Guard::Condition)
                }
                Condition::Unreadable => Guard::Broken,
            },
            timeout: timeout.unwrap_or(TIMEOUT_MAX).min(TIMEOUT_MAX),
            run: run(spec),
            spec: Arc::clone(spec),
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The object whose records it is about; none where it is global.
    pub(crate) fn object(&self) -> Option<&str> {
        self.spec.object.as_deref()
    }
}

fn run(spec: &Spec) -> Run {
    let target = spec.target.clone();
    match (&spec.kind, target) {
        (ActionKind::Script, target) => match &spec.body {
            Some(body) => match compile(&spec.name, body) {
                Ok(code) => Run::Code(code),
                Err(why) => Run::Broken(why),
            },
            None => Run::Bodiless(target.unwrap_or_default()),
        },
        (ActionKind::Api, Some(target)) => Run::Api(target),
        (ActionKind::Flow, Some(target)) => Run::Flow(target),
        (ActionKind::Url | ActionKind::Modal | ActionKind::Form, target) => {
            Run::Interface(target.unwrap_or_default())
        }
        (ActionKind::Api | ActionKind::Flow, None) => Run::Broken(format!(
            "an action of type {} needs a target",
            spec.kind.as_str()
        )),
        (ActionKind::Other(kind), _) => Run::Broken(format!("action type `{kind}` is unknown")),
    }
}

/// Makes the code of a body ready to run.
///
/// # Errors
/// Why it cannot run.
pub(crate) fn compile(name: &str, body: &Body) -> Result<Code, String> {
    if body.source.is_empty() {
        return Err("its body has no source".to_owned());
    }
    match &body.language {
        Language::Js => {
            let memory_mb = body.memory_mb.and_then(|mb| usize::try_from(mb).ok());
            let limits = Limits::ACTION.asked(body.timeout_ms, memory_mb);
            let script = Script {
                name: name.to_owned(),
                kind: ScriptKind::Action,
                source: body.source.clone(),
                capabilities: Capabilities::declared(&body.capabilities, &body.source),
            };
            Ok(Code::Script(Box::new(script), limits))
        }
        Language::Expression => match Program::compile(&body.source) {
            Ok(program) => Ok(Code::Expression(Box::new(program))),
            Err(error) => Err(format!("its expression does not compile: {error}")),
        },
        Language::Other(other) => Err(format!("the language `{other}` is unknown")),
    }
}
