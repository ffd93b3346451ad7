//! Session tokens and the signed form in which cookies carry them: `<token>.<base64 HMAC-SHA256>`.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use mesh::resolver::API_KEY_PREFIX;
use sha2::Sha256;

/// Longer texts are no token of ours and are not even hashed.
const TOKEN_LEN_MAX: usize = 512;

/// A session token from 256 random bits; `None` for the one in 16 million that would read as an
/// API key.
#[must_use]
pub(crate) fn session_token(random: &[u8; 32]) -> Option<String> {
    let token = URL_SAFE_NO_PAD.encode(random);
    (!token.starts_with(API_KEY_PREFIX)).then_some(token)
}

/// The secrets of auth-svc: the first signs, all verify.
#[derive(Clone)]
pub(crate) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Reads the comma list of the configuration.
    #[must_use]
    pub(crate) fn of(list: &str) -> Self {
        Self(
            split(list)
                .map(|secret| secret.as_bytes().to_vec())
                .collect(),
        )
    }

    /// Each secret, the signing one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// The signed form of a token.
    #[must_use]
    pub(crate) fn sign(&self, token: &str) -> String {
        let signature = self.iter().next().and_then(|secret| mac(secret, token));
        let signature = signature.map(|mac| STANDARD.encode(mac.finalize().into_bytes()));
        format!("{token}.{}", signature.unwrap_or_default())
    }

    /// The token in what came after `Bearer`: plain, or signed with a signature that fits.
    #[must_use]
    pub(crate) fn open_bearer<'t>(&self, text: &'t str) -> Option<&'t str> {
        if text.contains('.') {
            return self.open_cookie(text);
        }
        (!text.is_empty() && text.len() <= TOKEN_LEN_MAX).then_some(text)
    }

    /// The token in a cookie's value, if its signature fits.
    #[must_use]
    pub(crate) fn open_cookie<'t>(&self, value: &'t str) -> Option<&'t str> {
        if value.len() > TOKEN_LEN_MAX {
            return None;
        }
        let (token, signature) = value.split_once('.')?;
        let signature = STANDARD.decode(signature).ok()?;
        let fits = self.iter().any(|secret| {
            mac(secret, token).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
        });
        (fits && !token.is_empty()).then_some(token)
    }
}

/// The secrets in a comma list, without blanks around them.
pub(crate) fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|secret| !secret.is_empty())
}

fn mac(secret: &[u8], token: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(token.as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_secret_signs_and_all_verify() {
        let (old, new) = (Secrets::of("old"), Secrets::of("new, old"));
        let (by_old, by_new) = (old.sign("t"), new.sign("t"));
        assert_eq!(new.open_cookie(&by_old), Some("t"));
        assert_eq!(new.open_cookie(&by_new), Some("t"));
        assert_eq!(old.open_cookie(&by_new), None);
    }

    #[test]
    fn a_signature_that_does_not_fit_is_no_token() {
        let secrets = Secrets::of("secret");
        let signed = secrets.sign("token");
        assert_eq!(secrets.open_bearer(&signed), Some("token"));
        assert_eq!(secrets.open_bearer("token"), Some("token"));
        assert_eq!(secrets.open_cookie("token"), None);
        for bad in [
            "token.",
            "token.x",
            ".",
            "",
            "tokem.",
            &signed.replace("token", "tokem"),
            &signed[..signed.len() - 1],
        ] {
            assert_eq!(secrets.open_cookie(bad), None, "{bad}");
        }
        assert_eq!(secrets.open_bearer(&signed.replace("token", "tokem")), None);
        assert_eq!(secrets.open_bearer(&"x".repeat(TOKEN_LEN_MAX + 1)), None);
    }

    #[test]
    fn a_token_never_reads_as_an_api_key() {
        let mut random = [0; 32];
        random[..3].copy_from_slice(&URL_SAFE_NO_PAD.decode("osk_").unwrap());
        assert_eq!(session_token(&random), None);
        assert_eq!(session_token(&[0; 32]).unwrap().len(), 43);
    }
}
