//! What every process of the mesh has: its settings beside those of the service, links to its
//! peers, readiness, the admin listener, and an end in good order.
//!
//! Invariant: nothing is bound before all settings were found good.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use futures::future::BoxFuture;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Link, Node, admin,
    config::{self, Secret},
    link::Reach,
    ready::Readiness,
    session::SessionStore,
    tasks::Tasks,
    telemetry::{self, LogFormat, Settings},
};

/// The defaults of the sections `mesh`, `redis` and `admin`.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Least length of the mesh secret, in characters.
const SECRET_LEN_MIN: usize = 32;

/// The sections that every process reads.
#[derive(Clone, Debug, Deserialize)]
struct Sections {
    mesh: Mesh,
    redis: Redis,
    admin: Admin,
}

/// Section `mesh`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// By which a service proves at auth-svc that it belongs to the mesh.
    pub secret: Secret,
    /// See [`Reach::connections`].
    pub connections: usize,
    /// See [`Reach::connect_timeout`].
    pub connect_timeout_ms: u64,
    /// See [`Reach::resolve_interval`].
    pub resolve_interval_ms: u64,
    /// See [`Reach::keep_alive`].
    pub keep_alive_ms: u64,
    /// Age at which a connection is closed, in seconds; 0 = never.
    pub max_connection_age_s: u64,
    /// How long to serve on while not ready after SIGTERM.
    pub drain_delay_ms: u64,
    /// How long calls and tasks may take to end.
    pub grace_ms: u64,
    /// Calls that a service serves at once; more are refused.
    pub max_in_flight: usize,
}

/// Section `redis`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Redis {
    /// `redis://…`, which may hold a password; empty = none.
    url: Secret,
}

/// Section `admin`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address of health, readiness and metrics; empty = none.
    pub listen: String,
}

impl Mesh {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.secret.reveal().chars().count() < SECRET_LEN_MIN {
            problems.push(format!(
                "mesh.secret must have at least {SECRET_LEN_MIN} characters \
                 (OBJECTMESH__MESH__SECRET)"
            ));
        }
        for (key, value) in [
            ("connections", self.connections as u64),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("resolve_interval_ms", self.resolve_interval_ms),
            ("keep_alive_ms", self.keep_alive_ms),
            ("max_in_flight", self.max_in_flight as u64),
        ] {
            if value == 0 {
                problems.push(format!("mesh.{key} must be more than 0"));
            }
        }
        problems
    }

    /// How to reach peers.
    #[must_use]
    pub fn reach(&self) -> Reach {
        Reach {
            connections: self.connections,
            connect_timeout: Duration::from_millis(self.connect_timeout_ms),
            resolve_interval: Duration::from_millis(self.resolve_interval_ms),
            keep_alive: Duration::from_millis(self.keep_alive_ms),
        }
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// What a service gets of the process that runs it, alone or with others. Clones are the same.
#[derive(Clone)]
pub struct Runtime {
    /// By which it proves at auth-svc that it belongs to the mesh; empty = it does not.
    pub secret: Secret,
    /// What gateways and auth-svc share about sessions.
    pub sessions: SessionStore,
    /// What runs beside the calls.
    pub tasks: Tasks,
}

impl Runtime {
    /// Without anything that processes share: for one process, and for tests.
    #[must_use]
    pub fn alone(secret: Secret) -> Self {
        Self {
            secret,
            sessions: SessionStore::embedded(),
            tasks: Tasks::default(),
        }
    }
}

/// A process that is about to serve.
pub struct Process {
    mesh: Mesh,
    admin: Admin,
    /// Redis, where there is one.
    pub redis_url: Option<Secret>,
    /// What its service gets.
    pub runtime: Runtime,
    signals: Signals,
}

/// The whole of a program that is one service and takes the name of a configuration file, or nothing.
///
/// # Errors
/// Those of `run`, and of the settings of telemetry.
pub fn stand_alone(name: &'static str, run: Run) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(run_alone(name, run))
}

async fn run_alone(name: &'static str, run: Run) -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let settings = Settings::load(file.as_deref(), std::env::vars())?;
    telemetry::start(name, LogFormat::Json, "info", &settings)?;
    let ended = run(file, std::env::vars().collect()).await;
    telemetry::shut_down().await;
    ended
}

/// Serves a service, given its configuration file and its environment, until the process is told to
/// end.
//
// Boxed, like all futures that one crate makes for others to await: what is not is compiled anew in
// every crate that does.
pub type Run = fn(Option<PathBuf>, Vec<(String, String)>) -> BoxFuture<'static, anyhow::Result<()>>;

/// Serves a listener until told to stop.
pub type Serve =
    dyn FnOnce(TcpListener, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + Send;

impl Process {
    /// Reads all settings, the service's own as `T`.
    ///
    /// # Errors
    /// Names everything that is wrong, in both.
    pub fn load<T: DeserializeOwned>(
        defaults: &str,
        file: Option<&Path>,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<(Self, T)> {
        let own = config::load::<T>(defaults, file, environment.clone());
        let problem = own.as_ref().err().map(|error| format!("{error:#}"));
        let process = Self::load_common(file, environment, problem)?;
        Ok((process, own?))
    }

    /// `problem` is what is wrong with the service's own settings.
    fn load_common(
        file: Option<&Path>,
        environment: Vec<(String, String)>,
        problem: Option<String>,
    ) -> anyhow::Result<Self> {
        let common = config::load::<Sections>(DEFAULTS, file, environment);
        let mut problems = match &common {
            Ok(sections) => sections.mesh.problems(),
            Err(error) => vec![format!("{error:#}")],
        };
        problems.extend(problem);
        match common {
            Ok(Sections { mesh, redis, admin }) if problems.is_empty() => {
                let redis_url = (!redis.url.is_empty()).then_some(redis.url);
                let sessions = match &redis_url {
                    Some(url) => SessionStore::redis(url.reveal()).context("redis.url")?,
                    None => SessionStore::embedded(),
                };
                Ok(Self {
                    runtime: Runtime {
                        secret: mesh.secret.clone(),
                        sessions,
                        tasks: Tasks::default(),
                    },
                    mesh,
                    admin,
                    redis_url,
                    signals: Signals::new().context("signals")?,
                })
            }
            _ => anyhow::bail!("configuration: {}", problems.join("; ")),
        }
    }

    /// A link to a peer, from its URLs in section `peers`.
    ///
    /// # Errors
    /// When they are none.
    pub fn link(&self, peer: &str, urls: &str) -> anyhow::Result<Link> {
        Link::connect_with(urls, &self.mesh.reach(), &self.runtime.tasks)
            .with_context(|| format!("peers.{peer}"))
    }

    /// Serves a node until SIGTERM or Ctrl-C, then ends in good order.
    ///
    /// # Errors
    /// When the address is taken, the listener fails, calls were cut at the end of the grace time,
    /// or the process was told twice to end.
    pub async fn serve(self, node: Node, listen: &str) -> anyhow::Result<()> {
        let listener = bind(listen).await?;
        let (name, readiness) = (node.name, node.readiness().clone());
        node.concurrency_limit().limit(self.mesh.max_in_flight);
        let age = Duration::from_secs(self.mesh.max_connection_age_s);
        let grace = self.mesh.grace();
        let serve = move |listener, stop: CancellationToken| {
            node.serve_aging(listener, age, grace, Box::pin(stop.cancelled_owned()))
        };
        self.serve_with(name, readiness, listener, Box::new(serve))
            .await
    }

    /// The same for what is no node: `serve` is given the listener and when to stop.
    ///
    /// # Errors
    /// Those of [`Process::serve`].
    pub fn serve_with(
        self,
        name: &'static str,
        readiness: Readiness,
        listener: TcpListener,
        serve: Box<Serve>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(self.serve_until_told(name, readiness, listener, serve))
    }

    async fn serve_until_told(
        mut self,
        name: &'static str,
        readiness: Readiness,
        listener: TcpListener,
        serve: Box<Serve>,
    ) -> anyhow::Result<()> {
        telemetry::record_metrics(&self.runtime.tasks);
        readiness.watch(&self.runtime.tasks);
        let address = listener.local_addr()?;
        let admin = match self.admin.listen.as_str() {
            "" => None,
            listen => Some(bind(listen).await?),
        };
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        let admin_address = admin_address.map(|address| address.to_string());
        if let Some(listener) = admin {
            admin::start(listener, readiness.clone(), &self.runtime.tasks);
        }
        tracing::info!(
            service = name,
            address = %address,
            admin.address = admin_address,
            "listening"
        );
        let stop = CancellationToken::new();
        let mut serving = serve(listener, stop.clone());
        tokio::select! {
            ended = &mut serving => {
                ended?;
                anyhow::bail!("{name} stopped serving by itself");
            }
            () = self.signals.next() => {}
        }
        tracing::info!(service = name, "stopping: finishing the calls in flight");
        readiness.leave().await;
        let (mesh, tasks) = (&self.mesh, &self.runtime.tasks);
        let drain = async {
            // Served on meanwhile: connections are taken only while somebody polls.
            tokio::select! {
                ended = &mut serving => {
                    ended?;
                    anyhow::bail!("{name} stopped serving by itself");
                }
                () = tokio::time::sleep(Duration::from_millis(mesh.drain_delay_ms)) => {}
            }
            stop.cancel();
            let served = tokio::time::timeout(mesh.grace(), serving).await;
            let ended = tasks.shut_down(mesh.grace()).await;
            served.context("calls were still running at the end of the grace time")??;
            anyhow::ensure!(
                ended,
                "tasks were still running at the end of the grace time"
            );
            Ok(())
        };
        tokio::select! {
            drained = drain => drained,
            () = self.signals.next() => anyhow::bail!("told twice to stop: calls were cut"),
        }
    }
}

/// Binds an address.
///
/// # Errors
/// When it is none, or taken.
pub async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// SIGTERM and Ctrl-C, as often as they come.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Own {
        #[expect(dead_code, reason = "only read to be refused")]
        data: Section,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[expect(dead_code, reason = "only read to be refused")]
        limit: u32,
    }

    fn load(environment: &[(&str, &str)]) -> anyhow::Result<Mesh> {
        let environment = environment
            .iter()
            .map(|(name, value)| (format!("OBJECTMESH__{name}"), (*value).to_owned()));
        Process::load::<Own>("[data]\nlimit = 1\n", None, environment.collect())
            .map(|(process, _)| process.mesh)
    }

    #[tokio::test]
    async fn a_process_needs_the_mesh_secret_and_hides_it() {
        let secret = "0123456789abcdef0123456789abcdef";
        let mesh = load(&[("MESH__SECRET", secret)]).unwrap();
        assert!(!format!("{mesh:?}").contains(secret));
        let refused = load(&[]).unwrap_err().to_string();
        assert!(refused.contains("OBJECTMESH__MESH__SECRET"), "{refused}");
        assert!(load(&[("MESH__SECRET", "short")]).is_err());
    }

    #[tokio::test]
    async fn all_problems_are_told_at_once() {
        let refused = load(&[("MESH__CONNECTIONS", "0"), ("DATA__LIMITT", "1")]);
        let refused = refused.unwrap_err().to_string();
        for part in ["mesh.secret", "mesh.connections", "limitt"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
}
