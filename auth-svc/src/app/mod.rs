//! What the RPCs do: each operation reads, decides by the rules of [`crate::domain`], hashes and
//! asks peers outside any transaction, and writes once.

mod admin;
mod admit;
mod exchange;
mod janitor;
mod keyring;
mod passwords;
mod principals;
mod profile;
mod revoke;
mod sessions;
mod sign_in;

use std::{sync::Arc, time::Duration};

use mesh::{Ctx, Link, Result, config::Secret, db::Db, session::SessionStore, tasks::Tasks};
use tokio::sync::Semaphore;

use crate::{
    Config,
    config::EmailAndPassword,
    domain::{
        audit::{Action, Actor, Event},
        cookie::Cookie,
        input,
        session::{Client, Lifetimes, Session},
        throttle::{AccountKey, Throttle},
        token::{self, Secrets},
        user::User,
    },
    store::Store,
};

pub(crate) use admin::Account;
pub(crate) use admit::Acting;
pub(crate) use exchange::Credential;
pub(crate) use sign_in::{SignIn, SignUp};

/// Attempts at one account that one process works on at a time. A burst beyond it waits its turn,
/// so that right passwords do not count as misses of each other.
const ATTEMPTS_AT_ONCE: usize = 2;

/// Everything auth-svc does. Shared by its RPC services.
pub(crate) struct App {
    store: Store,
    passwords: passwords::Passwords,
    principals: principals::Principals,
    keyring: keyring::Keyring,
    sessions: SessionStore,
    secrets: Secrets,
    mesh_secret: Secret,
    lifetimes: Lifetimes,
    throttle: Throttle,
    cookie: Cookie,
    callback_origins: Vec<String>,
    email_and_password: EmailAndPassword,
    tasks: Tasks,
    attempts: moka::sync::Cache<AccountKey, Arc<Semaphore>>,
    flights: exchange::Flights,
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
        sessions: SessionStore,
        tasks: Tasks,
    ) -> anyhow::Result<Arc<Self>> {
        let store = Store::new(db);
        let secrets = Secrets::of(config.secret.reveal());
        let rotate_after = time::Duration::seconds(config.signing.rotate_after_s.into());
        let keyring = keyring::Keyring::open(store.clone(), secrets.clone(), rotate_after).await?;
        let app = Arc::new(Self {
            store,
            passwords: passwords::Passwords::new(&config.hashing)?,
            principals: principals::Principals::new(data),
            keyring,
            sessions,
            secrets,
            mesh_secret: config.mesh_secret.clone(),
            lifetimes: config.lifetimes(),
            throttle: config.throttle(),
            cookie: Cookie {
                secure: config.is_https(),
            },
            callback_origins: config.callback_origins(),
            email_and_password: config.email_and_password.clone(),
            tasks,
            attempts: moka::sync::Cache::builder()
                .max_capacity(100_000)
                .time_to_idle(Duration::from_secs(60))
                .build(),
            flights: exchange::Flights::default(),
        });
        janitor::start(&app);
        Ok(app)
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
        Ok(self.store.owner().await?.is_some())
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
        ip_address: ctx.client_address.as_deref().map(input::user_agent),
        user_agent: ctx.user_agent.as_deref().map(input::user_agent),
    }
}

/// An entry of the audit log for this call.
fn event(ctx: &Ctx, action: Action, actor: Actor, subject: Option<&str>) -> Event {
    let client = client(ctx);
    Event {
        id: mesh::id::new(),
        at: mesh::clock::now(),
        action,
        actor,
        subject: subject.map(ToOwned::to_owned),
        ip_address: client.ip_address,
        user_agent: client.user_agent,
        request_id: ctx.request_id.to_string(),
    }
}
