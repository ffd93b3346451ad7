//! The mesh as processes over sockets: every service once or several times, each of them started,
//! frozen, killed and started again as a test wants it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    PROGRAM,
    child::Supervised,
    ports::Port,
    proxy::Proxy,
    servers::{self, Database},
};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Lines of each process's log that a failed test shows.
const SHOWN: usize = 40;

/// A service of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Auth,
    Data,
    Flow,
    Ai,
    Gateway,
}

impl Service {
    /// All, in the order in which they are started.
    pub(crate) const ALL: [Self; 5] = [Self::Auth, Self::Data, Self::Flow, Self::Ai, Self::Gateway];
    /// Those that others call.
    pub(crate) const CALLED: [Self; 4] = [Self::Auth, Self::Data, Self::Flow, Self::Ai];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Data => "data",
            Self::Flow => "flow",
            Self::Ai => "ai",
            Self::Gateway => "gateway",
        }
    }
}

/// What to start.
pub(crate) struct Plan {
    /// How often each service runs.
    pub(crate) replicas: usize,
    /// The database of all services, a schema each.
    pub(crate) database: String,
    /// The session store.
    pub(crate) redis: String,
    /// Further settings, of every process.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether the gateways reach the services through fault proxies.
    pub(crate) proxied: bool,
}

/// One process of the mesh.
pub(crate) struct Node {
    /// What it serves.
    pub(crate) service: Service,
    port: Port,
    environment: Vec<(String, String)>,
    log: PathBuf,
    process: Option<Supervised>,
}

impl Node {
    /// `http://127.0.0.1:<port>`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Everything it has logged, over restarts.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Changes a setting, for the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Its process.
    pub(crate) fn process(&mut self) -> &mut Supervised {
        self.process.as_mut().expect("it runs")
    }

    /// Starts it; it is not ready yet.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log");
        let mut command = Command::new(PROGRAM);
        command.args(["serve", self.service.name()]);
        super::clean(&mut command);
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.process = Some(Supervised::spawn(&mut command));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(&mut self, patience: Duration) -> ExitStatus {
        self.process().signal("TERM");
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.process().ended() {
                self.process = None;
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{:?} does not stop\n{}",
                self.service,
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it answers that it is ready.
    async fn is_ready(&self) -> bool {
        if self.service == Service::Gateway {
            let answer = reqwest::get(format!("{}/ready", self.url())).await;
            return answer.is_ok_and(|answer| answer.status() == 200);
        }
        let Ok(link) = mesh::Link::connect(&self.url()) else {
            return false;
        };
        let answer = HealthClient::new(link)
            .check(HealthCheckRequest::default())
            .await;
        answer.is_ok_and(|answer| answer.get_ref().status() == ServingStatus::Serving)
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or takes too long.
    pub(crate) async fn ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready().await {
            if let Some(status) = self.process().ended() {
                panic!("{:?} ended, {status}\n{}", self.service, self.log());
            }
            assert!(
                Instant::now() < deadline,
                "{:?} is not ready\n{}",
                self.service,
                self.log()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

/// A mesh of processes; all end with this value.
pub(crate) struct Cluster {
    /// Its processes.
    pub(crate) nodes: Vec<Node>,
    /// The proxies before the services, each with the service it stands for.
    pub(crate) proxies: Vec<(Service, Proxy)>,
    _database: Option<Database>,
    _folder: TempDir,
}

impl Cluster {
    /// On the servers that all tests share, with a database of its own in which the app is
    /// installed.
    pub(crate) async fn shared(app: &Path, replicas: usize, environment: &[(&str, &str)]) -> Self {
        let shared = servers::shared();
        let database = Database::with_app(&shared.postgres, app);
        let plan = Plan {
            replicas,
            database: database.url.clone(),
            redis: shared.redis.clone(),
            environment: owned(environment),
            proxied: false,
        };
        let mut cluster = Self::start(plan).await;
        cluster._database = Some(database);
        cluster
    }

    /// Starts all processes and waits until every one is ready.
    pub(crate) async fn start(plan: Plan) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let places: Vec<(Service, usize, Port)> = Service::ALL
            .into_iter()
            .flat_map(|service| {
                (0..plan.replicas).map(move |number| (service, number, Port::lease()))
            })
            .collect();
        let direct = |service| -> Vec<String> {
            let of_it = places.iter().filter(|(other, ..)| *other == service);
            of_it
                .map(|(_, _, port)| format!("http://{}", port.address()))
                .collect()
        };
        let mut proxies = Vec::new();
        if plan.proxied {
            for (service, _, port) in places
                .iter()
                .filter(|(service, ..)| Service::CALLED.contains(service))
            {
                proxies.push((*service, Proxy::start(&port.address()).await));
            }
        }
        let through = |service| -> Vec<String> {
            let of_it = proxies.iter().filter(|(other, _)| *other == service);
            of_it.map(|(_, proxy)| proxy.url()).collect()
        };
        let gateways = direct(Service::Gateway);
        let mut nodes = Vec::new();
        let mut environment = servers::databases(&plan.database);
        for (name, value) in [
            ("REDIS__URL", plan.redis.as_str()),
            ("AUTH__SECRET", "a secret of the tests that is long enough"),
            ("MESH__SECRET", "a mesh secret of the tests, long enough"),
            // One origin for all gateways, as behind a load balancer.
            ("GATEWAY__PUBLIC_URL", &gateways[0]),
            ("DATA__REFLECTION", "true"),
            // Many meshes share one server.
            ("DATA__DB__MAX_CONNECTIONS", "8"),
            ("AUTH__DB__MAX_CONNECTIONS", "6"),
            ("FLOW__DB__MAX_CONNECTIONS", "4"),
            ("AI__DB__MAX_CONNECTIONS", "4"),
        ] {
            environment.push((format!("OBJECTMESH__{name}"), value.to_owned()));
        }
        let peers: Vec<_> = Service::CALLED
            .iter()
            .map(|service| (*service, direct(*service), through(*service)))
            .collect();
        for (service, number, port) in places {
            let mut environment = environment.clone();
            let upper = service.name().to_uppercase();
            environment.push((format!("OBJECTMESH__{upper}__LISTEN"), port.address()));
            for (peer, direct, through) in &peers {
                let way = if plan.proxied && service == Service::Gateway {
                    through
                } else {
                    direct
                };
                let name = format!("OBJECTMESH__PEERS__{}", peer.name().to_uppercase());
                environment.push((name, way.join(",")));
            }
            environment.extend(plan.environment.iter().cloned());
            let log = folder
                .path()
                .join(format!("{}-{number}.log", service.name()));
            nodes.push(Node {
                service,
                port,
                environment,
                log,
                process: None,
            });
        }
        let mut cluster = Self {
            nodes,
            proxies,
            _database: None,
            _folder: folder,
        };
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.ready().await;
        cluster
    }

    /// Waits until every process is ready.
    pub(crate) async fn ready(&mut self) {
        for node in &mut self.nodes {
            node.ready().await;
        }
    }

    /// URLs of a service's replicas.
    pub(crate) fn urls(&self, service: Service) -> Vec<String> {
        let of_it = self.nodes.iter().filter(|node| node.service == service);
        of_it.map(Node::url).collect()
    }

    /// A replica of a service.
    pub(crate) fn node(&mut self, service: Service, number: usize) -> &mut Node {
        let mut of_it = self.nodes.iter_mut().filter(|node| node.service == service);
        of_it.nth(number).expect("such a replica")
    }

    /// The proxy before a replica of a service.
    pub(crate) fn proxy(&self, service: Service, number: usize) -> &Proxy {
        let mut of_it = self.proxies.iter().filter(|(other, _)| *other == service);
        &of_it.nth(number).expect("such a proxy").1
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!(
                "--- {} at {}, last of {} lines",
                node.service.name(),
                node.url(),
                lines.len()
            );
            eprintln!("{}", last.join("\n"));
        }
    }
}

/// Settings as a child's environment has them. Ways in are not limited unless a test says so: all
/// tests come from one address, and many share one Redis. Reflection answers, as in `dev`.
pub(crate) fn owned(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let open = [
        ("OBJECTMESH__RATE_LIMIT__AUTH_PER_MINUTE", "0"),
        ("OBJECTMESH__AUTH__REFLECTION", "true"),
    ];
    open.iter()
        .chain(environment)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
