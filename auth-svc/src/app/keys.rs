//! API keys: only a session reaches them.

use mesh::{Ctx, Error, Result, audit::Actor, clock};
use time::OffsetDateTime;

use super::{App, admit, entry};
use crate::{
    domain::{
        api_key::{self, ApiKey, KEYS_MAX},
        audit::Action,
        input,
    },
    store,
};

/// The permission that reaches other people's keys.
const MANAGE_USERS: &str = "manage_users";

/// A key to make.
pub(crate) struct NewKey<'k> {
    /// What to call it.
    pub name: &'k str,
    /// When it ends.
    pub expires_at: Option<OffsetDateTime>,
    /// What to narrow it to, as a JSON array.
    pub scopes: Option<&'k [u8]>,
}

/// Makes a key for the caller; the key and its secret.
///
/// # Errors
/// VALIDATION_ERROR for what was asked, or when the caller has a hundred keys; as
/// [`admit::acting`].
pub(crate) async fn create_key(
    app: &App,
    ctx: &Ctx,
    asked: NewKey<'_>,
) -> Result<(ApiKey, String)> {
    let signed_in = admit::signed_in(app, ctx).await?;
    let now = clock::now();
    let secret = api_key::secret(&mesh::id::secret());
    let key = ApiKey {
        id: mesh::id::new(),
        user_id: signed_in.user.id,
        name: api_key::name(asked.name)?,
        prefix: api_key::prefix(&secret),
        scopes: api_key::scopes(asked.scopes)?,
        created_at: now,
        expires_at: api_key::end(asked.expires_at, now)?,
        last_used_at: None,
    };
    let actor = Actor::User(key.user_id.clone());
    let mut noted = entry(ctx, Action::KeyCreated, actor, Some(&key.user_id));
    noted.detail = Some(key.id.clone());
    let hash = api_key::hash(&secret)
        .ok_or_else(|| Error::internal(anyhow::anyhow!("a secret that is no key")))?;
    if !store::api_keys::create_key(&app.store, key.clone(), hash, noted).await? {
        let message = format!("A user may have at most {KEYS_MAX} API keys");
        return Err(Error::validation("TOO_MANY_KEYS", message).with("limit", KEYS_MAX));
    }
    Ok((key, secret))
}

/// The keys of the caller, or of another user for holders of `manage_users`.
///
/// # Errors
/// PERMISSION_DENIED; as [`admit::acting`].
pub(crate) async fn list_keys(app: &App, ctx: &Ctx, user_id: Option<&str>) -> Result<Vec<ApiKey>> {
    let signed_in = admit::signed_in(app, ctx).await?;
    let user_id = match user_id {
        Some(other) if other != signed_in.user.id => {
            if !ctx.identity()?.has_permission(MANAGE_USERS) {
                let message = format!("Missing {MANAGE_USERS}");
                return Err(Error::denied(message).with("permission", MANAGE_USERS));
            }
            other
        }
        _ => &signed_in.user.id,
    };
    store::api_keys::keys_of(&app.store, user_id).await
}

/// Ends a key of the caller, or anybody's for holders of `manage_users`.
///
/// # Errors
/// NOT_FOUND, also for a key that the caller may not end; as [`admit::acting`].
pub(crate) async fn delete_key(app: &App, ctx: &Ctx, id: &str) -> Result<()> {
    let signed_in = admit::signed_in(app, ctx).await?;
    let all = ctx.identity()?.has_permission(MANAGE_USERS);
    let found = match input::can_be_id(id) {
        true => store::api_keys::find(&app.store, id).await?,
        false => None,
    };
    let key = found.filter(|key| all || key.user_id == signed_in.user.id);
    let key = key.ok_or_else(no_key)?;
    let actor = Actor::User(signed_in.user.id);
    let mut noted = entry(ctx, Action::KeyDeleted, actor, Some(&key.user_id));
    noted.detail = Some(key.id.clone());
    if store::api_keys::delete_key(&app.store, &key.id, noted).await? {
        Ok(())
    } else {
        Err(no_key())
    }
}

fn no_key() -> Error {
    Error::not_found("KEY_NOT_FOUND", "API key not found")
}
