//! Links in the pages: what they lead to is there.

use std::path::Path;

use crate::tree;

/// The links of a page and the lines they stand on; code is left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        let behind = line.split("](").skip(1);
        let links = behind.filter_map(|rest| rest.split(')').next());
        found.extend(links.map(|link| (number + 1, link)));
    }
    found
}

/// Whether a link of a page in `folder` leads to a file or a folder that is there, or elsewhere.
fn leads_somewhere(folder: &Path, link: &str) -> bool {
    if link.starts_with("http://") || link.starts_with("https://") {
        return true;
    }
    let target = link.split('#').next().unwrap_or_default();
    target.is_empty() || folder.join(target).exists()
}

#[test]
fn every_link_leads_somewhere() {
    let mut findings = Vec::new();
    let mut count = 0;
    for path in tree::files(&["md"]) {
        let name = tree::relative(&path);
        if name.contains('/') && !name.starts_with("docs/") {
            continue;
        }
        let folder = path.parent().expect("a folder");
        for (line, link) in links(&tree::read(&path)) {
            count += 1;
            if !leads_somewhere(folder, link) {
                findings.push(format!("{name}:{line}: {link} is not there"));
            }
        }
    }
    tree::none(&findings);
    assert!(count > 30, "the links are gone");
}

/// The pages of `docs` that a text cites, with the sections after each: `docs/reference/x.md §3–4, §7`.
fn citations(text: &str) -> Vec<(String, Vec<u32>)> {
    // A citation may go over the end of a line, behind which a comment goes on.
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| !matches!(*word, "//" | "///" | "//!" | "#" | "--"))
        .collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let Some((_, rest)) = word.split_once("docs/") else {
            continue;
        };
        let Some((page, _)) = rest.split_once(".md") else {
            continue;
        };
        if !["adr/", "reference/", "guide/"]
            .iter()
            .any(|folder| page.starts_with(folder))
        {
            continue;
        }
        let sections = words[at + 1..]
            .iter()
            .take_while(|word| word.starts_with('§') || **word == "and");
        let numbers = sections.flat_map(|word| {
            let numbers = word.split(|letter: char| !letter.is_ascii_digit());
            numbers.filter_map(|number| number.parse().ok())
        });
        found.push((format!("docs/{page}.md"), numbers.collect()));
    }
    found
}

#[test]
fn what_comments_cite_is_there() {
    let mut findings = Vec::new();
    let mut count = 0;
    for path in tree::files(&["rs", "proto", "sql", "toml", "md"]) {
        let name = tree::relative(&path);
        // It cites pages that there are none of, below.
        if name.ends_with("tests/tour/links.rs") {
            continue;
        }
        for (page, sections) in citations(&tree::read(&path)) {
            count += 1;
            let file = tree::root().join(&page);
            if !file.exists() {
                findings.push(format!("{name}: {page} is not there"));
                continue;
            }
            let text = tree::read(&file);
            for section in sections {
                if !text.contains(&format!("\n## {section}. ")) {
                    findings.push(format!("{name}: {page} has no §{section}"));
                }
            }
        }
    }
    tree::none(&findings);
    assert!(count > 100, "the citations are gone");
}

#[test]
fn citations_are_found_with_their_sections() {
    let text =
        "//! Reads it (docs/reference/a.md §3–4, §7\n//! and §12; docs/adr/0001-b.md). docs/x.md";
    assert_eq!(
        citations(text),
        [
            ("docs/reference/a.md".to_owned(), vec![3, 4, 7, 12]),
            ("docs/adr/0001-b.md".to_owned(), vec![])
        ]
    );
}

#[test]
fn links_are_found_and_followed() {
    let text = "See [a](docs) and\n[b](docs/nothing.md#x).\n```sh\n[c](d)\n```\n[e](#e)";
    let found = links(text);
    assert_eq!(found, [(1, "docs"), (2, "docs/nothing.md#x"), (6, "#e")]);
    let root = tree::root();
    let leading: Vec<bool> = found
        .iter()
        .map(|(_, link)| leads_somewhere(&root, link))
        .collect();
    assert_eq!(leading, [true, false, true]);
}
