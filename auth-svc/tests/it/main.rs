//! auth-svc through its RPCs: a real node in this process, a small fake of data-svc beside it. The
//! whole suite runs on SQLite, and on PostgreSQL when `TEST_POSTGRES_URL` is set.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod audit;
mod cookies;
mod delegated;
mod fake_data;
mod identity;
mod revocations;
mod sessions;
mod sign_in;
mod throttle;
mod world;

/// Runs each test on every database there is.
macro_rules! on_each_database {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::world::World::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(world) = crate::world::World::postgres().await {
                    super::$test(world).await;
                }
            })*
        }
    };
}
use on_each_database;
