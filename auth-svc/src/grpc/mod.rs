//! The RPC services: convert, call [`crate::app`], convert back.

mod auth;
mod convert;
mod identity;
mod user_admin;

pub(crate) use auth::Auth;
pub(crate) use identity::IdentityRpc;
pub(crate) use user_admin::UserAdmin;
