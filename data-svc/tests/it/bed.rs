//! A database of its own for each test, and what replicas open on it.

use std::{future::Future, sync::Arc, time::Duration};

use data_svc::{
    Rooms,
    kernel::{
        Work,
        access::{Principal, SystemReason},
        model::DEFAULT_ORGANIZATION,
        query,
    },
};
use mesh::{
    db::{Db, DbConfig, Statement},
    identity::{Identity, Kind},
    tasks::Tasks,
};
use metadata::Package;
use script::LazyPool;
use serde_json::{Value, json};

/// Changes are kept so long.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Runs a test on both databases: `both!(name, |bed| async move { … });`
#[macro_export]
macro_rules! both {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let bed = $crate::bed::Bed::sqlite();
                ($body)(&bed).await;
                bed.end().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let Some(bed) = $crate::bed::Bed::postgres() else {
                    eprintln!("skipped: TEST_POSTGRES_URL is not set");
                    return;
                };
                ($body)(&bed).await;
                bed.end().await;
            }
        }
    };
}

/// A database, empty at first.
pub(crate) struct Bed {
    pub(crate) config: DbConfig,
    pub(crate) tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Bed {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("data.db").display());
        Self {
            config: DbConfig::new(url),
            tasks: Tasks::default(),
            _folder: folder,
        }
    }

    pub(crate) fn postgres() -> Option<Self> {
        let url = std::env::var("TEST_POSTGRES_URL").ok()?;
        let mut config = DbConfig::new(url);
        config.schema = Some(format!("replicas_{}", mesh::id::new().to_lowercase()));
        config.max_connections = 5;
        Some(Self {
            config,
            tasks: Tasks::default(),
            _folder: tempfile::tempdir().expect("a folder"),
        })
    }

    pub(crate) async fn db(&self) -> Db {
        Db::open(&self.config).await.expect("the database opens")
    }

    /// A replica's rooms; nothing runs in the background yet.
    pub(crate) async fn rooms(&self) -> Rooms {
        let opened = Rooms::open(self.db().await, LazyPool::new("", 1)).await;
        opened.expect("the rooms opens")
    }

    /// A replica at work, with the package `app`.
    pub(crate) async fn replica(&self) -> Rooms {
        let rooms = self.rooms().await;
        let installed = rooms.catalog.install(&[package(&app())]).await;
        installed.expect("the app installs");
        rooms.start(&self.tasks, WEEK);
        // What the platform brings along has its position: who follows from now on is not told of it.
        let waiting = "SELECT 1 FROM om_outbox WHERE position IS NULL";
        eventually(async || {
            let waits = rooms
                .db
                .query_opt(waiting, |_| Ok(()))
                .await
                .expect("asked");
            waits.is_none().then_some(())
        })
        .await;
        rooms
    }

    pub(crate) async fn end(self) {
        assert!(self.tasks.shut_down(Duration::from_secs(20)).await);
        if let Some(schema) = &self.config.schema {
            let db = Db::open(&DbConfig::new(self.config.url.clone())).await;
            let db = db.expect("the database opens");
            let drop = Statement::new(format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).once();
            db.execute(drop).await.expect("the schema goes");
            db.close().await;
        }
    }
}

/// An app with one object.
pub(crate) fn app() -> Value {
    json!({
        "manifest": {"id": "com.example.app", "version": "1.0.0", "name": "App"},
        "objects": [{"name": "note", "sharingModel": "public_read_write", "fields": {
            "text": {"type": "textarea", "maxLength": 4000000},
            "place": {"type": "text"},
        }}, {"name": "other", "sharingModel": "public_read_write", "fields": {
            "text": {"type": "text"},
        }}],
    })
}

/// Somebody with these permission sets, in the default organisation.
pub(crate) fn somebody(id: &str, permission_sets: &[&str]) -> Principal {
    Principal::User(Arc::new(Identity {
        subject: id.to_owned(),
        organization_id: Some(DEFAULT_ORGANIZATION.to_owned()),
        permission_sets: permission_sets
            .iter()
            .map(|set| (*set).to_owned())
            .collect(),
        ..Identity::nobody(Kind::User)
    }))
}

/// The work of a request of somebody, on the metadata in force.
pub(crate) fn work_of(rooms: &Rooms, principal: &Principal) -> Work {
    Work::outside(rooms.catalog.current(), principal.clone())
}

/// The audit entries of an object, oldest first.
pub(crate) async fn audited(rooms: &Rooms, object: &str) -> Vec<Value> {
    let work = rooms.kernel.system_work(SystemReason::Seed);
    let body = json!({"where": {"object_name": object}, "orderBy": "id", "limit": 200});
    let query = query::from_body("sys_audit_log", body.to_string().as_bytes()).expect("a query");
    let page = query::answer(&rooms.kernel, &work, "sys_audit_log", query).await;
    let items = page.expect("a page").items;
    let read = items
        .iter()
        .map(|item| serde_json::from_slice(&item.json).expect("JSON"));
    read.collect()
}

/// What the outbox holds of an object: operation, record, who.
pub(crate) async fn told_of(rooms: &Rooms, object: &str) -> Vec<(String, String, String)> {
    let statement = Statement::new(
        "SELECT operation, record_id, user_id FROM om_outbox WHERE object_name = $1 ORDER BY id",
    );
    let told = rooms.db.query(statement.bind(object), |row| {
        let text = |column| row.req_text(column).map(str::to_owned);
        Ok((text(0)?, text(1)?, text(2)?))
    });
    told.await.expect("asked")
}

/// A package as it is read from an artifact.
pub(crate) fn package(value: &Value) -> Package {
    metadata::load_value(value.clone(), None).package
}

/// Waits for something, at most 20 seconds.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("it should have happened by now")
}

/// Asks again and again until the answer is there.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    soon(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
