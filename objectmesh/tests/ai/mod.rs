//! ai-svc from outside: chat as JSON and as events, conversations, tools, and the mutations that wait
//! for a person; against a scripted provider, and against the one that needs none.
mod chat;
mod conversations;
mod crash;
mod pending;
pub(crate) mod provider;
pub(crate) mod reader;
mod stream;
mod tools;

/// Runs an async test in all sizes with a scripted provider:
/// `with_provider!(name, script, |mesh, fake| async move { … });`
#[macro_export]
macro_rules! with_provider {
    ($name:ident, $script:expr, $body:expr) => {
        mod $name {
            use super::*;

            async fn run(size: $crate::support::Size) {
                let fake = $crate::ai::provider::Fake::start($script).await;
                let environment = fake.environment();
                let environment: Vec<_> =
                    environment.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let mesh = TestMesh::start_with(size, &environment).await;
                ($body)(mesh, fake).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_process_sqlite() {
                run($crate::support::Size::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_process_postgres() {
                run($crate::support::Size::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn many_processes() {
                run($crate::support::Size::Processes).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn two_replicas() {
                run($crate::support::Size::Replicas).await;
            }
        }
    };
}

/// The same in one process on SQLite: for what `ai-svc/tests/it` tells in each branch.
#[macro_export]
macro_rules! with_provider_once {
    ($name:ident, $script:expr, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let fake = $crate::ai::provider::Fake::start($script).await;
            let environment = fake.environment();
            let environment: Vec<_> = environment.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let size = $crate::support::Size::Sqlite;
            let mesh = TestMesh::start_with(size, &environment).await;
            ($body)(mesh, fake).await;
        }
    };
}
