//! What the mesh tells about itself: one trace from the gateway to the database, log lines that are
//! found by the request id, metrics; and nothing secret in any of them.
use std::time::Duration;

use crate::otlp::running::{Running, eventually};
use crate::otlp::{Sink, Span};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A ticket of a customer; lists with both in them ask the database more than once.
async fn ticket(mesh: &Running) -> Value {
    let customer = json!({"name": "MARKED-VALUE of a customer"});
    let customer = mesh.post("/data/customer", customer).await;
    let customer: Value = customer.error_for_status().unwrap().json().await.unwrap();
    let ticket = json!({"subject": "MARKED-VALUE of a ticket", "customer": customer["id"]});
    let ticket = mesh.post("/data/ticket", ticket).await;
    ticket.error_for_status().unwrap().json().await.unwrap()
}

/// A list with expand, as a part of the client's trace; gives the request id.
async fn traced_list(mesh: &Running) -> String {
    let list = mesh
        .request(reqwest::Method::GET, "/data/ticket?expand=customer")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let list = list.send().await.unwrap().error_for_status().unwrap();
    list.headers()["x-request-id"].to_str().unwrap().to_owned()
}

/// Waits for the trace; gives the gateway's span, data-svc's, and those of its statements.
async fn arrived(sink: &Sink) -> (Span, Span, Vec<Span>) {
    let mut spans = Vec::new();
    eventually("the trace arrives", async || {
        spans = sink.trace(TRACE);
        spans.iter().any(|span| span.parent == PARENT)
            && spans
                .iter()
                .filter(|span| span.name.starts_with("SELECT "))
                .count()
                >= 2
    })
    .await;
    let gateway = spans.iter().find(|span| span.parent == PARENT).unwrap();
    let data = spans
        .iter()
        .find(|span| span.service == "data-svc" && span.parent == gateway.id);
    let data = data.unwrap_or_else(|| panic!("no span of data-svc: {spans:#?}"));
    let statements = spans.iter().filter(|span| span.parent == data.id).cloned();
    (gateway.clone(), data.clone(), statements.collect())
}

async fn one_trace_shows_gateway_data_and_sql(mesh: &Running, sink: &Sink) {
    ticket(mesh).await;
    let request_id = traced_list(mesh).await;
    let (gateway, data, statements) = arrived(sink).await;
    assert_eq!(gateway.service, "gateway");
    assert_eq!(gateway.name, "GET /api/v1/data/{object}");
    assert_eq!(gateway.get("http.request.method"), Some("GET"));
    assert_eq!(gateway.get("http.route"), Some("/api/v1/data/{object}"));
    assert_eq!(gateway.get("http.response.status_code"), Some("200"));
    assert_eq!(gateway.get("request.id"), Some(request_id.as_str()));
    assert_eq!(data.name, "objectmesh.data.v1.RecordService/ListRecords");
    assert_eq!(data.get("rpc.method"), Some(data.name.as_str()));
    assert_eq!(data.get("rpc.response.status_code"), Some("OK"));
    assert_eq!(data.get("request.id"), Some(request_id.as_str()));
    assert!(!data.failed && !gateway.failed);
    let tables: Vec<&str> = statements
        .iter()
        .filter_map(|span| span.get("db.collection.name"))
        .collect();
    assert!(
        tables.contains(&"ticket") && tables.contains(&"customer"),
        "{statements:#?}"
    );
    for statement in &statements {
        assert_eq!(statement.service, "data-svc");
        assert_eq!(statement.get("db.system.name"), Some("sqlite"));
        assert_eq!(statement.get("db.operation.name"), Some("SELECT"));
        assert!(data.start <= statement.start && statement.end <= data.end);
    }
    assert!(gateway.start <= data.start && data.end <= gateway.end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_the_way_to_the_database_in_one_process() {
    let sink = Sink::start(Duration::ZERO).await;
    let mesh = Running::one(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &sink.endpoint())]).await;
    one_trace_shows_gateway_data_and_sql(&mesh, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_the_way_to_the_database_over_sockets() {
    let sink = Sink::start(Duration::ZERO).await;
    let mesh = Running::several(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &sink.endpoint())]).await;
    one_trace_shows_gateway_data_and_sql(&mesh, &sink).await;
    // A sign-in leads through two services, and the exchange of its session belongs to the trace of
    // the first request that uses it.
    let begun = sink.spans();
    let exchange = begun
        .iter()
        .find(|span| span.name.ends_with("/ExchangeCredential"));
    let exchange = exchange.expect("the gateway asks auth-svc who it is");
    assert_eq!(exchange.service, "auth-svc");
    let request = begun.iter().find(|span| span.id == exchange.parent);
    assert_eq!(
        request.map(|span| span.service.as_str()),
        Some("gateway"),
        "{exchange:#?}"
    );
}

/// The parents of a span, nearest first, as service and name.
fn way(spans: &[Span], span: &Span) -> Vec<(String, String)> {
    let parent = spans.iter().find(|other| other.id == span.parent);
    let Some(parent) = parent else {
        return Vec::new();
    };
    let mut way = vec![(parent.service.clone(), parent.name.clone())];
    way.extend(self::way(spans, parent));
    way
}

/// A chat, whole or as it comes, in which the model looks something up.
async fn one_trace_shows_a_chat(mesh: &Running, sink: &Sink) {
    ticket(mesh).await;
    for (path, trace, rpc) in [
        ("/ai/chat", "4bf92f3577b34da6a3ce929d0e0e4737", "Chat"),
        (
            "/ai/chat/stream",
            "4bf92f3577b34da6a3ce929d0e0e4738",
            "StreamChat",
        ),
    ] {
        let text = r#"call query_records {"objectName":"ticket"}"#;
        let body = json!({"messages": [{"role": "user", "content": text}]});
        let chat = mesh
            .request(reqwest::Method::POST, path)
            .header("traceparent", format!("00-{trace}-{PARENT}-01"));
        let answer = chat.json(&body).send().await.unwrap();
        let text = answer.error_for_status().unwrap().text().await.unwrap();
        assert!(text.contains("MARKED-VALUE of a ticket"), "{text}");
        let query = "objectmesh.data.v1.RecordService/QueryRecords";
        let ai = (
            "ai-svc".to_owned(),
            format!("objectmesh.ai.v1.ChatService/{rpc}"),
        );
        let gateway = ("gateway".to_owned(), format!("POST /api/v1{path}"));
        // Each process tells its part when it likes.
        eventually("the whole trace arrives", async || {
            let spans = sink.trace(trace);
            let data = spans.iter().find(|span| span.name == query);
            data.is_some_and(|data| {
                let way = way(&spans, data);
                data.service == "data-svc" && way.contains(&ai) && way.last() == Some(&gateway)
            })
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_a_chat_with_a_tool_in_one_process() {
    let sink = Sink::start(Duration::ZERO).await;
    let mesh = Running::one(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &sink.endpoint())]).await;
    one_trace_shows_a_chat(&mesh, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_shows_a_chat_with_a_tool_over_sockets() {
    let sink = Sink::start(Duration::ZERO).await;
    let mesh = Running::several(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &sink.endpoint())]).await;
    one_trace_shows_a_chat(&mesh, &sink).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_found_in_the_log_of_every_service_by_its_id() {
    let mesh = Running::several(&[]).await;
    ticket(&mesh).await;
    let me: Value = mesh.get("/auth/get-session").await.json().await.unwrap();
    let user = me["user"]["id"].as_str().unwrap();
    let answer = mesh.get("/data/ticket").await.error_for_status().unwrap();
    let id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    for (process, service, message) in [
        ("gateway", "gateway", "request answered"),
        ("data", "data-svc", "call answered"),
    ] {
        let mut found = Vec::new();
        eventually("the line is written", async || {
            found = mesh.lines(process, "request.id", &id);
            // data-svc may also have been asked, by auth-svc, what the user may do.
            found.retain(|line| line["user.id"] == user);
            !found.is_empty()
        })
        .await;
        assert_eq!(found.len(), 1, "{found:#?}");
        let line = &found[0];
        assert_eq!(line["message"], message);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["service.name"], service);
        assert_eq!(line["user.id"], user);
        assert!(
            line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0),
            "{line}"
        );
        assert!(
            line["timestamp"]
                .as_str()
                .is_some_and(|at| at.ends_with('Z')),
            "{line}"
        );
    }
    // The first request of a session leads to auth-svc as well, under the same id.
    let exchanged = mesh.lines(
        "auth",
        "rpc.method",
        "objectmesh.auth.v1.IdentityService/ExchangeCredential",
    );
    let exchanged = exchanged.first().expect("auth-svc was asked who it is");
    let id = exchanged["request.id"].as_str().unwrap();
    assert_eq!(mesh.lines("gateway", "request.id", id).len(), 1);
    // A client's trace is named in the log, also where nothing is exported.
    let id = traced_list(&mesh).await;
    eventually("the line names the trace", async || {
        let lines = mesh.lines("data", "request.id", &id);
        lines.iter().any(|line| line["trace_id"] == TRACE)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a48_nothing_secret_is_told() {
    let sink = Sink::start(Duration::ZERO).await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OBJECTMESH__TELEMETRY__LOG", "debug".to_owned()),
    ];
    let environment = environment
        .each_ref()
        .map(|(key, value)| (*key, value.as_str()));
    let mut mesh = Running::several(&environment).await;
    let ticket = ticket(&mesh).await;
    let sign_in = |password: &str| json!({"email": "ada@example.com", "password": password});
    let refused = mesh
        .post("/auth/sign-in", sign_in("MARKED-SECRET-wrong"))
        .await;
    assert_eq!(refused.status(), 401);
    let signed_in = mesh
        .post("/auth/sign-in", sign_in(crate::otlp::running::PASSWORD))
        .await;
    let signed_in: Value = signed_in.error_for_status().unwrap().json().await.unwrap();
    let filter = r#"/data/ticket?where={"subject":{"$eq":"MARKED-VALUE in a query"}}"#;
    mesh.get(filter).await.error_for_status().unwrap();
    // Refusals of every kind, whose causes are logged.
    let taken = json!({"subject": "MARKED-VALUE", "contact_email": "MARKED-VALUE@example.com"});
    mesh.post("/data/ticket", taken.clone())
        .await
        .error_for_status()
        .unwrap();
    assert_eq!(mesh.post("/data/ticket", taken).await.status(), 409);
    let wrong = json!({"subject": "MARKED-VALUE", "status": "MARKED-VALUE"});
    assert_eq!(mesh.post("/data/ticket", wrong).await.status(), 400);
    let id = ticket["id"].as_str().unwrap();
    let stale = mesh.request(reqwest::Method::PATCH, &format!("/data/ticket/{id}"));
    let stale = stale
        .header("if-match", "\"77\"")
        .json(&json!({"subject": "MARKED-VALUE"}));
    assert_eq!(stale.send().await.unwrap().status(), 409);
    mesh.get("/MARKED-VALUE/of/a/path").await;
    let metrics = mesh
        .http
        .get(format!("{}/metrics", mesh.base))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    eventually("the last span arrives", async || {
        sink.spans()
            .iter()
            .any(|span| span.get("http.response.status_code") == Some("404"))
    })
    .await;
    mesh.stop(Duration::from_secs(30));

    let token = signed_in["token"].as_str().unwrap();
    let secrets = [
        "MARKED-",
        "eyJ",
        token,
        mesh.token.as_str(),
        "ada@example.com",
    ];
    for (place, text) in [
        ("the log", mesh.all_printed()),
        ("the traces", sink.raw()),
        ("the metrics", metrics),
    ] {
        assert!(text.len() > 1000, "{place} is empty: {text}");
        for secret in secrets {
            if let Some(at) = text.find(secret) {
                let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
                let line = text[from..].lines().next();
                panic!("{secret:?} in {place}: {line:?}");
            }
        }
    }
}

/// What clients see while the collector is of no use: the same as ever; and the end is in time.
async fn requests_go_on(mut mesh: Running) {
    for _ in 0..20 {
        ticket(&mesh).await;
        mesh.get("/data/ticket?expand=customer")
            .await
            .error_for_status()
            .unwrap();
    }
    mesh.stop(Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_disturbs_nobody() {
    let nowhere = {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", taken.local_addr().unwrap())
    };
    requests_go_on(Running::one(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &nowhere)]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_disturbs_nobody() {
    let sink = Sink::start(Duration::from_secs(3600)).await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        // So small that it overflows at once.
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8".to_owned()),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8".to_owned()),
    ];
    let environment = environment
        .each_ref()
        .map(|(key, value)| (*key, value.as_str()));
    requests_go_on(Running::one(&environment).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_is_not_recorded_is_recorded_nowhere() {
    let sink = Sink::start(Duration::ZERO).await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()),
        ("OBJECTMESH__TELEMETRY__SAMPLE_RATIO", "0".to_owned()),
    ];
    let environment = environment
        .each_ref()
        .map(|(key, value)| (*key, value.as_str()));
    let mesh = Running::several(&environment).await;
    // Those that begin here fall to the ratio; a client's own decision counts for its trace.
    ticket(&mesh).await;
    traced_list(&mesh).await;
    arrived(&sink).await;
    let foreign: Vec<Span> = sink
        .spans()
        .into_iter()
        .filter(|span| span.trace != TRACE)
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}
