//! Flows: how they are started, what their steps do, what starts them by itself, and that nothing
//! which happens to the processes makes them do a thing twice.

mod example;
mod graph;
mod restart;
mod rights;
mod runs;
mod triggers;

use std::time::{Duration, Instant};

use crate::support::TestMesh;
use serde_json::{Value, json};

/// Waits until `holds` does.
///
/// # Panics
/// When it does not within half a minute.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a flow and gives the run.
async fn start(mesh: &TestMesh, token: &str, flow: &str, input: Value) -> Value {
    let path = format!("/flows/{flow}/start");
    mesh.post(token, &path, input).await.ok(200)
}

/// The records of an object whose field has that value.
async fn records(mesh: &TestMesh, object: &str, field: &str, value: &str) -> Vec<Value> {
    let body = json!({"where": {field: value}, "limit": 200});
    let path = format!("/data/{object}/query");
    let found = mesh.post(&mesh.admin, &path, body).await.ok(200);
    found["items"].as_array().expect("items").clone()
}

/// Nodes and statuses of the steps of a run.
fn steps(run: &Value) -> Vec<String> {
    let steps = run["steps"].as_array().expect("steps").iter();
    let text = |step: &Value, key: &str| step[key].as_str().expect("text").to_owned();
    steps
        .map(|step| format!("{} {}", text(step, "nodeId"), text(step, "status")))
        .collect()
}
