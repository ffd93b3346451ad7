//! Rust source as far as the rules need it: words, marks and texts in order, without comments and
//! without what is compiled for tests only, and the paths that it names.

/// A piece of source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A keyword, a name, a number, or a lifetime with its mark.
    Word(String),
    /// The content of a string literal, as it is written there.
    Text(String),
    /// Any other character; `::` is one.
    Mark(&'static str),
}

/// The characters that stand for themselves.
const MARKS: [&str; 28] = [
    "::", "{", "}", "(", ")", "[", "]", "<", ">", ";", ",", ":", ".", "=", "#", "!", "&", "*", "|",
    "+", "-", "/", "?", "@", "%", "^", "$", "~",
];

/// The pieces of a file, tests left out, and the names of the modules in files of their own that
/// are tests.
pub(crate) fn tokens(source: &str) -> (Vec<Token>, Vec<String>) {
    without_tests(&all_tokens(source))
}

fn all_tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = &rest[block_comment(rest)..];
        } else if let Some((text, length)) = string(rest) {
            tokens.push(Token::Text(text.to_owned()));
            rest = &rest[length..];
        } else if first == '\'' {
            // A lifetime or label, or a character.
            let length = character(rest);
            tokens.push(Token::Word(rest[..length].to_owned()));
            rest = &rest[length..];
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let end = end.unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            tokens.push(Token::Mark(mark));
            rest = &rest[mark.len()..];
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

/// Length of a comment, with those inside it.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The content and the length of the string literal that stands at the beginning.
fn string(text: &str) -> Option<(&str, usize)> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        let rest = rest.map(|rest| rest.trim_start_matches('#'));
        rest.is_some_and(|rest| rest.starts_with('"'))
    })?;
    let hashes = text[prefix.len()..].bytes().take_while(|b| *b == b'#');
    let hashes = hashes.count();
    let raw = prefix.ends_with('r');
    if hashes > 0 && !raw {
        return None;
    }
    let begin = prefix.len() + hashes + 1;
    let content = &text[begin..];
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        let end = content.find(&close).unwrap_or(content.len());
        return Some((&content[..end], (begin + end + close.len()).min(text.len())));
    }
    let mut escaped = false;
    for (at, byte) in content.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((&content[..at], begin + at + 1)),
            _ => {}
        }
    }
    Some((content, text.len()))
}

/// Length of a character literal, or of a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    let Some((_, first)) = characters.next() else {
        return text.len();
    };
    if first == '\\' {
        // The escaped character may be a quote itself.
        let end = text[3..].find('\'').map(|end| end + 4);
        return end.unwrap_or(text.len());
    }
    match characters.next() {
        Some((at, '\'')) => at + 1,
        _ => {
            let name = &text[1..];
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
            1 + end.unwrap_or(name.len())
        }
    }
}

fn is_mark(token: Option<&Token>, wanted: &str) -> bool {
    matches!(token, Some(Token::Mark(mark)) if *mark == wanted)
}

fn word(token: Option<&Token>) -> Option<&str> {
    match token {
        Some(Token::Word(word)) => Some(word),
        Some(Token::Text(_) | Token::Mark(_)) | None => None,
    }
}

fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut tests) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let is_test = attribute.iter().enumerate().all(|(offset, wanted)| {
            let token = tokens.get(at + offset);
            is_mark(token, wanted) || word(token) == Some(wanted)
        });
        if !is_test {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let begin = at + attribute.len();
        at = item_end(tokens, begin);
        let item = &tokens[begin..at];
        // A module in a file of its own ends with its name.
        if let [
            ..,
            Token::Word(keyword),
            Token::Word(name),
            Token::Mark(";"),
        ] = item
            && keyword == "mod"
        {
            tests.push(name.clone());
        }
    }
    (kept, tests)
}

/// The place after the item that begins at `at`: after its `;`, or after its block.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    // `pub(crate) use` at most: what stands in a block is not the item.
    let before_block = tokens[at..]
        .iter()
        .take_while(|token| **token != Token::Mark("{"));
    let is_use = before_block
        .take(5)
        .any(|token| word(Some(token)) == Some("use"));
    let mut depth = 0_usize;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Mark("(" | "[" | "{") => depth += 1,
            Token::Mark(")" | "]") => depth -= 1,
            Token::Mark("}") => {
                depth -= 1;
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            Token::Mark(";") if depth == 0 => return at + 1,
            Token::Mark(_) | Token::Word(_) | Token::Text(_) => {}
        }
        at += 1;
    }
    at
}

/// The module that a file holds, from the crate's root on: `src/app/mod.rs` holds `app`.
pub(crate) fn module(path_in_src: &str) -> Vec<String> {
    let stem = path_in_src.trim_end_matches(".rs");
    let mut parts: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if parts
        .last()
        .is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main"))
    {
        parts.pop();
    }
    parts
}

/// The paths within the crate that the code of a module names, from the root on: those that begin
/// with `crate` or `super`.
pub(crate) fn paths(tokens: &[Token], module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    // Modules written in the file, with the depth at which they end.
    let mut inside: Vec<(String, usize)> = Vec::new();
    let (mut depth, mut at) = (0_usize, 0);
    while at < tokens.len() {
        match &tokens[at] {
            Token::Mark("{") => {
                depth += 1;
                let named = at.checked_sub(1).and_then(|name| word(tokens.get(name)));
                let keyword = at.checked_sub(2).and_then(|mark| word(tokens.get(mark)));
                if let (Some(name), Some("mod")) = (named, keyword) {
                    inside.push((name.to_owned(), depth));
                }
            }
            Token::Mark("}") => {
                if inside.last().is_some_and(|(_, opened)| *opened == depth) {
                    inside.pop();
                }
                depth = depth.saturating_sub(1);
            }
            Token::Word(first) if matches!(first.as_str(), "crate" | "super") => {
                let before = at.checked_sub(1).and_then(|before| tokens.get(before));
                // `$crate` is another crate's, and what follows `in` is a visibility.
                let starts =
                    !is_mark(before, "::") && !is_mark(before, "$") && word(before) != Some("in");
                if starts && is_mark(tokens.get(at + 1), "::") {
                    let mut here = module.to_vec();
                    here.extend(inside.iter().map(|(name, _)| name.clone()));
                    at = path(tokens, at, here, &mut found);
                    continue;
                }
            }
            Token::Word(_) | Token::Text(_) | Token::Mark(_) => {}
        }
        at += 1;
    }
    found
}

/// Reads the path, or the group of paths, that begins at `at`; the place after it.
fn path(
    tokens: &[Token],
    mut at: usize,
    mut base: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    loop {
        match tokens.get(at) {
            Some(Token::Word(part)) => {
                match part.as_str() {
                    "crate" => base.clear(),
                    "super" => {
                        base.pop();
                    }
                    "self" => {}
                    name => base.push(name.to_owned()),
                }
                at += 1;
            }
            Some(Token::Mark("{")) => {
                at += 1;
                while at < tokens.len() && !is_mark(tokens.get(at), "}") {
                    at = match &tokens[at] {
                        Token::Word(_) | Token::Mark("{" | "*") => {
                            path(tokens, at, base.clone(), found)
                        }
                        Token::Mark(_) | Token::Text(_) => at + 1,
                    };
                }
                return at + 1;
            }
            Some(Token::Mark("*")) => {
                found.push(base);
                return at + 1;
            }
            Some(Token::Mark(_) | Token::Text(_)) | None => {}
        }
        if !is_mark(tokens.get(at), "::") {
            break;
        }
        at += 1;
        // `Type::<T>` ends the path.
        if is_mark(tokens.get(at), "<") {
            break;
        }
    }
    // `x as y` names x.
    if word(tokens.get(at)) == Some("as") {
        at += 2;
    }
    found.push(base);
    at
}

/// The types that have an inherent `impl` block here, by name.
pub(crate) fn inherent_impls(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| tokens.get(before));
        // Elsewhere `impl` stands for a type.
        let is_item = match before {
            None | Some(Token::Mark("}" | "{" | ";" | "]")) => true,
            Some(Token::Word(word)) => word == "unsafe",
            Some(Token::Mark(_) | Token::Text(_)) => false,
        };
        if word(Some(token)) != Some("impl") || !is_item {
            continue;
        }
        let mut rest = at + 1;
        if is_mark(tokens.get(rest), "<") {
            rest = after_generics(tokens, rest);
        }
        let mut name = None;
        let mut of_trait = false;
        while let Some(token) = tokens.get(rest) {
            match token {
                Token::Mark("{") => break,
                Token::Mark("<") => {
                    rest = after_generics(tokens, rest);
                    continue;
                }
                Token::Word(word) if word == "for" => of_trait = true,
                Token::Word(word) if word == "where" => break,
                Token::Word(word) if !word.starts_with('\'') => name = Some(word.clone()),
                Token::Word(_) | Token::Text(_) | Token::Mark(_) => {}
            }
            rest += 1;
        }
        found.extend(name.filter(|_| !of_trait));
    }
    found
}

/// The place after the `<…>` that begins at `at`; the `>` of an arrow closes nothing.
fn after_generics(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        match token {
            Token::Mark("<") => depth += 1,
            Token::Mark(">") if !is_mark(tokens.get(at - 1), "-") => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            Token::Mark(_) | Token::Word(_) | Token::Text(_) => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_tests_are_left_out_and_texts_are_kept() {
        let source = "// crate::a\n/* crate::b /* */ */ fn f<'a>(c: char) -> &'a str { '\"'; '\\''; \"x \\\" y\" }\n\
            r#\"raw \"quoted\" \"#;\n#[cfg(test)]\nmod tests { use crate::c; }\n#[cfg(test)]\nmod cases;\n\
            #[cfg(test)]\nuse crate::{d, e};\nlet last = 1;";
        let (tokens, tests) = tokens(source);
        let texts: Vec<&str> = tokens
            .iter()
            .filter_map(|token| match token {
                Token::Text(text) => Some(text.as_str()),
                Token::Word(_) | Token::Mark(_) => None,
            })
            .collect();
        assert_eq!(texts, ["x \\\" y", "raw \"quoted\" "]);
        assert!(
            !tokens.contains(&Token::Word("crate".to_owned())),
            "{tokens:?}"
        );
        assert!(tokens.contains(&Token::Word("last".to_owned())));
        assert_eq!(tests, ["cases"]);
    }

    #[test]
    fn paths_are_read_from_the_root_on() {
        let source = "use crate::{a::{self, B, c::*}, d as e}; use super::{X, super::f};\n\
            pub(in crate::hidden) fn g() { crate::h::i::<T>(); $crate::j(); other::crate::k(); }\n\
            mod inner { use super::super::l; }";
        let (tokens, _) = tokens(source);
        let module = ["app", "turn"].map(str::to_owned);
        let paths: Vec<String> = paths(&tokens, &module)
            .iter()
            .map(|path| path.join("::"))
            .collect();
        assert_eq!(
            paths,
            ["a", "a::B", "a::c", "d", "app::X", "f", "h::i", "app::l"]
        );
    }

    #[test]
    fn only_inherent_impls_of_items_count() {
        let source = "impl A { fn f() -> impl B { } } impl<T: Fn() -> u8> C<T> where T: D {} \
            impl E for F {} #[x] impl<'a> g::H<'a> {} fn i(j: impl K) {}";
        let (tokens, _) = tokens(source);
        assert_eq!(inherent_impls(&tokens), ["A", "C", "H"]);
    }
}
