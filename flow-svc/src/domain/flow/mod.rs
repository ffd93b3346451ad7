//! Flows as metadata declares them (spec/automation.md §4), both dialects brought to one graph.

mod check;
mod nodes;
mod read;
mod steps;
mod trigger;

use expr::{Program, Scope};
use serde_json::{Map, Value};

pub(crate) use read::compile;
pub(crate) use trigger::{Event, Trigger};

/// A flow, compiled.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) name: String,
    pub(crate) version: i64,
    /// `sha256:…` of the item it was compiled from.
    pub(crate) hash: String,
    /// The item it was compiled from.
    pub(crate) source: Value,
    /// Why it cannot be started, if it cannot.
    pub(crate) disabled: Option<String>,
    pub(crate) run_as: RunAs,
    /// System permission keys; all of them are needed to start it by route.
    pub(crate) required_permissions: Vec<String>,
    pub(crate) inputs: Vec<Input>,
    /// Names of the variables that make the output.
    pub(crate) outputs: Vec<String>,
    /// Variables that begin with a value.
    pub(crate) defaults: Map<String, Value>,
    pub(crate) graph: Graph,
    pub(crate) on_failure: OnFailure,
    /// The node a failed step goes on with.
    pub(crate) fallback: Option<usize>,
    pub(crate) triggers: Vec<Trigger>,
    /// What is wrong with it without keeping it from running.
    pub(crate) warnings: Vec<String>,
}

/// With whose rights the steps run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// Those of who started the run.
    User,
    /// Unrestricted.
    System,
}

impl RunAs {
    /// The word in metadata and in the journal.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }

    /// The one of that word; user for every other.
    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "system" => Self::System,
            _ => Self::User,
        }
    }
}

/// A variable that is handed in.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) required: bool,
}

/// What becomes of a run when a step fails that no fault edge leads on from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OnFailure {
    /// It fails.
    Fail,
    /// It is run again from its beginning.
    Retry(Backoff),
    /// It goes on as if the step had not failed.
    Continue,
}

/// How often, and after which pauses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Backoff {
    /// Attempts after the first.
    pub(crate) retries: i64,
    /// The first pause, in milliseconds.
    pub(crate) delay_ms: f64,
    /// What each pause is longer than the one before.
    pub(crate) multiplier: f64,
    /// The longest pause, in milliseconds.
    pub(crate) delay_max_ms: f64,
}

impl Backoff {
    /// The pause before an attempt, the first repetition being 1; in milliseconds.
    pub(crate) fn pause_ms(&self, attempt: i64) -> i64 {
        let exponent = i32::try_from(attempt.max(1) - 1).unwrap_or(i32::MAX);
        let pause = self.delay_ms * self.multiplier.powi(exponent);
        // A cast of a float saturates.
        pause.min(self.delay_max_ms).max(0.0) as i64
    }
}

/// Nodes and the ways between them.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    /// Where it begins.
    pub(crate) starts: Vec<usize>,
}

impl Graph {
    /// Edges that leave a node, in their order.
    pub(crate) fn leaving(&self, node: usize) -> impl Iterator<Item = (usize, &Edge)> {
        let edges = self.edges.iter().enumerate();
        edges.filter(move |(_, edge)| edge.source == node)
    }

    /// How many edges lead to a node.
    pub(crate) fn arriving(&self, node: usize) -> usize {
        self.edges.iter().filter(|edge| edge.target == node).count()
    }
}

/// A step.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// As it was written.
    pub(crate) node_type: String,
    pub(crate) label: Option<String>,
    pub(crate) config: Map<String, Value>,
    /// The longest it may take, in milliseconds.
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) retry: Option<Backoff>,
    /// Whether the run goes on when it fails.
    pub(crate) goes_on: bool,
    /// Conditions of a decision, by the label they pick.
    pub(crate) branches: Vec<(String, Condition)>,
    /// What it runs inside: the body of a loop, the branches of a parallel step.
    pub(crate) bodies: Vec<Graph>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Start,
    End,
    Decision,
    Assignment,
    Get,
    Create,
    Update,
    Delete,
    Loop,
    Parallel,
    /// Waits for all branches that lead to it.
    Join,
    Script,
    Action,
    Subflow,
    /// Nothing here can run it.
    Unknown,
}

impl Kind {
    pub(crate) fn of(node_type: &str) -> Self {
        match node_type {
            "start" => Self::Start,
            "end" => Self::End,
            "decision" | "condition" => Self::Decision,
            "assignment" => Self::Assignment,
            "get_record" | "query" => Self::Get,
            "create_record" | "create" => Self::Create,
            "update_record" | "update" => Self::Update,
            "delete_record" | "delete" => Self::Delete,
            "loop" | "foreach" => Self::Loop,
            "parallel" => Self::Parallel,
            "parallel_gateway" | "join_gateway" => Self::Join,
            "script" => Self::Script,
            "action" => Self::Action,
            "subflow" => Self::Subflow,
            _ => Self::Unknown,
        }
    }

    /// Whether it runs other steps of the same flow, with the same variables.
    pub(crate) fn is_composite(self) -> bool {
        matches!(self, Self::Loop | Self::Parallel)
    }
}

/// A way from one node to another.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) source: usize,
    pub(crate) target: usize,
    pub(crate) kind: EdgeKind,
    pub(crate) label: Option<String>,
    pub(crate) condition: Option<Condition>,
    /// Taken only if no sibling's condition held.
    pub(crate) is_default: bool,
}

/// When an edge is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    /// When the step succeeded.
    Normal,
    /// When it failed.
    Fault,
    /// As a normal one; it may lead back.
    Back,
}

/// A condition, compiled, or why it is none.
#[derive(Debug)]
pub(crate) struct Condition(Result<Program, String>);

impl Condition {
    /// The condition that a value of metadata holds; nothing where it holds none.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        use metadata::expression::{Dialect, Expression};
        if let Value::Bool(holds) = value {
            return Some(Self::of_source(&holds.to_string()));
        }
        let expression = Expression::from_value(value, Dialect::Cel)?;
        match expression.source.trim() {
            "" => None,
            source => Some(Self::of_source(source)),
        }
    }

    fn of_source(source: &str) -> Self {
        let compiled = Program::compile_condition(source);
        Self(compiled.map_err(|error| format!("`{source}`: {error}")))
    }

    /// What is wrong with it, if something is.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn holds(&self, scope: &Scope<'_>) -> Result<bool, String> {
        let program = self.0.as_ref().map_err(Clone::clone)?;
        let holds = program.holds(scope);
        holds.map_err(|error| format!("`{}`: {error}", program.source()))
    }
}

#[cfg(test)]
mod tests;
