//! What people may type: names, addresses, passwords, where to go on.

use mesh::{Error, FieldViolation, Result, error::Reason};

/// Longest password, in characters.
pub(crate) const PASSWORD_LEN_MAX: usize = 128;
/// Shortest password that may be configured, in characters.
pub(crate) const PASSWORD_LEN_MIN: usize = 8;

const NAME_LEN_MAX: usize = 255;
const EMAIL_LEN_MAX: usize = 254;
const LOCAL_PART_LEN_MAX: usize = 64;
const IMAGE_LEN_MAX: usize = 2048;
const BAN_REASON_LEN_MAX: usize = 500;
const SEARCH_LEN_MAX: usize = 255;
const HEADER_LEN_MAX: usize = 512;

/// A display name, without blanks around it.
///
/// # Errors
/// VALIDATION_ERROR when it is blank, longer than 255 characters or has control characters.
pub(crate) fn name(text: &str) -> Result<String> {
    let name = text.trim();
    if name.is_empty() {
        return Err(violation("name", "required", "name is required"));
    }
    plain_text("name", name, NAME_LEN_MAX)
}

/// An e-mail address, in lower case.
///
/// ASCII only, as Better Auth has it: an address that merely looks like another one is none.
///
/// # Errors
/// INVALID_EMAIL.
pub(crate) fn email(text: &str) -> Result<String> {
    let email = text.to_ascii_lowercase();
    if is_email(&email) {
        Ok(email)
    } else {
        Err(Error::new(Reason::InvalidEmail, "Invalid email"))
    }
}

fn is_email(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else {
        return false;
    };
    let labels: Vec<&str> = domain.split('.').collect();
    let label_fits = |label: &&str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    email.len() <= EMAIL_LEN_MAX
        && (1..=LOCAL_PART_LEN_MAX).contains(&local.len())
        && local.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b))
        })
        && labels.len() >= 2
        && labels.iter().all(label_fits)
        && labels
            .last()
            .is_some_and(|tld| tld.len() >= 2 && tld.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Checks a new password. Characters are Unicode scalar values; nothing is cut off.
///
/// # Errors
/// PASSWORD_TOO_SHORT, PASSWORD_TOO_LONG.
pub(crate) fn new_password(password: &str, len_min: usize) -> Result<()> {
    let len = password.chars().count();
    if len < len_min {
        return Err(
            Error::new(Reason::PasswordTooShort, "Password too short").with("minLength", len_min)
        );
    }
    if len > PASSWORD_LEN_MAX {
        return Err(Error::new(Reason::PasswordTooLong, "Password too long")
            .with("maxLength", PASSWORD_LEN_MAX));
    }
    Ok(())
}

/// Whether a stated password can be anybody's: longer ones are never hashed.
#[must_use]
pub(crate) fn can_be_password(password: &str) -> bool {
    password.len() <= 4 * PASSWORD_LEN_MAX && password.chars().count() <= PASSWORD_LEN_MAX
}

/// The address of a picture; empty means none.
///
/// # Errors
/// VALIDATION_ERROR unless it is an `http:` or `https:` address of at most 2,048 characters:
/// clients put it into pages.
pub(crate) fn image(text: Option<&str>) -> Result<Option<String>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let lower = text.to_ascii_lowercase();
    if !(lower.starts_with("https://") || lower.starts_with("http://")) {
        return Err(violation(
            "image",
            "invalid_url",
            "image must be an http or https address",
        ));
    }
    plain_text("image", text, IMAGE_LEN_MAX).map(Some)
}

/// Why a user is banned; blank means no reason given.
///
/// # Errors
/// VALIDATION_ERROR when it is longer than 500 characters or has control characters.
pub(crate) fn ban_reason(text: Option<&str>) -> Result<Option<String>> {
    match text.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => plain_text("banReason", text, BAN_REASON_LEN_MAX).map(Some),
        None => Ok(None),
    }
}

/// Whether a text can be an id at all; others are looked up nowhere.
#[must_use]
pub(crate) fn can_be_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// What a client says of itself in a header, cut to 512 characters.
#[must_use]
pub(crate) fn header_text(text: &str) -> String {
    text.chars().take(HEADER_LEN_MAX).collect()
}

/// Which field of users is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchField {
    /// The address.
    Email,
    /// The display name.
    Name,
}

/// A page of users to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Users a page.
    pub limit: u32,
    /// Users to skip.
    pub offset: u32,
    /// Text that the field contains, and which field; `None` = all users.
    pub search: Option<(SearchField, String)>,
}

impl Page {
    /// Checks what was asked for: 100 users when nothing is said, 500 at most.
    ///
    /// # Errors
    /// VALIDATION_ERROR for a limit out of bounds or a field that is not searched.
    pub(crate) fn of(
        limit: Option<u32>,
        offset: Option<u32>,
        value: &str,
        field: &str,
    ) -> Result<Self> {
        let limit = limit.unwrap_or(100);
        if !(1..=500).contains(&limit) {
            return Err(Error::validation(
                "INVALID_REQUEST",
                format!("limit must lie between 1 and 500, not {limit}"),
            )
            .with("parameter", "limit"));
        }
        let field = match field {
            "" | "email" => SearchField::Email,
            "name" => SearchField::Name,
            other => {
                let message = format!("searchField must be email or name, not \"{other}\"");
                return Err(
                    Error::validation("INVALID_REQUEST", message).with("parameter", "searchField")
                );
            }
        };
        let search = if value.is_empty() {
            None
        } else {
            Some((field, plain_text("searchValue", value, SEARCH_LEN_MAX)?))
        };
        Ok(Self {
            limit,
            offset: offset.unwrap_or(0),
            search,
        })
    }
}

/// Where a client may be sent on to: a path of our own, or an address on a trusted origin.
///
/// # Errors
/// INVALID_ORIGIN.
pub(crate) fn callback_url(
    text: Option<&str>,
    trusted_origins: &[String],
) -> Result<Option<String>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    // Browsers read `\` as `/` and drop control characters: `/\evil` and `/<tab>/evil` leave us.
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let own_path = text.starts_with('/') && !text.starts_with("//");
    let trusted = origin(text).is_some_and(|origin| trusted_origins.contains(&origin));
    if plain && text.len() <= IMAGE_LEN_MAX && (own_path || trusted) {
        return Ok(Some(text.to_owned()));
    }
    Err(Error::new(
        Reason::InvalidOrigin,
        "callbackURL is not on a trusted origin",
    ))
}

/// Scheme, host and port of an `http(s)` address, without the port that the scheme implies.
#[must_use]
pub(crate) fn origin(address: &str) -> Option<String> {
    let uri: http::Uri = address.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().to_ascii_lowercase();
    Some(match (scheme, authority.port_u16()) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

/// A text of one line that is not too long.
///
/// # Errors
/// VALIDATION_ERROR when it is longer or has control characters.
pub(crate) fn plain_text(field: &str, text: &str, len_max: usize) -> Result<String> {
    if text.chars().count() > len_max {
        return Err(violation(
            field,
            "max_length",
            format!("{field} must have at most {len_max} characters"),
        ));
    }
    // PostgreSQL stores no NUL, and nobody needs the other control characters in one line.
    if text.chars().any(char::is_control) {
        return Err(violation(
            field,
            "invalid_text",
            format!("{field} must not contain control characters"),
        ));
    }
    Ok(text.to_owned())
}

/// The error for one field.
pub(crate) fn violation(field: &str, code: &str, message: impl Into<String>) -> Error {
    Error::fields(vec![FieldViolation::new(field, code, message)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "a@b.co",
            "A.b+c_d-e'f@Sub.Example.COM",
            "x@xn--bcher-kva.xn--p1ai",
            "1@2.io",
        ] {
            assert_eq!(email(good).unwrap(), good.to_ascii_lowercase());
        }
        let long = format!("{}@example.com", "x".repeat(65));
        for bad in [
            "",
            "a",
            "@b.co",
            "a@",
            "a@b",
            "a@b.c",
            "a@.co",
            "a@b..co",
            "a@-b.co",
            "a@b-.co",
            "a b@c.de",
            "a@b.co ",
            " a@b.co",
            ".a@b.co",
            "a.@b.co",
            "a..b@c.de",
            "a@b@c.de",
            "ä@b.co",
            "a@bü.co",
            "a\0@b.co",
            "a@1.2.3.44",
            &long,
        ] {
            assert_eq!(
                email(bad).unwrap_err().reason(),
                Reason::InvalidEmail,
                "{bad}"
            );
        }
    }

    #[test]
    fn passwords_are_counted_in_characters() {
        let check = |password: &str| new_password(password, 8).map_err(|error| error.reason());
        assert_eq!(check(&"é".repeat(7)), Err(Reason::PasswordTooShort));
        assert_eq!(check(&"é".repeat(8)), Ok(()));
        assert_eq!(check(&"𝄞".repeat(128)), Ok(()));
        assert_eq!(check(&"x".repeat(129)), Err(Reason::PasswordTooLong));
        assert!(can_be_password(&"𝄞".repeat(128)) && !can_be_password(&"x".repeat(129)));
    }

    #[test]
    fn names_and_pictures() {
        assert_eq!(name("  Ada Lovelace ").unwrap(), "Ada Lovelace");
        for bad in ["", "  ", "a\0b", "a\nb", &"x".repeat(256)] {
            assert_eq!(name(bad).unwrap_err().field_violations()[0].field, "name");
        }
        assert_eq!(image(Some("")).unwrap(), None);
        assert_eq!(
            image(Some("https://x.io/a.png")).unwrap().unwrap(),
            "https://x.io/a.png"
        );
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//x.io",
            "https://x.io/\n",
        ] {
            assert!(image(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn callbacks_stay_on_trusted_origins() {
        let trusted = [
            "https://app.example.com".to_owned(),
            "http://localhost:3000".to_owned(),
        ];
        let go = |text| callback_url(Some(text), &trusted).is_ok();
        for good in [
            "/",
            "/a?b=c#d",
            "https://app.example.com/x",
            "https://APP.example.com:443/x",
            "http://localhost:3000",
        ] {
            assert!(go(good), "{good}");
        }
        for bad in [
            "//evil.io",
            "/\\evil.io",
            "/\t/evil.io",
            "https://evil.io",
            "http://app.example.com",
            "https://app.example.com:8443/",
            "https://app.example.com@evil.io/",
            "https://app.example.com.evil.io",
            "javascript:alert(1)",
            "relative",
        ] {
            assert!(!go(bad), "{bad}");
        }
        assert_eq!(callback_url(Some(""), &trusted).unwrap(), None);
    }

    #[test]
    fn pages() {
        let page = |limit, value, field| Page::of(limit, None, value, field);
        assert_eq!(
            page(None, "", "").unwrap(),
            Page {
                limit: 100,
                offset: 0,
                search: None
            }
        );
        assert_eq!(
            page(Some(500), "a", "name").unwrap().search,
            Some((SearchField::Name, "a".into()))
        );
        assert!(page(Some(0), "", "").is_err() && page(Some(501), "", "").is_err());
        assert!(page(None, "a", "password_hash").is_err() && page(None, "a\0", "").is_err());
    }
}
