//! Whose rights, as identity tokens state them, a revision of the metadata changed.

use std::collections::BTreeSet;

use mesh::Result;
use proto::data::v1::{ListChangedPrincipalsRequest, ListChangedPrincipalsResponse};
use serde_json::json;

use super::{
    principal::{fallback_set, first},
    work,
};
use crate::{
    kernel::{Kernel, Work, query::select},
    metadata::catalog::{Catalog, FALLBACK},
};

/// Most users that are named.
const USERS_MAX: usize = 500;
/// Most assignments that are looked through.
const ROWS_MAX: u64 = 10_000;

/// Whose rights may be others.
enum Affected {
    /// Anybody's: too many to name, or it cannot be told.
    Everybody,
    /// These users'.
    Users(BTreeSet<String>),
}

/// Whose rights may be others since a revision: the holders of permission sets that came, went or state
/// other system permissions, and those without assignments where that is so of what they fall back to.
/// `fallback` as in [`resolve`](super::resolve).
///
/// # Errors
/// Those of the database.
pub async fn changed_principals(
    kernel: &Kernel,
    catalog: &Catalog,
    fallback: Option<&str>,
    message: ListChangedPrincipalsRequest,
) -> Result<ListChangedPrincipalsResponse> {
    let work = work(kernel);
    let revision = work.registry.revision;
    let affected = match catalog
        .changed_sets(message.after_revision, revision)
        .await?
    {
        None => Affected::Everybody,
        Some(sets) if sets.is_empty() => Affected::Users(BTreeSet::new()),
        Some(sets) => holders(kernel, &work, fallback, &sets).await?,
    };
    let (everybody, user_ids) = match affected {
        Affected::Everybody => (true, Vec::new()),
        Affected::Users(ids) => (false, ids.into_iter().collect()),
    };
    Ok(ListChangedPrincipalsResponse {
        revision,
        everybody,
        user_ids,
    })
}

async fn holders(
    kernel: &Kernel,
    work: &Work,
    fallback: Option<&str>,
    sets: &BTreeSet<String>,
) -> Result<Affected> {
    let named: Vec<&String> = sets.iter().filter(|name| *name != FALLBACK).collect();
    let of_sets = json!({"permission_set": {"$in": named}});
    let held = |object: &'static str, filter, field: &'static str| async move {
        let found = select(kernel, work, object, &filter, &[field], ROWS_MAX + 1).await?;
        let is_all = found.len() as u64 <= ROWS_MAX;
        let names = found.into_iter().filter_map(first);
        Ok::<_, mesh::Error>(is_all.then(|| names.collect::<BTreeSet<String>>()))
    };
    let direct = held("sys_user_permission_set", of_sets.clone(), "user_id").await?;
    let positions = held("sys_position_permission_set", of_sets, "position").await?;
    let (Some(mut users), Some(positions)) = (direct, positions) else {
        return Ok(Affected::Everybody);
    };
    if !positions.is_empty() {
        let of_positions = json!({"position": {"$in": positions}});
        let Some(holders) = held("sys_user_position", of_positions, "user_id").await? else {
            return Ok(Affected::Everybody);
        };
        users.extend(holders);
    }
    let falls_back = fallback_set(work, fallback).is_none_or(|set| sets.contains(set));
    if falls_back || sets.contains(FALLBACK) {
        // Who was given anything does not fall back: the sets of their positions count as well, but
        // to name too many does no harm.
        let Some(assigned) = held("sys_user_permission_set", json!({}), "user_id").await? else {
            return Ok(Affected::Everybody);
        };
        let others = json!({"id": {"$nin": assigned}});
        let Some(others) = held("sys_user", others, "id").await? else {
            return Ok(Affected::Everybody);
        };
        users.extend(others);
    }
    Ok(match users.len() > USERS_MAX {
        true => Affected::Everybody,
        false => Affected::Users(users),
    })
}
