//! Users, and who was first.

use mesh::{
    Result,
    audit::Entry,
    db::{DbError, Row, Statement, Tx},
};
use time::OffsetDateTime;

use super::{
    Store, audit,
    credentials::{end_everything, put_password},
    profiles, read_user,
    revocations::{self, revoke},
    sessions, text, user_columns,
};
use crate::domain::{
    audit::Action,
    input::{Page, SearchField},
    revocation::Revocation,
    session::{Session, TokenHash},
    user::{Ban, User},
};

/// A user to create.
#[derive(Clone)]
pub(crate) struct NewUser {
    /// The user.
    pub user: User,
    /// PHC string of the password.
    pub password_hash: String,
    /// The session to begin, when the user signs up.
    pub session: Option<Session>,
    /// What to note.
    pub entry: Entry,
    /// Id for the entry that the user became the owner, should that happen.
    pub owner_entry_id: String,
}

/// Creates a user; the first one ever becomes the platform's owner. False when the address is
/// taken.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn create_user(store: &Store, new: NewUser) -> Result<bool> {
    store
        .db
        .write(move |tx: &mut Tx| {
            let new = new.clone();
            Box::pin(async move {
                if !insert_user(tx, &new.user).await? {
                    return Ok::<_, mesh::Error>(false);
                }
                put_password(tx, &new.user.id, &new.password_hash, new.user.created_at).await?;
                profiles::changed(tx, &new.user.id).await?;
                audit::add(tx, &new.entry).await?;
                // The row's key decides: of sign-ups at the same time one inserts it, and the
                // others wait for that one's commit and insert nothing.
                let claim = Statement::new(
                    "INSERT INTO auth_owner (id, user_id, claimed_at) VALUES (1, $1, $2) \
                     ON CONFLICT (id) DO NOTHING",
                )
                .bind(&new.user.id)
                .bind(new.user.created_at);
                if tx.execute(claim).await? == 1 {
                    let entry = Entry {
                        id: new.owner_entry_id,
                        action: Action::OwnerClaimed.as_str().into(),
                        ..new.entry
                    };
                    audit::add(tx, &entry).await?;
                }
                if let Some(session) = &new.session {
                    sessions::begin(tx, session).await?;
                }
                Ok(true)
            })
        })
        .await
}

/// Whether a user has that address.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn email_taken(store: &Store, email: &str) -> Result<bool> {
    let statement = Statement::new("SELECT id FROM auth_user WHERE email = $1").bind(email);
    Ok(store
        .db
        .query_opt(statement, |row: &Row| text(row, 0))
        .await?
        .is_some())
}

/// The user of that id.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn find(store: &Store, id: &str) -> Result<Option<User>> {
    const SQL: &str = concat!(
        "SELECT ",
        user_columns!(""),
        " FROM auth_user WHERE id = $1"
    );
    let map = |row: &Row| read_user(row, 0);
    Ok(store
        .db
        .query_opt(Statement::new(SQL).bind(id), map)
        .await?)
}

/// Id of the platform's owner: the first user ever.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn owner(store: &Store) -> Result<Option<String>> {
    if let Some(owner) = store.owner.get() {
        return Ok(Some(owner.clone()));
    }
    let statement = Statement::new("SELECT user_id FROM auth_owner WHERE id = 1");
    let owner = store
        .db
        .query_opt(statement, |row: &Row| text(row, 0))
        .await?;
    Ok(owner.map(|owner| store.owner.get_or_init(|| owner).clone()))
}

/// Whether the user of that id is the platform's owner.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn is_owner(store: &Store, user_id: &str) -> Result<bool> {
    Ok(owner(store).await?.is_some_and(|owner| owner == user_id))
}

/// Bans a user and ends their sessions and keys, or lifts the ban. `None` when there is no such user.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn set_ban(
    store: &Store,
    user_id: &str,
    ban: Option<Ban>,
    entry: Entry,
) -> Result<Option<(User, Vec<TokenHash>)>> {
    let user_id = user_id.to_owned();
    let changed = store
        .db
        .write(move |tx: &mut Tx| {
            let (user_id, ban, entry) = (user_id.clone(), ban.clone(), entry.clone());
            Box::pin(async move {
                const SQL: &str = concat!(
                    "UPDATE auth_user SET banned = $2, ban_reason = $3, ban_expires_at = $4, \
                     updated_at = $5 WHERE id = $1 RETURNING ",
                    user_columns!("")
                );
                let banned = ban.is_some();
                let ban = ban.unwrap_or_default();
                let update = Statement::new(SQL)
                    .bind(&user_id)
                    .bind(banned)
                    .bind(ban.reason)
                    .bind(ban.until)
                    .bind(entry.at);
                let Some(user) = tx.query_opt(update, |row: &Row| read_user(row, 0)).await? else {
                    return Ok::<_, mesh::Error>(None);
                };
                profiles::changed(tx, &user_id).await?;
                audit::add(tx, &entry).await?;
                let mut ended = Vec::new();
                if banned {
                    ended = end_everything(tx, &user_id).await?;
                    revoke(tx, entry.at, &[Revocation::User(user_id)]).await?;
                }
                Ok(Some((user, ended)))
            })
        })
        .await?;
    revocations::wake_feed(store);
    Ok(changed)
}

/// Deletes a user with their credentials, keys and sessions. `None` when there is no such user.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn remove_user(
    store: &Store,
    user_id: &str,
    entry: Entry,
) -> Result<Option<Vec<TokenHash>>> {
    let user_id = user_id.to_owned();
    let ended = store
        .db
        .write(move |tx: &mut Tx| {
            let (user_id, entry) = (user_id.clone(), entry.clone());
            Box::pin(async move {
                if !touch(tx, &user_id, entry.at).await? {
                    return Ok::<_, mesh::Error>(None);
                }
                let ended = end_everything(tx, &user_id).await?;
                for sql in [
                    "DELETE FROM auth_account WHERE user_id = $1",
                    "DELETE FROM auth_user WHERE id = $1",
                ] {
                    tx.execute(Statement::new(sql).bind(&user_id)).await?;
                }
                profiles::changed(tx, &user_id).await?;
                audit::add(tx, &entry).await?;
                revoke(tx, entry.at, &[Revocation::User(user_id)]).await?;
                Ok(Some(ended))
            })
        })
        .await?;
    revocations::wake_feed(store);
    Ok(ended)
}

/// Changes name or picture; `None` leaves them. `image` of `Some(None)` removes the picture.
/// The user as they are now, or `None` when there is no such user.
///
/// # Errors
/// When the database cannot be written.
pub(crate) async fn update_user(
    store: &Store,
    user_id: &str,
    name: Option<String>,
    image: Option<Option<String>>,
    entry: Entry,
) -> Result<Option<User>> {
    let user_id = user_id.to_owned();
    store
        .db
        .write(move |tx: &mut Tx| {
            let (user_id, entry) = (user_id.clone(), entry.clone());
            let (name, image) = (name.clone(), image.clone());
            Box::pin(async move {
                const SQL: &str = concat!(
                    "UPDATE auth_user SET name = COALESCE($2, name), \
                     image = CASE WHEN $3 THEN $4 ELSE image END, updated_at = $5 \
                     WHERE id = $1 RETURNING ",
                    user_columns!("")
                );
                let update = Statement::new(SQL)
                    .bind(&user_id)
                    .bind(name)
                    .bind(image.is_some())
                    .bind(image.flatten())
                    .bind(entry.at);
                let user = tx.query_opt(update, |row: &Row| read_user(row, 0)).await?;
                if user.is_some() {
                    profiles::changed(tx, &user_id).await?;
                    audit::add(tx, &entry).await?;
                }
                Ok::<_, mesh::Error>(user)
            })
        })
        .await
}

/// A page of users, oldest first, and how many there are in all.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn page(store: &Store, page: &Page) -> Result<(Vec<User>, i64)> {
    // An empty pattern does not filter.
    const COUNT: &str = "SELECT count(*) FROM auth_user \
         WHERE ($1 = '' OR email LIKE lower($1) ESCAPE '\\') \
         AND ($2 = '' OR lower(name) LIKE lower($2) ESCAPE '\\')";
    const LIST: &str = concat!(
        "SELECT ",
        user_columns!(""),
        " FROM auth_user WHERE ($1 = '' OR email LIKE lower($1) ESCAPE '\\') \
         AND ($2 = '' OR lower(name) LIKE lower($2) ESCAPE '\\') \
         ORDER BY created_at, id LIMIT $3 OFFSET $4"
    );
    let (email, name) = match &page.search {
        None => (String::new(), String::new()),
        Some((SearchField::Email, text)) => (contains(text), String::new()),
        Some((SearchField::Name, text)) => (String::new(), contains(text)),
    };
    let count = Statement::new(COUNT).bind(&email).bind(&name);
    let list = Statement::new(LIST)
        .bind(email)
        .bind(name)
        .bind(page.limit)
        .bind(page.offset);
    store
        .db
        .read(move |tx: &mut Tx| {
            let (count, list) = (count.clone(), list.clone());
            Box::pin(async move {
                let total = tx.query_one(count, |row: &Row| row.req_int(0)).await?;
                let users = tx.query(list, |row: &Row| read_user(row, 0)).await?;
                Ok::<_, mesh::Error>((users, total))
            })
        })
        .await
}

/// A LIKE pattern for "contains this text".
fn contains(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// Locks the user's row. False when there is no such user.
pub(super) async fn touch(
    tx: &mut Tx,
    user_id: &str,
    now: OffsetDateTime,
) -> Result<bool, DbError> {
    let sql = "UPDATE auth_user SET updated_at = $2 WHERE id = $1";
    Ok(tx
        .execute(Statement::new(sql).bind(user_id).bind(now))
        .await?
        == 1)
}

/// False when the address is taken.
async fn insert_user(tx: &mut Tx, user: &User) -> Result<bool, DbError> {
    let statement = Statement::new(
        "INSERT INTO auth_user (id, name, email, email_verified, image, created_at, updated_at, banned) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (email) DO NOTHING",
    )
    .bind(&user.id)
    .bind(&user.name)
    .bind(&user.email)
    .bind(user.email_verified)
    .bind(user.image.clone())
    .bind(user.created_at)
    .bind(user.updated_at)
    .bind(user.ban.is_some());
    Ok(tx.execute(statement).await? == 1)
}
