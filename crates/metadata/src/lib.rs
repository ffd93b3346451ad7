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
//! Invariant: what cannot be understood never widens access: an unreadable permission bit is
//! off, an unreadable row policy matches nothing.
//! Invariant: apart from [`load`] nothing here touches a file, a clock or the network.

pub mod canonical;
pub mod diagnostics;
pub mod example;
pub mod expression;
pub mod field;
pub mod json_schema;
pub mod load;
pub mod merge;
pub mod naming;
pub mod object;
pub mod package;
pub mod permission;
pub mod position;
pub mod rule;
pub mod seed;
pub mod validate;

mod item_type;
mod parse;
mod reader;
mod system_fields;

pub use diagnostics::{Diagnostic, Severity};
pub use expression::{Dialect, Expression};
pub use field::{
    CurrencyConfig, CurrencyMode, DeleteBehavior, Field, FieldType, SelectOption, Summary,
    SummaryFunction, Unique,
};
pub use item_type::ItemType;
pub use load::{LoadError, Loaded, load_path, load_value};
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
pub use validate::validate;
