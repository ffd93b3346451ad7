//! What overtakes identity tokens.

use proto::auth::v1::RevocationKind;

/// A session, key, user or everybody whose tokens are no longer good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// The session of that id has ended.
    Session(String),
    /// The API key of that id has ended.
    Key(String),
    /// The user of that id is disabled or gone, or their password has changed.
    User(String),
    /// The rights of the user of that id have changed.
    UserRights(String),
    /// The rights of many users may have changed.
    Everybody,
}

impl Revocation {
    /// The words in the database: kind and subject.
    #[must_use]
    pub(crate) fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Session(id) => ("session", id),
            Self::Key(id) => ("key", id),
            Self::User(id) => ("user", id),
            Self::UserRights(id) => ("user_rights", id),
            Self::Everybody => ("everybody", ""),
        }
    }
}

/// The kind of that word. A word of a newer version stands for everybody: too much is refused
/// rather than too little.
#[must_use]
pub(crate) fn kind(word: &str) -> RevocationKind {
    match word {
        "session" => RevocationKind::Session,
        "key" => RevocationKind::Key,
        "user" => RevocationKind::User,
        "user_rights" => RevocationKind::UserRights,
        _ => RevocationKind::Everybody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        let id = || "x".to_owned();
        let all = [
            (Revocation::Session(id()), RevocationKind::Session),
            (Revocation::Key(id()), RevocationKind::Key),
            (Revocation::User(id()), RevocationKind::User),
            (Revocation::UserRights(id()), RevocationKind::UserRights),
            (Revocation::Everybody, RevocationKind::Everybody),
        ];
        for (revocation, expected) in all {
            assert_eq!(kind(revocation.words().0), expected);
        }
    }
}
