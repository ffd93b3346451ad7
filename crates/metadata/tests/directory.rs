//! The authoring form: a directory of YAML and JSON files.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a panic is the report"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use metadata::naming::PLATFORM_PACKAGE_ID;
use metadata::{
    Diagnostic, ItemType, LoadError, Loaded, Severity, load_path, load_value, validate,
};
use tempfile::TempDir;

const MANIFEST: &str = "id: com.acme.desk\nname: Desk\nversion: 1.2.0\nnamespace: desk\n";

fn app(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn load(files: &[(&str, &str)]) -> Loaded {
    load_path(app(files).path()).unwrap()
}

fn find<'a>(diagnostics: &'a [Diagnostic], code: &str) -> &'a Diagnostic {
    let found = diagnostics.iter().find(|d| d.code == code);
    found.unwrap_or_else(|| panic!("no {code} in {diagnostics:#?}"))
}

#[test]
fn every_file_becomes_an_item() {
    let loaded = load(&[
        ("manifest.yaml", MANIFEST),
        ("auth.config.yaml", "emailAndPassword: {enabled: true}\n"),
        (
            "objects/ticket.yaml",
            "label: Ticket\nfields:\n  subject: {type: text}\n",
        ),
        (
            "objects/crm/account.json",
            r#"{"fields": {"name": {"type": "text"}}}"#,
        ),
        ("views/ticket.yaml", "list: {columns: [subject]}\n"),
        ("roles.yaml", "rep: {parent: manager}\nmanager: {}\n"),
        ("permissions/all.yaml", "- {name: agent}\n- {name: lead}\n"),
        ("data/account.yaml", "- {name: Acme}\n- {name: Globex}\n"),
        (
            "object_extensions/sys_user.yaml",
            "fields: {badge: {type: text}}\n",
        ),
        ("docs/guide.md", "# Guide\n"),
        ("README.md", "not metadata"),
        (".hidden/x.yaml", "nor: this"),
    ]);
    assert_eq!(loaded.diagnostics, []);
    let package = loaded.package;
    assert_eq!(
        (package.id.as_str(), package.version.as_str()),
        ("com.acme.desk", "1.2.0")
    );
    assert_eq!(package.namespace.as_deref(), Some("desk"));
    assert_eq!(
        package.auth.as_ref().unwrap()["emailAndPassword"]["enabled"],
        true
    );
    let ticket = package.object("ticket").unwrap();
    assert_eq!(ticket.package_id, "com.acme.desk");
    assert!(package.object("account").is_some());
    let item = package.item(ItemType::Object, "ticket").unwrap();
    assert!(item.file.as_ref().unwrap().ends_with("objects/ticket.yaml"));
    assert!(item.value.get("name").is_none(), "nothing is injected");
    assert_eq!(package.positions.len(), 2);
    assert_eq!(package.permission_sets.len(), 2);
    assert_eq!(package.seeds[0].object, "account");
    assert_eq!(package.seeds[0].records.len(), 2);
    assert_eq!(package.extensions[0].extend, "sys_user");
    assert!(package.item(ItemType::Doc, "guide").is_some());

    let again = load_value(package.to_artifact(), None);
    assert_eq!(again.diagnostics, []);
    assert_eq!(again.package.objects, package.objects);
    assert_eq!(again.package.extensions[0].extend, "sys_user");
    assert_eq!(
        again.package.extensions[0].fields,
        package.extensions[0].fields
    );
    assert_eq!(again.package.auth, package.auth);
}

#[test]
fn a_broken_file_is_reported_with_its_place_and_the_rest_loads() {
    let loaded = load(&[
        ("manifest.yaml", MANIFEST),
        ("objects/good.yaml", "fields: {a: {type: text}}\n"),
        (
            "objects/broken.yaml",
            "label: Broken\nfields:\n  a: [1, 2\n  b: 3\n",
        ),
        ("objects/empty.yaml", "# later\n"),
        ("objects/old.ts", "export default {}\n"),
        ("auth.config.ts", "export default {}\n"),
        ("objets/typo.yaml", "a: 1\n"),
    ]);
    assert_eq!(loaded.package.objects.len(), 1);
    let syntax = find(&loaded.diagnostics, "SYNTAX_ERROR");
    assert_eq!(syntax.severity, Severity::Error);
    assert!(syntax.path.starts_with("line "), "{syntax}");
    assert!(
        syntax
            .file
            .as_ref()
            .unwrap()
            .ends_with("objects/broken.yaml")
    );
    assert_eq!(
        find(&loaded.diagnostics, "UNKNOWN_FOLDER").hint.as_deref(),
        Some("did you mean objects/?")
    );
    find(&loaded.diagnostics, "EMPTY_FILE");
    let code = loaded
        .diagnostics
        .iter()
        .filter(|d| d.code == "NOT_EXECUTED");
    assert_eq!(code.count(), 2);
    assert!(
        loaded
            .diagnostics
            .iter()
            .all(|d| d.hint.is_some() && d.file.is_some())
    );
}

#[test]
fn duplicates_and_reserved_names_are_left_out() {
    let loaded = load(&[
        ("manifest.yaml", MANIFEST),
        ("objects/a.yaml", "name: thing\nlabel: First\n"),
        ("objects/b.yaml", "name: thing\nlabel: Second\n"),
        ("objects/sys_user.yaml", "fields: {}\n"),
        ("objects/Bad Name.yaml", "fields: {}\n"),
    ]);
    assert_eq!(loaded.package.objects.len(), 1);
    assert_eq!(loaded.package.objects[0].label, "First");
    let duplicate = find(&loaded.diagnostics, "DUPLICATE_NAME");
    assert!(duplicate.message.contains("a.yaml"), "{duplicate}");
    find(&loaded.diagnostics, "RESERVED_PREFIX");
    let bad = find(&loaded.diagnostics, "INVALID_NAME");
    assert!(bad.hint.as_ref().unwrap().ends_with("bad_name"), "{bad}");
    // Only the runtime's own package may; saying that one is it does not help.
    for (id, kept) in [("com.acme.base", 0), (PLATFORM_PACKAGE_ID, 1)] {
        let manifest = format!("id: {id}\nversion: 1.0.0\nscope: platform\n");
        let files = [
            ("manifest.yaml", manifest.as_str()),
            ("objects/sys_user.yaml", "fields: {}\n"),
        ];
        assert_eq!(load(&files).package.objects.len(), kept, "{id}");
    }
}

#[test]
fn a_compiled_app_is_found_in_its_directory() {
    let stack = r#"{"manifest": {"id": "com.a", "version": "1.0.0"}, "objects": []}"#;
    assert_eq!(
        load(&[("dist/objectstack.json", stack)]).package.id,
        "com.a"
    );
}

#[test]
fn what_is_no_app_is_an_error() {
    let nowhere = load_path(Path::new("/nowhere/at/all"));
    assert!(matches!(nowhere, Err(LoadError::NotFound { .. })));
    let empty = app(&[("README.md", "hello")]);
    assert!(matches!(
        load_path(empty.path()),
        Err(LoadError::NotAnApp { .. })
    ));
    let broken = app(&[("app.json", "{\n  oops\n}")]);
    let error = load_path(&broken.path().join("app.json"));
    assert!(
        matches!(error, Err(LoadError::Syntax { line: 2, .. })),
        "{error:?}"
    );
}

#[test]
fn without_a_manifest_the_folder_names_the_package() {
    let loaded = load(&[("objects/ticket.yaml", "fields: {a: {type: text}}\n")]);
    assert!(loaded.package.id.starts_with("local."));
    find(&loaded.diagnostics, "MANIFEST_MISSING");
}

#[test]
fn the_example_app_has_no_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/support-desk");
    let Loaded {
        package,
        mut diagnostics,
    } = load_path(&root).unwrap();
    let known = BTreeSet::from(["sys_user".to_owned(), "sys_organization".to_owned()]);
    diagnostics.extend(validate(&package, &known));
    for diagnostic in &diagnostics {
        println!("{diagnostic}");
        assert_ne!(diagnostic.severity, Severity::Error, "{diagnostic}");
    }
    assert!(package.object("support_ticket").is_some());
}
