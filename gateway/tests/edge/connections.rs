//! Connections whose other end does nothing: they end, and nobody else waits for them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use gateway::Config;
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::{
    fakes,
    harness::{Edge, start_with},
};

/// Sockets of each kind that an attacker opens.
const SOCKETS: usize = 200;
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Far beyond every deadline of [`config`].
const NEVER: Duration = Duration::from_secs(30);

/// Deadlines that a test can wait for, and room for two of the attackers' three crowds at most.
fn config() -> Config {
    Config {
        max_connections: SOCKETS * 2,
        max_connections_per_address: SOCKETS,
        head_timeout_ms: 1_000,
        idle_timeout_ms: 2_000,
        write_timeout_ms: 1_000,
        ..Config::default()
    }
}

async fn connect(edge: &Edge, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // What a reader does not read must not disappear in its own buffers.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
    let address: SocketAddr = edge.address.parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// Reads until the gateway has ended the connection, in whatever way.
async fn ended(mut stream: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = timeout(NEVER, stream.read_to_end(&mut read))
        .await
        .expect("the gateway ends it");
    read
}

/// Waits for the end of a connection without taking anything from it: what is sent on it fails then.
async fn ended_unread(mut stream: TcpStream) {
    let gone = async {
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(NEVER, gone).await.expect("the gateway ends it");
}

fn get(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        fakes::TOKEN
    )
}

/// Asks as others do, until `done`; every answer must be good. Gives their number.
async fn others(edge: &Edge, done: watch::Receiver<bool>) -> usize {
    let client = reqwest::Client::builder()
        .local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 8)))
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let mut served = 0;
    while !*done.borrow() {
        for path in ["/health", "/api/v1/data/lead"] {
            let asked = client
                .get(format!("http://{}{path}", edge.address))
                .bearer_auth(fakes::TOKEN)
                .timeout(Duration::from_secs(5));
            assert_eq!(asked.send().await.unwrap().status(), 200, "{path}");
            served += 1;
        }
    }
    served
}

/// Lets `attack` go on, each time to its end, while others are served.
async fn while_others_are_served<F>(edge: &Edge, attack: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut crowd = JoinSet::new();
    for _ in 0..SOCKETS {
        crowd.spawn(attack(connect(edge, ATTACKER).await));
    }
    let (tell, done) = watch::channel(false);
    let all = async {
        while let Some(one) = crowd.join_next().await {
            one.unwrap();
        }
        tell.send(true).unwrap();
    };
    let (served, ()) = futures::join!(others(edge, done), all);
    assert!(served > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_are_ended() {
    let edge = start_with(config(), fakes::peers().await).await;
    while_others_are_served(&edge, async |stream| {
        assert_eq!(ended(stream).await, b"");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_heads_are_ended_however_slowly_they_go_on() {
    let edge = start_with(config(), fakes::peers().await).await;
    while_others_are_served(&edge, async |mut stream| {
        let head = b"GET /api/v1/data/lead HTTP/1.1\r\nHost: x\r\nX-Slow: ";
        stream.write_all(head).await.unwrap();
        ended_unread(stream).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_do_not_read_are_ended() {
    let edge = start_with(config(), fakes::peers().await).await;
    while_others_are_served(&edge, async |mut stream| {
        let _ = stream.write_all(get("/api/v1/data/big").as_bytes()).await;
        ended_unread(stream).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_another_request_is_ended() {
    let edge = start_with(config(), fakes::peers().await).await;
    let mut stream = connect(&edge, ATTACKER).await;
    stream
        .write_all(get("/api/v1/data/lead").as_bytes())
        .await
        .unwrap();
    let answer = String::from_utf8(ended(stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn who_works_or_waits_for_us_is_left_alone() {
    let edge = start_with(config(), fakes::peers().await).await;
    let running = edge.ask(Method::GET, "/api/v1/data/gated").send();
    let later = async {
        fakes::ARRIVED.notified().await;
        // Longer than each of the deadlines.
        tokio::time::sleep(Duration::from_millis(3_000)).await;
        fakes::GO.notify_one();
    };
    let (answer, ()) = futures::join!(running, later);
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn an_http2_client_that_gives_no_window_is_ended() {
    let edge = start_with(config(), fakes::peers().await).await;
    let stream = connect(&edge, ATTACKER).await;
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .unwrap();
    let request = http::Request::get("http://x/api/v1/data/big")
        .header("authorization", format!("Bearer {}", fakes::TOKEN))
        .body(())
        .unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let reading = async {
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        // Kept, and never read: the server is to give it up by itself.
        let _body = response.into_body();
        std::future::pending::<()>().await;
    };
    let ended = async {
        tokio::select! {
            _ = connection => {}
            () = reading => {}
        }
    };
    timeout(NEVER, ended).await.expect("the gateway ends it");
}
