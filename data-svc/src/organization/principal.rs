//! Who a user is to data-svc: the profile as a `sys_user` record, and the rights that assignments give
//! (docs/reference/security.md §3).

use std::collections::BTreeSet;

use mesh::{Result, error::Reason, identity::ADMIN_PERMISSION_SET};
use serde_json::{Value, json};

use super::{fields, member, work};
use crate::kernel::{
    Kernel, Work,
    model::cell::Cell,
    query::select,
    write::{create_all, update},
};

/// A user, as auth-svc knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Id of the user.
    pub id: String,
    /// Display name.
    pub name: String,
    /// E-mail address, lower case.
    pub email: String,
    /// Whether the address was proven.
    pub email_verified: bool,
    /// Address of a picture; empty when there is none.
    pub image: String,
    /// Whether the user may not sign in.
    pub disabled: bool,
}

/// A user's rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The organisation in which the user acts; empty when there is none.
    pub organization_id: String,
    /// Positions held, sorted.
    pub positions: Vec<String>,
    /// Permission sets that apply, sorted.
    pub permission_sets: Vec<String>,
    /// System permission keys, sorted.
    pub system_permissions: Vec<String>,
}

/// Most assignments of one user that count.
const ROWS_MAX: u64 = 10_000;
/// How often a profile is kept again that another call keeps at the same time.
const ATTEMPTS: usize = 3;

/// Keeps the profile and answers the rights. `fallback` is the permission set of users who hold no
/// other, where the operator names one (empty for none); without it, what the metadata says.
///
/// # Errors
/// Those of the database.
pub async fn resolve(
    kernel: &Kernel,
    fallback: Option<&str>,
    profile: &Profile,
    platform_owner: bool,
    organization: &str,
) -> Result<Rights> {
    let work = work(kernel);
    keep(kernel, &work, profile, platform_owner).await?;
    let of_user = json!({"user_id": profile.id});
    let (members, positions, direct) = tokio::try_join!(
        select(
            kernel,
            &work,
            "sys_member",
            &of_user,
            &["organization", "role"],
            ROWS_MAX
        ),
        select(
            kernel,
            &work,
            "sys_user_position",
            &of_user,
            &["position"],
            ROWS_MAX
        ),
        select(
            kernel,
            &work,
            "sys_user_permission_set",
            &of_user,
            &["permission_set"],
            ROWS_MAX
        ),
    )?;
    let assigned: BTreeSet<String> = positions.into_iter().filter_map(first).collect();
    let mut direct: BTreeSet<String> = direct.into_iter().filter_map(first).collect();
    if !assigned.is_empty() {
        let of_positions = json!({"position": {"$in": assigned}});
        let object = "sys_position_permission_set";
        let given = select(
            kernel,
            &work,
            object,
            &of_positions,
            &["permission_set"],
            ROWS_MAX,
        )
        .await?;
        direct.extend(given.into_iter().filter_map(first));
    }
    let (mut positions, mut organizations) = (assigned, Vec::new());
    for member in members {
        let mut texts = member.into_iter().map(text);
        organizations.extend(texts.next().flatten());
        let roles = texts.next().flatten().unwrap_or_default();
        let roles = roles.split(',').map(str::trim);
        positions.extend(roles.filter(|role| !role.is_empty()).map(str::to_owned));
    }
    let sets = permission_sets(&work, fallback, direct);
    let keys: BTreeSet<String> = sets
        .iter()
        .filter_map(|name| work.registry.permission_set(name))
        .flat_map(|set| set.system_permissions.iter().cloned())
        .collect();
    let organization_id = if organizations.iter().any(|id| id == organization) {
        organization.to_owned()
    } else {
        match organizations.as_slice() {
            [only] => only.clone(),
            _ => String::new(),
        }
    };
    Ok(Rights {
        organization_id,
        positions: positions.into_iter().collect(),
        permission_sets: sets.into_iter().collect(),
        system_permissions: keys.into_iter().collect(),
    })
}

/// The permission set of users who hold no other, if it is there.
pub(super) fn fallback_set<'a>(work: &'a Work, named: Option<&'a str>) -> Option<&'a str> {
    match named {
        None => Some(work.registry.fallback_permission_set()),
        // A set that the operator names but that is not there grants nothing, as any such set.
        Some(named) => work.registry.permission_set(named).map(|_| named),
    }
}

/// The permission sets that apply: those assigned that are there, or the fallback.
fn permission_sets(
    work: &Work,
    fallback: Option<&str>,
    direct: BTreeSet<String>,
) -> BTreeSet<String> {
    let registry = &work.registry;
    // The fallback is for users who were given nothing; a set that is gone grants nothing, and must
    // not give its holders the fallback instead.
    let is_unassigned = direct.is_empty();
    let is_there = |name: &String| registry.permission_set(name).is_some();
    let mut sets: BTreeSet<String> = direct.into_iter().filter(is_there).collect();
    if is_unassigned {
        sets.extend(fallback_set(work, fallback).map(str::to_owned));
    }
    sets
}

/// Keeps the profile. The usual case is that it is kept already, and then nothing is written.
async fn keep(kernel: &Kernel, work: &Work, profile: &Profile, owner: bool) -> Result<()> {
    let mut attempt = 1;
    loop {
        let kept = match stored(kernel, work, &profile.id).await? {
            Some(stored) if is_current(profile, &stored) => return Ok(()),
            Some(_) => {
                let body = shown(profile).to_string();
                let target = ("sys_user", profile.id.as_str());
                let updated = update(kernel, work, target, body.as_bytes(), "", "").await;
                updated.map(drop)
            }
            None => create(kernel, work, profile, owner).await,
        };
        match kept {
            // Another call keeps the same profile at the same time.
            Err(error)
                if attempt < ATTEMPTS
                    && matches!(
                        error.reason(),
                        Reason::UniqueViolation | Reason::ConcurrentUpdate
                    ) =>
            {
                attempt += 1;
            }
            kept => return kept,
        }
    }
}

/// A user who is seen first. The platform's owner becomes its administrator in the same transaction, and
/// only then: an administrator who gave the right away keeps it away.
async fn create(kernel: &Kernel, work: &Work, profile: &Profile, owner: bool) -> Result<()> {
    let mut records = vec![("sys_user", fields(shown(profile)))];
    if owner {
        let assignment = json!({"user_id": profile.id, "permission_set": ADMIN_PERMISSION_SET});
        records.push(("sys_user_permission_set", fields(assignment)));
        records.push(member(&profile.id, "owner"));
    }
    create_all(kernel, work, records).await?;
    Ok(())
}

/// The fields of the record that are auth-svc's.
const FIELDS: [&str; 5] = ["name", "email", "email_verified", "image", "disabled"];

async fn stored(kernel: &Kernel, work: &Work, id: &str) -> Result<Option<Vec<Cell>>> {
    let found = select(kernel, work, "sys_user", &json!({"id": id}), &FIELDS, 1).await?;
    Ok(found.into_iter().next())
}

fn is_current(profile: &Profile, stored: &[Cell]) -> bool {
    let shown = shown(profile);
    FIELDS
        .iter()
        .zip(stored)
        .all(|(field, cell)| shown[*field] == cell.to_json())
}

fn shown(profile: &Profile) -> Value {
    let image = (!profile.image.is_empty()).then_some(profile.image.as_str());
    json!({
        "id": profile.id,
        "name": profile.name,
        "email": profile.email,
        "email_verified": profile.email_verified,
        "image": image,
        "disabled": profile.disabled,
    })
}

/// Takes a user out of lookups: the record stays for those that refer to it, marked as disabled.
///
/// # Errors
/// Those of the database.
pub async fn remove(kernel: &Kernel, user_id: &str) -> Result<()> {
    let body = json!({"disabled": true}).to_string();
    let target = ("sys_user", user_id);
    match update(kernel, &work(kernel), target, body.as_bytes(), "", "").await {
        Err(error) if error.reason() != Reason::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(super) fn first(row: Vec<Cell>) -> Option<String> {
    row.into_iter().next().and_then(text)
}

fn text(cell: Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}
