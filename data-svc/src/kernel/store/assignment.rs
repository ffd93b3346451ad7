//! Who holds a permission set directly.

use mesh::db::{Db, DbError, Statement};

/// How many users beside that one hold a permission set directly and may sign in.
///
/// # Errors
/// Those of the database.
pub(in crate::kernel) async fn other_holders(
    db: &Db,
    permission_set: &str,
    user_id: &str,
) -> Result<i64, DbError> {
    let statement = Statement::new(
        "SELECT count(*) FROM sys_user_permission_set s JOIN sys_user u ON u.id = s.user_id \
         WHERE s.permission_set = $1 AND s.user_id <> $2 AND coalesce(u.disabled, $3) = $3",
    )
    .bind(permission_set)
    .bind(user_id)
    .bind(false);
    db.query_one(statement, |row| row.req_int(0)).await
}
