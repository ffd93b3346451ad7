//! `objectmesh migrate`: ten at once, and killed in the middle.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::process::{
    self, PROGRAM,
    servers::{self, Database, databases, sql},
};

const AT_ONCE: usize = 10;

/// Every table with its columns, indexes and constraints, and what is in each.
const SCHEMA: &str = "SELECT 'column', table_name, column_name, data_type, is_nullable, \
     coalesce(column_default, '') FROM information_schema.columns WHERE table_schema = 'data' \
     UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes \
     WHERE schemaname = 'data' \
     UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, \
     pg_get_constraintdef(oid), convalidated::text, '' FROM pg_constraint \
     WHERE connamespace = 'data'::regnamespace ORDER BY 1, 2, 3, 4";

const REVISION: &str = "SELECT revision FROM data.om_registry_head";

/// Tables of which one run may hold more rows than another: who holds which lease, for example.
const UNCOUNTED: [&str; 1] = ["om_lease"];

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/support-desk")
}

/// `objectmesh migrate --app` on that database, started.
fn start(url: &str) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["migrate", "--app"]).arg(example());
    process::clean(&mut command);
    command
        .envs(databases(url))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Waits for its end and gives what it printed.
fn finish(child: Child) -> String {
    let output = child.wait_with_output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    out
}

/// What a migrated database holds: its schema, and how many rows each table has.
#[derive(Debug, PartialEq, Eq)]
struct State {
    schema: Vec<String>,
    rows: Vec<String>,
    revision: String,
}

impl State {
    fn of(url: &str) -> Self {
        let lines = |text: String| -> Vec<String> { text.lines().map(str::to_owned).collect() };
        let tables = sql(
            url,
            "SELECT tablename FROM pg_tables WHERE schemaname = 'data' ORDER BY 1",
        );
        let counts = tables
            .lines()
            .filter(|table| !UNCOUNTED.contains(table))
            .map(|table| format!("SELECT '{table}', count(*) FROM data.{table}"));
        let counts: Vec<String> = counts.collect();
        Self {
            schema: lines(sql(url, SCHEMA)),
            rows: lines(sql(
                url,
                &format!("{} ORDER BY 1", counts.join(" UNION ALL ")),
            )),
            revision: sql(url, REVISION).trim().to_owned(),
        }
    }

    #[track_caller]
    fn assert_like(&self, expected: &Self, what: &str) {
        for (name, got, wanted) in [
            ("schema", &self.schema, &expected.schema),
            ("rows", &self.rows, &expected.rows),
        ] {
            let more: Vec<_> = got.iter().filter(|line| !wanted.contains(line)).collect();
            let less: Vec<_> = wanted.iter().filter(|line| !got.contains(line)).collect();
            assert!(
                more.is_empty() && less.is_empty(),
                "{what}: {name}: {more:#?} instead of {less:#?}"
            );
        }
        assert_eq!(self.revision, expected.revision, "{what}");
    }
}

/// A database migrated once and undisturbed, and how long that took.
fn reference(server: &str) -> (Database, State, Duration) {
    let database = Database::empty(server);
    let began = Instant::now();
    let printed = finish(start(&database.url));
    let took = began.elapsed();
    assert!(printed.contains("registry revision 1"), "{printed}");
    let state = State::of(&database.url);
    assert!(
        state.schema.len() > 100 && state.rows.len() > 10,
        "{state:#?}"
    );
    (database, state, took)
}

#[test]
fn ten_migrations_at_once_install_once() {
    let server = &servers::shared().postgres;
    let (reference, expected, _) = reference(server);
    let empty = Database::empty(server);
    // First all on an empty database; then all on one that has everything.
    for (what, url, inserts) in [
        ("an empty database", &empty.url, true),
        ("a full one", &reference.url, false),
    ] {
        let started: Vec<Child> = (0..AT_ONCE).map(|_| start(url)).collect();
        let printed: Vec<String> = started.into_iter().map(finish).collect();
        for text in &printed {
            assert!(text.contains("registry revision 1"), "{what}: {text}");
        }
        let inserting = printed
            .iter()
            .filter(|text| !text.contains("seeds: 0 inserted, 0 updated"));
        assert_eq!(
            inserting.count(),
            usize::from(inserts),
            "{what}: {printed:#?}"
        );
        State::of(url).assert_like(&expected, what);
    }
}

#[test]
fn a_migration_killed_in_the_middle_is_brought_to_its_end_by_the_next() {
    let server = &servers::shared().postgres;
    let (_reference, expected, took) = reference(server);
    // Several kills for each database, the later the further it came; side by side, since whoever
    // comes after a kill may have to wait until the lease of the dead one ends.
    let moments = [
        [0.2, 0.3],
        [0.4, 0.3],
        [0.55, 0.1],
        [0.7, 0.5],
        [0.85, 0.9],
        [0.95, 0.5],
    ];
    std::thread::scope(|scope| {
        for (number, moments) in moments.into_iter().enumerate() {
            let expected = &expected;
            // One after the other at first, so that each has the machine as the reference had it.
            let database = Database::empty(server);
            for moment in moments {
                let mut child = start(&database.url);
                std::thread::sleep(took.mul_f64(moment));
                child.kill().expect("a child of ours");
                child.wait().expect("a child of ours");
            }
            scope.spawn(move || {
                let began = Instant::now();
                finish(start(&database.url));
                let what = format!("killed at {moments:?}");
                State::of(&database.url).assert_like(expected, &what);
                eprintln!(
                    "{number}: {what} of {took:?}; ended well in {:?}",
                    began.elapsed()
                );
            });
        }
    });
}
