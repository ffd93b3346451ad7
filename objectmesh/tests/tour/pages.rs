//! Pages of the documentation, and a shell that runs their marked blocks.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    process::{PROGRAM, clean},
    tree,
};

/// Stands above a block that is run.
const MARK: &str = "<!-- tour -->";
/// A block begins and ends with these lines.
const BLOCK: [&str; 2] = ["```sh", "```"];
/// Stands before a line that the commands above it print.
const PRINTS: &str = "# → ";
/// Where the pages say that REST is served.
const ADDRESS: &str = "127.0.0.1:7400";
/// How the pages call the program.
const COMMAND: &str = "cargo run --release --bin objectmesh --";
/// What the README's first marked block defines for the other pages.
const HELPERS: [&str; 4] = ["BASE=", "api()", "pick()", "sign_in()"];
/// Printed behind each step.
const END_OF_STEP: &str = "@@ end of step @@\n";
/// How much of what a step printed is shown when it is wrong, in characters.
const SHOWN_MAX: usize = 4_000;

/// Commands of a page, and what it says that they print.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// The line of the page on which they begin.
    line: usize,
    commands: String,
    expected: Vec<String>,
}

/// A page.
pub(crate) struct Page {
    /// Its path from the repository's folder on.
    pub(crate) name: String,
    /// What stands on it.
    pub(crate) text: String,
    /// Its marked blocks.
    pub(crate) steps: Vec<Step>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let (name, text) = (tree::relative(path), tree::read(path));
        let steps = steps(&name, &text);
        Self { name, text, steps }
    }
}

/// The pages that are run.
pub(crate) struct Pages {
    /// The first that anybody sees.
    pub(crate) readme: Page,
    /// Those under `docs/guide`.
    pub(crate) guide: Vec<Page>,
    /// Those under `docs/reference`.
    pub(crate) reference: Vec<Page>,
}

impl Pages {
    /// Reads them from their folders.
    ///
    /// # Panics
    /// When a folder is empty, or a mark has no block.
    pub(crate) fn read() -> Self {
        let files = tree::files(&["md"]);
        let within = |folder: &str| {
            let inside = |path: &&PathBuf| tree::relative(path).starts_with(folder);
            let pages: Vec<Page> = files
                .iter()
                .filter(inside)
                .map(|path| Page::read(path))
                .collect();
            assert!(!pages.is_empty(), "no pages in {folder}");
            pages
        };
        Self {
            readme: Page::read(&tree::root().join("README.md")),
            guide: within("docs/guide/"),
            reference: within("docs/reference/"),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Page> {
        let others = self.guide.iter().chain(&self.reference);
        std::iter::once(&self.readme).chain(others)
    }

    /// What the other pages have from the README's first marked block, and an administrator's token.
    ///
    /// # Panics
    /// When the block lacks one of them.
    pub(crate) fn helpers(&self) -> String {
        let first = self.readme.steps.first().expect("a tour in the README");
        for name in HELPERS {
            let mut lines = first.commands.lines();
            let defined = lines.any(|line| line.starts_with(name));
            assert!(defined, "the README's first marked block lacks {name}");
        }
        assert_eq!(first.expected, [""; 0], "it prints nothing");
        format!("{}TOKEN=$(sign_in admin@example.com)\n", first.commands)
    }
}

/// The marked blocks of a page, cut behind each group of lines that say what is printed.
///
/// # Panics
/// When a mark has no block, or a block no end.
fn steps(name: &str, text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line != MARK {
            continue;
        }
        let begins = lines.next().is_some_and(|(_, line)| line == BLOCK[0]);
        assert!(begins, "{name}:{number}: no {} below the mark", BLOCK[0]);
        let mut step = Step::default();
        loop {
            let next = lines.next();
            let (line, text) = next.unwrap_or_else(|| panic!("{name}:{number}: it has no end"));
            if text == BLOCK[1] {
                break;
            }
            if let Some(expected) = text.strip_prefix(PRINTS) {
                step.expected.push(expected.to_owned());
                continue;
            }
            if !step.expected.is_empty() {
                steps.push(std::mem::take(&mut step));
            }
            if step.commands.trim().is_empty() {
                step.line = line;
            }
            step.commands.push_str(text);
            step.commands.push('\n');
        }
        steps.push(step);
    }
    steps
}

/// Runs pages against one mesh, each in a shell and a folder of its own.
pub(crate) struct Shell {
    root: PathBuf,
    /// Host and port of REST.
    address: String,
}

impl Shell {
    /// A shell for the mesh at `base`; the folders of its pages are in `root`.
    pub(crate) fn new(root: &Path, base: &str) -> Self {
        let address = base.strip_prefix("http://").unwrap_or(base);
        let address = address.split('/').next().unwrap_or_default();
        Self {
            root: root.to_owned(),
            address: address.to_owned(),
        }
    }

    /// The folder in which a page is run.
    pub(crate) fn folder(&self, page: &Page) -> PathBuf {
        self.root.join(page.name.replace(['/', '.'], "-"))
    }

    /// As a text of a page means it here.
    fn here(&self, text: &str) -> String {
        text.replace(ADDRESS, &self.address)
            .replace(COMMAND, PROGRAM)
    }

    /// Runs all steps of a page in one shell, behind `helpers`, and compares what each prints with what
    /// the page says; what is wrong, with the page, the line and the step.
    pub(crate) fn run(&self, page: &Page, helpers: &str) -> Vec<String> {
        let folder = self.folder(page);
        fs::create_dir(&folder).expect("a folder");
        let mut script = helpers.to_owned();
        for step in &page.steps {
            script.push_str(&step.commands);
            script.push_str(&format!("echo '{}'\n", END_OF_STEP.trim_end()));
        }
        let path = folder.with_extension("sh");
        fs::write(&path, self.here(&script)).expect("a file");
        let mut command = Command::new("bash");
        clean(&mut command);
        let output = command
            .arg(&path)
            .current_dir(&folder)
            .env_remove("TOKEN")
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut findings = Vec::new();
        let mut outputs = printed.split(END_OF_STEP);
        for (number, step) in (1..).zip(&page.steps) {
            let printed = outputs.next().unwrap_or_default();
            let expected: Vec<String> = step.expected.iter().map(|line| self.here(line)).collect();
            if !as_told(printed, &expected) {
                let (name, line, commands) = (&page.name, step.line, &step.commands);
                let expected = expected.join("\n");
                let printed: String = printed.chars().take(SHOWN_MAX).collect();
                findings.push(format!(
                    "{name}:{line}: step {number}\n$ {commands}--- the page says\n{expected}\n\
                     --- it prints\n{printed}"
                ));
            }
        }
        if !errors.is_empty() {
            findings.push(format!("{}: standard error\n{errors}", page.name));
        }
        if outputs.next().is_none() {
            findings.push(format!("{}: it does not come to its end", page.name));
        }
        findings
    }
}

/// Whether lines are printed as announced; empty ones do not count.
fn as_told(printed: &str, expected: &[String]) -> bool {
    let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
    let mut pairs = lines.iter().zip(expected);
    lines.len() == expected.len() && pairs.all(|(line, expected)| fits(line, expected))
}

/// Whether a line is as announced; `…` stands for anything.
fn fits(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.trim().strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn every_page_of_the_reference_has_something_to_run() {
    let pages = Pages::read();
    let without = pages.reference.iter().filter(|page| page.steps.is_empty());
    let without = without.map(|page| format!("{}: no block is marked `{MARK}`", page.name));
    tree::none(&without.collect::<Vec<_>>());
    assert!(pages.readme.steps.len() > 8, "the tour is gone");
    assert!(pages.helpers().contains("sign_in"));
}

#[test]
fn a_page_is_cut_behind_what_is_printed() {
    let text = "# A\n```sh\nnot this\n```\n<!-- tour -->\n```sh\na=1\n\necho $a\n# → 1\n\necho 2\n\
        # → 2\n# → …\n```\n<!-- tour -->\n```sh\nb=2\n```\n";
    let step = |line, commands: &str, expected: &[&str]| Step {
        line,
        commands: commands.to_owned(),
        expected: expected.iter().map(|&line| line.to_owned()).collect(),
    };
    assert_eq!(
        steps("a.md", text),
        [
            step(7, "a=1\n\necho $a\n", &["1"]),
            step(12, "\necho 2\n", &["2", "…"]),
            step(18, "b=2\n", &[]),
        ]
    );
}

#[test]
#[should_panic(expected = "a.md:2: no ```sh below the mark")]
fn a_mark_without_a_block_is_found() {
    steps("a.md", "# A\n<!-- tour -->\n\n```sh\necho 1\n```\n");
}

#[test]
fn an_ellipsis_stands_for_anything() {
    for (line, expected, fitting) in [
        ("200", "200", true),
        ("2000", "200", false),
        (" 137", "137", true),
        (r#"{"a":1,"b":2}"#, r#"{…"b":2}"#, true),
        (r#"{"a":1,"b":2}"#, r#"{"a":…}"#, true),
        (r#"{"a":1,"b":2}"#, r#"{…"b":2…"a":1…}"#, false),
        (r#"{"a":1}"#, r#"{…"b"…"#, false),
        ("ab", "a…b…c", false),
    ] {
        assert_eq!(fits(line, expected), fitting, "{line} as {expected}");
    }
}
