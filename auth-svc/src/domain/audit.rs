//! What is written down about people's accounts, as entries of [`mesh::audit`]. Never a secret, never
//! an unknown address: people type passwords into the wrong field.

/// The object whose records entries are about: users.
pub(crate) const OBJECT: &str = "sys_user";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Somebody signed in.
    SignIn,
    /// Somebody tried to sign in and was refused.
    SignInFailed,
    /// Somebody signed out.
    SignOut,
    /// A session was ended by its user.
    SessionRevoked,
    /// A user changed their password.
    PasswordChange,
    /// A user stated a wrong current password.
    PasswordChangeFailed,
    /// An administrator set a user's password.
    PasswordSet,
    /// A user was created.
    UserCreated,
    /// A user changed name or picture.
    UserUpdated,
    /// A user was banned.
    UserBanned,
    /// A ban was lifted.
    UserUnbanned,
    /// A user was deleted.
    UserRemoved,
    /// The first user ever became the platform's owner.
    OwnerClaimed,
    /// A service got an identity token of its own.
    ServiceTokenIssued,
    /// A service got an identity token to go on working for a user.
    DelegatedTokenIssued,
    /// A user made an API key.
    KeyCreated,
    /// An API key was ended.
    KeyDeleted,
}

impl Action {
    /// The word in the database.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::SignInFailed => "sign_in_failed",
            Self::SignOut => "sign_out",
            Self::SessionRevoked => "session_revoked",
            Self::PasswordChange => "password_change",
            Self::PasswordChangeFailed => "password_change_failed",
            Self::PasswordSet => "password_set",
            Self::UserCreated => "user_created",
            Self::UserUpdated => "user_updated",
            Self::UserBanned => "user_banned",
            Self::UserUnbanned => "user_unbanned",
            Self::UserRemoved => "user_removed",
            Self::OwnerClaimed => "owner_claimed",
            Self::ServiceTokenIssued => "service_token_issued",
            Self::DelegatedTokenIssued => "delegated_token_issued",
            Self::KeyCreated => "key_created",
            Self::KeyDeleted => "key_deleted",
        }
    }
}
