//! A peer that behaves badly on cue: HTTP/2 frames written by hand, so that a test says exactly
//! what the client sees.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mesh::tasks::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the peer does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// An empty health answer.
    Answer,
    /// `GOAWAY` that names an earlier stream.
    GoAway,
    /// `RST_STREAM` with this HTTP/2 code.
    Reset(u32),
    /// The head of an answer, and then the connection is cut.
    HalfAnswer,
    /// The connection is cut.
    Cut,
    /// Nothing, for ever.
    Nothing,
}

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// A scripted peer.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    /// Requests seen, those by which connections are tried out aside.
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) connections: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.tasks.stop_token().cancel();
    }
}

impl Scripted {
    /// A peer that answers the first request of each connection, by which it is tried out, and
    /// does with the others what `act` says for their number.
    pub(crate) async fn start(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let peer = Self {
            address: listener.local_addr().expect("an address"),
            requests: Arc::default(),
            connections: Arc::default(),
            tasks: Tasks::default(),
        };
        let (requests, connections) = (peer.requests.clone(), peer.connections.clone());
        let (tasks, act) = (peer.tasks.clone(), Arc::new(act));
        let stop = tasks.stop_token();
        peer.tasks.spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (act, requests, stop) = (act.clone(), requests.clone(), stop.clone());
                tasks.spawn(async move {
                    // A client that goes away ends the conversation, which is all that is left.
                    let _ended = stop
                        .run_until_cancelled(converse(stream, &*act, &requests))
                        .await;
                });
            }
        });
        peer
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn converse(
    mut stream: TcpStream,
    act: &(dyn Fn(usize) -> Act + Send + Sync),
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    let mut preface = [0; PREFACE];
    stream.read_exact(&mut preface).await?;
    frame(&mut stream, SETTINGS, 0, 0, &[]).await?;
    let mut last_taken = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & 1 == 0 => frame(&mut stream, SETTINGS, 1, 0, &[]).await?,
            PING if flags & 1 == 0 => frame(&mut stream, PING, 1, 0, &payload).await?,
            HEADERS => {
                let act = if last_taken == 0 {
                    Act::Answer
                } else {
                    act(requests.fetch_add(1, Ordering::SeqCst))
                };
                match act {
                    Act::Answer => {
                        last_taken = id;
                        frame(&mut stream, HEADERS, 4, id, &head_block()).await?;
                        frame(&mut stream, 0, 0, id, &[0; 5]).await?;
                        frame(&mut stream, HEADERS, 5, id, &trailer_block()).await?;
                    }
                    Act::GoAway => {
                        let mut payload = last_taken.to_be_bytes().to_vec();
                        payload.extend([0; 4]);
                        frame(&mut stream, GOAWAY, 0, 0, &payload).await?;
                    }
                    Act::Reset(code) => {
                        frame(&mut stream, RST_STREAM, 0, id, &code.to_be_bytes()).await?;
                    }
                    Act::HalfAnswer => {
                        frame(&mut stream, HEADERS, 4, id, &head_block()).await?;
                        return Ok(());
                    }
                    Act::Cut => return Ok(()),
                    Act::Nothing => {}
                }
            }
            _ => {}
        }
    }
}

async fn frame(
    stream: &mut TcpStream,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let len = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    stream.write_all(&bytes).await
}

/// `:status: 200`, `content-type: application/grpc` in HPACK.
fn head_block() -> Vec<u8> {
    let mut block = vec![0x88];
    literal(&mut block, "content-type", "application/grpc");
    block
}

fn trailer_block() -> Vec<u8> {
    let mut block = Vec::new();
    literal(&mut block, "grpc-status", "0");
    block
}

fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).expect("a short header"));
        block.extend(text.bytes());
    }
}
