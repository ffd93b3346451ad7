//! The session cookie (docs/reference/security.md §1): its name and `Secure` follow from the public URL's
//! scheme, so that a proxy that ends TLS changes nothing.

use mesh::resolver::{SECURE_PREFIX, SESSION_COOKIE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What `encodeURIComponent` leaves alone.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// How the session cookie is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookie {
    /// Whether browsers reach us over HTTPS.
    pub secure: bool,
}

impl Cookie {
    /// The `Set-Cookie` value that hands out a signed token. Without `max_age_s` the cookie ends
    /// with the browser.
    #[must_use]
    pub(crate) fn set(self, signed_token: &str, max_age_s: Option<u64>) -> String {
        let value = utf8_percent_encode(signed_token, UNRESERVED).to_string();
        let max_age = max_age_s.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
        self.write(&value, &max_age)
    }

    /// The `Set-Cookie` value that takes the cookie away.
    #[must_use]
    pub(crate) fn clear(self) -> String {
        self.write("", "; Max-Age=0")
    }

    fn write(self, value: &str, max_age: &str) -> String {
        let (prefix, secure) = if self.secure {
            (SECURE_PREFIX, "; Secure")
        } else {
            ("", "")
        };
        format!("{prefix}{SESSION_COOKIE}={value}{max_age}; Path=/; HttpOnly{secure}; SameSite=Lax")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_written_as_better_auth_does() {
        assert_eq!(
            Cookie { secure: false }.set("to-_k.a+b/c=", Some(604_800)),
            "better-auth.session_token=to-_k.a%2Bb%2Fc%3D; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            Cookie { secure: true }.set("t.s", None),
            "__Secure-better-auth.session_token=t.s; Path=/; HttpOnly; Secure; SameSite=Lax"
        );
        assert_eq!(
            Cookie { secure: false }.clear(),
            "better-auth.session_token=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
        );
    }
}
