//! Expressions of metadata: CEL for formulas, rules, conditions and defaults; predicates as filters;
//! templates; schedules. Pure: no I/O, and the clock is an argument.
//!
//! ```
//! use expr::{Filter, Program, ResultType, Scope};
//! use serde_json::json;
//! use time::macros::datetime;
//!
//! let record = json!({"amount": 1050, "probability": 33, "close_date": "2026-12-01"});
//! let user = json!({"id": "u1", "roles": ["sales"]});
//! let scope = Scope::new(datetime!(2026-11-25 14:30 UTC)).record(&record).user(&user);
//!
//! // Compile once, when metadata is loaded; a fault has its line and column.
//! let formula = Program::compile("record.amount * probability / 100")?;
//! assert_eq!(formula.references().fields().collect::<Vec<_>>(), ["amount", "probability"]);
//! assert_eq!(formula.evaluate_as(&scope, ResultType::Number)?, json!(346.5));
//! assert!(Program::compile("record.close_date > now()")?.holds(&scope)?);
//!
//! // A predicate as a filter: bound to the user, then turned into SQL by who knows the columns.
//! let policy = Filter::compile("owner == current_user.id || 'admin' in current_user.roles")?;
//! let predicate = policy.bind(&scope);
//! assert_eq!(predicate.matches(&json!({"owner": "u1"})), Some(true));
//! assert_eq!(predicate.matches(&json!({"owner": "u2"})), Some(false));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Conditions of flows go through [`Program::compile_condition`], which also reads the older form with
//! placeholders; their values through [`Interpolation`]; texts of mails and titles through [`Template`].
//!
//! # What differs from plain CEL, and why
//!
//! The parser is that of the `cel` crate; evaluation is ours, because people write formulas over rows
//! of a database, and because it must end:
//!
//! - **Missing is null.** A field that a map lacks is null, a field of null is null, and `has(x.f)`
//!   says that it is not null. As a condition (`&&`, `||`, `!`, `? :`, the result of
//!   [`Program::holds`]) null is false. But null has no order and takes no arithmetic: `null > 3` and
//!   `null + 1` are errors, so that a rule over what is not there is not silently passed. A root that
//!   the scope was not given is null; a bare name that nothing holds is null where there is a record or
//!   there are variables, else an error.
//! - **Numbers of the data are decimals.** `19.99 * 3` is `59.97`. They mix with integers and with
//!   numbers of the text; division among them is exact (28 digits). Two integers of the text divide as
//!   in CEL: `7 / 2` is 3.
//! - **Dates are texts in the data.** Compared with each other, texts go by their bytes, which is right
//!   for dates of one form. Beside a date or moment (`now()`, `today()`, `date(…)`) a text is read as one;
//!   a date is its midnight in UTC. `today()`, `daysFromNow` and `daysAgo` are dates, `now()` a moment;
//!   [`Program::evaluate_as`] brings either to what a field needs. A date plus an integer is so many
//!   days later.
//! - **Names.** See [`Scope`].
//! - **Everything is bounded**: the text ([`SOURCE_MAX`]), its depth ([`DEPTH_MAX`]), loops in loops
//!   ([`LOOPS_MAX`]), regular expressions (linear, small), steps (200,000) and text built (1 MiB) of one
//!   evaluation. What goes beyond is an error, [`EvalErrorKind::Budget`].
//!
//! Functions beyond CEL's: `now today daysFromNow daysAgo addDays addMonths daysBetween date datetime
//! isBlank isEmpty coalesce trim join joinNonEmpty split replace substring indexOf upper lower len abs
//! round floor ceil min max`. Each function can be called as a method of its first argument. An unknown
//! function is a fault at compile time.

mod cron;
mod error;
mod eval;
pub mod filter;
mod function;
mod interpolation;
mod moment;
mod node;
mod program;
mod references;
mod scope;
mod slot;
mod template;
mod value;

pub use cron::{Cron, CronError};
pub use error::{CompileError, EvalError, EvalErrorKind, Position};
pub use eval::ResultType;
pub use filter::Filter;
pub use interpolation::Interpolation;
pub use node::Comparison;
pub use program::{DEPTH_MAX, LOOPS_MAX, Program, SOURCE_MAX};
pub use references::References;
pub use scope::Scope;
pub use template::{Escape, Template};
