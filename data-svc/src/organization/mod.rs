//! People and organisations as data-svc knows them: records of the platform's own objects, kept in step
//! with what auth-svc tells, and the rights that assignments give (docs/reference/security.md §3).
//!
//! They are written and read through the kernel like any records, so that each change leaves its audit
//! entry and is told to those who follow.

mod changed;
pub mod grpc;
mod principal;

use mesh::{BoxFuture, Result};
use serde_json::{Map, Value, json};

use crate::kernel::{
    Kernel, Work, access::SystemReason, model::DEFAULT_ORGANIZATION, write::create_all,
};

pub use changed::changed_principals;
pub use principal::{Profile, Rights, remove, resolve};

/// Creates the default organisation when it is not there.
///
/// # Errors
/// Those of the database.
pub async fn ensure_default(kernel: &Kernel) -> Result<()> {
    let work = kernel.system_work(SystemReason::Seed);
    let organization = fields(json!({
        "id": DEFAULT_ORGANIZATION,
        "name": "Default organisation",
        "slug": "default",
    }));
    create_all(kernel, &work, vec![("sys_organization", organization)]).await?;
    Ok(())
}

/// Makes users members of the default organisation.
///
/// # Errors
/// Those of the database.
pub fn add_members<'a>(kernel: &'a Kernel, user_ids: &'a [String]) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move {
        let work = kernel.system_work(SystemReason::Seed);
        let members = user_ids.iter().map(|id| member(id, "member")).collect();
        create_all(kernel, &work, members).await?;
        Ok(())
    })
}

/// A membership of the default organisation.
fn member(user_id: &str, role: &str) -> (&'static str, Map<String, Value>) {
    let member = json!({"organization": DEFAULT_ORGANIZATION, "user_id": user_id, "role": role});
    ("sys_member", fields(member))
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The platform's own work for what auth-svc tells.
fn work(kernel: &Kernel) -> Work {
    kernel.system_work(SystemReason::ResolvePrincipal)
}
