//! Plain types to messages.

use mesh::{Error, Result};
use proto::auth::v1 as pb;
use time::OffsetDateTime;
use tonic::{Response, metadata::MetadataValue};

use crate::domain::{session::Session, user::User};

/// Response metadata by which cookies reach the browser through the gateway.
const SET_COOKIE: &str = "http-set-cookie";

pub(super) fn user(user: User) -> pb::User {
    pb::User {
        id: user.id,
        name: user.name,
        email: user.email,
        email_verified: user.email_verified,
        image: user.image,
        created_at: Some(timestamp(user.created_at)),
        updated_at: Some(timestamp(user.updated_at)),
        role: None,
        roles: Vec::new(),
        banned: None,
        ban_reason: None,
    }
}

/// A user as administrators see them.
pub(super) fn user_for_admin(of: User, now: OffsetDateTime) -> pb::User {
    let ban = of.ban_at(now).cloned();
    pb::User {
        banned: Some(ban.is_some()),
        ban_reason: ban.and_then(|ban| ban.reason),
        ..user(of)
    }
}

/// A session; `token` is known only where the caller sent it along.
pub(super) fn session(session: Session, token: Option<&str>) -> pb::Session {
    pb::Session {
        token: token.map_or_else(|| session.id.clone(), ToOwned::to_owned),
        id: session.id,
        user_id: session.user_id,
        expires_at: Some(timestamp(
            session.expires_at.min(session.absolute_expires_at),
        )),
        created_at: Some(timestamp(session.created_at)),
        updated_at: Some(timestamp(session.updated_at)),
        ip_address: session.ip_address,
        user_agent: session.user_agent,
        active_organization_id: session.active_organization_id,
    }
}

pub(super) fn with_cookie<T>(message: T, cookie: &str) -> Result<Response<T>> {
    let mut response = Response::new(message);
    let value = MetadataValue::try_from(cookie).map_err(Error::internal)?;
    response.metadata_mut().append(SET_COOKIE, value);
    Ok(response)
}

/// A moment that a client stated, cut to milliseconds.
///
/// # Errors
/// VALIDATION_ERROR when there is no such moment.
pub(super) fn moment(stated: &prost_types::Timestamp) -> Result<OffsetDateTime> {
    let nanos = i128::from(stated.seconds) * 1_000_000_000 + i128::from(stated.nanos);
    let millis = i64::try_from(nanos.div_euclid(1_000_000)).ok();
    let moment = millis
        .map(mesh::clock::from_unix_ms)
        .filter(|moment| millis == Some(0) || *moment != OffsetDateTime::UNIX_EPOCH);
    moment.ok_or_else(|| Error::validation("INVALID_REQUEST", "There is no such moment"))
}

pub(super) fn timestamp(moment: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: moment.unix_timestamp(),
        // Below 10^9 by definition.
        nanos: i32::try_from(moment.nanosecond()).unwrap_or_default(),
    }
}
