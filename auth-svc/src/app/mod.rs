//! What the RPCs do: each operation reads, decides by the rules of [`crate::domain`], hashes and
//! asks peers outside any transaction, and writes once.

pub(crate) mod admin;
pub(crate) mod admit;
pub(crate) mod delegate;
pub(crate) mod exchange;
pub(crate) mod feed;
mod janitor;
mod keyring;
pub(crate) mod keys;
mod passwords;
mod principals;
pub(crate) mod profile;
mod revoke;
mod rights;
pub(crate) mod sessions;
pub(crate) mod sign_in;

use std::{sync::Arc, time::Duration};

use mesh::{
    Ctx, Link, Result,
    audit::{Actor, Entry},
    cache::{Cache, Stay},
    config::Secret,
    db::Db,
    process::Runtime,
    service_identity::{ServiceIdentity, ServiceToken},
    session::SessionStore,
    tasks::Tasks,
};
use tokio::sync::Semaphore;

use crate::{
    Config,
    config::EmailAndPassword,
    domain::{
        audit::{self, Action},
        cookie::Cookie,
        input,
        session::{Client, Lifetimes, Session},
        throttle::Throttle,
        token::{self, Secrets},
        user::User,
    },
    store::{self, Store},
};

pub(crate) use admin::Account;
pub(crate) use admit::SignedIn;
pub(crate) use delegate::Work;
pub(crate) use exchange::Credential;
pub(crate) use feed::Watcher;
pub(crate) use keys::NewKey;
pub(crate) use sign_in::{SignIn, SignUp};

/// Attempts at one account that one process works on at a time. A burst beyond it waits its turn,
/// so that right passwords do not count as misses of each other.
const ATTEMPTS_AT_ONCE: usize = 2;

/// Everything auth-svc does. Shared by its RPC services.
pub(crate) struct App {
    store: Store,
    passwords: passwords::Passwords,
    principals: principals::Principals,
    keyring: Arc<keyring::Keyring>,
    /// Our own identity, as other services see it.
    own: ServiceIdentity,
    feed: feed::Feed,
    sessions: SessionStore,
    secrets: Secrets,
    mesh_secret: Secret,
    lifetimes: Lifetimes,
    throttle: Throttle,
    cookie: Cookie,
    callback_origins: Vec<String>,
    email_and_password: EmailAndPassword,
    tasks: Tasks,
    /// The turns at each account.
    attempts: Cache<Semaphore>,
    flights: exchange::Flights,
    /// What was noted within the hour and is noted once an hour only.
    noted: Cache<()>,
}

/// A session that just began, with the one chance to hand out its token.
pub(crate) struct Begun {
    /// The token.
    pub token: String,
    /// The `Set-Cookie` value.
    pub cookie: String,
    /// Whose session it is.
    pub user: User,
}

impl App {
    /// The application over its database and peers.
    ///
    /// # Errors
    /// When the signing keys cannot be read or made.
    pub(crate) async fn new(
        config: &Config,
        db: Db,
        data: Link,
        runtime: Runtime,
    ) -> anyhow::Result<Arc<Self>> {
        let store = Store::new(db);
        let secrets = Secrets::of(config.secret.reveal());
        let rotate_after = time::Duration::seconds(config.signing.rotate_after_s.into());
        let keyring = keyring::Keyring::open(store.clone(), secrets.clone(), rotate_after).await?;
        let keyring = Arc::new(keyring);
        let own = own_identity(keyring.clone());
        let app = Arc::new(Self {
            store,
            passwords: passwords::Passwords::new(&config.hashing)?,
            principals: principals::Principals::new(data.clone(), own.clone()),
            keyring,
            own,
            feed: feed::Feed::new(),
            sessions: runtime.sessions,
            secrets,
            mesh_secret: runtime.secret,
            lifetimes: config.lifetimes(),
            throttle: config.throttle(),
            cookie: Cookie {
                secure: config.is_https(),
            },
            callback_origins: config.callback_origins(),
            email_and_password: config.email_and_password.clone(),
            tasks: runtime.tasks,
            attempts: Cache::new(100_000, Stay::Idle(Duration::from_secs(60))),
            flights: exchange::Flights::default(),
            noted: Cache::new(100_000, Stay::Lived(Duration::from_secs(3600))),
        });
        janitor::start(&app);
        feed::start(&app);
        profile::start(&app);
        revoke::start(&app);
        rights::start(&app, &data);
        Ok(app)
    }

    /// Our own identity, for what we call and follow.
    #[must_use]
    pub(crate) fn own_identity(&self) -> ServiceIdentity {
        self.own.clone()
    }

    /// How one can sign in.
    #[must_use]
    pub(crate) fn email_and_password(&self) -> &EmailAndPassword {
        &self.email_and_password
    }

    /// Whether the first user exists.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) async fn has_owner(&self) -> Result<bool> {
        Ok(store::users::owner(&self.store).await?.is_some())
    }

    /// A new session and its token.
    fn new_session(&self, ctx: &Ctx, user_id: &str, remember: bool) -> (Session, String) {
        let now = mesh::clock::now();
        let (expires_at, absolute_expires_at) = self.lifetimes.begin(now, remember);
        let client = client(ctx);
        let token = new_token();
        let session = Session {
            id: mesh::id::new(),
            token_hash: mesh::session::hash(&token),
            user_id: user_id.to_owned(),
            created_at: now,
            updated_at: now,
            expires_at,
            absolute_expires_at,
            ip_address: client.ip_address,
            user_agent: client.user_agent,
            active_organization_id: None,
            remember,
        };
        (session, token)
    }

    /// The `Set-Cookie` value for a session.
    fn cookie_for(&self, session: &Session, token: &str) -> String {
        let max_age = session
            .remember
            .then(|| session.remaining(mesh::clock::now()).as_secs());
        self.cookie.set(&self.secrets.sign(token), max_age)
    }

    /// The `Set-Cookie` value that takes the cookie away.
    #[must_use]
    pub(crate) fn cleared_cookie(&self) -> String {
        self.cookie.clear()
    }
}

/// auth-svc signs its own tokens; it asks nobody.
fn own_identity(keyring: Arc<keyring::Keyring>) -> ServiceIdentity {
    let mint = move |purpose| {
        let minted = keyring.mint_for_service(crate::NAME, purpose)?;
        Ok(ServiceToken {
            token: minted.token.into(),
            expires_at_ms: minted.expires_at_ms,
        })
    };
    ServiceIdentity::minting(crate::NAME, Box::new(mint))
}

fn new_token() -> String {
    loop {
        if let Some(token) = token::session_token(&mesh::id::secret()) {
            return token;
        }
    }
}

/// Where the call comes from.
fn client(ctx: &Ctx) -> Client {
    Client {
        ip_address: ctx.client_address.as_deref().map(input::header_text),
        user_agent: ctx.user_agent.as_deref().map(input::header_text),
    }
}

/// An entry of the audit log for this call, about that user.
fn entry(ctx: &Ctx, action: Action, actor: Actor, subject: Option<&str>) -> Entry {
    let client = client(ctx);
    let entry = Entry {
        at: mesh::clock::now(),
        actor,
        ip_address: client.ip_address,
        user_agent: client.user_agent,
        ..Entry::of(ctx, action.as_str())
    };
    match subject {
        Some(user_id) => entry.on(audit::OBJECT, user_id),
        None => entry,
    }
}

#[cfg(test)]
mod tests {
    use mesh::{
        ctx::Caller,
        error::Reason,
        identity::{Identity, Kind, Purpose},
    };
    use tempfile::TempDir;

    use super::*;
    use crate::{
        DEFAULTS, MIGRATIONS, Sections,
        domain::{identity::service_identity, key::KeyId},
        store::Which,
    };

    /// An application whose data-svc is not there.
    async fn app() -> (Arc<App>, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let variables = [
            ("OBJECTMESH__AUTH__SECRET", "s".repeat(32)),
            (
                "OBJECTMESH__AUTH__DB__URL",
                format!("sqlite:{}", dir.path().join("a.db").display()),
            ),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let config = mesh::config::load::<Sections>(DEFAULTS, None, variables)
            .unwrap()
            .auth;
        let db = Db::open(&config.db).await.unwrap();
        db.migrate(MIGRATIONS).await.unwrap();
        let app = App::new(
            &config,
            db,
            Link::unbound(),
            Runtime::alone(Secret::default()),
        );
        (app.await.unwrap(), dir)
    }

    async fn sign_up(app: &App) -> Begun {
        let asked = SignUp {
            name: "Ada".into(),
            email: "ada@example.com".into(),
            password: "correct horse".into(),
            image: None,
            remember: true,
            callback_url: None,
        };
        sign_in::sign_up(app, &ctx(None), asked).await.unwrap()
    }

    fn ctx(identity: Option<Identity>) -> Ctx {
        let caller = identity.map(|identity| Caller {
            identity: Arc::new(identity),
            token: "".into(),
        });
        Ctx::background(caller, Duration::from_secs(10))
    }

    fn by_key(user_id: &str) -> Ctx {
        ctx(Some(Identity {
            kind: Kind::User,
            key_id: Some("key".into()),
            system_permissions: vec!["manage_users".into()],
            ..service_identity(user_id, Purpose::Seed)
        }))
    }

    #[tokio::test]
    async fn a35_no_key_reaches_credentials() {
        let (app, _dir) = app().await;
        let user = sign_up(&app).await.user;
        let ctx = by_key(&user.id);
        let account = || Account {
            name: "X".into(),
            email: "x@example.com".into(),
            password: "correct horse".into(),
        };
        let refusals = [
            sessions::change_password(&app, &ctx, "correct horse".into(), "another one".into())
                .await
                .err(),
            sessions::list_sessions(&app, &ctx).await.err(),
            sessions::revoke_sessions(&app, &ctx, false).await.err(),
            sessions::revoke_session(&app, &ctx, "x").await.err(),
            profile::update_user(&app, &ctx, Some("X"), None)
                .await
                .err(),
            admin::create_user(&app, &ctx, account()).await.err(),
            admin::set_user_password(&app, &ctx, &user.id, "another one".into())
                .await
                .err(),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap().reason(), Reason::PermissionDenied);
        }
        // It is nobody's session, and what is no credential stays open to it.
        assert!(admit::signed_in_if_any(&app, &ctx).await.unwrap().is_none());
        sessions::sign_out(&app, &ctx).await.unwrap();
        let page = input::Page::of(None, None, "", "").unwrap();
        assert_eq!(admin::list_users(&app, &ctx, &page).await.unwrap().1, 1);
        let stranger = admin::list_users(&app, &by_key("nobody"), &page)
            .await
            .unwrap_err();
        assert_eq!(stranger.reason(), Reason::Unauthenticated);
    }

    #[tokio::test]
    async fn the_clean_up_deletes_what_ended_long_ago_and_nothing_else() {
        let (app, _dir) = app().await;
        let user = sign_up(&app).await.user;
        let now = mesh::clock::now();
        drop(sign_in::take_attempt(&app, [1; 32]).await.unwrap());
        let purge = |ended, missed| store::keys::purge(&app.store, ended, missed);
        purge(now, now - time::Duration::DAY).await.unwrap();
        let sessions = store::sessions::live_sessions(&app.store, &user.id, now)
            .await
            .unwrap();
        assert_eq!(sessions.len(), 1);
        let newer = KeyId {
            id: "k2".into(),
            generation: 2,
            created_at: now,
        };
        store::keys::add_key_id(&app.store, newer.clone())
            .await
            .unwrap();
        // The same generation again, as another replica would make it.
        store::keys::add_key_id(
            &app.store,
            KeyId {
                id: "k3".into(),
                ..newer
            },
        )
        .await
        .unwrap();
        let long_ago = now - time::Duration::days(1);
        assert_eq!(
            store::keys::key_ids(&app.store, long_ago)
                .await
                .unwrap()
                .len(),
            2
        );
        let later = now + time::Duration::days(40);
        purge(later, later).await.unwrap();
        assert!(
            store::sessions::live_sessions(&app.store, &user.id, now)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            store::keys::key_ids(&app.store, long_ago)
                .await
                .unwrap()
                .len(),
            1
        );
        let which = Which::All;
        let noted = entry(&ctx(None), Action::SignOut, Actor::Anonymous, None);
        assert!(
            store::sessions::end_sessions(&app.store, &user.id, which, noted)
                .await
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn without_data_svc_nobody_is_let_in_or_told_to_sign_in_again() {
        let (app, _dir) = app().await;
        let begun = sign_up(&app).await;
        let refusal = exchange::exchange(&app, &ctx(None), Credential::Bearer(&begun.token))
            .await
            .unwrap_err();
        assert_eq!(refusal.reason(), Reason::ServiceUnavailable);
        // Accounts are administered all the same: what was not told is told with the next token.
        admit::admin(&app, &by_key(&begun.user.id)).await.unwrap();
    }
}
