//! The RPC services: convert, call [`crate::app`], convert back.

mod api_keys;
mod auth;
mod convert;
mod identity;
mod revocations;
mod user_admin;

pub(crate) use api_keys::ApiKeys;
pub(crate) use auth::Auth;
pub(crate) use identity::IdentityRpc;
pub(crate) use revocations::Revocations;
pub(crate) use user_admin::UserAdmin;
