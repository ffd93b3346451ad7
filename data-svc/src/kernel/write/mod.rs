//! Writing records: prepared outside any transaction on the row as read, then applied in one short
//! transaction whose statements check again what was relied on (docs/adr/0005-hooks-before-the-transaction.md).
//!
//! | file | what |
//! |---|---|
//! | `create`, `update`, `delete` | one write from top to bottom |
//! | `body`, `normalize`, `prepare`, `default`, `password` | from a body to checked cells |
//! | `hooks`, `rules` | what an app has to say about it |
//! | `references`, `reach` | what must be there, and within reach |
//! | `commit`, `group` | a transaction for one write, or for those that wait together |
//! | `apply`, `cascade`, `autonumber`, `summary`, `after` | what is in the transaction |
//! | `answer`, `idempotency` | what is told, and told again |
//!
//! Invariant: a transaction waits for nothing but the database.
//! Invariant: whatever changes a record passes `after`, in the transaction of the change.

mod after;
mod answer;
mod apply;
mod autonumber;
mod body;
mod cascade;
mod commit;
mod create;
pub(in crate::kernel) mod default;
mod delete;
mod group;
mod hook_host;
mod hooks;
mod idempotency;
mod normalize;
mod password;
mod prepare;
mod reach;
mod references;
pub(in crate::kernel) mod rules;
mod summary;
mod text;
mod update;

pub(in crate::kernel) use self::group::Groups;
pub use self::{
    after::{AfterWrite, Change, Operation},
    create::{create, create_all},
    default::evaluate_default,
    delete::{Deleted, delete},
    update::update,
};
pub(crate) use super::store::write::parts;
