//! PostgreSQL and Redis: those that all tests share, and private ones for tests that break them.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    PROGRAM,
    child::{Supervised, run},
    ports::Port,
};

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// The servers that tests share.
pub(crate) struct Shared {
    /// URL of a database of the PostgreSQL server.
    pub(crate) postgres: String,
    /// URL of Redis.
    pub(crate) redis: String,
}

/// Those named by `TEST_POSTGRES_URL` and `TEST_REDIS_URL`; without them the script under
/// `deploy/` starts both, and they stay for the next run.
pub(crate) fn shared() -> &'static Shared {
    static SHARED: LazyLock<Shared> = LazyLock::new(|| {
        let named = |name| std::env::var(name).ok();
        if let (Some(postgres), Some(redis)) = (named("TEST_POSTGRES_URL"), named("TEST_REDIS_URL"))
        {
            return Shared { postgres, redis };
        }
        let _one_at_a_time = lock("test-services");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/test-services.sh");
        let printed = run(Command::new(script).arg("start").stderr(Stdio::inherit()));
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {printed}"))
                .to_owned()
        };
        Shared {
            postgres: value("export TEST_POSTGRES_URL="),
            redis: value("export TEST_REDIS_URL="),
        }
    });
    &SHARED
}

/// A lock between test processes; gone when dropped, and with the process.
pub(crate) fn lock(name: &str) -> File {
    let path = std::env::temp_dir().join(format!("objectmesh-{name}.lock"));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = file.expect("a file to lock");
    file.lock().expect("a lock");
    file
}

/// Runs SQL, one statement a call, and gives what it answers, a line a row.
pub(crate) fn sql(url: &str, statement: &str) -> String {
    run(Command::new("psql").args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        statement,
        url,
    ]))
}

/// URL of another database of the same server.
fn on_server(server: &str, database: &str) -> String {
    let (base, _) = server.rsplit_once('/').expect("a database in the URL");
    format!("{base}/{database}")
}

/// A database of its own; dropped with this value.
pub(crate) struct Database {
    server: String,
    name: String,
    /// Its URL.
    pub(crate) url: String,
}

impl Database {
    /// An empty one.
    pub(crate) fn empty(server: &str) -> Self {
        Self::create(server, "template1")
    }

    /// One in which the app is installed, as `objectmesh migrate --app` leaves it.
    pub(crate) fn with_app(server: &str, app: &Path) -> Self {
        Self::create(server, &prepared(server, app))
    }

    fn create(server: &str, template: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let unique = mesh::id::new().to_lowercase();
        let name = format!("om_test_{}_{number}_{unique}", std::process::id());
        sql(
            server,
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        );
        Self {
            server: server.to_owned(),
            url: on_server(server, &name),
            name,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone, as some tests want it.
        let _dropped = Command::new("psql")
            .args(["-X", "-q", "-c"])
            .arg(format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                self.name
            ))
            .arg(&self.server)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The name of a database to copy, made once for this program and this app: a copy takes a tenth
/// of the time of an installation.
fn prepared(server: &str, app: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    let program = fs::metadata(PROGRAM).expect("the program");
    (
        server,
        PROGRAM,
        program.len(),
        program.modified().expect("a time"),
    )
        .hash(&mut hasher);
    hash_files(app, &mut hasher);
    let name = format!("om_template_{:016x}", hasher.finish());
    let _one_at_a_time = lock(&name);
    let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
    if sql(server, &exists).trim() == "1" {
        return name;
    }
    // Under its final name only when it is complete.
    let (partial, url) = (
        format!("{name}_new"),
        on_server(server, &format!("{name}_new")),
    );
    sql(
        server,
        &format!("DROP DATABASE IF EXISTS {partial} WITH (FORCE)"),
    );
    sql(server, &format!("CREATE DATABASE {partial}"));
    migrate(&url, app);
    sql(
        server,
        &format!("ALTER DATABASE {partial} RENAME TO {name}"),
    );
    name
}

fn hash_files(path: &Path, hasher: &mut DefaultHasher) {
    if !path.is_dir() {
        fs::read(path).expect("a file").hash(hasher);
        return;
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for entry in entries {
        entry.hash(hasher);
        hash_files(&entry, hasher);
    }
}

/// `objectmesh migrate --app` on that database.
pub(crate) fn migrate(url: &str, app: &Path) {
    let mut command = Command::new(PROGRAM);
    command.args(["migrate", "--app"]).arg(app);
    super::clean(&mut command);
    run(command.envs(databases(url)));
}

/// Where each service's tables are: a schema each, in one database.
pub(crate) fn databases(url: &str) -> Vec<(String, String)> {
    let mut environment = Vec::new();
    for service in ["auth", "data", "flow", "ai"] {
        let section = format!("OBJECTMESH__{}__DB", service.to_uppercase());
        environment.push((format!("{section}__URL"), url.to_owned()));
        environment.push((format!("{section}__SCHEMA"), service.to_owned()));
    }
    environment
}

/// A PostgreSQL server of this test alone.
pub(crate) struct Postgres {
    port: Port,
    data: PathBuf,
    process: Option<Supervised>,
    _folder: TempDir,
}

impl Postgres {
    /// Starts one on an empty folder.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        if user().is_some() {
            // The server's user has to get in.
            run(Command::new("chmod").arg("711").arg(folder.path()));
            run(Command::new("chown").arg("postgres").arg(&data));
        }
        run(as_server_user("initdb").arg("-D").arg(&data).args([
            "-U",
            "objectmesh",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]));
        let mut server = Self {
            port: Port::lease(),
            data,
            process: None,
            _folder: folder,
        };
        server.start_again();
        server
    }

    /// URL of its database `postgres`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://objectmesh@{}/postgres", self.port.address())
    }

    /// `kill -9` of the server.
    pub(crate) fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Its process.
    pub(crate) fn process(&mut self) -> &mut Supervised {
        self.process.as_mut().expect("PostgreSQL runs")
    }

    /// Starts it again after [`Postgres::kill`], and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.data.join("../server.log");
            let log = File::options()
                .create(true)
                .append(true)
                .open(log)
                .expect("a log");
            let mut command = as_server_user("postgres");
            command.arg("-D").arg(&self.data).args([
                "-p",
                &self.port.number().to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-c",
                "max_connections=200",
            ]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            let mut process = Supervised::spawn(&mut command);
            // It refuses to start until the children of the one that was killed are gone.
            while process.ended().is_none() {
                if answers(&self.url()) {
                    self.process = Some(process);
                    return;
                }
                assert!(Instant::now() < deadline, "PostgreSQL does not answer");
                std::thread::sleep(POLL);
            }
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            std::thread::sleep(POLL);
        }
    }
}

fn answers(url: &str) -> bool {
    let asked = Command::new("psql")
        .args(["-X", "-q", "-c", "SELECT 1", url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.expect("psql runs").success()
}

/// The user that runs PostgreSQL, where we are root: it refuses to be root.
fn user() -> Option<&'static str> {
    static ROOT: LazyLock<bool> = LazyLock::new(|| run(Command::new("id").arg("-u")).trim() == "0");
    ROOT.then_some("postgres")
}

/// A program of the newest PostgreSQL installed.
fn as_server_user(program: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let installed = run(Command::new("sh").args([
            "-c",
            "ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1",
        ]));
        PathBuf::from(installed.trim())
    });
    let program = folder.join(program);
    match user() {
        None => Command::new(program),
        Some(user) => {
            // Replaces itself by the program, so that signals to the child reach the server.
            let mut command = Command::new("setpriv");
            let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
            command.args([&user, &group, "--clear-groups"]).arg(program);
            // PostgreSQL looks at its working directory, which that user may not enter.
            command.current_dir("/");
            command
        }
    }
}

/// A Redis server of this test alone.
pub(crate) struct Redis {
    port: Port,
    process: Option<Supervised>,
    folder: TempDir,
}

impl Redis {
    /// Starts one with nothing in it; it keeps nothing over a restart.
    pub(crate) fn start() -> Self {
        let mut server = Self {
            port: Port::lease(),
            process: None,
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        server.start_again();
        server
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.port.address())
    }

    /// Its process, to be frozen.
    pub(crate) fn process(&self) -> &Supervised {
        self.process.as_ref().expect("Redis runs")
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it, empty, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args([
                "--port",
                &self.port.number().to_string(),
                "--bind",
                "127.0.0.1",
            ])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.process = Some(Supervised::spawn(&mut command));
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(Instant::now() < deadline, "Redis does not answer");
            std::thread::sleep(POLL);
        }
    }

    /// Throws away everything in it.
    pub(crate) fn flush(&self) {
        assert_eq!(run(&mut self.client("FLUSHALL")).trim(), "OK");
    }

    fn answers(&self) -> bool {
        let answer = self.client("PING").output().expect("redis-cli runs");
        answer.stdout.starts_with(b"PONG")
    }

    fn client(&self, command: &str) -> Command {
        let mut client = Command::new("redis-cli");
        client.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.number().to_string(),
            command,
        ]);
        client
    }
}
