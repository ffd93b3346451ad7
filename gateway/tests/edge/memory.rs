//! A gigabyte goes through gateway and service in little memory.

use std::{
    fs,
    process::Command,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use gateway::Config;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::{Body, Method};
use sha2::{Digest as _, Sha256};

use crate::{
    harness::send,
    probe::{HexOf, Mesh},
};

const GIGABYTE: u64 = 1024 * 1024 * 1024;
/// What client, gateway and service may need more than before, all in one process, in bytes.
const GROWTH_MAX: u64 = 20 * 1024 * 1024;
/// Set in the process that is measured.
const MEASURED: &str = "OBJECTMESH_TEST_MEASURED";
const NAME: &str = "memory::a_gigabyte_passes_through_in_little_memory";

/// In a process of its own: whatever runs beside it would be measured too.
#[test]
fn a_gigabyte_passes_through_in_little_memory() {
    if std::env::var_os(MEASURED).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.unwrap().block_on(measure());
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(MEASURED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
}

async fn measure() {
    let mesh = Mesh::remote(Config::default()).await;
    // What is made once is made: connections, threads, pools.
    upload(&mesh, 64 * 1024 * 1024).await;
    let before = memory("VmRSS:");
    // From here on the peak is that of what follows (proc(5), clear_refs).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    upload(&mesh, GIGABYTE).await;
    let peak = memory("VmHWM:");
    let grown = peak.saturating_sub(before);
    eprintln!("{before} bytes before, {peak} at most");
    assert!(grown < GROWTH_MAX, "{before} bytes grew by {grown}");
}

/// Uploads that many bytes and checks that those arrived.
async fn upload(mesh: &Mesh, size: u64) {
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let hashed = Arc::clone(&hash);
    let mut left = size;
    let pieces = std::iter::from_fn(move || {
        let length = left.min(100_000);
        let mut piece = vec![(left % 251) as u8; usize::try_from(length).unwrap()];
        let head = left.to_le_bytes();
        let marked = piece.len().min(head.len());
        piece[..marked].copy_from_slice(&head[..marked]);
        left -= length;
        hashed.lock().unwrap().update(&piece);
        (length > 0).then(|| Ok::<_, std::io::Error>(Frame::data(Bytes::from(piece))))
    });
    let request = mesh.edge.ask(Method::POST, "/api/v1/probe/uploads/big");
    let body = Body::wrap(StreamBody::new(tokio_stream::iter(pieces)));
    let got = send(request.header("content-type", "application/zip").body(body)).await;
    assert_eq!(got.status, 201, "{got:?}");
    let answer = got.json();
    assert_eq!(answer["size"], size);
    let digest = hash.lock().unwrap().clone().finalize();
    assert_eq!(answer["digest"], format!("{:x}", HexOf(&digest)));
    assert!(answer["largest"].as_u64().unwrap() <= 64 * 1024);
}

/// A figure of this process's memory, in bytes.
fn memory(figure: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(figure));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() * 1024
}
