//! What an application does: actions, hooks, flows, approvals, jobs, webhooks, mail.
//!
//! Invariant: nothing here runs anything, and no expression is compiled: it is read once, and the
//! services that run it compile what they need of it.

pub mod action;
pub mod approval;
pub mod body;
pub mod email_template;
pub mod flow;
pub mod hook;
pub mod job;
pub mod param;
pub mod retry;
pub mod webhook;

pub use action::{Action, ActionKind, AiExposure};
pub use approval::{
    ApprovalProcess, ApprovalStep, Approver, ApproverKind, Behavior, RecordAction,
    RecordActionKind, RejectionBehavior,
};
pub use body::{Body, Function, Language};
pub use email_template::{EmailTemplate, TemplateVariable};
pub use flow::Flow;
pub use hook::{Hook, HookEvent, HookMoment, HookOperation, OnError};
pub use job::{Job, JobTarget, Schedule};
pub use param::{ActionParam, Param, ParamType, Violation, check_params, params_schema};
pub use retry::Backoff;
pub use webhook::{Webhook, WebhookTrigger};
