//! API keys (docs/reference/security.md §2): a secret by which a program acts as its owner.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mesh::{Error, Result, resolver::API_KEY_PREFIX};
use time::{Duration, OffsetDateTime};

use super::input;

/// SHA-256 of a key's secret: the only form in which it is stored.
pub(crate) type KeyHash = [u8; 32];

/// Keys that a user may have.
pub(crate) const KEYS_MAX: i64 = 100;
/// How much of the secret is kept, to tell keys apart: 8 characters after `osk_`, 48 of 256 bits.
const PREFIX_LEN: usize = 12;
const NAME_LEN_MAX: usize = 100;
/// A use is noted when the last one noted is this old.
const USE_NOTED_EVERY: Duration = Duration::HOUR;

/// What a key can be narrowed to.
const SCOPES: [&str; 4] = ["data:read", "data:write", "actions:execute", "ai:*"];

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiKey {
    /// Id (ULID).
    pub id: String,
    /// Its owner.
    pub user_id: String,
    /// What its owner calls it.
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    /// What it is narrowed to; `None` = not narrowed.
    pub scopes: Option<Vec<String>>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it ends by itself.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<OffsetDateTime>,
}

impl ApiKey {
    /// Whether the key is good at that moment.
    #[must_use]
    pub(crate) fn is_live(&self, now: OffsetDateTime) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether a use now is worth a write.
    #[must_use]
    pub(crate) fn notes_use(&self, now: OffsetDateTime) -> bool {
        self.last_used_at
            .is_none_or(|last| now - last >= USE_NOTED_EVERY)
    }
}

/// The secret of a new key.
#[must_use]
pub(crate) fn secret(random: &[u8; 32]) -> String {
    format!("{API_KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

/// What is kept of a secret in clear.
#[must_use]
pub(crate) fn prefix(secret: &str) -> String {
    secret.chars().take(PREFIX_LEN).collect()
}

/// The hash of what came as a key; `None` when it cannot be one, so that nothing is looked up.
#[must_use]
pub(crate) fn hash(text: &str) -> Option<KeyHash> {
    let random = text.strip_prefix(API_KEY_PREFIX)?;
    let fits = random.len() == 43 && random.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| mesh::session::hash(text))
}

/// What a user may call a key; empty is fine.
///
/// # Errors
/// VALIDATION_ERROR when it is longer than 100 characters or has control characters.
pub(crate) fn name(text: &str) -> Result<String> {
    input::plain_text("name", text.trim(), NAME_LEN_MAX)
}

/// When a key ends.
///
/// # Errors
/// VALIDATION_ERROR when that is not in the future.
pub(crate) fn end(
    end: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>> {
    match end {
        Some(end) if end <= now => Err(input::violation(
            "expires_at",
            "invalid_date",
            "expires_at must lie in the future",
        )),
        end => Ok(end),
    }
}

/// What a key is narrowed to: a JSON array of scopes, or nothing.
///
/// # Errors
/// VALIDATION_ERROR when it is no array, empty, or names an unknown scope.
pub(crate) fn scopes(json: Option<&[u8]>) -> Result<Option<Vec<String>>> {
    let Some(json) = json else { return Ok(None) };
    let wrong = |message: String| input::violation("scopes", "invalid_option", message);
    let list: Option<Vec<String>> = serde_json::from_slice(json)
        .map_err(|_| wrong("scopes must be an array of scopes".to_owned()))?;
    let Some(mut list) = list else {
        return Ok(None);
    };
    if list.is_empty() {
        return Err(wrong(
            "scopes must name at least one scope, or be left out".to_owned(),
        ));
    }
    if let Some(unknown) = list.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        let known = SCOPES.join(", ");
        return Err(wrong(format!(
            "scopes does not know `{unknown}`; known are {known}"
        )));
    }
    list.sort();
    list.dedup();
    Ok(Some(list))
}

/// The error for a credential that is no key that is good.
#[must_use]
pub(crate) fn not_valid() -> Error {
    Error::unauthenticated("The API key is not valid").with("reason", "INVALID_API_KEY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_its_prefix_and_is_recognised() {
        let secret = secret(&[7; 32]);
        assert_eq!((secret.len(), prefix(&secret).len()), (47, 12));
        assert!(secret.starts_with(&prefix(&secret)));
        assert!(hash(&secret).is_some());
        for no_key in ["", "osk_", "osk_short", &secret[4..], &format!("{secret}x")] {
            assert_eq!(hash(no_key), None, "{no_key}");
        }
    }

    #[test]
    fn scopes_are_known_ones_or_none_at_all() {
        let read = |json: &str| scopes(Some(json.as_bytes()));
        assert_eq!(scopes(None).unwrap(), None);
        assert_eq!(read("null").unwrap(), None);
        let list = read(r#"["data:write","ai:*","data:write"]"#).unwrap();
        assert_eq!(list.unwrap(), ["ai:*", "data:write"]);
        for bad in [
            "[]",
            r#""data:read""#,
            r#"["data:all"]"#,
            "[1]",
            "{}",
            r#"[""]"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_ends_and_notes_its_use_once_an_hour() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
        let key = ApiKey {
            id: "k".into(),
            user_id: "u".into(),
            name: String::new(),
            prefix: "osk_12345678".into(),
            scopes: None,
            created_at: now,
            expires_at: end(Some(now + Duration::SECOND), now).unwrap(),
            last_used_at: Some(now),
        };
        assert!(key.is_live(now) && !key.is_live(now + Duration::SECOND));
        assert!(!key.notes_use(now) && key.notes_use(now + Duration::HOUR));
        assert!(end(Some(now), now).is_err());
    }
}
