//! A user and whether they may sign in.

use mesh::{Error, error::Reason};
use time::OffsetDateTime;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Id (ULID).
    pub id: String,
    /// Display name.
    pub name: String,
    /// E-mail address, lower case.
    pub email: String,
    /// Whether the address was proven.
    pub email_verified: bool,
    /// Address of a picture.
    pub image: Option<String>,
    /// When the user was created.
    pub created_at: OffsetDateTime,
    /// When the user last changed.
    pub updated_at: OffsetDateTime,
    /// Set when somebody banned the user; may have lapsed.
    pub ban: Option<Ban>,
}

/// Why and until when a user may not sign in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ban {
    /// Why.
    pub reason: Option<String>,
    /// When it ends; `None` = for good.
    pub until: Option<OffsetDateTime>,
}

impl User {
    /// A user that is created now.
    #[must_use]
    pub(crate) fn new(
        id: String,
        name: String,
        email: String,
        image: Option<String>,
        now: OffsetDateTime,
    ) -> Self {
        Self {
            id,
            name,
            email,
            email_verified: false,
            image,
            created_at: now,
            updated_at: now,
            ban: None,
        }
    }

    /// The ban in force at that moment.
    #[must_use]
    pub(crate) fn ban_at(&self, now: OffsetDateTime) -> Option<&Ban> {
        self.ban
            .as_ref()
            .filter(|ban| ban.until.is_none_or(|until| until > now))
    }

    /// # Errors
    /// BANNED_USER while the user may not sign in; the reason of the ban is not told.
    pub(crate) fn may_sign_in(&self, now: OffsetDateTime) -> Result<(), Error> {
        let Some(ban) = self.ban_at(now) else {
            return Ok(());
        };
        let error = Error::new(Reason::BannedUser, "The user may not sign in");
        Err(match ban.until {
            Some(until) => error.with("until", rfc3339(until)),
            None => error,
        })
    }
}

fn rfc3339(moment: OffsetDateTime) -> String {
    moment
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn a_ban_lapses() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
        let mut user = User::new("u".into(), "U".into(), "u@x.io".into(), None, now);
        assert!(user.may_sign_in(now).is_ok());
        user.ban = Some(Ban {
            reason: None,
            until: Some(now + Duration::SECOND),
        });
        let error = user.may_sign_in(now).unwrap_err();
        assert_eq!(error.reason(), Reason::BannedUser);
        assert_eq!(error.detail("until").unwrap(), "1970-01-02T00:00:01Z");
        assert!(user.may_sign_in(now + Duration::SECOND).is_ok());
        user.ban = Some(Ban::default());
        assert!(user.may_sign_in(now + Duration::days(10_000)).is_err());
    }
}
