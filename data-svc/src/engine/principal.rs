//! Who a user is to the engine: the profile as a `sys_user` record, and the rights that
//! assignments give (spec/security.md §3).

use std::collections::BTreeSet;

use futures::FutureExt as _;
use mesh::{
    Result, clock,
    db::{DbError, Statement, Tx, Value},
    identity::ADMIN_PERMISSION_SET,
};

use super::{Engine, seed::DEFAULT_ORGANIZATION};

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

/// Keeps the profile and answers the rights.
///
/// # Errors
/// Those of the database.
pub async fn resolve(
    engine: &Engine,
    profile: &Profile,
    platform_owner: bool,
    organization: &str,
) -> Result<Rights> {
    if !is_current(engine, profile).await? {
        let profile = profile.clone();
        engine
            .db
            .write::<_, mesh::Error, _>(move |tx| {
                let profile = profile.clone();
                async move { Ok(upsert(tx, &profile, platform_owner).await?) }.boxed()
            })
            .await?;
    }
    let list = |sql: &'static str| {
        let statement = Statement::new(sql).bind(profile.id.clone());
        engine.db.query(statement, |row| {
            Ok(row.text(0)?.unwrap_or_default().to_owned())
        })
    };
    let (roles, positions, direct, organizations) = tokio::try_join!(
        list("SELECT coalesce(role, '') FROM sys_member WHERE user_id = $1 ORDER BY id"),
        list("SELECT position FROM sys_user_position WHERE user_id = $1"),
        list(
            "SELECT permission_set FROM sys_user_permission_set WHERE user_id = $1 UNION \
             SELECT p.permission_set FROM sys_position_permission_set p \
             JOIN sys_user_position u ON u.position = p.position WHERE u.user_id = $1"
        ),
        list("SELECT organization FROM sys_member WHERE user_id = $1 ORDER BY id"),
    )?;
    let registry = engine.catalog.current();
    let mut positions: BTreeSet<String> = positions.into_iter().collect();
    for role in &roles {
        positions.extend(
            role.split(',')
                .map(|one| one.trim().to_owned())
                .filter(|one| !one.is_empty()),
        );
    }
    // The fallback is for users who were given nothing; a set that is gone grants nothing, and must
    // not give its holders the fallback instead.
    let is_unassigned = direct.is_empty();
    let mut sets: BTreeSet<String> = direct
        .into_iter()
        .filter(|name| registry.permission_set(name).is_some())
        .collect();
    if is_unassigned {
        // A set that the operator names but that is not there grants nothing, as any such set.
        match engine.fallback_permission_set.as_deref() {
            None => sets.insert(registry.fallback_permission_set().to_owned()),
            Some(named) if registry.permission_set(named).is_some() => {
                sets.insert(named.to_owned())
            }
            Some(_) => false,
        };
    }
    let keys: BTreeSet<String> = sets
        .iter()
        .filter_map(|name| registry.permission_set(name))
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

/// Whether the stored profile is the same already: the usual case, and then nothing is written.
async fn is_current(engine: &Engine, profile: &Profile) -> Result<bool> {
    let statement = Statement::new(
        "SELECT name, email, email_verified, image, disabled FROM sys_user WHERE id = $1",
    )
    .bind(profile.id.clone());
    let stored = engine
        .db
        .query_opt(statement, |row| {
            let text = |i| Ok::<_, DbError>(row.text(i)?.unwrap_or_default().to_owned());
            Ok((text(0)?, text(1)?, row.bool(2)?, text(3)?, row.bool(4)?))
        })
        .await?;
    let wanted = (
        profile.name.clone(),
        profile.email.clone(),
        Some(profile.email_verified),
        profile.image.clone(),
        Some(profile.disabled),
    );
    Ok(stored == Some(wanted))
}

async fn upsert(tx: &mut Tx, profile: &Profile, platform_owner: bool) -> Result<(), DbError> {
    let now = clock::now();
    let known = Statement::new("SELECT 1 FROM sys_user WHERE id = $1").bind(profile.id.clone());
    let is_new = tx.query_opt(known, |_| Ok(())).await?.is_none();
    let image = (!profile.image.is_empty()).then(|| profile.image.clone());
    let statement = Statement::new(
        "INSERT INTO sys_user (id, name, email, email_verified, image, disabled, created_at, updated_at, version) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, \
         email_verified = excluded.email_verified, image = excluded.image, disabled = excluded.disabled, \
         updated_at = excluded.updated_at, version = sys_user.version + 1",
    )
    .bind(profile.id.clone())
    .bind(profile.name.clone())
    .bind(profile.email.clone())
    .bind(profile.email_verified)
    .bind(Value::Text(image))
    .bind(profile.disabled)
    .bind(now);
    tx.execute(statement).await?;
    if !(is_new && platform_owner) {
        return Ok(());
    }
    // Only when first seen: an administrator who gave the right away keeps it away.
    let assignment = Statement::new(
        "INSERT INTO sys_user_permission_set (id, user_id, permission_set, created_at, updated_at, version) \
         VALUES ($1, $2, $3, $4, $4, 1) ON CONFLICT DO NOTHING",
    )
    .bind(mesh::id::new())
    .bind(profile.id.clone())
    .bind(ADMIN_PERMISSION_SET)
    .bind(now);
    tx.execute(assignment).await?;
    add_member(tx, &profile.id, "owner").await
}

/// Makes a user a member of the default organisation.
///
/// # Errors
/// Those of the database.
pub async fn add_member(tx: &mut Tx, user_id: &str, role: &str) -> Result<(), DbError> {
    let statement = Statement::new(
        "INSERT INTO sys_member (id, organization, user_id, role, created_at, updated_at, version) \
         VALUES ($1, $2, $3, $4, $5, $5, 1) ON CONFLICT DO NOTHING",
    )
    .bind(mesh::id::new())
    .bind(DEFAULT_ORGANIZATION)
    .bind(user_id)
    .bind(role)
    .bind(clock::now());
    tx.execute(statement).await?;
    Ok(())
}

/// Takes a user out of lookups: the record stays for those that refer to it, marked as disabled.
///
/// # Errors
/// Those of the database.
pub async fn remove(engine: &Engine, user_id: &str) -> Result<()> {
    let user_id = user_id.to_owned();
    engine
        .db
        .write::<_, mesh::Error, _>(move |tx| {
            let statement = Statement::new(
                "UPDATE sys_user SET disabled = $1, updated_at = $2, version = version + 1 WHERE id = $3",
            )
            .bind(true)
            .bind(clock::now())
            .bind(user_id.clone());
            async move {
                tx.execute(statement).await?;
                Ok(())
            }
            .boxed()
        })
        .await
}
