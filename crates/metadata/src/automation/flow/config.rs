//! Reads what a step does from its configuration, in the words of either dialect.

use serde_json::{Map, Value};

use super::graph::Graph;
use super::node::{
    ActionStep, ApprovalWait, Branch, Connector, HttpCall, Loop, Mail, MapStep, NodeConfig,
    RecordFilter, RecordStep, Screen, ScriptStep, Start, Subflow, TryCatch, Wait,
};
use super::trigger::triggers;
use crate::automation::approval::{Approver, Behavior};
use crate::automation::body::Body;
use crate::automation::job::Schedule;
use crate::automation::param::ActionParam;
use crate::automation::retry::Backoff;
use crate::expression::Dialect;
use crate::reader::Reader;

/// Items that a loop goes through unless it says otherwise, and at most.
const ITERATIONS: (u64, u64) = (1000, 10_000);

/// The kinds of step by their words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
    Join,
    TryCatch,
    Script,
    Action,
    Subflow,
    Map,
    Wait,
    Screen,
    Approval,
    Http,
    SendEmail,
    Notify,
    Connector,
    Unknown,
}

impl Kind {
    pub(super) fn of(node_type: &str) -> Self {
        match node_type {
            "start" => Kind::Start,
            "end" => Kind::End,
            "decision" | "condition" => Kind::Decision,
            "assignment" => Kind::Assignment,
            "get_record" | "query" => Kind::Get,
            "create_record" | "create" => Kind::Create,
            "update_record" | "update" => Kind::Update,
            "delete_record" | "delete" => Kind::Delete,
            "loop" | "foreach" => Kind::Loop,
            "parallel" => Kind::Parallel,
            "parallel_gateway" | "join_gateway" => Kind::Join,
            "try_catch" => Kind::TryCatch,
            "script" => Kind::Script,
            "action" => Kind::Action,
            "subflow" => Kind::Subflow,
            "map" => Kind::Map,
            "wait" => Kind::Wait,
            "screen" => Kind::Screen,
            "approval" => Kind::Approval,
            "http" | "http_request" => Kind::Http,
            "send_email" | "email" => Kind::SendEmail,
            "notify" => Kind::Notify,
            "connector_action" => Kind::Connector,
            _ => Kind::Unknown,
        }
    }
}

impl NodeConfig {
    /// Reads the configuration of a node; `bodies` are the graphs inside it, read already.
    pub(super) fn read(
        kind: Kind,
        config: &Reader<'_>,
        bodies: Vec<Graph>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut bodies = bodies.into_iter();
        match kind {
            Kind::Start => NodeConfig::Start(Start {
                triggers: triggers(config, warnings),
                schedule: Schedule::read(config),
            }),
            Kind::End => NodeConfig::End {
                outputs: match config.raw(&["outputs", "output", "outputMapping"]) {
                    Some(Value::Object(outputs)) => Some(outputs.clone()),
                    _ => None,
                },
            },
            Kind::Decision => NodeConfig::Decision {
                branches: branches(config),
            },
            Kind::Assignment => NodeConfig::Assignment {
                assignments: assignments(config),
            },
            Kind::Get => NodeConfig::GetRecord {
                step: RecordStep {
                    object: object(config),
                    filter: filter(config),
                    fields: config.raw(&["fields"]).cloned(),
                },
                limit: config.natural(&["limit"]).unwrap_or(1).max(1),
                order_by: config.raw(&["sort", "orderBy"]).cloned(),
            },
            Kind::Create => NodeConfig::CreateRecord(record_step(config)),
            Kind::Update => NodeConfig::UpdateRecord(record_step(config)),
            Kind::Delete => NodeConfig::DeleteRecord(record_step(config)),
            Kind::Loop => NodeConfig::Loop(Loop {
                collection: config.raw(&["collection"]).cloned(),
                item: variable(config, &["iteratorVariable", "as"]),
                index: config.string(&["indexVariable"]),
                iterations_max: config
                    .natural(&["maxIterations"])
                    .unwrap_or(ITERATIONS.0)
                    .min(ITERATIONS.1),
                body: bodies.next(),
            }),
            Kind::Parallel => NodeConfig::Parallel {
                branches: bodies.collect(),
            },
            Kind::Join => NodeConfig::Join,
            Kind::TryCatch => {
                let error_variable = config.string(&["errorVariable"]);
                let retry = config.object(&["retry"]);
                NodeConfig::TryCatch(TryCatch {
                    body: bodies.next().unwrap_or_default(),
                    catch: bodies.next().unwrap_or_default(),
                    error_variable: error_variable.unwrap_or_else(|| "$error".to_owned()),
                    retry: retry.map(|retry| Backoff::read(&retry, 1)),
                })
            }
            Kind::Script => NodeConfig::Script(ScriptStep {
                body: Body::read(config, &["body", "script", "code"]),
                function: config.string(&["function"]),
                action_type: config.string(&["actionType"]),
                input: input(config),
            }),
            Kind::Action => NodeConfig::Action(ActionStep {
                action: config.string(&["action", "actionName"]),
                object: object(config),
                record: config.raw(&["recordId", "record"]).cloned(),
                input: input(config),
            }),
            Kind::Subflow => NodeConfig::Subflow(subflow(config)),
            Kind::Map => NodeConfig::Map(MapStep {
                subflow: subflow(config),
                collection: config.raw(&["collection", "items"]).cloned(),
                item: variable(config, &["iteratorVariable", "as"]),
            }),
            Kind::Wait => NodeConfig::Wait(Wait {
                duration: config.raw(&["timerDuration", "duration"]).cloned(),
                until: config.raw(&["until"]).cloned(),
                signal: config.string(&["signal", "signalName"]),
                condition: config.expression(&["condition"], Dialect::Cel),
            }),
            Kind::Screen => NodeConfig::Screen(Screen {
                fields: ActionParam::read_all(config, &["fields"]).unwrap_or_default(),
                object: object(config),
            }),
            Kind::Approval => NodeConfig::Approval(ApprovalWait {
                approvers: Approver::read_all(config),
                behavior: Behavior::read(config),
                locks_record: config.flag(&["lockRecord"]).unwrap_or(true),
                status_field: config.string(&["approvalStatusField"]),
            }),
            Kind::Http => NodeConfig::Http(HttpCall {
                url: config.string(&["url"]),
                method: config
                    .string(&["method"])
                    .map_or_else(|| "GET".to_owned(), |method| method.to_ascii_uppercase()),
                headers: config.free_object(&["headers"]),
                body: config.raw(&["body"]).cloned(),
            }),
            Kind::SendEmail => NodeConfig::SendEmail(mail(config)),
            Kind::Notify => NodeConfig::Notify(mail(config)),
            Kind::Connector => NodeConfig::Connector(Connector {
                connector: config.string(&["connector", "connectorId"]),
                operation: config.string(&["operation", "action", "actionId"]),
                input: input(config),
            }),
            Kind::Unknown => NodeConfig::Unknown,
        }
    }
}

/// The variable that what a step gives is kept in.
pub(super) fn output_variable(config: &Reader<'_>) -> Option<String> {
    match config.raw(&["outputVariable"])? {
        Value::String(name) => Some(bare(name)),
        _ => None,
    }
}

/// `{name}` as `name`.
fn bare(name: &str) -> String {
    name.trim_matches(['{', '}']).to_owned()
}

fn variable(config: &Reader<'_>, keys: &[&str]) -> String {
    config.string(keys).unwrap_or_else(|| "item".to_owned())
}

fn object(config: &Reader<'_>) -> Option<String> {
    config.string(&["objectName", "object"])
}

fn record_step(config: &Reader<'_>) -> RecordStep {
    RecordStep {
        object: object(config),
        filter: filter(config),
        fields: config
            .raw(&["fields", "data", "values", "fieldValues"])
            .cloned(),
    }
}

fn filter(config: &Reader<'_>) -> Option<RecordFilter> {
    let written = config.raw(&["filter", "filters", "where", "criteria"]);
    if let Some(written) = written {
        return Some(RecordFilter::Where(written.clone()));
    }
    let id = config.raw(&["recordId", "id"])?;
    Some(RecordFilter::Id(id.clone()))
}

/// What a step hands in.
fn input(config: &Reader<'_>) -> Option<Value> {
    config.raw(&["inputs", "input", "params"]).cloned()
}

fn subflow(config: &Reader<'_>) -> Subflow {
    Subflow {
        flow: config.string(&["flowName", "flow"]),
        input: config.raw(&["input", "inputs", "params"]).cloned(),
    }
}

fn mail(config: &Reader<'_>) -> Mail {
    Mail {
        to: config
            .raw(&["to", "recipients", "recipient", "userId"])
            .cloned(),
        cc: config.raw(&["cc"]).cloned(),
        bcc: config.raw(&["bcc"]).cloned(),
        template: config.string(&["template", "templateName"]),
        data: config.raw(&["data", "variables"]).cloned(),
        subject: config.string(&["subject", "title"]),
        body: config.string(&["body", "message", "html", "text"]),
    }
}

/// The conditions of a decision; those without any are left out.
fn branches(config: &Reader<'_>) -> Vec<Branch> {
    let mut branches = Vec::new();
    for (_, one) in config.objects(&["conditions"]) {
        let condition = one.expression(&["expression", "condition"], Dialect::Cel);
        if let Some(condition) = condition {
            branches.push(Branch {
                label: one.string(&["label", "name"]).unwrap_or_default(),
                condition,
            });
        }
    }
    branches
}

/// `{assignments: {…}}`, `{assignments: [{variable, value}]}` or `{…}` itself.
fn assignments(config: &Reader<'_>) -> Vec<(String, Value)> {
    let pairs = |map: &Map<String, Value>| {
        let pairs = map.iter().map(|(name, value)| (bare(name), value.clone()));
        pairs.collect()
    };
    match config.raw(&["assignments"]) {
        Some(Value::Array(_)) => {
            let mut read = Vec::new();
            for (_, one) in config.objects(&["assignments"]) {
                let names = ["variable", "name", "field", "variableName"];
                if let Some(name) = one.string(&names) {
                    let value = one.raw(&["value"]).cloned().unwrap_or_default();
                    read.push((bare(&name), value));
                }
            }
            read
        }
        Some(Value::Object(assignments)) => pairs(assignments),
        _ => pairs(config.map()),
    }
}
