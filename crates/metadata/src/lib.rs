//! The typed artifact model: what an application *is*, before anything runs it.
//!
//! Owns loading a metadata directory or a compiled artifact ([`load_path`], [`load_value`]),
//! the normalisation of old and new spellings into one set of types, the checks that need no
//! database ([`validate()`]), and the merge of several packages into the objects that a registry
//! serves ([`merge_packages`]).
//!
//! Invariant: one bad item never fails a load. It is left out or kept, and either way there is
//! a [`Diagnostic`] that says where it stands and how to mend it.
//! Invariant: every item keeps its JSON as it was written ([`Item::value`]), unknown keys
//! included, so that `/meta` gives back what the author put in.
//! Invariant: an item is read once ([`Item::definition`]); who acts upon it reads the typed
//! definition, never the JSON.
//! Invariant: what cannot be understood never widens access: an unreadable permission bit is
//! off, an unreadable row policy matches nothing.
//! Invariant: apart from [`load`] nothing here touches a file, a clock or the network.

pub mod ai;
pub mod automation;
pub mod canonical;
pub mod definition;
pub mod diagnostics;
pub mod example;
pub mod expression;
pub mod field;
pub mod json_schema;
pub mod load;
pub mod mapping;
pub mod merge;
pub mod naming;
pub mod object;
pub mod package;
pub mod permission;
pub mod position;
pub mod rule;
pub mod seed;
pub mod shape;
pub mod sharing_rule;
pub mod ui;
pub mod validate;

mod item_type;
mod parse;
mod reader;
mod system_fields;

pub use ai::{Agent, Skill, Tool};
pub use automation::{
    Action, ActionKind, ActionParam, ApprovalProcess, Body, EmailTemplate, Flow, Hook, Job, Param,
    ParamType, Violation, Webhook, check_params, params_schema,
};
pub use definition::Definition;
pub use diagnostics::{Diagnostic, Severity};
pub use expression::{Condition, Dialect, Expression};
pub use field::{
    CurrencyConfig, CurrencyMode, DeleteBehavior, Field, FieldType, Operators, SelectOption,
    Storage, Summary, SummaryFunction, Unique,
};
pub use item_type::ItemType;
pub use load::{LoadError, Loaded, load_path, load_value};
pub use mapping::Mapping;
pub use merge::merge_packages;
pub use object::{
    ApiMethod, Index, IndexKind, Object, ObjectExtension, OwdModel, SystemFields, title_case,
};
pub use package::{Item, Package};
pub use permission::{
    FieldPermission, ObjectPermission, PermissionSet, PolicyOperation, RowLevelPolicy,
};
pub use position::Position;
pub use rule::{Rule, Validation};
pub use seed::{Seed, SeedMode};
pub use shape::Shape;
pub use sharing_rule::SharingRule;
pub use ui::{App, Report, View};
pub use validate::validate;
