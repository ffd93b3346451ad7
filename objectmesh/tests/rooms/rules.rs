//! The rules, each a function of files: pairs of a path in the repository and a text. What is found
//! is told in a line each; nothing found is an empty list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::code::{Token, inherent_impls, module, paths, tokens};

/// A file: its path in the repository, and its text.
pub(crate) type File = (String, String);

/// Most files of a crate in which one type has inherent `impl` blocks.
const IMPL_FILES_MAX: usize = 3;

/// A file of a crate, read.
struct Source<'f> {
    path: &'f str,
    module: Vec<String>,
    tokens: Vec<Token>,
}

/// The files of a crate, without those that hold tests.
fn crate_sources<'f>(files: &'f [File], name: &str) -> Vec<Source<'f>> {
    let folder = format!("{name}/src/");
    let mut tests = BTreeSet::new();
    let mut sources = Vec::new();
    for (path, text) in files {
        let Some(in_src) = path.strip_prefix(&folder) else {
            continue;
        };
        let module = module(in_src);
        let (tokens, test_modules) = tokens(text);
        tests.extend(test_modules.into_iter().map(|test| {
            let mut of_test = module.clone();
            of_test.push(test);
            of_test
        }));
        sources.push(Source {
            path,
            module,
            tokens,
        });
    }
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    sources
}

/// What each room names of which other, with the first place that does.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The circles of the rooms of a crate: its top-level modules, or those inside the module `within`.
/// A name that the file above the rooms re-exports stands for the room that it is from.
pub(crate) fn circles(files: &[File], name: &str, within: &[&str]) -> Vec<String> {
    let graph = graph(files, name, within);
    let mut found = BTreeSet::new();
    for room in graph.keys() {
        if let Some(mut circle) = shortest_circle(&graph, room) {
            // The same circle is found from each of its rooms.
            let first = (0..circle.len()).min_by_key(|at| &circle[*at]).unwrap_or(0);
            circle.rotate_left(first);
            found.insert(circle);
        }
    }
    found
        .iter()
        .map(|circle| told(&graph, name, circle))
        .collect()
}

fn graph(files: &[File], name: &str, within: &[&str]) -> Graph {
    let sources = crate_sources(files, name);
    let level = within.len();
    let is_within =
        |path: &[String]| path.len() > level && path.iter().zip(within).all(|(a, b)| a == b);
    let rooms: BTreeSet<&str> = sources
        .iter()
        .filter(|source| is_within(&source.module))
        .map(|source| source.module[level].as_str())
        .collect();
    let above = sources.iter().filter(|source| source.module == within);
    let exported: BTreeMap<String, String> = above
        .flat_map(|source| exports(&source.tokens, within))
        .filter(|(_, room)| rooms.contains(room.as_str()))
        .collect();
    let mut graph = Graph::new();
    for source in sources.iter().filter(|source| is_within(&source.module)) {
        let from = &source.module[level];
        let named = graph.entry(from.clone()).or_default();
        for path in paths(&source.tokens, &source.module) {
            if !is_within(&path) {
                continue;
            }
            let to = match path[level].as_str() {
                room if rooms.contains(room) => room,
                item => match exported.get(item) {
                    Some(room) => room,
                    None => continue,
                },
            };
            if to != from {
                let place = format!("{} names {}", source.path, path.join("::"));
                named.entry(to.to_owned()).or_insert(place);
            }
        }
    }
    graph
}

/// The names that `use room::…` gives to those below and outside, each with its room.
fn exports(tokens: &[Token], within: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_use = *token == Token::Word("use".to_owned());
        let Some(Token::Word(room)) = tokens.get(at + 1).filter(|_| is_use) else {
            continue;
        };
        let end = tokens[at..]
            .iter()
            .position(|token| *token == Token::Mark(";"));
        let end = end.map_or(tokens.len(), |end| at + end);
        // Read as if it said where it begins.
        let mut path = Vec::new();
        if room != "crate" {
            path.push(Token::Word("crate".to_owned()));
            for part in within {
                path.extend([Token::Mark("::"), Token::Word((*part).to_owned())]);
            }
            path.push(Token::Mark("::"));
        }
        let said = if room == "self" { at + 3 } else { at + 1 };
        path.extend_from_slice(tokens.get(said..end).unwrap_or_default());
        for path in paths(&path, &[]) {
            if let ([.., name], Some(room)) = (path.as_slice(), path.get(within.len())) {
                found.push((name.clone(), room.clone()));
            }
        }
    }
    found
}

fn shortest_circle(graph: &Graph, room: &str) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([room]);
    while let Some(at) = open.pop_front() {
        for next in graph.get(at).into_iter().flat_map(BTreeMap::keys) {
            if next == room {
                let mut circle = vec![at.to_owned()];
                let mut back = at;
                while back != room {
                    back = came_from.get(back)?;
                    circle.push(back.to_owned());
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(next.as_str()) {
                came_from.insert(next, at);
                open.push_back(next);
            }
        }
    }
    None
}

fn told(graph: &Graph, name: &str, circle: &[String]) -> String {
    let nexts = circle.iter().cycle().skip(1);
    let places = circle.iter().zip(nexts).filter_map(|(from, to)| {
        let place = graph.get(from)?.get(to)?;
        Some(format!("    {place}"))
    });
    let places: Vec<String> = places.collect();
    let first = circle.first().map_or("", String::as_str);
    format!(
        "{name}: {} → {first}\n{}",
        circle.join(" → "),
        places.join("\n")
    )
}

/// What files of the kernel's store name beside its model: no other room may be seen from below.
pub(crate) fn store_looks_up(files: &[File], name: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for source in crate_sources(files, name) {
        if !is_in(&source.module, &["kernel", "store"]) {
            continue;
        }
        for path in paths(&source.tokens, &source.module) {
            if !is_in(&path, &["kernel", "store"]) && !is_in(&path, &["kernel", "model"]) {
                findings.push(format!("{} names crate::{}", source.path, path.join("::")));
            }
        }
    }
    findings
}

fn is_in(path: &[String], room: &[&str]) -> bool {
    path.len() >= room.len() && path.iter().zip(room).all(|(a, b)| a == b)
}

/// Tables that rooms outside the kernel name in SQL and that are not theirs: a room's own tables
/// begin with `om_`, and those of objects belong to the kernel. Without a kernel nothing is said.
pub(crate) fn foreign_tables(files: &[File], name: &str) -> Vec<String> {
    let sources = crate_sources(files, name);
    let is_kernel = |source: &Source<'_>| is_in(&source.module, &["kernel"]);
    if !sources.iter().any(is_kernel) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_kernel(source)) {
        for token in &source.tokens {
            if let Token::Text(text) = token {
                let tables = tables(text)
                    .into_iter()
                    .filter(|table| !table.starts_with("om_"));
                findings.extend(tables.map(|table| format!("{} names table {table}", source.path)));
            }
        }
    }
    findings
}

/// The tables that a text names, where it is SQL. One whose name is put in later is `{`.
fn tables(text: &str) -> Vec<String> {
    let text = text
        .replace("\\\"", "\"")
        .replace("\\\n", " ")
        .replace("\\n", " ");
    let words = sql_words(&text);
    let common: Vec<&str> = words
        .windows(3)
        .filter(|three| three[1].eq_ignore_ascii_case("as") && three[2] == "(")
        .map(|three| three[0])
        .collect();
    let mut found = Vec::new();
    for (at, keyword) in words.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| words[before]);
        let is_table = match *keyword {
            "FROM" | "JOIN" | "INTO" | "TABLE" => true,
            // `DO UPDATE SET` and `FOR UPDATE` name none.
            "UPDATE" => !matches!(before, Some("DO" | "FOR" | "KEY")),
            _ => false,
        };
        if !is_table {
            continue;
        }
        let after = words[at + 1..].iter();
        let mut after =
            after.skip_while(|word| matches!(**word, "IF" | "NOT" | "EXISTS" | "ONLY" | "LATERAL"));
        let (Some(table), next) = (after.next(), after.next()) else {
            continue;
        };
        let is_name = table.starts_with(|c: char| c.is_ascii_lowercase() || c == '_' || c == '{');
        // A function that gives rows: `json_each(…)`. `INTO t (…)` lists columns.
        let is_call = next == Some(&"(") && matches!(*keyword, "FROM" | "JOIN");
        if is_name && !is_call && !common.contains(table) {
            found.push((*table).to_owned());
        }
        found.extend(
            listed(&words[at + 1..])
                .into_iter()
                .filter(|_| *keyword == "FROM"),
        );
    }
    found
}

/// The second and further tables of `FROM a, b`.
fn listed(words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "(" => depth += 1,
            ")" if depth == 0 => break,
            ")" => depth -= 1,
            "," if depth == 0 => {
                let next = words.get(at + 1..at + 3).unwrap_or_default();
                if let [table, after] = next
                    && *after != "("
                    && table.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                {
                    found.push((*table).to_owned());
                }
            }
            "WHERE" | "GROUP" | "ORDER" | "LIMIT" | "UNION" | "SELECT" | "SET" | "VALUES"
            | "JOIN"
                if depth == 0 =>
            {
                break;
            }
            _ => {}
        }
    }
    found
}

/// Words and brackets of SQL; quoted names without their quotes, no literals.
fn sql_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            '"' => {
                let end = rest[1..].find('"').map_or(rest.len() - 1, |end| end);
                words.push(&rest[1..=end]);
                (end + 2).min(rest.len())
            }
            '(' | ')' | ',' | '{' => {
                words.push(&rest[..1]);
                1
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let end = end.unwrap_or(rest.len());
                words.push(&rest[..end]);
                end
            }
            c => c.len_utf8(),
        };
        rest = &rest[length..];
    }
    words
}

/// Types with inherent `impl` blocks in too many files of their crate: who calls whom is hidden there.
pub(crate) fn scattered_impls(files: &[File]) -> Vec<String> {
    let mut places: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for (path, text) in files {
        let Some((name, _)) = path.split_once("/src/") else {
            continue;
        };
        for of in inherent_impls(&tokens(text).0) {
            places.entry((name, of)).or_default().insert(path);
        }
    }
    let scattered = places
        .into_iter()
        .filter(|(_, files)| files.len() > IMPL_FILES_MAX);
    let told = scattered.map(|((name, of), files)| {
        let files: Vec<&str> = files.into_iter().collect();
        format!(
            "{name}: impl {of} in {} files, at most {IMPL_FILES_MAX}; use functions\n    {}",
            files.len(),
            files.join("\n    ")
        )
    });
    told.collect()
}
