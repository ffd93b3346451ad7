//! The shapes that are measured: both sides started on equal data.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};

use crate::{
    bare,
    child::{Process, Server},
    http_client,
    workload::{self, Dialect},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Thirty thousand records, each with its own commit on PostgreSQL.
const LOADING: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(2);
/// How long processes are left alone before their memory is read.
const IDLE: Duration = Duration::from_secs(3);
/// Secrets of a mesh on loopback that lives for minutes.
const SECRET: &str = "a secret of the benchmark; long enough";

/// Where things are.
pub(crate) struct Place {
    /// For databases and logs.
    pub(crate) folder: PathBuf,
    /// `objectmesh`.
    pub(crate) program: PathBuf,
    /// The build that it is measured against instead of the bare program.
    pub(crate) against: Option<PathBuf>,
    /// This program, which is the bare one as well.
    pub(crate) own: PathBuf,
}

/// One side, as clients see it.
pub(crate) struct Side {
    /// Its name in messages.
    pub(crate) name: &'static str,
    /// How it names things.
    pub(crate) dialect: Dialect,
    /// Where it serves HTTP.
    pub(crate) address: String,
    /// A token that it takes.
    pub(crate) token: String,
}

/// The processes of a side.
pub(crate) struct Group {
    processes: Vec<Process>,
    /// From the start of the first process to its edge's readiness.
    pub(crate) ready_after: Duration,
    /// Resident memory of each before any request, in bytes.
    pub(crate) idle: Vec<(&'static str, u64)>,
}

/// Both sides, serving.
pub(crate) struct Shape {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// The mesh.
    pub(crate) mesh: Side,
    /// The bare program, or the build that the mesh is measured against.
    pub(crate) bare: Side,
    /// The mesh's processes.
    pub(crate) mesh_processes: Group,
    /// The bare program's.
    pub(crate) bare_processes: Group,
    /// Memory of database servers, in bytes.
    pub(crate) server_memory: Vec<(&'static str, u64)>,
    servers: Vec<Server>,
}

/// Processor time so far.
pub(crate) struct Usage {
    /// Of the mesh and of the bare program.
    pub(crate) sides: [Duration; 2],
    /// Of PostgreSQL and Redis.
    pub(crate) servers: Duration,
}

impl Usage {
    /// What was used between two readings.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            sides: [0, 1].map(|index| self.sides[index].saturating_sub(before.sides[index])),
            servers: self.servers.saturating_sub(before.servers),
        }
    }
}

impl Shape {
    /// Processor time until now.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let sum = |group: &Group| group.processes.iter().map(Process::cpu).sum();
        let servers: anyhow::Result<Duration> = self.servers.iter().map(Server::cpu).sum();
        let (mesh, bare): (anyhow::Result<_>, anyhow::Result<_>) =
            (sum(&self.mesh_processes), sum(&self.bare_processes));
        Ok(Usage {
            sides: [mesh?, bare?],
            servers: servers?,
        })
    }

    /// Whether database servers are processes of their own.
    pub(crate) fn has_servers(&self) -> bool {
        !self.servers.is_empty()
    }
}

impl Group {
    /// Waits until the edge answers 200 at `target`, then reads memory after a while.
    async fn ready(
        mut processes: Vec<Process>,
        began: Instant,
        address: &str,
        target: &str,
    ) -> anyhow::Result<Self> {
        while !http_client::answers(address, target).await {
            for process in &mut processes {
                process.check()?;
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "{address} is not ready");
            tokio::time::sleep(POLL).await;
        }
        let ready_after = began.elapsed();
        tokio::time::sleep(IDLE).await;
        let idle = processes
            .iter()
            .map(|process| Ok((process.name, process.memory()?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            processes,
            ready_after,
            idle,
        })
    }
}

/// A mesh in one process on SQLite, and the bare program on a copy of its file.
pub(crate) async fn one(place: &Place) -> anyhow::Result<Shape> {
    let folder = place.folder.join("one");
    let data = folder.join("mesh");
    fs::create_dir_all(&data)?;
    // The first start installs the app and loads the demo data.
    let address = free_addresses(5)?.swap_remove(0);
    let loader = place.against.as_ref().unwrap_or(&place.program);
    load_demo(dev(loader, &address, &data), &folder, &address).await?;
    let (bare, bare_processes);
    if let Some(other) = &place.against {
        let copy = folder.join("against");
        fs::create_dir_all(&copy)?;
        for entry in fs::read_dir(&data)? {
            let entry = entry?;
            fs::copy(entry.path(), copy.join(entry.file_name())).context("the data")?;
        }
        let address = free_addresses(5)?.swap_remove(0);
        bare_processes = start_dev("against", other, &address, &copy, &folder).await?;
        bare = mesh_side("against", address).await?;
    } else {
        let copy = folder.join("bare.db");
        fs::copy(data.join("data.db"), &copy).context("the database")?;
        let database = format!("sqlite://{}", copy.display());
        (bare, bare_processes) = start_bare(place, &folder, &database).await?;
    }
    let mesh_processes = start_dev("objectmesh", &place.program, &address, &data, &folder).await?;
    Ok(Shape {
        name: "One process on SQLite",
        mesh: mesh_side("mesh", address).await?,
        bare,
        mesh_processes,
        bare_processes,
        server_memory: Vec::new(),
        servers: Vec::new(),
    })
}

/// A mesh in one process with its data in that folder.
fn dev(program: &Path, address: &str, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["dev", "--listen", address, "--data-dir"]);
    command.arg(data);
    command
}

async fn start_dev(
    name: &'static str,
    program: &Path,
    address: &str,
    data: &Path,
    folder: &Path,
) -> anyhow::Result<Group> {
    let began = Instant::now();
    let mut starting = dev(program, address, data);
    starting.envs(no_limits());
    let processes = vec![Process::start(name, &mut starting, folder)?];
    Group::ready(processes, began, address, "/ready").await
}

/// A process for each service on PostgreSQL and Redis, and the bare program on a copy of the
/// database.
pub(crate) async fn five(place: &Place, servers: &Servers) -> anyhow::Result<Shape> {
    let folder = place.folder.join("five");
    fs::create_dir_all(&folder)?;
    let (mesh_url, bare_url) = (
        servers.database("bench_mesh"),
        servers.database("bench_bare"),
    );
    let mut admin = PgConnection::connect(&servers.postgres).await?;
    admin
        .execute("DROP DATABASE IF EXISTS bench_bare WITH (FORCE)")
        .await?;
    admin
        .execute("DROP DATABASE IF EXISTS bench_mesh WITH (FORCE)")
        .await?;
    admin.execute("CREATE DATABASE bench_mesh").await?;
    let addresses = free_addresses(5)?;
    let mut loading = Command::new(&place.program);
    loading.args(["dev", "--listen", &addresses[0], "--data-dir"]);
    loading.arg(folder.join("loading"));
    loading.args(["--database-url", &mesh_url, "--redis-url", &servers.redis]);
    loading.env("OBJECTMESH__AUTH__SECRET", SECRET);
    load_demo(loading, &folder, &addresses[0]).await?;
    admin
        .execute("CREATE DATABASE bench_bare TEMPLATE bench_mesh")
        .await?;
    for url in [&mesh_url, &bare_url] {
        let options = PgConnectOptions::from_str(url)?;
        PgConnection::connect_with(&options)
            .await?
            .execute("VACUUM ANALYZE")
            .await?;
    }

    let names = ["gateway", "auth", "data", "flow", "ai"];
    let mut settings = no_limits();
    let mut set = |name: &str, value: &str| {
        settings.push((format!("OBJECTMESH__{name}"), value.to_owned()));
    };
    for (name, address) in names.iter().zip(&addresses) {
        let name = name.to_uppercase();
        set(&format!("{name}__LISTEN"), address);
        if name != "GATEWAY" {
            set(&format!("PEERS__{name}"), &format!("http://{address}"));
        }
    }
    for service in ["AUTH", "DATA"] {
        set(&format!("{service}__DB__URL"), &mesh_url);
        set(&format!("{service}__DB__SCHEMA"), &service.to_lowercase());
    }
    set("AUTH__SECRET", SECRET);
    set("MESH__SECRET", SECRET);
    set("REDIS__URL", &servers.redis);
    let began = Instant::now();
    let mut processes = Vec::new();
    for name in names {
        let mut command = Command::new(&place.program);
        command.args(["serve", name]).envs(settings.iter().cloned());
        processes.push(Process::start(name, &mut command, &folder)?);
    }
    let mesh_processes = Group::ready(processes, began, &addresses[0], "/ready").await?;
    let server_memory = vec![
        ("PostgreSQL", servers.postgres_server()?.memory()?),
        ("Redis", servers.redis_server()?.memory()?),
    ];
    let (bare, bare_processes) = start_bare(place, &folder, &bare_url).await?;
    let address = addresses.into_iter().next().context("the gateway")?;
    Ok(Shape {
        name: "Five processes on PostgreSQL and Redis",
        mesh: mesh_side("mesh", address).await?,
        bare,
        mesh_processes,
        bare_processes,
        server_memory,
        servers: vec![servers.postgres_server()?, servers.redis_server()?],
    })
}

async fn mesh_side(name: &'static str, address: String) -> anyhow::Result<Side> {
    let token = workload::sign_in(&address).await?;
    Ok(Side {
        name,
        dialect: Dialect::Mesh,
        address,
        token,
    })
}

async fn start_bare(place: &Place, folder: &Path, database: &str) -> anyhow::Result<(Side, Group)> {
    let addresses = free_addresses(2)?;
    let [edge, service] = addresses.as_slice() else {
        anyhow::bail!("two addresses were asked for");
    };
    let began = Instant::now();
    let mut command = Command::new(&place.own);
    command.args(["bare-service", "--listen", service, "--database", database]);
    let service_process = Process::start("bare-service", &mut command, folder)?;
    let deadline = began + PATIENCE;
    while tokio::net::TcpStream::connect(service).await.is_err() {
        anyhow::ensure!(Instant::now() < deadline, "the bare service is not ready");
        tokio::time::sleep(POLL).await;
    }
    let mut command = Command::new(&place.own);
    command.args(["bare-edge", "--listen", edge, "--secret", SECRET]);
    command.args(["--service", &format!("http://{service}")]);
    let edge_process = Process::start("bare-edge", &mut command, folder)?;
    let processes = vec![service_process, edge_process];
    let group = Group::ready(processes, began, edge, "/ready").await?;
    let side = Side {
        name: "bare",
        dialect: Dialect::Bare,
        address: edge.clone(),
        token: bare::edge::token(SECRET)?,
    };
    Ok((side, group))
}

/// Runs `dev` until it has loaded its demo data.
async fn load_demo(mut command: Command, folder: &Path, address: &str) -> anyhow::Result<()> {
    let mut process = Process::start("loading", &mut command, folder)?;
    let log = folder.join("loading.log");
    let began = Instant::now();
    // It prints that it is ready when everything is loaded; it answers before.
    while !fs::read_to_string(&log)?.contains("\nready in ") {
        process.check()?;
        anyhow::ensure!(began.elapsed() < LOADING, "the demo data is not loaded");
        tokio::time::sleep(POLL * 10).await;
    }
    anyhow::ensure!(http_client::answers(address, "/ready").await, "not ready");
    process.stop().await
}

/// No caller is limited: all load comes from one.
fn no_limits() -> Vec<(String, String)> {
    ["AUTH", "READS", "WRITES", "FORMS"]
        .map(|kind| {
            (
                format!("OBJECTMESH__RATE_LIMIT__{kind}_PER_MINUTE"),
                "0".to_owned(),
            )
        })
        .into()
}

/// Loopback addresses with ports behind one another that nobody has.
fn free_addresses(count: u16) -> anyhow::Result<Vec<String>> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let Some(last) = first.checked_add(count) else {
            continue;
        };
        let addresses: Vec<_> = (first..last)
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let bound: Result<Vec<_>, _> = addresses.iter().map(TcpListener::bind).collect();
        if bound.is_ok() {
            return Ok(addresses);
        }
    }
    anyhow::bail!("no free ports")
}

/// PostgreSQL and Redis of this run alone; they end with this value.
pub(crate) struct Servers {
    script: PathBuf,
    home: PathBuf,
    postgres: String,
    redis: String,
}

impl Servers {
    /// Starts both on an empty folder.
    pub(crate) fn start(place: &Place) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/test-services.sh");
        // PostgreSQL may run as a user who cannot enter our folder.
        let home = std::env::temp_dir().join(format!("objectmesh-bench-{}", std::process::id()));
        let mut servers = Self {
            script,
            home,
            postgres: String::new(),
            redis: String::new(),
        };
        let log = fs::File::create(place.folder.join("servers.log"))?;
        let printed = Command::new(&servers.script)
            .arg("start")
            .env("OBJECTMESH_TEST_SERVICES", &servers.home)
            .stdin(Stdio::null())
            .stderr(log)
            .output()?;
        anyhow::ensure!(
            printed.status.success(),
            "PostgreSQL and Redis do not start"
        );
        let printed = String::from_utf8(printed.stdout)?;
        let value = |name: &str| {
            let mut lines = printed.lines();
            let found = lines.find_map(|line| line.strip_prefix(name));
            found
                .map(str::to_owned)
                .with_context(|| format!("no {name}"))
        };
        servers.postgres = value("export TEST_POSTGRES_URL=")?;
        servers.redis = value("export TEST_REDIS_URL=")?;
        Ok(servers)
    }

    fn database(&self, name: &str) -> String {
        let server = self
            .postgres
            .rsplit_once('/')
            .map_or("", |(server, _)| server);
        format!("{server}/{name}")
    }

    fn postgres_server(&self) -> anyhow::Result<Server> {
        pid(&self.home.join("postgres/data/postmaster.pid"))
    }

    fn redis_server(&self) -> anyhow::Result<Server> {
        pid(&self.home.join("redis/redis.pid"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // The run is over; what does not stop is told by the script.
        let stopped = Command::new(&self.script)
            .arg("stop")
            .env("OBJECTMESH_TEST_SERVICES", &self.home)
            .stdin(Stdio::null())
            .status();
        if stopped.is_ok_and(|status| status.success()) {
            let _removed = fs::remove_dir_all(&self.home);
        }
    }
}

fn pid(file: &Path) -> anyhow::Result<Server> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let pid = text.lines().next().unwrap_or_default().trim().parse()?;
    Ok(Server { pid })
}
