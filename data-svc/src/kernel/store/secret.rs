//! Random secrets of this database, the same on every replica.

use futures::FutureExt as _;
use mesh::db::{Db, DbError, Statement, Value};

/// The key that signs cursors; the first who asks makes it of `fresh`.
///
/// # Errors
/// Those of the database; a stored key that is damaged.
pub(in crate::kernel) async fn cursor_key(db: &Db, fresh: [u8; 32]) -> anyhow::Result<[u8; 32]> {
    db.write::<_, DbError, _>(move |tx| {
        let statement = Statement::new(
            "INSERT INTO om_secret (name, value) VALUES ('cursor_key', $1) ON CONFLICT (name) DO NOTHING",
        )
        .bind(Value::Bytes(Some(fresh.to_vec())));
        async move {
            tx.execute(statement).await?;
            Ok(())
        }
        .boxed()
    })
    .await?;
    let statement = Statement::new("SELECT value FROM om_secret WHERE name = 'cursor_key'");
    let key = db
        .query_one(statement, |row| {
            Ok(row.bytes(0)?.unwrap_or_default().to_vec())
        })
        .await?;
    key.try_into()
        .map_err(|_| anyhow::anyhow!("the stored cursor key is damaged"))
}
