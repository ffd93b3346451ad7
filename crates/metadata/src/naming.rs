//! Which names metadata may use, and the one place that knows it.

/// Longest identifier: PostgreSQL cuts longer ones.
pub const IDENTIFIER_LENGTH_MAX: usize = 63;

/// Id of the runtime's own package, the only one that may declare objects with reserved prefixes.
pub const PLATFORM_PACKAGE_ID: &str = "com.objectmesh.platform";

/// Object name prefixes that applications may not declare.
pub const RESERVED_PREFIXES: [&str; 3] = ["sys_", "ai_", "om_"];

/// The rule for [`is_identifier`], worded for a hint.
pub const IDENTIFIER_RULE: &str = "use lowercase letters, digits and underscores, start with a letter or underscore, at most 63 characters";

/// `^[a-z_][a-z0-9_]{0,62}$`: names of objects, fields, flows, agents, hooks, jobs, skills, tools.
pub fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    let Some(first) = bytes.next() else {
        return false;
    };
    name.len() <= IDENTIFIER_LENGTH_MAX
        && (first.is_ascii_lowercase() || first == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Dotted snake_case such as `auth.password_reset`.
pub fn is_dotted_identifier(name: &str) -> bool {
    name.split('.').all(is_identifier)
}

/// A select option's machine value: lowercase letters, digits, `_` and `.`.
pub fn is_option_value(value: &str) -> bool {
    !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.')
}

/// A package id in reverse-dns form such as `com.acme.support`.
pub fn is_package_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    id.contains('.')
        && id
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(allowed))
}

/// The reserved prefix an object name starts with, if any.
pub fn reserved_prefix(object: &str) -> Option<&'static str> {
    RESERVED_PREFIXES
        .into_iter()
        .find(|prefix| object.starts_with(prefix))
}

/// A lowercase identifier as near to `name` as can be made, for hints.
pub fn suggestion(name: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && previous_lower {
                out.push('_');
            }
            previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            previous_lower = false;
            out.push('_');
        }
    }
    let mut out = out.trim_end_matches('_').to_owned();
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out.truncate(IDENTIFIER_LENGTH_MAX);
    out
}

/// The candidate closest to `name`, if one is near enough to be a likely misspelling.
pub fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "_x", "crm_account2", &"a".repeat(63)] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", "2a", "Account", "a-b", "ä", &"a".repeat(64)] {
            assert!(!is_identifier(bad), "{bad}");
        }
        assert!(is_dotted_identifier("auth.password_reset"));
        assert!(is_option_value("closed_won.2"));
        assert!(!is_option_value("Closed Won"));
        assert!(is_package_id("com.example.crm"));
        assert!(!is_package_id("crm"));
    }

    #[test]
    fn suggestions_are_identifiers() {
        assert_eq!(suggestion("Sales Order"), "sales_order");
        assert_eq!(suggestion("salesOrder-Line"), "sales_order_line");
        assert_eq!(suggestion("2nd"), "_2nd");
        assert!(is_identifier(&suggestion("Ä!")));
    }

    #[test]
    fn closest_finds_misspellings_only() {
        let names = ["ticket", "account"];
        assert_eq!(closest("tiket", names.into_iter()), Some("ticket"));
        assert_eq!(closest("invoice", names.into_iter()), None);
    }
}
