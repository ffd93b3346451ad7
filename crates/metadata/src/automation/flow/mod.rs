//! Flows: durable automations (docs/reference/automation.md, "Flows"). Both dialects, a graph of nodes and a list
//! of steps, are brought to one [`Graph`].
//!
//! Invariant: nodes and edges keep the order in which they were written: the journals of runs name
//! edges by their number.

mod check;
mod config;
mod graph;
mod node;
mod nodes;
mod outline;
mod read;
mod steps;
mod trigger;

use serde_json::{Map, Value};

use super::action::AiExposure;
use super::job::Schedule;
use super::param::{Param, ParamType};
use super::retry::Backoff;
use crate::diagnostics::Diagnostic;
use crate::reader::{Reader, Sink};
use crate::shape::Shape;

pub use graph::{Edge, EdgeKind, Graph};
pub use node::{
    ActionStep, ApprovalWait, Branch, Connector, HttpCall, Loop, Mail, MapStep, Node, NodeConfig,
    RecordFilter, RecordStep, Screen, ScriptStep, Start, Subflow, TryCatch, Wait,
};
pub use outline::{Outline, OutlineEdge, OutlineNode};
pub use trigger::{ChangeKind, Timing, Trigger};

/// A flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Its name.
    pub name: String,
    /// Name for people, where one is written.
    pub label: Option<String>,
    /// What it does, for people.
    pub description: Option<String>,
    /// How it is offered to models.
    pub ai: AiExposure,
    /// The object that it is about as a whole.
    pub object: Option<String>,
    /// Its version, as its author counts; 1 unless written.
    pub version: i64,
    /// What its author means it to be started by. The start node decides.
    pub kind: FlowKind,
    /// Whether it is in use.
    pub status: FlowStatus,
    /// With whose rights the steps run.
    pub run_as: RunAs,
    /// System permission keys; all of them are needed to start it by route.
    pub required_permissions: Vec<String>,
    /// What it is handed, what it hands back, and what it begins with.
    pub variables: Vec<Variable>,
    /// Its steps.
    pub graph: Graph,
    /// What becomes of a run when a step fails that no fault edge leads on from.
    pub on_failure: OnFailure,
    /// The node a failed step goes on with.
    pub fallback: Option<usize>,
    /// The changes of records that start it.
    pub triggers: Vec<Trigger>,
    /// When it starts by itself.
    pub schedule: Option<Schedule>,
    /// Why it cannot be started, if it cannot.
    pub disabled: Option<String>,
    /// What is wrong with it without keeping it from running.
    pub warnings: Vec<String>,
    /// The nodes and edges as they were written; `None` for a list of steps.
    pub outline: Option<Outline>,
}

/// What a flow is meant to be started by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowKind {
    /// Anything that may start it; also where nothing is said.
    Autolaunched,
    /// A change of a record.
    RecordChange,
    /// A schedule.
    Schedule,
    /// A user who goes through its screens.
    Screen,
    /// A call.
    Api,
    /// A user.
    Manual,
    /// Something that is not known here.
    Other(String),
}

impl FlowKind {
    fn parse(word: &str) -> Self {
        match word {
            "autolaunched" => FlowKind::Autolaunched,
            "record_change" => FlowKind::RecordChange,
            "schedule" | "scheduled" => FlowKind::Schedule,
            "screen" => FlowKind::Screen,
            "api" => FlowKind::Api,
            "manual" => FlowKind::Manual,
            other => FlowKind::Other(other.to_owned()),
        }
    }

    /// Whether somebody may start it by name.
    pub fn is_callable(&self) -> bool {
        match self {
            FlowKind::Autolaunched | FlowKind::Screen | FlowKind::Api | FlowKind::Manual => true,
            FlowKind::RecordChange | FlowKind::Schedule | FlowKind::Other(_) => false,
        }
    }
}

/// Whether a flow is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowStatus {
    /// As the compiler writes it unless told otherwise; it runs like an active one.
    Draft,
    /// In use.
    Active,
    /// Given up.
    Obsolete,
    /// Known to be wrong.
    Invalid,
    /// A word that is not known here, which counts as off.
    Other(String),
}

impl FlowStatus {
    fn parse(word: &str) -> Self {
        match word {
            "draft" => FlowStatus::Draft,
            "active" => FlowStatus::Active,
            "obsolete" => FlowStatus::Obsolete,
            "invalid" => FlowStatus::Invalid,
            other => FlowStatus::Other(other.to_owned()),
        }
    }

    /// The word used in metadata.
    pub fn as_str(&self) -> &str {
        match self {
            FlowStatus::Draft => "draft",
            FlowStatus::Active => "active",
            FlowStatus::Obsolete => "obsolete",
            FlowStatus::Invalid => "invalid",
            FlowStatus::Other(word) => word,
        }
    }

    /// Whether a flow with it can be started.
    pub fn is_on(&self) -> bool {
        match self {
            FlowStatus::Draft | FlowStatus::Active => true,
            FlowStatus::Obsolete | FlowStatus::Invalid | FlowStatus::Other(_) => false,
        }
    }
}

/// With whose rights the steps of a flow run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAs {
    /// Those of who started the run; also where nothing is said.
    User,
    /// Unrestricted.
    System,
}

impl RunAs {
    /// The word in metadata and in journals.
    pub fn as_str(self) -> &'static str {
        match self {
            RunAs::User => "user",
            RunAs::System => "system",
        }
    }

    /// The one of that word; user for every other.
    pub fn parse(word: &str) -> Self {
        match word {
            "system" => RunAs::System,
            _ => RunAs::User,
        }
    }
}

/// A declared variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it holds; anything where nothing is said.
    pub variable_type: Option<ParamType>,
    /// Whether it is a list of that.
    pub multiple: bool,
    /// The values it may have; empty for any.
    pub options: Vec<Value>,
    /// Whether a caller hands it in.
    pub is_input: bool,
    /// Whether it is part of the output.
    pub is_output: bool,
    /// Whether a caller has to hand it in, unless it has a default.
    pub required: bool,
    /// What it begins with.
    pub default: Option<Value>,
}

/// What becomes of a run when a step fails that no fault edge leads on from.
#[derive(Debug, Clone, PartialEq)]
pub enum OnFailure {
    /// It fails.
    Fail,
    /// It is run again from its beginning.
    Retry(Backoff),
    /// It goes on as if the step had not failed.
    Continue,
}

impl Flow {
    /// Reads one, with what could not be read of it. One that makes no sense is there, disabled, and
    /// says why.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("flows.{name}"), &sink);
        let flow = reader.map(|reader| read::flow(name, &reader));
        (flow, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        read::flow(name, reader)
    }

    /// The variables that a caller hands in.
    pub fn inputs(&self) -> impl Iterator<Item = &Variable> {
        self.variables.iter().filter(|variable| variable.is_input)
    }

    /// Names of the variables that make the output.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        let outputs = self.variables.iter().filter(|variable| variable.is_output);
        outputs.map(|variable| variable.name.as_str())
    }

    /// The variables that begin with a value.
    pub fn defaults(&self) -> Map<String, Value> {
        let mut defaults = Map::new();
        for variable in &self.variables {
            if let Some(value) = &variable.default {
                defaults.insert(variable.name.clone(), value.clone());
            }
        }
        defaults
    }

    /// Whether a caller has to hand that input in.
    pub fn is_needed(&self, input: &Variable) -> bool {
        let has_default = |one: &Variable| one.name == input.name && one.default.is_some();
        input.required && !self.variables.iter().any(has_default)
    }

    /// What it does, in words for a model: what is written for models, else for people, else its
    /// label or its name.
    pub fn described(&self) -> &str {
        let texts = [&self.ai.description, &self.description, &self.label];
        texts.into_iter().flatten().next().unwrap_or(&self.name)
    }

    /// The inputs as parameters, for their schema.
    pub fn input_params(&self) -> Vec<Param> {
        let params = self.inputs().map(|input| Param {
            name: input.name.clone(),
            label: input.label.clone(),
            description: input.description.clone(),
            shape: input.variable_type.map_or(Shape::Any, ParamType::shape),
            required: self.is_needed(input),
            options: input.options.clone(),
            multiple: input.multiple,
            default: input.default.clone(),
        });
        params.collect()
    }
}

#[cfg(test)]
mod tests;
