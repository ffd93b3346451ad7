//! The layer around everything that may log: it gives a request its [`RequestContext`] and its span,
//! and tells the metrics and the log how it ended, also when its client has gone away before.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{extract::Request, response::Response};
use futures::future::BoxFuture;
use mesh::{ctx, telemetry::Served};
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_http::request_id::RequestId;
use tracing::Instrument as _;

use crate::{head, probes, request_context::RequestContext, state::AppState};

/// Status of a request whose client went away before it was answered; nobody ever receives it.
const CLIENT_GONE: u16 = 499;

/// The layer.
#[derive(Clone)]
pub(crate) struct AccessLogLayer(pub(crate) Arc<AppState>);

/// See [`AccessLogLayer`].
#[derive(Clone)]
pub(crate) struct AccessLog<S> {
    inner: S,
    app: Arc<AppState>,
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog {
            inner,
            app: Arc::clone(&self.0),
        }
    }
}

impl<S> Service<Request> for AccessLog<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        head::name_host(&mut parts);
        let id = parts.extensions.get::<RequestId>();
        let id = id.and_then(|id| id.header_value().to_str().ok());
        let id: Arc<str> = id.map_or_else(|| mesh::id::new().into(), Arc::from);
        let label = self.app.label(&parts.method, parts.uri.path());
        let method = probes::method_label(&parts.method);
        let served = Served::http("gateway", method, &label, &id, &parts.headers);
        let trace = served.trace().cloned();
        let context = RequestContext::new(&self.app, id.clone(), &parts, started, trace.clone());
        parts.extensions.insert(context.clone());
        let span = served.span().clone();
        let entry = Entry {
            route: label,
            served,
            context,
            answered: false,
        };
        let work = span.in_scope(|| self.inner.call(Request::from_parts(parts, body)));
        Box::pin(async move {
            let response = ctx::serving(id, trace, work).instrument(span).await?;
            entry.answered(response.status().as_u16());
            Ok(response)
        })
    }
}

/// A request that is being answered; told when it is, or when its client has gone away.
struct Entry {
    route: Arc<str>,
    served: Served,
    context: RequestContext,
    answered: bool,
}

impl Entry {
    fn answered(mut self, status: u16) {
        self.answered = true;
        self.tell(status);
    }

    fn tell(&self, status: u16) {
        let took = self.context.started.elapsed();
        probes::count(&self.context.method, &self.route, status, took);
        let user = self.context.user.get();
        let user = user.map(|identity| &*identity.subject);
        self.served.http_ended(status, user);
        let message = if self.answered {
            "request answered"
        } else {
            "the client went away"
        };
        let duration_ms = took.as_secs_f64() * 1e3;
        // Probes and scrapes come every few seconds and tell nothing.
        let probe = matches!(&*self.route, "/health" | "/ready" | "/metrics") && status < 400;
        self.served.span().in_scope(|| match probe {
            true => tracing::debug!(http.response.status_code = status, duration_ms, message),
            false => tracing::info!(
                http.response.status_code = status,
                duration_ms,
                user.id = user,
                message
            ),
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.answered {
            self.tell(CLIENT_GONE);
        }
    }
}
