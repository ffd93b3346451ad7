//! The bare program's edge: HTTP in, gRPC out.

use std::sync::Arc;

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tonic::{Code, Status, transport::Channel};

use super::contract::{
    Answer, ChangeRequest, CreateRequest, GetRequest, ListRequest, tickets_client::TicketsClient,
};

/// What a caller's token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
}

/// A token that the edge takes, good for a day.
pub(crate) fn token(secret: &str) -> anyhow::Result<String> {
    let exp = (time::OffsetDateTime::now_utc() + time::Duration::DAY).unix_timestamp();
    let claims = Claims {
        sub: "bench".to_owned(),
        exp,
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    Ok(jsonwebtoken::encode(&Header::default(), &claims, &key)?)
}

struct Edge {
    key: DecodingKey,
    validation: Validation,
    tickets: TicketsClient<Channel>,
}

impl Edge {
    fn check(&self, headers: &HeaderMap) -> Result<TicketsClient<Channel>, StatusCode> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        token
            .and_then(|token| {
                jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok()
            })
            .map(|_| self.tickets.clone())
            .ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// Serves until the process is told to end.
pub(crate) async fn run(listen: &str, service: &str, secret: &str) -> anyhow::Result<()> {
    let tickets = TicketsClient::connect(service.to_owned())
        .await
        .context("the service")?;
    let edge = Edge {
        key: DecodingKey::from_secret(secret.as_bytes()),
        validation: Validation::new(Algorithm::HS256),
        tickets,
    };
    let app = Router::new()
        .route("/ready", get(|| async { "ready" }))
        .route("/tickets", get(list).post(create))
        .route("/tickets/{id}", get(read).patch(change))
        .with_state(Arc::new(edge));
    let listener = TcpListener::bind(listen).await?;
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Without it the kernel may hold an answer back; a connection that is gone shows later.
            let _set = stream.set_nodelay(true);
        }),
        app,
    )
    .await?;
    Ok(())
}

async fn read(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    let answer = edge.check(&headers)?.get(GetRequest { id }).await;
    json(StatusCode::OK, answer)
}

async fn list(
    State(edge): State<Arc<Edge>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, StatusCode> {
    let mut request = ListRequest::default();
    for pair in query.unwrap_or_default().split('&') {
        match pair.split_once('=') {
            Some(("status", status)) => status.clone_into(&mut request.status),
            Some(("limit", limit)) => {
                request.limit = limit.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
            }
            Some(("expand", "customer")) => request.expand_customer = true,
            _ => {}
        }
    }
    json(StatusCode::OK, edge.check(&headers)?.list(request).await)
}

async fn create(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    record: Bytes,
) -> Result<Response, StatusCode> {
    let answer = edge.check(&headers)?.create(CreateRequest { record }).await;
    json(StatusCode::CREATED, answer)
}

async fn change(
    State(edge): State<Arc<Edge>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    record: Bytes,
) -> Result<Response, StatusCode> {
    let request = ChangeRequest { id, record };
    json(StatusCode::OK, edge.check(&headers)?.change(request).await)
}

fn json(
    status: StatusCode,
    answer: Result<tonic::Response<Answer>, Status>,
) -> Result<Response, StatusCode> {
    match answer {
        Ok(answer) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            Ok((status, kind, answer.into_inner().json).into_response())
        }
        Err(error) if error.code() == Code::NotFound => Err(StatusCode::NOT_FOUND),
        Err(error) if error.code() == Code::InvalidArgument => Err(StatusCode::BAD_REQUEST),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
