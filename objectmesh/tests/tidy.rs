//! Rules about the tree itself that no compiler checks.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::tree::{files, none, read, relative, root, sources};

/// Longest source file, in lines.
const LINES_MAX: usize = 600;
/// Source files that may be longer.
const LONG_FILES: [&str; 0] = [];

/// Which of our crates each crate may use; a service never uses another service.
const GRAPH: [(&str, &[&str]); 15] = [
    ("proto", &[]),
    ("metadata", &[]),
    ("expr", &[]),
    ("script", &[]),
    ("db", &[]),
    ("transcoding", &["proto"]),
    ("mesh", &["proto", "metadata", "db", "transcoding"]),
    ("data-client", &["proto", "metadata", "script", "mesh"]),
    ("gateway", &["proto", "metadata", "transcoding", "mesh"]),
    ("auth-svc", &["proto", "metadata", "mesh", "data-client"]),
    ("data-svc", &["proto", "metadata", "expr", "script", "mesh"]),
    (
        "flow-svc",
        &[
            "proto",
            "metadata",
            "expr",
            "script",
            "transcoding",
            "mesh",
            "data-client",
        ],
    ),
    ("ai-svc", &["proto", "metadata", "mesh", "data-client"]),
    (
        "objectmesh",
        &[
            "proto",
            "metadata",
            "expr",
            "script",
            "mesh",
            "data-client",
            "gateway",
            "auth-svc",
            "data-svc",
            "flow-svc",
            "ai-svc",
        ],
    ),
    // It measures programs from outside.
    ("bench", &[]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = [
    "common", "util", "utils", "helper", "helpers", "core", "shared", "misc", "stuff",
];

#[test]
fn source_files_are_short_enough_to_read() {
    let mut findings = Vec::new();
    for path in sources() {
        let (name, lines) = (relative(&path), read(&path).lines().count());
        if lines > LINES_MAX && !LONG_FILES.contains(&name.as_str()) {
            findings.push(format!(
                "{name}: {lines} lines, at most {LINES_MAX}; split it by what it does"
            ));
        }
    }
    none(&findings);
}

/// The crates that a Cargo.toml names in its dependency sections, its own name first.
fn dependencies(manifest: &str) -> (String, Vec<String>) {
    let mut section = "";
    let mut name = String::new();
    let mut used = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            let inline = section
                .trim_matches(['[', ']'])
                .rsplit_once("dependencies.");
            used.extend(inline.map(|(_, name)| name.to_owned()));
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let key = key.split('.').next().unwrap_or_default().trim();
        if section == "[package]" && key == "name" {
            value.trim().trim_matches('"').clone_into(&mut name);
        }
        if section.ends_with("dependencies]") {
            used.push(key.trim_matches('"').to_owned());
        }
    }
    (name, used)
}

/// Dependencies that the graph does not have, of manifests: pairs of a path and a text.
fn dependencies_back(manifests: &[(String, String)]) -> Vec<String> {
    let graph: BTreeMap<&str, &[&str]> = GRAPH.into_iter().collect();
    let mut findings = Vec::new();
    for (path, text) in manifests {
        let (name, used) = dependencies(text);
        let Some(allowed) = graph.get(name.as_str()) else {
            findings.push(format!("{path}: crate `{name}` has no place in the graph"));
            continue;
        };
        for dependency in used.iter().filter(|used| graph.contains_key(used.as_str())) {
            if !allowed.contains(&dependency.as_str()) {
                findings.push(format!("{name} may not depend on {dependency}"));
            }
        }
    }
    findings
}

#[test]
fn dependencies_point_one_way() {
    let is_manifest = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == "Cargo.toml") && path.parent() != Some(&root())
    };
    let manifests: Vec<_> = files(&["toml"])
        .iter()
        .filter(|path| is_manifest(path))
        .map(|path| (relative(path), read(path)))
        .collect();
    none(&dependencies_back(&manifests));
    assert_eq!(manifests.len(), GRAPH.len(), "every crate was looked at");
}

#[test]
fn a_planted_arrow_that_runs_back_is_found() {
    let manifest = |name: &str, section: &str, used: &str| {
        let text = format!("[package]\nname = \"{name}\"\n[{section}]\n{used}.workspace = true\n");
        (format!("{name}/Cargo.toml"), text)
    };
    let planted = [
        manifest("mesh", "dependencies", "data-svc"),
        manifest("flow-svc", "dev-dependencies", "ai-svc"),
        manifest("gateway", "dependencies", "mesh"),
        manifest("stranger", "dependencies", "mesh"),
    ];
    assert_eq!(
        dependencies_back(&planted),
        [
            "mesh may not depend on data-svc",
            "flow-svc may not depend on ai-svc",
            "stranger/Cargo.toml: crate `stranger` has no place in the graph",
        ]
    );
}

#[test]
fn the_reader_of_manifests_sees_dependencies() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nmesh.workspace = true\n\
        tokio = { version = \"1\" }\n[dev-dependencies.proto]\nworkspace = true\n[features]\nx = []\n";
    let (name, used) = dependencies(manifest);
    assert_eq!(name, "a");
    assert_eq!(used, ["mesh", "tokio", "proto",]);
}

#[test]
fn names_say_what_is_inside() {
    let mut findings = Vec::new();
    for path in sources() {
        let name = relative(&path);
        let parts = name
            .split(['/', '.'])
            .filter(|part| !matches!(*part, "src" | "rs"));
        for part in parts.filter(|part| EMPTY_NAMES.contains(part)) {
            findings.push(format!(
                "{name}: `{part}` says nothing about what is inside"
            ));
        }
        for line in read(&path).lines() {
            let line = line.trim_start();
            let module = line.split_once("mod ").filter(|(before, _)| {
                matches!(before.trim(), "" | "pub" | "pub(crate)" | "pub(super)")
            });
            let module =
                module.map(|(_, rest)| rest.split([' ', ';', '{']).next().unwrap_or_default());
            if module.is_some_and(|module| EMPTY_NAMES.contains(&module)) {
                findings.push(format!("{name}: `{line}`"));
            }
        }
    }
    none(&findings);
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // In two parts, or this file would find itself.
    let marks = [
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
    ];
    let mut findings = Vec::new();
    for path in files(&["rs", "proto", "sql", "sh", "toml"]) {
        for (number, line) in read(&path).lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                findings.push(format!("{}:{}: {mark}", relative(&path), number + 1));
            }
        }
    }
    none(&findings);
}

#[test]
fn migrations_are_numbered_and_named_by_what_they_do() {
    let mut folders: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for path in files(&["sql"]) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        folders
            .entry(path.parent().expect("a folder").to_owned())
            .or_default()
            .push(name);
    }
    let mut findings = Vec::new();
    for (folder, names) in folders {
        for (index, name) in names.iter().enumerate() {
            let expected = format!("{:04}_", index + 1);
            let words: Vec<&str> = name
                .strip_prefix(&expected)
                .and_then(|rest| rest.strip_suffix(".sql"))
                .map(|rest| rest.split('_').collect())
                .unwrap_or_default();
            let is_word = |word: &&str| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            if words.len() < 2 || !words.iter().all(is_word) {
                let folder = relative(&folder);
                findings.push(format!("{folder}/{name}: expected {expected}verb_noun.sql"));
            }
        }
    }
    none(&findings);
}

#[test]
fn the_table_of_the_queue_is_the_same_in_every_service() {
    let tables = files(&["sql"]).into_iter();
    let tables = tables.filter(|path| path.to_string_lossy().ends_with("_create_queue.sql"));
    let tables: Vec<PathBuf> = tables.collect();
    assert!(tables.len() >= 3, "{tables:?}");
    let others = tables.iter();
    let others = others.filter(|path| !read(path).contains(mesh::db::queue::MIGRATION_SQL));
    let others: Vec<String> = others.map(|path| relative(path).to_string()).collect();
    none(&others);
}

#[test]
fn sql_text_reaches_the_driver_in_one_place() {
    let call = concat!("Assert", "SqlSafe(");
    let mut places = Vec::new();
    for path in sources() {
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let count = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .filter(|line| line.contains(call))
            .count();
        places.extend((0..count).map(|_| relative(&path)));
    }
    assert_eq!(places.len(), 1, "{places:?}");
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    let machine = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut findings = Vec::new();
    let extensions = [
        "rs", "toml", "md", "sh", "yaml", "yml", "proto", "sql", "json", "snap",
    ];
    for path in files(&extensions) {
        for (number, line) in read(&path).lines().enumerate() {
            if machine.iter().any(|path| line.contains(path)) {
                findings.push(format!(
                    "{}:{}: {}",
                    relative(&path),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    none(&findings);
}

/// Proto packages whose messages are about records, flows and agents.
const BUSINESS: [&str; 3] = ["data::v1", "flow::v1", "ai::v1"];

/// The lines of a source file, its tests aside, that name one of those packages.
fn business_lines(name: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let names = |line: &str, package: &str| {
        line.match_indices(package).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
        })
    };
    let lines = code.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    let found = lines.filter(|(_, line)| BUSINESS.iter().any(|package| names(line, package)));
    found
        .map(|(number, line)| format!("{name}:{}: {}", number + 1, line.trim()))
        .collect()
}

/// Whether a file is a module of tests as a whole: `#[cfg(test)] mod name;` stands above it.
fn is_test_module(path: &Path) -> bool {
    let (Some(stem), Some(folder)) = (path.file_stem(), path.parent()) else {
        return false;
    };
    let declared = format!("#[cfg(test)]\nmod {};", stem.to_string_lossy());
    let above = ["mod.rs", "lib.rs"].map(|name| folder.join(name));
    let mut above = above.iter().filter(|path| path.exists());
    above.any(|path| read(path).contains(&declared))
}

#[test]
fn the_mesh_knows_no_business() {
    let mesh = sources().into_iter();
    let mesh = mesh.filter(|path| {
        [
            "crates/mesh/src/",
            "crates/db/src/",
            "crates/transcoding/src/",
        ]
        .iter()
        .any(|folder| relative(path).starts_with(folder))
    });
    let mesh: Vec<_> = mesh.filter(|path| !is_test_module(path)).collect();
    assert!(mesh.len() > 30, "the mesh is elsewhere");
    let findings = mesh
        .iter()
        .flat_map(|path| business_lines(&relative(path), &read(path)));
    none(&findings.collect::<Vec<_>>());
}

#[test]
fn a_business_message_in_the_mesh_is_found() {
    let planted = "use proto::data::v1::Record;\nuse proto::{\n    ai::v1::ChatRequest,\n    auth::v1::User,\n};\n\
        // data::v1 in a comment\nlet metadata::v1 = 1;\n#[cfg(test)]\nuse proto::flow::v1::Run;\n";
    let found = business_lines("x.rs", planted);
    assert_eq!(
        found,
        [
            "x.rs:1: use proto::data::v1::Record;",
            "x.rs:3: ai::v1::ChatRequest,"
        ]
    );
}
