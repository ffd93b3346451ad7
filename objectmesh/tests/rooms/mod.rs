//! Rules about rooms: which module may see which, and who may touch a table. Each is checked on the
//! tree, and shown to find what it is there for on cases that are planted.

mod code;
mod rules;

use rules::File;

/// The crates whose rooms are looked at.
const SERVICES: [&str; 5] = ["gateway", "auth-svc", "data-svc", "flow-svc", "ai-svc"];
/// The one that keeps records.
const DATA: &str = "data-svc";

fn sources() -> Vec<File> {
    let files = crate::tree::sources();
    files
        .iter()
        .map(|path| (crate::tree::relative(path), crate::tree::read(path)))
        .collect()
}

/// Files of a service that is not there.
fn planted<const N: usize>(files: [(&str, &str); N]) -> Vec<File> {
    let file = |(path, text): (&str, &str)| (format!("a-svc/src/{path}"), text.to_owned());
    files.map(file).into()
}

#[test]
fn rooms_of_a_service_do_not_see_each_other_in_a_circle() {
    let files = sources();
    let circles = SERVICES
        .iter()
        .flat_map(|name| rules::circles(&files, name, &[]));
    crate::tree::none(&circles.collect::<Vec<_>>());
}

#[test]
fn rooms_of_the_kernel_do_not_see_each_other_in_a_circle() {
    crate::tree::none(&rules::circles(&sources(), DATA, &["kernel"]));
}

#[test]
fn the_kernels_store_sees_nothing_but_the_model() {
    crate::tree::none(&rules::store_looks_up(&sources(), DATA));
}

#[test]
fn rooms_outside_the_kernel_name_tables_of_their_own_only() {
    crate::tree::none(&rules::foreign_tables(&sources(), DATA));
}

#[test]
fn no_type_has_its_methods_all_over_the_crate() {
    crate::tree::none(&rules::scattered_impls(&sources()));
}

#[test]
fn every_file_is_read_to_its_end() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let (tokens, _) = code::tokens(&format!("{text}\nuse crate::the_end;\n"));
        let last = code::paths(&tokens, &[]).pop().unwrap_or_default();
        if last != ["the_end"] {
            findings.push(format!("{path}: not read beyond {}", last.join("::")));
        }
    }
    crate::tree::none(&findings);
}

#[test]
fn a_planted_circle_is_found() {
    let files = planted([
        (
            "lib.rs",
            "mod app; mod store; mod domain; mod config; pub use config::Config;",
        ),
        (
            "app/mod.rs",
            "use crate::{domain::X, store::Store, Config};",
        ),
        ("store.rs", "use mesh::db::Db;"),
        ("domain/mod.rs", "mod deep;"),
        ("domain/deep.rs", "fn f() { super::super::app::g(); }"),
        ("config.rs", ""),
    ]);
    let found = rules::circles(&files, "a-svc", &[]);
    assert_eq!(
        found,
        [
            "a-svc: app → domain → app\n    a-svc/src/app/mod.rs names domain::X\n    \
          a-svc/src/domain/deep.rs names app::g"
        ]
    );
    // Through a name that the crate's root gives on; a circle of three.
    let files = planted([
        (
            "lib.rs",
            "mod app; mod store; mod config; pub use config::{Config, Limits};",
        ),
        ("app.rs", "use crate::store;"),
        ("store.rs", "use crate::Limits;"),
        ("config.rs", "fn f(a: &crate::app::App) {}"),
    ]);
    let found = rules::circles(&files, "a-svc", &[]);
    assert!(
        found.len() == 1 && found[0].starts_with("a-svc: app → store → config → app\n"),
        "{found:?}"
    );
    // Tests may look anywhere.
    let files = planted([
        ("a.rs", "use crate::b; "),
        (
            "b.rs",
            "#[cfg(test)] mod tests { use crate::a; } #[cfg(test)] mod cases;",
        ),
        ("b/cases.rs", "use crate::a;"),
    ]);
    assert_eq!(rules::circles(&files, "a-svc", &[]), [""; 0]);
}

#[test]
fn a_planted_circle_of_the_kernel_is_found() {
    let files = planted([
        (
            "kernel/mod.rs",
            "mod query; mod write; pub use self::write::apply;",
        ),
        ("kernel/query/mod.rs", "use super::write::W;"),
        ("kernel/write.rs", "use crate::kernel::query::Q;"),
        ("search.rs", "use crate::kernel::apply;"),
    ]);
    let found = rules::circles(&files, "a-svc", &["kernel"]);
    assert!(
        found.len() == 1 && found[0].starts_with("a-svc: query → write → query\n"),
        "{found:?}"
    );
    assert_eq!(rules::circles(&files, "a-svc", &[]), [""; 0]);
    let files = planted([
        (
            "kernel/mod.rs",
            "mod query; mod write; pub use self::write::apply;",
        ),
        ("kernel/query.rs", "use crate::kernel::apply;"),
        ("kernel/write.rs", "use super::query::Q;"),
    ]);
    assert_eq!(rules::circles(&files, "a-svc", &["kernel"]).len(), 1);
}

#[test]
fn a_planted_look_up_from_the_store_is_found() {
    let files = planted([
        (
            "kernel/store/mod.rs",
            "use crate::kernel::model::Object; mod sql;",
        ),
        (
            "kernel/store/sql.rs",
            "use super::{bind, super::model}; use mesh::db::Db;",
        ),
        ("kernel/store/select.rs", "use crate::kernel::query::Plan;"),
        (
            "kernel/store/write.rs",
            "use super::super::access; use crate::changes;",
        ),
        ("kernel/query.rs", "use super::store;"),
    ]);
    assert_eq!(
        rules::store_looks_up(&files, "a-svc"),
        [
            "a-svc/src/kernel/store/select.rs names crate::kernel::query::Plan",
            "a-svc/src/kernel/store/write.rs names crate::kernel::access",
            "a-svc/src/kernel/store/write.rs names crate::changes",
        ]
    );
}

#[test]
fn a_planted_table_of_an_object_is_found() {
    let files = planted([
        (
            "organization/store.rs",
            r#"const A: &str = "SELECT id FROM sys_user WHERE id = $1";
               const B: &str = "INSERT INTO om_share (id) SELECT id FROM om_rule, lead l \
                   JOIN \"sys_team\" t ON t.id = l.id";
               fn f(t: &str) -> String { format!("UPDATE {} SET a = 1", t) }
               const C: &str = "CREATE TABLE IF NOT EXISTS contact (id TEXT)";"#,
        ),
        (
            "changes/store.rs",
            r#"const A: &str = "WITH due AS (SELECT id FROM om_outbox ORDER BY id FOR UPDATE) \
                   SELECT count(*) FROM due JOIN om_x ON true, json_each($1) \
                   WHERE object_name = 'sys_user FROM lead'";
               const B: &str = "INSERT INTO om_x (a, b) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET b = $2";
               /// FROM sys_user, in words.
               const C: &str = "from a lead into the table";
               #[cfg(test)] mod tests { const A: &str = "SELECT 1 FROM sys_user"; }"#,
        ),
        (
            "kernel/store/select.rs",
            r#"const A: &str = "SELECT 1 FROM lead";"#,
        ),
    ]);
    let file = "a-svc/src/organization/store.rs names table";
    assert_eq!(
        rules::foreign_tables(&files, "a-svc"),
        [
            format!("{file} sys_user"),
            format!("{file} lead"),
            format!("{file} sys_team"),
            format!("{file} {{"),
            format!("{file} contact"),
        ]
    );
}

#[test]
fn planted_methods_in_four_files_are_found() {
    let block = "impl App { fn f() {} } impl Clone for Store {}";
    let files = planted([
        ("a.rs", block),
        ("b.rs", block),
        ("c.rs", block),
        ("d.rs", block),
    ]);
    let found = rules::scattered_impls(&files);
    assert!(
        found.len() == 1 && found[0].starts_with("a-svc: impl App in 4 files"),
        "{found:?}"
    );
    assert_eq!(rules::scattered_impls(&files[..3]), [""; 0]);
}
