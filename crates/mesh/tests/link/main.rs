//! Links to services that run elsewhere: over real sockets, to peers that answer, refuse, leave,
//! break off and hang.

mod scripted;

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use mesh::{
    Error, Link,
    error::Reason,
    link::{Reach, never_reached},
    tasks::Tasks,
};
use scripted::{Act, Scripted};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const ENHANCE_YOUR_CALM: u32 = 11;

fn link(urls: &str) -> Link {
    let patient = Reach {
        connect_timeout: PATIENCE,
        ..Reach::default()
    };
    Link::connect_with(urls, &patient, &Tasks::default()).expect("URLs")
}

async fn call(link: &Link, limit: Duration) -> Result<(), Status> {
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.set_timeout(limit);
    let mut client = HealthClient::new(link.clone());
    client.check(request).await.map(drop)
}

const PATIENCE: Duration = Duration::from_secs(20);

/// An address at which nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn a_call_that_nobody_took_is_told_apart_from_one_that_broke_off() {
    let cases = [
        (Act::GoAway, true),
        (Act::Reset(REFUSED_STREAM), true),
        (Act::Reset(INTERNAL_ERROR), false),
        (Act::Reset(ENHANCE_YOUR_CALM), false),
        (Act::HalfAnswer, false),
        (Act::Cut, false),
    ];
    for (act, unprocessed) in cases {
        let peer = Scripted::start(move |_| act).await;
        let status = call(&link(&peer.url()), PATIENCE).await.unwrap_err();
        assert_eq!(never_reached(&status), unprocessed, "{act:?}: {status:?}");
        assert_eq!(status.code(), Code::Unavailable, "{act:?}: {status:?}");
        let error = Error::from_status(&status);
        assert_eq!(error.reason(), Reason::ServiceUnavailable, "{act:?}");
        assert_eq!(error.detail("retryAfter"), Some(&1.into()), "{act:?}");
        // Sent once: repeating is not the link's business.
        assert_eq!(peer.requests.load(Ordering::SeqCst), 1, "{act:?}");
    }
    let refused = link(&format!("http://{}", nowhere().await));
    let status = call(&refused, PATIENCE).await.unwrap_err();
    assert!(never_reached(&status), "{status:?}");
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn what_a_service_answers_did_reach_it() {
    for status in [
        Error::unavailable("The database").into_status(),
        Status::unavailable("closing"),
        Status::deadline_exceeded("late"),
    ] {
        assert!(!never_reached(&status), "{status:?}");
    }
}

#[tokio::test]
async fn a_peer_that_takes_connections_but_hangs_fails_soon_and_unreached() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hasty = Reach {
        connect_timeout: Duration::from_millis(200),
        ..Reach::default()
    };
    let url = format!("http://{}", listener.local_addr().unwrap());
    let link = Link::connect_with(&url, &hasty, &Tasks::default()).unwrap();
    let began = Instant::now();
    let status = call(&link, PATIENCE).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE, "it waited for the deadline");
    assert!(never_reached(&status), "{status:?}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_at_its_deadline_and_the_next_one_on_another_connection() {
    let peer = Scripted::start(|number| {
        if number == 0 {
            Act::Nothing
        } else {
            Act::Answer
        }
    })
    .await;
    let link = link(&peer.url());
    let status = call(&link, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(Error::from_status(&status).reason(), Reason::Timeout);
    assert!(!never_reached(&status), "it was sent");
    call(&link, PATIENCE).await.unwrap();
    assert_eq!(peer.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn calls_share_one_connection_and_open_another_after_it_was_lost() {
    let peer = Scripted::start(|number| if number == 10 { Act::Cut } else { Act::Answer }).await;
    let link = link(&peer.url());
    for _ in 0..10 {
        call(&link, PATIENCE).await.unwrap();
    }
    assert_eq!(peer.connections.load(Ordering::SeqCst), 1);
    call(&link, PATIENCE).await.unwrap_err();
    // The only replica is tried at once, whatever it did.
    call(&link, PATIENCE).await.unwrap();
    assert_eq!(peer.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_peer_that_leaves_is_followed_to_its_successor() {
    // Each connection takes two calls and says goodbye at the third.
    let peer = Scripted::start(|number| {
        if number % 3 == 2 {
            Act::GoAway
        } else {
            Act::Answer
        }
    });
    let peer = peer.await;
    let link = link(&peer.url());
    for number in 0..9 {
        let outcome = call(&link, PATIENCE).await;
        match number % 3 {
            2 => assert!(never_reached(&outcome.unwrap_err())),
            _ => outcome.unwrap(),
        }
    }
    assert_eq!(peer.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn replicas_share_the_calls_and_one_that_is_gone_costs_none() {
    let (one, two) = (
        Scripted::start(|_| Act::Answer).await,
        Scripted::start(|_| Act::Answer).await,
    );
    let urls = format!("{},http://{},{}", one.url(), nowhere().await, two.url());
    let link = link(&urls);
    for _ in 0..60 {
        call(&link, PATIENCE).await.unwrap();
    }
    let counts = [&one, &two].map(|peer| peer.requests.load(Ordering::SeqCst));
    assert_eq!(counts.iter().sum::<usize>(), 60);
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
}

#[tokio::test]
async fn a_replica_that_breaks_connections_is_put_aside_and_taken_back() {
    let bad = Scripted::start(|number| if number < 1 { Act::Cut } else { Act::Answer }).await;
    let good = Scripted::start(|_| Act::Answer).await;
    let link = link(&format!("{},{}", bad.url(), good.url()));
    let mut failed = 0;
    let until = Instant::now() + PATIENCE;
    // It answers again in the end, and until then at most one call met it in a bad state.
    while bad.requests.load(Ordering::SeqCst) < 5 {
        failed += usize::from(call(&link, PATIENCE).await.is_err());
        assert!(Instant::now() < until, "the replica never came back");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(failed, 1);
}

#[tokio::test]
async fn names_are_looked_up() {
    let peer = Scripted::start(|_| Act::Answer).await;
    let named = link(&format!("http://localhost:{}", peer.address.port()));
    call(&named, PATIENCE).await.unwrap();
    let unknown = Link::connect("http://no-such-host.invalid:1").unwrap();
    let status = call(&unknown, PATIENCE).await.unwrap_err();
    assert!(never_reached(&status), "{status:?}");
}

#[tokio::test]
async fn connections_end_with_the_tasks_of_the_process() {
    let peer = Scripted::start(|_| Act::Answer).await;
    let tasks = Tasks::default();
    let link = Link::connect_with(&peer.url(), &Reach::default(), &tasks).unwrap();
    call(&link, PATIENCE).await.unwrap();
    assert!(tasks.shut_down(PATIENCE).await, "a connection stayed open");
}

#[tokio::test]
async fn a_connection_opened_while_the_process_ends_does_not_keep_it() {
    let peer = Scripted::start(|_| Act::Answer).await;
    let tasks = Tasks::default();
    let link = Link::connect_with(&peer.url(), &Reach::default(), &tasks).unwrap();
    tasks.stop_token().cancel();
    call(&link, PATIENCE).await.unwrap();
    assert!(tasks.shut_down(PATIENCE).await, "a connection stayed open");
}

#[tokio::test]
async fn a_replica_that_was_put_aside_is_tried_before_a_call_is_given_up() {
    let once = Scripted::start(|number| if number < 1 { Act::Cut } else { Act::Answer }).await;
    let link = link(&format!("{},http://{}", once.url(), nowhere().await));
    call(&link, PATIENCE).await.unwrap_err();
    call(&link, PATIENCE).await.unwrap();
}
