//! The steps of a flow, typed by what they do. A value that is filled in at run time, a template or
//! something with placeholders in it, is a [`Value`] as it was written.

use serde_json::{Map, Value};

use super::graph::Graph;
use super::trigger::Trigger;
use crate::automation::approval::{Approver, Behavior};
use crate::automation::body::Body;
use crate::automation::job::Schedule;
use crate::automation::param::ActionParam;
use crate::automation::retry::Backoff;
use crate::expression::Expression;

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique among the nodes of its graph.
    pub id: String,
    /// The word that says what it does, as written.
    pub node_type: String,
    /// Name for people.
    pub label: Option<String>,
    /// The longest it may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How often it is tried again when it fails.
    pub retry: Option<Backoff>,
    /// Whether the run goes on when it fails.
    pub goes_on: bool,
    /// The variable that what it gives is kept in.
    pub output_variable: Option<String>,
    /// What it does.
    pub config: NodeConfig,
}

impl Node {
    /// In place of one that was moved into the body of a loop.
    pub(super) fn moved() -> Self {
        Self {
            id: String::new(),
            node_type: String::new(),
            label: None,
            timeout_ms: None,
            retry: None,
            goes_on: false,
            output_variable: None,
            config: NodeConfig::Unknown,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeConfig {
    /// Where the flow begins.
    Start(Start),
    /// Where it ends.
    End {
        /// What comes out: an object of templates.
        outputs: Option<Map<String, Value>>,
    },
    /// Picks the edge whose label is that of the first condition that holds.
    Decision {
        /// The conditions; without any those of the edges decide.
        branches: Vec<Branch>,
    },
    /// Sets variables, in order.
    Assignment {
        /// The names and what they are set to.
        assignments: Vec<(String, Value)>,
    },
    /// Reads records.
    GetRecord {
        /// Of which object, and which.
        step: RecordStep,
        /// How many at most; more than one gives a list. 1 unless written.
        limit: u64,
        /// The order in which the first are found.
        order_by: Option<Value>,
    },
    /// Creates a record.
    CreateRecord(RecordStep),
    /// Changes the records found.
    UpdateRecord(RecordStep),
    /// Deletes the records found.
    DeleteRecord(RecordStep),
    /// Runs its body once for each item.
    Loop(Loop),
    /// Runs its branches at the same time; any failure fails.
    Parallel {
        /// The branches.
        branches: Vec<Graph>,
    },
    /// Waits for all branches that lead to it.
    Join,
    /// Tries something, and does something else when it fails.
    TryCatch(TryCatch),
    /// Runs a script or an expression.
    Script(ScriptStep),
    /// Invokes an action.
    Action(ActionStep),
    /// Runs another flow within the run.
    Subflow(Subflow),
    /// Runs another flow for each item, one after the other.
    Map(MapStep),
    /// Waits for a moment, a signal or a condition.
    Wait(Wait),
    /// Asks the user for something.
    Screen(Screen),
    /// Waits until people have decided; goes on by an edge `approve` or `reject`.
    Approval(ApprovalWait),
    /// Calls another system.
    Http(HttpCall),
    /// Sends mail.
    SendEmail(Mail),
    /// Tells users in their inbox.
    Notify(Mail),
    /// Does something through a connector.
    Connector(Connector),
    /// Something that is not known here.
    Unknown,
}

/// Where a flow begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Start {
    /// The changes of records that start it.
    pub triggers: Vec<Trigger>,
    /// When it starts by itself.
    pub schedule: Option<Schedule>,
}

/// A condition of a decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// The label of the edges it picks.
    pub label: String,
    /// It is picked when this holds.
    pub condition: Expression,
}

/// Of which object a step reads or writes records, which of them, and what.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordStep {
    /// The object.
    pub object: Option<String>,
    /// Which records.
    pub filter: Option<RecordFilter>,
    /// For a write the values by field name, with placeholders; for a read the names of the fields.
    pub fields: Option<Value>,
}

/// Which records a step is about.
#[derive(Debug, Clone, PartialEq)]
pub enum RecordFilter {
    /// Those that a where object, with placeholders, finds.
    Where(Value),
    /// The one of that id, a placeholder for it as a rule.
    Id(Value),
}

/// Runs its body once for each item.
#[derive(Debug, Clone, PartialEq)]
pub struct Loop {
    /// The items: a list, a placeholder for one, or the name of a variable.
    pub collection: Option<Value>,
    /// The variable that holds the item; `item` unless written.
    pub item: String,
    /// The variable that holds its number, from 0.
    pub index: Option<String>,
    /// Items at most; more fail. 1000 unless written, 10000 at most.
    pub iterations_max: u64,
    /// What is run. Always there once the flow is read.
    pub body: Option<Graph>,
}

/// Tries something, and does something else when it fails.
#[derive(Debug, Clone, PartialEq)]
pub struct TryCatch {
    /// What is tried.
    pub body: Graph,
    /// What is done when it failed.
    pub catch: Graph,
    /// The variable that holds why; `$error` unless written.
    pub error_variable: String,
    /// How often it is tried again before it counts as failed.
    pub retry: Option<Backoff>,
}

/// Runs a script or an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptStep {
    /// The code.
    pub body: Option<Body>,
    /// A function that would be called instead.
    pub function: Option<String>,
    /// What seed-era apps have scripts for: `email`.
    pub action_type: Option<String>,
    /// What is handed in, with placeholders; all variables without it.
    pub input: Option<Value>,
}

/// Invokes an action.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionStep {
    /// The action.
    pub action: Option<String>,
    /// The object that has it, where its name alone is not enough.
    pub object: Option<String>,
    /// The record it is about, or its id; with placeholders.
    pub record: Option<Value>,
    /// Its parameters, with placeholders.
    pub input: Option<Value>,
}

/// Runs another flow within the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Subflow {
    /// The flow.
    pub flow: Option<String>,
    /// Its inputs, with placeholders.
    pub input: Option<Value>,
}

/// Runs another flow for each item, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct MapStep {
    /// The flow, and what it is handed beside the item.
    pub subflow: Subflow,
    /// The items, as those of a [`Loop`].
    pub collection: Option<Value>,
    /// The input that is handed the item; `item` unless written.
    pub item: String,
}

/// Waits for the first of what it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// For so long (ISO 8601), a template as a rule.
    pub duration: Option<Value>,
    /// Until that moment.
    pub until: Option<Value>,
    /// For that signal.
    pub signal: Option<String>,
    /// Until this holds.
    pub condition: Option<Expression>,
}

/// Asks the user for something.
#[derive(Debug, Clone, PartialEq)]
pub struct Screen {
    /// What is asked for.
    pub fields: Vec<ActionParam>,
    /// The object whose fields those are.
    pub object: Option<String>,
}

/// Waits until people have decided.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalWait {
    /// Who decides.
    pub approvers: Vec<Approver>,
    /// Whether one of them suffices.
    pub behavior: Behavior,
    /// Whether the record cannot be changed meanwhile; true unless written.
    pub locks_record: bool,
    /// The field that shows how far it is.
    pub status_field: Option<String>,
}

/// Calls another system.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCall {
    /// Where; a template.
    pub url: Option<String>,
    /// GET unless written.
    pub method: String,
    /// Sent with it; templates.
    pub headers: Map<String, Value>,
    /// What is sent, with placeholders.
    pub body: Option<Value>,
}

/// A mail, or a note in an inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Mail {
    /// To whom: addresses or users, with placeholders.
    pub to: Option<Value>,
    /// Copies.
    pub cc: Option<Value>,
    /// Copies that the others do not see.
    pub bcc: Option<Value>,
    /// The template that makes subject and body.
    pub template: Option<String>,
    /// What the template is filled in with.
    pub data: Option<Value>,
    /// The subject or title; a template.
    pub subject: Option<String>,
    /// The text; a template.
    pub body: Option<String>,
}

/// Does something through a connector.
#[derive(Debug, Clone, PartialEq)]
pub struct Connector {
    /// The connector.
    pub connector: Option<String>,
    /// What it is to do.
    pub operation: Option<String>,
    /// What it is handed, with placeholders.
    pub input: Option<Value>,
}

impl NodeConfig {
    /// What it runs inside: the body of a loop, the branches of a parallel step.
    pub fn bodies(&self) -> Vec<&Graph> {
        match self {
            NodeConfig::Loop(of) => of.body.iter().collect(),
            NodeConfig::Parallel { branches } => branches.iter().collect(),
            NodeConfig::TryCatch(of) => vec![&of.body, &of.catch],
            NodeConfig::Start(_)
            | NodeConfig::End { .. }
            | NodeConfig::Decision { .. }
            | NodeConfig::Assignment { .. }
            | NodeConfig::GetRecord { .. }
            | NodeConfig::CreateRecord(_)
            | NodeConfig::UpdateRecord(_)
            | NodeConfig::DeleteRecord(_)
            | NodeConfig::Join
            | NodeConfig::Script(_)
            | NodeConfig::Action(_)
            | NodeConfig::Subflow(_)
            | NodeConfig::Map(_)
            | NodeConfig::Wait(_)
            | NodeConfig::Screen(_)
            | NodeConfig::Approval(_)
            | NodeConfig::Http(_)
            | NodeConfig::SendEmail(_)
            | NodeConfig::Notify(_)
            | NodeConfig::Connector(_)
            | NodeConfig::Unknown => Vec::new(),
        }
    }

    /// Whether it runs other steps of the same flow, with the same variables.
    pub fn is_composite(&self) -> bool {
        matches!(
            self,
            NodeConfig::Loop(_) | NodeConfig::Parallel { .. } | NodeConfig::TryCatch(_)
        )
    }
}
