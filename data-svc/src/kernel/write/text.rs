//! Shapes of text fields: e-mail, URL, phone, colour (docs/reference/field-types.md §2).

/// `local@domain.tld`, nothing more: delivery is the only real proof.
#[must_use]
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let plain = |part: &str| {
        !part.is_empty()
            && !part
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || c == '@' || c == ',')
    };
    let Some((name, tld)) = domain.rsplit_once('.') else {
        return false;
    };
    text.len() <= 255
        && plain(local)
        && plain(name)
        && plain(tld)
        && !domain.starts_with('.')
        && !domain.contains("..")
}

/// `scheme://…`, `/path`, `//host`, `data:` or `blob:`.
#[must_use]
pub(super) fn is_url(text: &str) -> bool {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return false;
    }
    if text.starts_with('/') || text.starts_with("data:") || text.starts_with("blob:") {
        return true;
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let mut letters = scheme.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !rest.is_empty()
        && !scheme.eq_ignore_ascii_case("javascript")
}

/// At least five of digits, spaces and `+()-.`, and nothing else.
#[must_use]
pub(super) fn is_phone(text: &str) -> bool {
    text.len() >= 5
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "+()-. ".contains(c))
}

/// `#rgb`, `#rrggbb` or `#rrggbbaa`; other notations are not checked.
#[must_use]
pub(super) fn is_color(text: &str) -> bool {
    match text.strip_prefix('#') {
        Some(hex) => matches!(hex.len(), 3 | 6 | 8) && hex.chars().all(|c| c.is_ascii_hexdigit()),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails() {
        for good in ["a@b.c", "grace.hopper+x@navy.example.mil", "ü@exämple.de"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "", "a", "a@b", "@b.c", "a@.c", "a b@c.d", "a@b..c", "a,b@c.d", "a@b@c.d",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn urls_and_phones() {
        for good in [
            "https://a.example",
            "/x",
            "//host/x",
            "data:image/png;base64,AA",
            "mailto+x://y",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "a.example",
            "://x",
            "http://",
            "java script://x",
            "javascript://alert(1)",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
        assert!(is_phone("+49 (0)30 1234-5") && !is_phone("1234") && !is_phone("call me"));
    }
}
