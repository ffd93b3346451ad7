//! `objectmesh validate`: what it says, and how it exits.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

struct Verdict {
    code: i32,
    out: String,
    err: String,
}

impl Verdict {
    /// The only line about `subject`, which must be of that severity, name the file and say how to
    /// fix it.
    #[track_caller]
    fn finding(&self, severity: &str, file: &str, subject: &str) -> &str {
        let lines: Vec<&str> = self
            .out
            .lines()
            .filter(|line| line.contains(subject))
            .collect();
        let [line] = lines.as_slice() else {
            panic!("{} lines about `{subject}` in:\n{}", lines.len(), self.out);
        };
        assert!(line.starts_with(&format!("{severity}: ")), "{line}");
        assert!(
            line.contains(&format!("{file}: ")),
            "no file {file}: {line}"
        );
        assert!(line.contains("(fix: ") && line.ends_with(')'), "{line}");
        line
    }

    /// Errors and warnings by the last line.
    #[track_caller]
    fn counts(&self) -> (usize, usize) {
        let last = self.out.lines().last().unwrap_or_default();
        let (_, counts) = last.rsplit_once("; ").expect("a summary");
        let number = |word: &str| {
            let part = counts.split(", ").find(|part| part.ends_with(word));
            let number = part.and_then(|part| part.split(' ').next());
            number
                .and_then(|number| number.parse().ok())
                .expect("a number")
        };
        (number("errors"), number("warnings"))
    }
}

fn validate(path: &Path) -> Verdict {
    let output = Command::new(env!("CARGO_BIN_EXE_objectmesh"))
        .arg("validate")
        .arg(path)
        .output()
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Verdict {
        code: output.status.code().expect("an exit code"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An app of these files in a folder of its own.
fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    }
    folder
}

const MANIFEST: (&str, &str) = (
    "manifest.yaml",
    "id: com.example.broken\nname: Broken\nversion: 1.0.0\n",
);

#[test]
fn the_example_and_the_test_app_are_sound() {
    // The example declares what later versions run; it is told, and nothing else is.
    for (folder, idle) in [("examples/support-desk", 4), ("objectmesh/tests/app", 1)] {
        let verdict = validate(&repository().join(folder));
        assert_eq!(verdict.code, 0, "{folder}:\n{}{}", verdict.out, verdict.err);
        assert_eq!(verdict.counts(), (0, idle), "{folder}:\n{}", verdict.out);
        let idle_things = ["by this version", "is not evaluated", "answers 501"];
        let told = verdict
            .out
            .lines()
            .filter(|line| idle_things.iter().any(|thing| line.contains(thing)));
        assert_eq!(told.count(), idle, "{folder}:\n{}", verdict.out);
        assert_eq!(
            verdict.out.lines().count(),
            idle + 1,
            "nothing but that and the summary: {}",
            verdict.out
        );
        assert_eq!(verdict.err, "");
    }
}

#[test]
fn each_fault_is_told_with_file_path_and_fix() {
    let folder = app(&[
        MANIFEST,
        (
            "objects/ticket.yaml",
            "fields:\n\
             \x20 subject: { type: text }\n\
             \x20 colour: { type: colour_wheel }\n\
             \x20 parent: { type: master_detail }\n\
             \x20 Bad Name: { type: text }\n\
             \x20 status:\n\
             \x20   type: select\n\
             \x20   options: [{ value: open }, { value: closed }, { value: open }]\n",
        ),
        ("objects/Bad-Object.yaml", "fields:\n  a: { type: text }\n"),
        ("objects/sys_mine.yaml", "fields:\n  a: { type: text }\n"),
        (
            "objects/torn.yaml",
            "label: Torn\nfields:\n  a: { type: text\n  b: 1\n",
        ),
        ("objekts/lost.yaml", "fields: {}\n"),
        ("flows/script.ts", "export default {}\n"),
    ]);
    let verdict = validate(folder.path());
    assert_eq!(verdict.code, 1, "{}", verdict.out);
    assert_eq!(verdict.err, "", "findings are the answer, not a failure");

    let ticket = "objects/ticket.yaml";
    let line = verdict.finding("warning", ticket, "objects.ticket.fields.colour.type: ");
    assert!(
        line.contains("colour_wheel") && line.contains("json"),
        "{line}"
    );
    let line = verdict.finding("error", ticket, "objects.ticket.fields.parent: ");
    assert!(line.contains("`reference`"), "the fix: {line}");
    let line = verdict.finding("error", ticket, "Bad Name");
    assert!(line.contains("bad_name"), "a name that would do: {line}");
    let line = verdict.finding(
        "warning",
        ticket,
        "objects.ticket.fields.status.options[2]: ",
    );
    assert!(line.contains("\"open\""), "{line}");
    verdict.finding("error", "objects/Bad-Object.yaml", "objects.Bad-Object: ");
    verdict.finding("error", "objects/sys_mine.yaml", "sys_mine: ");
    let line = verdict.finding("error", "objects/torn.yaml", "torn.yaml");
    assert!(line.contains("line 4, "), "where: {line}");
    let line = verdict.finding("warning", "objekts", "objekts");
    assert!(line.contains("objects/"), "what was meant: {line}");
    verdict.finding("warning", "flows/script.ts", "script.ts");

    let (errors, warnings) = verdict.counts();
    let starting = |word: &str| {
        verdict
            .out
            .lines()
            .filter(|line| line.starts_with(word))
            .count()
    };
    assert_eq!(errors, starting("error: "));
    assert_eq!(warnings, starting("warning: "));
    let first_warning = verdict
        .out
        .lines()
        .position(|line| line.starts_with("warning: "));
    assert_eq!(
        first_warning,
        Some(errors),
        "errors come first:\n{}",
        verdict.out
    );
}

#[test]
fn warnings_alone_are_no_failure() {
    let folder = app(&[
        MANIFEST,
        (
            "objects/ticket.yaml",
            "fields:\n  colour: { type: colour_wheel }\n",
        ),
    ]);
    let verdict = validate(folder.path());
    assert_eq!(verdict.code, 0, "{}", verdict.out);
    assert_eq!(verdict.counts(), (0, 1), "{}", verdict.out);
}

#[test]
fn nothing_to_read_is_said_plainly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("nowhere");
    let verdict = validate(&missing);
    assert_eq!((verdict.code, verdict.out.as_str()), (1, ""));
    let expected = format!(
        "objectmesh: {}: no such file or directory\n",
        missing.display()
    );
    assert_eq!(verdict.err, expected);

    let verdict = validate(folder.path());
    assert_eq!((verdict.code, verdict.out.as_str()), (1, ""));
    assert!(
        verdict.err.contains("manifest.yaml"),
        "what is expected: {}",
        verdict.err
    );

    let torn = folder.path().join("artifact.json");
    fs::write(&torn, "{\n  \"objects\": [\n}\n").expect("a file");
    let verdict = validate(&torn);
    assert_eq!((verdict.code, verdict.out.as_str()), (1, ""));
    assert!(
        verdict.err.contains("artifact.json:3:"),
        "file and line: {}",
        verdict.err
    );
}

#[test]
fn compiled_artifacts_of_others_are_sound() {
    let folder = repository().join("../shared/data");
    let artifacts: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    if artifacts.is_empty() {
        eprintln!("skipped: no artifacts beside the repository");
    }
    for artifact in artifacts {
        let verdict = validate(&artifact);
        assert_eq!(
            verdict.code,
            0,
            "{}:\n{}{}",
            artifact.display(),
            verdict.out,
            verdict.err
        );
        assert_eq!(verdict.counts().0, 0);
    }
}
