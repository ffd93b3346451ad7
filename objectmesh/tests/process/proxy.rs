//! A TCP proxy that behaves badly on demand: between a client and a service that is well.

use std::{net::Ipv4Addr, time::Duration};

use mesh::tasks::Tasks;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use super::ports::Port;

const CHUNK: usize = 16 * 1024;

/// How the proxy behaves, towards connections old and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As if it were not there.
    Pass,
    /// Each piece of a reply comes late.
    Delay(Duration),
    /// Connections are taken and stay open, and nothing moves: a host that hangs.
    Silent,
    /// Connections are reset, at once.
    Reset,
    /// Nobody listens: a process that is gone.
    Refuse,
    /// Requests pass; a connection is reset after so many bytes of reply.
    Cut(usize),
    /// So many bytes a second in each direction.
    Throttle(usize),
}

/// A proxy before one address.
pub(crate) struct Proxy {
    port: Port,
    mode: watch::Sender<Mode>,
}

/// Why a connection ends.
enum End {
    Closed,
    Reset,
}

impl Proxy {
    /// Forwards to `target` on a port of its own.
    pub(crate) async fn start(target: &str) -> Self {
        let (port, (mode, modes)) = (Port::lease(), watch::channel(Mode::Pass));
        let listener = listen(port.number()).await;
        // Its tasks end with the sender of modes.
        let tasks = Tasks::default();
        tasks.spawn(serve(
            listener,
            port.number(),
            target.to_owned(),
            modes,
            tasks.clone(),
        ));
        Self { port, mode }
    }

    /// `http://127.0.0.1:<port>`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// Behaves like that from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.expect("the port is leased")
}

async fn serve(
    listener: TcpListener,
    port: u16,
    target: String,
    mut modes: watch::Receiver<Mode>,
    tasks: Tasks,
) {
    let mut listener = Some(listener);
    loop {
        let mode = *modes.borrow_and_update();
        match (mode, &listener) {
            (Mode::Refuse, _) => listener = None,
            (_, None) => listener = Some(listen(port).await),
            _ => {}
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accept => {
                if let Ok((client, _)) = accepted {
                    let (target, modes) = (target.clone(), modes.clone());
                    tasks.spawn(async move { connection(client, &target, modes).await });
                }
            }
            changed = modes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn connection(mut client: TcpStream, target: &str, mut modes: watch::Receiver<Mode>) {
    // A peer that is gone ends the connection either way.
    let _nodelay = client.set_nodelay(true);
    let end = match dial(target, &mut modes).await {
        Some(mut server) => {
            let _nodelay = server.set_nodelay(true);
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::select! {
                end = pump(from_client, to_server, modes.clone(), false) => end,
                end = pump(from_server, to_client, modes, true) => end,
            }
        }
        None => End::Reset,
    };
    if matches!(end, End::Reset) {
        let _reset = client.set_zero_linger();
    }
}

/// A connection to the target, once anything may move.
async fn dial(target: &str, modes: &mut watch::Receiver<Mode>) -> Option<TcpStream> {
    let mode = *modes.wait_for(|mode| *mode != Mode::Silent).await.ok()?;
    if matches!(mode, Mode::Reset | Mode::Refuse) {
        return None;
    }
    TcpStream::connect(target).await.ok()
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut modes: watch::Receiver<Mode>,
    is_reply: bool,
) -> End {
    let mut buffer = vec![0; CHUNK];
    // What may still pass before the cut.
    let mut left = None;
    loop {
        let mode = *modes.borrow_and_update();
        let most = match mode {
            Mode::Reset | Mode::Refuse => return End::Reset,
            Mode::Throttle(rate) => (rate / 20).clamp(1, CHUNK),
            Mode::Pass | Mode::Delay(_) | Mode::Silent | Mode::Cut(_) => CHUNK,
        };
        match mode {
            Mode::Cut(after) => left = left.or(Some(after)),
            _ => left = None,
        }
        let read = async {
            match mode {
                Mode::Silent => std::future::pending().await,
                _ => from.read(&mut buffer[..most]).await,
            }
        };
        let read = tokio::select! {
            read = read => read,
            changed = modes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return End::Closed,
            },
        };
        let Ok(count @ 1..) = read else {
            return End::Closed;
        };
        let mut piece = &buffer[..count];
        match mode {
            Mode::Delay(time) if is_reply => sleep(time).await,
            Mode::Throttle(rate) => {
                sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
            }
            _ => {}
        }
        if let (Some(left), true) = (&mut left, is_reply) {
            piece = &piece[..count.min(*left)];
            *left -= piece.len();
        }
        if to.write_all(piece).await.is_err() {
            return End::Closed;
        }
        if is_reply && left == Some(0) {
            return End::Reset;
        }
    }
}
