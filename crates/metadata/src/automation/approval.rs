//! Approval processes: steps in which people decide about a record (docs/reference/automation.md, "Approvals").

use serde_json::{Map, Value};

use crate::diagnostics::Diagnostic;
use crate::expression::Condition;
use crate::reader::{Reader, Sink};

/// How records of an object are approved.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalProcess {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// One or two sentences.
    pub description: Option<String>,
    /// The object whose records it is for.
    pub object: Option<String>,
    /// Only an active one takes requests; false unless written.
    pub is_active: bool,
    /// A record enters by itself when this holds; without one it is only submitted by hand.
    pub entry_criteria: Condition,
    /// Whether the record cannot be changed while it waits; true unless written.
    pub locks_record: bool,
    /// The field that shows how far it is.
    pub status_field: Option<String>,
    /// The steps, in order.
    pub steps: Vec<ApprovalStep>,
    /// What happens when nobody decides in time, as written.
    pub escalation: Option<Value>,
    /// Done when it is submitted.
    pub on_submit: Vec<RecordAction>,
    /// Done when the last step has approved.
    pub on_final_approve: Vec<RecordAction>,
    /// Done when it is rejected for good.
    pub on_final_reject: Vec<RecordAction>,
    /// Done when the submitter takes it back.
    pub on_recall: Vec<RecordAction>,
}

/// A step of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalStep {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// The step is passed over where this does not hold.
    pub entry_criteria: Condition,
    /// Who decides.
    pub approvers: Vec<Approver>,
    /// Whether one of them suffices.
    pub behavior: Behavior,
    /// Where a rejection leads.
    pub rejection_behavior: RejectionBehavior,
    /// Done when the step approves.
    pub on_approve: Vec<RecordAction>,
    /// Done when it rejects.
    pub on_reject: Vec<RecordAction>,
}

/// Somebody who decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// How the person is found.
    pub kind: ApproverKind,
    /// A user, a field, a position, … by `kind`; a manager may be anybody's without one.
    pub value: Option<String>,
}

/// How an approver is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApproverKind {
    /// The user of that id.
    User,
    /// The user whose id the record has in that field.
    Field,
    /// The manager of who stands in that field, else of the record's owner, else of the submitter.
    Manager,
    /// Whoever holds that position.
    Position,
    /// Whoever is in that team.
    Team,
    /// Whoever is in that department or below.
    Department,
    /// Whoever is in that queue.
    Queue,
    /// A kind that is not known here: nobody matches it.
    Other(String),
}

impl ApproverKind {
    fn parse(word: &str) -> Self {
        match word {
            "user" => ApproverKind::User,
            "field" => ApproverKind::Field,
            "manager" => ApproverKind::Manager,
            "position" | "role" => ApproverKind::Position,
            "team" | "group" => ApproverKind::Team,
            "department" => ApproverKind::Department,
            "queue" => ApproverKind::Queue,
            other => ApproverKind::Other(other.to_owned()),
        }
    }
}

impl Approver {
    /// Reads `[{type, value}]`.
    pub(crate) fn read_all(reader: &Reader<'_>) -> Vec<Self> {
        let mut approvers = Vec::new();
        for (_, one) in reader.objects(&["approvers"]) {
            let kind = one.string(&["type"]).unwrap_or_default();
            approvers.push(Self {
                kind: ApproverKind::parse(&kind),
                value: one.string(&["value"]),
            });
        }
        approvers
    }
}

/// How many approvers a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// The first who decides, decides; also where nothing is said.
    FirstResponse,
    /// All have to approve.
    Unanimous,
}

impl Behavior {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        match reader.string(&["behavior"]).as_deref() {
            Some("unanimous") => Behavior::Unanimous,
            None | Some(_) => Behavior::FirstResponse,
        }
    }
}

/// Where a rejection leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionBehavior {
    /// The request is rejected; also where nothing is said.
    RejectProcess,
    /// The step before decides again; the first step rejects.
    BackToPrevious,
}

/// Something small that an approval or a workflow does.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordAction {
    /// What it does.
    pub kind: RecordActionKind,
    /// Its name, for logs.
    pub name: Option<String>,
    /// What it needs, by `kind`; values may be `$status`, `$now`, `$actor`, `$comment`, `$step`,
    /// `$request_id`.
    pub config: Map<String, Value>,
}

/// What a [`RecordAction`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordActionKind {
    /// Changes fields of the record: `{field, value}` or `{fields: {…}}`.
    FieldUpdate,
    /// Tells somebody in their inbox.
    InboxNotify,
    /// Sends mail.
    EmailAlert,
    /// Calls another system.
    Webhook,
    /// Runs a script.
    Script,
    /// Something that is not known here.
    Other(String),
}

impl RecordAction {
    pub(crate) fn read_all(reader: &Reader<'_>, key: &str) -> Vec<Self> {
        let mut actions = Vec::new();
        for (_, one) in reader.objects(&[key]) {
            let kind = one.string(&["type"]).unwrap_or_default();
            actions.push(Self {
                kind: match kind.as_str() {
                    "field_update" => RecordActionKind::FieldUpdate,
                    "inbox_notify" => RecordActionKind::InboxNotify,
                    "email_alert" => RecordActionKind::EmailAlert,
                    "webhook" => RecordActionKind::Webhook,
                    "script" => RecordActionKind::Script,
                    other => RecordActionKind::Other(other.to_owned()),
                },
                name: one.string(&["name"]),
                config: one.free_object(&["config"]),
            });
        }
        actions
    }
}

impl ApprovalProcess {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("approvals.{name}"), &sink);
        let process = reader.map(|reader| Self::read(name, &reader));
        (process, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let actions = |key: &str| RecordAction::read_all(reader, key);
        let steps = reader.objects(&["steps"]);
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            description: reader.string(&["description"]),
            object: reader.string(&["object", "objectName"]),
            is_active: reader.flag(&["active"]).unwrap_or(false),
            entry_criteria: reader.condition(&["entryCriteria"]),
            locks_record: reader.flag(&["lockRecord"]).unwrap_or(true),
            status_field: reader.string(&["approvalStatusField"]),
            steps: steps
                .iter()
                .map(|(place, step)| read_step(*place, step))
                .collect(),
            escalation: reader.raw(&["escalation"]).cloned(),
            on_submit: actions("onSubmit"),
            on_final_approve: actions("onFinalApprove"),
            on_final_reject: actions("onFinalReject"),
            on_recall: actions("onRecall"),
        }
    }
}

fn read_step(place: usize, reader: &Reader<'_>) -> ApprovalStep {
    let name = reader.string(&["name"]);
    ApprovalStep {
        name: name.unwrap_or_else(|| format!("step_{}", place + 1)),
        label: reader.string(&["label"]),
        entry_criteria: reader.condition(&["entryCriteria"]),
        approvers: Approver::read_all(reader),
        behavior: Behavior::read(reader),
        rejection_behavior: match reader.string(&["rejectionBehavior"]).as_deref() {
            Some("back_to_previous") => RejectionBehavior::BackToPrevious,
            None | Some(_) => RejectionBehavior::RejectProcess,
        },
        on_approve: RecordAction::read_all(reader, "onApprove"),
        on_reject: RecordAction::read_all(reader, "onReject"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_process_is_read_with_its_defaults() {
        let value = json!({"object": "deal", "entryCriteria": "record.discount > 20", "steps": [
            {"approvers": [{"type": "role", "value": "boss"}, {"type": "oracle"}], "behavior": "unanimous",
             "onApprove": [{"type": "field_update", "config": {"field": "ok", "value": true}}]}]});
        let (process, found) = ApprovalProcess::from_value("p", &value);
        let process = process.unwrap();
        assert_eq!(found, []);
        assert!(process.locks_record && !process.is_active);
        let step = &process.steps[0];
        assert_eq!(
            (step.name.as_str(), step.behavior),
            ("step_1", Behavior::Unanimous)
        );
        assert_eq!(step.approvers[0].kind, ApproverKind::Position);
        assert_eq!(
            step.approvers[1].kind,
            ApproverKind::Other("oracle".to_owned())
        );
        assert_eq!(step.on_approve[0].kind, RecordActionKind::FieldUpdate);
    }
}
