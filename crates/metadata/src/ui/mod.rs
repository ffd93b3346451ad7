//! What people see: views, reports, applications. Nothing here runs on its own; checks, public forms
//! and reports read it.

pub mod app;
pub mod report;
pub mod view;

pub use app::{App, NavigationEntry, NavigationKind};
pub use report::{Dataset, Dimension, Grouping, Measure, Report, ReportKind};
pub use view::{Column, FormSharing, FormView, ListView, Section, View};
