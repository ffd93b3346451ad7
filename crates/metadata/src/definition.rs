//! What an item says, typed. It is read once, when the item comes to be, and shared from then on.

use std::sync::Arc;

use serde_json::Value;

use crate::ai::{Agent, Skill, Tool};
use crate::automation::{
    Action, ApprovalProcess, EmailTemplate, Flow, Function, Hook, Job, Webhook,
};
use crate::item_type::ItemType;
use crate::mapping::Mapping;
use crate::object::Object;
use crate::parse;
use crate::permission::PermissionSet;
use crate::position::Position;
use crate::reader::{Reader, Sink};
use crate::sharing_rule::SharingRule;
use crate::ui::{App, Dataset, Report, View};

/// What an item says. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Definition {
    /// A business object, as its own package declares it.
    Object(Arc<Object>),
    /// A permission set or a profile.
    PermissionSet(Arc<PermissionSet>),
    /// A position of the hierarchy.
    Position(Arc<Position>),
    /// A sharing rule.
    SharingRule(Arc<SharingRule>),
    /// A hook.
    Hook(Arc<Hook>),
    /// An import mapping.
    Mapping(Arc<Mapping>),
    /// A dataset.
    Dataset(Arc<Dataset>),
    /// A view.
    View(Arc<View>),
    /// An application.
    App(Arc<App>),
    /// A report.
    Report(Arc<Report>),
    /// An action.
    Action(Arc<Action>),
    /// A flow.
    Flow(Arc<Flow>),
    /// An approval process.
    ApprovalProcess(Arc<ApprovalProcess>),
    /// A job.
    Job(Arc<Job>),
    /// A webhook.
    Webhook(Arc<Webhook>),
    /// A function.
    Function(Arc<Function>),
    /// A template of mail.
    EmailTemplate(Arc<EmailTemplate>),
    /// An agent.
    Agent(Arc<Agent>),
    /// A skill.
    Skill(Arc<Skill>),
    /// A tool.
    Tool(Arc<Tool>),
    /// Something that the platform stores and serves and does not act upon, or cannot read.
    Untyped,
}

impl Definition {
    /// Reads an item; `None` for one that cannot be used at all.
    pub(crate) fn read(
        item_type: ItemType,
        name: &str,
        value: &Value,
        path: String,
        sink: &Sink,
    ) -> Option<Self> {
        // Those have their say about names, and their own words for what is no object.
        match item_type {
            ItemType::Object => {
                let object = parse::object::object(name, value, path, sink)?;
                return Some(Definition::Object(Arc::new(object)));
            }
            ItemType::Permission | ItemType::Profile => {
                let mut set = parse::permission::permission_set(name, value, path, sink)?;
                set.is_profile |= item_type == ItemType::Profile;
                return Some(Definition::PermissionSet(Arc::new(set)));
            }
            ItemType::Position => {
                let position = parse::position::position(name, value, path, sink)?;
                return Some(Definition::Position(Arc::new(position)));
            }
            _ => {}
        }
        let empty = serde_json::Map::new();
        // Of items only functions may be mere names of callables.
        let reader = Reader::over(value.as_object().unwrap_or(&empty), path, sink);
        let reader = &reader;
        Some(match item_type {
            ItemType::SharingRule => {
                Definition::SharingRule(Arc::new(SharingRule::read(name, reader)))
            }
            ItemType::Hook => Definition::Hook(Arc::new(Hook::read(name, reader))),
            ItemType::Mapping => Definition::Mapping(Arc::new(Mapping::read(name, reader))),
            ItemType::Dataset => Definition::Dataset(Arc::new(Dataset::read(name, reader))),
            ItemType::View => Definition::View(Arc::new(View::read(name, reader))),
            ItemType::App => Definition::App(Arc::new(App::read(name, reader))),
            ItemType::Report => Definition::Report(Arc::new(Report::read(name, reader))),
            ItemType::Action => Definition::Action(Arc::new(Action::read(name, reader))),
            ItemType::Flow => Definition::Flow(Arc::new(Flow::read(name, reader))),
            ItemType::Approval => {
                Definition::ApprovalProcess(Arc::new(ApprovalProcess::read(name, reader)))
            }
            ItemType::Job => Definition::Job(Arc::new(Job::read(name, reader))),
            ItemType::Webhook => Definition::Webhook(Arc::new(Webhook::read(name, reader))),
            ItemType::Function => Definition::Function(Arc::new(Function::read(reader))),
            ItemType::EmailTemplate => {
                Definition::EmailTemplate(Arc::new(EmailTemplate::read(name, reader)))
            }
            ItemType::Agent => Definition::Agent(Arc::new(Agent::read(name, reader))),
            ItemType::Skill => Definition::Skill(Arc::new(Skill::read(name, reader))),
            ItemType::Tool => Definition::Tool(Arc::new(Tool::read(name, reader))),
            ItemType::Object
            | ItemType::Permission
            | ItemType::Profile
            | ItemType::Position
            | ItemType::Field
            | ItemType::Trigger
            | ItemType::Validation
            // Its records are with the package.
            | ItemType::Seed
            | ItemType::Cube
            | ItemType::Page
            | ItemType::Dashboard
            | ItemType::Theme
            | ItemType::Workflow
            | ItemType::Datasource
            | ItemType::Translation
            | ItemType::Router
            | ItemType::Service
            | ItemType::Connector
            | ItemType::Api
            | ItemType::Doc
            | ItemType::Policy => Definition::Untyped,
        })
    }
}

/// An accessor for each kind of definition that others ask for by kind.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($type:ty)),* $(,)?) => {
        impl Definition {
            $($(#[$doc])*
            pub fn $name(&self) -> Option<&Arc<$type>> {
                match self {
                    Definition::$variant(of) => Some(of),
                    _ => None,
                }
            })*
        }
    };
}

accessors! {
    /// The object, if it is one.
    object: Object(Object),
    /// The permission set or profile, if it is one.
    permission_set: PermissionSet(PermissionSet),
    /// The position, if it is one.
    position: Position(Position),
    /// The sharing rule, if it is one.
    sharing_rule: SharingRule(SharingRule),
    /// The hook, if it is one.
    hook: Hook(Hook),
    /// The import mapping, if it is one.
    mapping: Mapping(Mapping),
    /// The dataset, if it is one.
    dataset: Dataset(Dataset),
    /// The view, if it is one.
    view: View(View),
    /// The application, if it is one.
    app: App(App),
    /// The report, if it is one.
    report: Report(Report),
    /// The action, if it is one.
    action: Action(Action),
    /// The flow, if it is one.
    flow: Flow(Flow),
    /// The approval process, if it is one.
    approval_process: ApprovalProcess(ApprovalProcess),
    /// The job, if it is one.
    job: Job(Job),
    /// The webhook, if it is one.
    webhook: Webhook(Webhook),
    /// The function, if it is one.
    function: Function(Function),
    /// The template of mail, if it is one.
    email_template: EmailTemplate(EmailTemplate),
    /// The agent, if it is one.
    agent: Agent(Agent),
    /// The skill, if it is one.
    skill: Skill(Skill),
    /// The tool, if it is one.
    tool: Tool(Tool),
}
