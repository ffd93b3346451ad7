//! The SQL-like predicates of older apps, rewritten to CEL.

/// One word, sign or literal.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name, path, keyword or number.
    Word(String),
    /// A text, as CEL writes it.
    Quoted(String),
    Sign(&'static str),
}

const SIGNS: [&str; 14] = [
    "&&", "||", "==", "!=", "<>", "<=", ">=", "=", "<", ">", "!", "(", ")", ",",
];

fn tokens(source: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' {
            let (quoted, after) = quoted(rest, first)?;
            tokens.push(Token::Quoted(quoted));
            rest = after;
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.')
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign))?;
            tokens.push(Token::Sign(sign));
            rest = rest.get(sign.len()..)?;
        }
        rest = rest.trim_start();
    }
    Some(tokens)
}

/// A quoted text with SQL's doubled quotes, and what follows it.
fn quoted(source: &str, quote: char) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut rest = source.get(1..)?;
    loop {
        let end = rest.find(quote)?;
        text.push_str(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(quote) {
            Some(after) => {
                text.push(quote);
                rest = after;
            }
            None => break,
        }
    }
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    Some((format!("\"{escaped}\""), rest))
}

/// The predicate in CEL, or nothing when it is not of this form either.
pub(super) fn rewrite(source: &str) -> Option<String> {
    let tokens = tokens(source)?;
    let keyword = |at: usize, wanted: &str| matches!(tokens.get(at), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
    let mut parts: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Quoted(text) => parts.push(text.clone()),
            Token::Sign("=") => parts.push("==".to_owned()),
            Token::Sign("<>") => parts.push("!=".to_owned()),
            Token::Sign(sign) => parts.push((*sign).to_owned()),
            Token::Word(word) => match word.to_ascii_uppercase().as_str() {
                "AND" => parts.push("&&".to_owned()),
                "OR" => parts.push("||".to_owned()),
                "NULL" | "TRUE" | "FALSE" => parts.push(word.to_ascii_lowercase()),
                "IS" if keyword(at, "NOT") && keyword(at + 1, "NULL") => {
                    parts.push("!= null".to_owned());
                    at += 2;
                }
                "IS" if keyword(at, "NULL") => {
                    parts.push("== null".to_owned());
                    at += 1;
                }
                "NOT" if keyword(at, "IN") => {
                    let item = parts.pop()?;
                    let (list, after) = list(&tokens, at + 1)?;
                    parts.push(format!("!({item} in {list})"));
                    at = after;
                }
                // SQL's NOT binds weaker than `=`, CEL's `!` stronger: only brackets say the same.
                "NOT" if tokens.get(at) == Some(&Token::Sign("(")) => parts.push("!".to_owned()),
                "NOT" => return None,
                "IN" => {
                    let (list, after) = list(&tokens, at)?;
                    parts.push(format!("in {list}"));
                    at = after;
                }
                _ => parts.push(word.clone()),
            },
        }
    }
    Some(parts.join(" "))
}

/// What stands in brackets after `IN`: one path is a list by itself, anything else its items.
fn list(tokens: &[Token], at: usize) -> Option<(String, usize)> {
    if tokens.get(at) != Some(&Token::Sign("(")) {
        return None;
    }
    let mut items = Vec::new();
    let mut next = at + 1;
    loop {
        match tokens.get(next)? {
            Token::Word(word) => items.push((word.clone(), word.contains('.'))),
            Token::Quoted(text) => items.push((text.clone(), false)),
            Token::Sign(_) => return None,
        }
        match tokens.get(next + 1)? {
            Token::Sign(",") => next += 2,
            Token::Sign(")") => break,
            _ => return None,
        }
    }
    let is_path = |text: &str| text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let list = match items.as_slice() {
        [(path, true)] if is_path(path) => path.clone(),
        all => {
            let texts: Vec<_> = all.iter().map(|(text, _)| text.as_str()).collect();
            format!("[{}]", texts.join(", "))
        }
    };
    Some((list, next + 2))
}

#[cfg(test)]
mod tests {
    use super::rewrite;

    #[test]
    fn the_forms_of_older_apps_are_cel_afterwards() {
        for (sql, cel) in [
            ("owner = current_user.id", "owner == current_user.id"),
            ("stage = 'it''s \"so\"'", r#"stage == "it's \"so\"""#),
            (
                "owner IN (current_user.org_user_ids)",
                "owner in current_user.org_user_ids",
            ),
            ("a in ('x', 'y') or b = 2", r#"a in ["x", "y"] || b == 2"#),
            ("a NOT IN (1)", "!(a in [1])"),
            ("a IS NULL AND b is not null", "a == null && b != null"),
            ("NOT (a = TRUE)", "! ( a == true )"),
            ("a <> 'x' AND 1 = 1", r#"a != "x" && 1 == 1"#),
        ] {
            assert_eq!(rewrite(sql).as_deref(), Some(cel), "{sql}");
        }
        for neither in [
            "NOT a = b",
            "a = 'open",
            "a ~ b",
            "a IN b",
            "a IN (",
            "NOT IN (1)",
        ] {
            assert_eq!(rewrite(neither), None, "{neither}");
        }
    }
}
