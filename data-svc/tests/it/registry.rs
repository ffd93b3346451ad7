//! One registry, whichever replica publishes it, and one database, whoever prepares it.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use data_svc::{
    Rooms,
    kernel::access::SystemReason,
    kernel::{query, write},
    seeds,
};
use mesh::db::Statement;
use serde_json::{Value, json};

use crate::{
    bed::{Bed, app, eventually, package, soon},
    both,
};

/// The app with another field, and an index on it.
fn grown() -> Value {
    let mut app = app();
    app["manifest"]["version"] = json!("1.1.0");
    app["objects"][0]["fields"]["grade"] = json!({"type": "number", "scale": 0, "index": true});
    app
}

/// An app of its own with one object and two seeds.
fn seeded(number: usize) -> Value {
    json!({
        "manifest": {"id": format!("com.example.app{number}"), "version": "1.0.0", "name": "N"},
        "objects": [{"name": format!("thing_{number}"), "sharingModel": "public_read_write",
            "fields": {"name": {"type": "text"}, "number": {"type": "autonumber"}}}],
        "data": [{"object": format!("thing_{number}"), "externalId": "name", "mode": "upsert",
            "records": [{"name": "one"}, {"name": "two"}]}],
    })
}

async fn count(rooms: &Rooms, table: &str) -> i64 {
    let sql = Statement::new(format!("SELECT count(*) FROM {table}"));
    rooms
        .db
        .query_one(sql, |row| row.req_int(0))
        .await
        .expect("counted")
}

both!(a_new_revision_reaches_every_replica, async |bed: &Bed| {
    let (first, second) = (bed.replica().await, bed.replica().await);
    let before = second.catalog.current().revision;
    let installed = first.catalog.install(&[package(&grown())]).await;
    installed.expect("installs");
    let revision = first.catalog.current().revision;
    assert_eq!(revision, before + 1);
    // Who asks for it does not wait for the next look.
    soon(second.catalog.served().catch_up(revision))
        .await
        .expect("catches up");
    let registry = second.catalog.current();
    assert_eq!(registry.revision, revision);
    assert!(
        registry
            .schema("note")
            .expect("an object")
            .column("grade")
            .is_some()
    );
    // And nobody has to ask.
    let mut next = grown();
    next["manifest"]["version"] = json!("1.2.0");
    first
        .catalog
        .install(&[package(&next)])
        .await
        .expect("installs");
    let second = &second;
    eventually(async || (second.catalog.current().revision == revision + 1).then_some(())).await;
});

both!(all_who_install_at_once_succeed, async |bed: &Bed| {
    let first = bed.replica().await;
    let mut replicas = Vec::new();
    for _ in 0..4 {
        replicas.push(bed.rooms().await);
    }
    let before = first.catalog.current().revision;
    let installs = replicas
        .iter()
        .enumerate()
        .map(|(number, rooms)| async move {
            // One that everybody brings, and one of its own.
            let packages = [package(&seeded(99)), package(&seeded(number))];
            let installed = rooms.catalog.install(&packages).await.expect("installs");
            seeds::load(rooms, &installed.seeds).await.expect("loads")
        });
    let outcomes = soon(futures::future::join_all(installs)).await;
    let inserted: usize = outcomes.iter().map(|outcome| outcome.inserted).sum();
    assert_eq!(inserted, 2 * 5, "{outcomes:?}");
    assert!(
        outcomes.iter().all(|outcome| outcome.warnings.is_empty()),
        "{outcomes:?}"
    );
    let revision = first.catalog.current().revision.max(before + 4);
    soon(first.catalog.served().catch_up(revision))
        .await
        .expect("catches up");
    for number in [0, 1, 2, 3, 99] {
        let table = format!("thing_{number}");
        assert!(first.catalog.current().schema(&table).is_some(), "{table}");
        assert_eq!(count(&first, &table).await, 2, "{table}");
    }
    assert_eq!(count(&first, "om_registry_head").await, 1);
    assert_eq!(count(&first, "sys_organization").await, 1);
});

both!(
    an_empty_database_prepared_by_ten_at_once,
    async |bed: &Bed| {
        let roomss = soon(futures::future::join_all((0..10).map(|_| bed.rooms()))).await;
        let first = &roomss[0];
        assert_eq!(count(first, "sys_organization").await, 1);
        assert_eq!(count(first, "om_secret").await, 1);
        let indexes: BTreeSet<String> = index_names(first).await.into_iter().collect();
        assert!(indexes.len() > 10);
    }
);

async fn index_names(rooms: &Rooms) -> Vec<String> {
    let sql = match rooms.db.dialect() {
        mesh::db::Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'index'",
        mesh::db::Dialect::Postgres => {
            "SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema()"
        }
    };
    let names = rooms.db.query(sql, |row| Ok(row.req_text(0)?.to_owned()));
    names.await.expect("asked")
}

both!(seeds_cut_short_are_loaded_by_the_next, async |bed: &Bed| {
    let rooms = bed.rooms().await;
    let packages = [package(&seeded(1))];
    // Installed, and then the process is gone before it has loaded the seeds.
    let installed = rooms.catalog.install(&packages).await.expect("installs");
    assert_eq!(installed.seeds.len(), 1);
    let next = bed.rooms().await;
    let installed = next.catalog.install(&packages).await.expect("installs");
    let outcome = seeds::load(&next, &installed.seeds).await.expect("loads");
    assert_eq!(outcome.inserted, 2);
    // Loaded once, never again.
    let again = bed.rooms().await;
    let installed = again.catalog.install(&packages).await.expect("installs");
    assert!(installed.seeds.is_empty());
});

both!(
    a_revision_that_cannot_be_read_leaves_the_last_one,
    async |bed: &Bed| {
        let rooms = bed.replica().await;
        let good = rooms.catalog.current().revision;
        let db = bed.db().await;
        for sql in [
            "UPDATE om_package SET artifact = '{broken'",
            "UPDATE om_registry_head SET revision = revision + 1",
        ] {
            db.execute(sql).await.expect("changed");
        }
        let refused = rooms.catalog.served().catch_up(good + 1).await;
        assert!(refused.is_err());
        assert_eq!(rooms.catalog.current().revision, good);
        let work = rooms.kernel.system_work(SystemReason::Seed);
        write::create(
            &rooms.kernel,
            &work,
            "note",
            b"{\"text\": \"still here\"}",
            "",
        )
        .await
        .expect("created");
    }
);

both!(
    a_column_comes_while_others_read_and_write,
    async |bed: &Bed| {
        let (first, second) = (bed.replica().await, bed.replica().await);
        let done = AtomicBool::new(false);
        let traffic = (0..4).map(|_| async {
            let mut calls = 0;
            while !done.load(Ordering::Relaxed) || calls < 20 {
                let work = second.kernel.system_work(SystemReason::Seed);
                let made = write::create(&second.kernel, &work, "note", b"{\"text\": \"t\"}", "")
                    .await
                    .expect("created");
                query::get(&second.kernel, &work, "note", &made.id, "", "")
                    .await
                    .expect("read");
                calls += 1;
            }
        });
        let change = async {
            let installed = first.catalog.install(&[package(&grown())]).await;
            installed.expect("installs");
            let revision = first.catalog.current().revision;
            soon(second.catalog.served().catch_up(revision))
                .await
                .expect("catches up");
            done.store(true, Ordering::Relaxed);
        };
        soon(futures::future::join(
            futures::future::join_all(traffic),
            change,
        ))
        .await;
        let work = second.kernel.system_work(SystemReason::Seed);
        let made = write::create(&second.kernel, &work, "note", b"{\"grade\": 3}", "")
            .await
            .expect("created");
        let read = query::get(
            &first.kernel,
            &first.kernel.system_work(SystemReason::Seed),
            "note",
            &made.id,
            "",
            "",
        )
        .await;
        let read: Value = serde_json::from_slice(&read.expect("read").json).expect("JSON");
        assert_eq!(read["grade"], 3);
        assert!(
            index_names(&first)
                .await
                .iter()
                .any(|name| name == "ix_note__grade__id")
        );
    }
);

// Rows are narrowed by owner before anybody asks, and then come in the default order: one index has it
// all, and what it serves as well is dropped, since each costs every write.
both!(an_index_that_a_longer_one_serves_goes, async |bed: &Bed| {
    let app = |fields: Value| {
        package(&json!({
            "manifest": {"id": "com.example.tasks", "version": "1.0.0", "name": "Tasks"},
            "objects": [{"name": "task", "sharingModel": "private", "fields": fields}],
            "permissions": [{"name": "regional", "objects": {"task": {"allowRead": true}},
                "rowLevelSecurity": [{"name": "region", "object": "task", "operation": "select",
                    "using": "region = 'north' OR area = 'x'"}]}],
        }))
    };
    let rooms = bed.rooms().await;
    let fields = json!({"region": {"type": "text"}, "area": {"type": "text", "unique": true}});
    let installed = rooms.catalog.install(&[app(fields.clone())]).await;
    installed.expect("installs");
    let names = index_names(&rooms).await;
    for column in ["owner_id", "region"] {
        let name = format!("ix_task__{column}__created_at__id");
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(
        !names.iter().any(|name| name.starts_with("ix_task__area")),
        "{names:?}"
    );
    let older = "CREATE INDEX ix_task__owner_id ON task (owner_id)";
    rooms.db.execute(Statement::new(older)).await.expect("made");
    let mut grown = fields;
    grown["grade"] = json!({"type": "number"});
    rooms
        .catalog
        .install(&[app(grown)])
        .await
        .expect("installs");
    let names = index_names(&rooms).await;
    assert!(
        !names.contains(&"ix_task__owner_id".to_owned()),
        "{names:?}"
    );
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_whose_building_was_cut_short_is_built_again() {
    let Some(bed) = Bed::postgres() else {
        eprintln!("skipped: TEST_POSTGRES_URL is not set");
        return;
    };
    let rooms = bed.replica().await;
    let work = rooms.kernel.system_work(SystemReason::Seed);
    for _ in 0..2 {
        write::create(
            &rooms.kernel,
            &work,
            "note",
            b"{\"text\": \"t\", \"place\": \"x\"}",
            "",
        )
        .await
        .expect("created");
    }
    // A unique index on what is not unique: the building ends half way and leaves nothing.
    let mut unique = app();
    unique["objects"][0]["fields"]["place"] = json!({"type": "text", "unique": true});
    assert!(rooms.catalog.install(&[package(&unique)]).await.is_err());
    assert!(
        !index_names(&rooms)
            .await
            .iter()
            .any(|name| name.starts_with("ux_note"))
    );
    // One that a killed process left.
    let broken = "CREATE INDEX ix_note__grade__id ON note (place)";
    rooms
        .db
        .execute(Statement::new(broken))
        .await
        .expect("made");
    let invalid =
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_note__grade__id'::regclass";
    rooms
        .db
        .execute(Statement::new(invalid))
        .await
        .expect("broken");
    rooms
        .catalog
        .install(&[package(&grown())])
        .await
        .expect("installs");
    let definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_note__grade__id' \
         AND schemaname = current_schema()";
    let definition = rooms
        .db
        .query_one(definition, |row| Ok(row.req_text(0)?.to_owned()));
    assert!(definition.await.expect("there").ends_with("(grade, id)"));
    bed.end().await;
}

both!(the_operator_names_the_fallback, async |bed: &Bed| {
    use data_svc::organization::{Profile, resolve};
    let rooms = bed.rooms().await;
    let profile = Profile {
        id: mesh::id::new(),
        name: "Vera".to_owned(),
        email: "vera@example.com".to_owned(),
        email_verified: true,
        image: String::new(),
        disabled: false,
    };
    let cases = [
        (None, vec!["member_default"]),
        (Some(""), vec![]),
        (Some("no_such_set"), vec![]),
        (Some("member_default"), vec!["member_default"]),
    ];
    for (named, expected) in cases {
        let rights = resolve(&rooms.kernel, named, &profile, false, "")
            .await
            .expect("resolved");
        assert_eq!(rights.permission_sets, expected, "{named:?}");
    }
});
