//! The stack that every request passes, outermost first, and the router in it.

use std::{any::Any, convert::Infallible, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use mesh::{Error, ctx::REQUEST_ID};
use tower::{Service, ServiceBuilder};
use tower_http::{
    CompressionLevel,
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, predicate::Predicate},
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
};

use crate::{
    access_log::AccessLogLayer,
    cors::CorsLayer,
    handlers,
    head::{CheckHeadLayer, NewRequestId, drop_malformed_id},
    response::Refusal,
    state::AppState,
};

/// Bodies below are not worth it.
const COMPRESS_FROM: u64 = 1024;

/// The gateway as a service: an own path goes to its handler, everything else to the table of routes.
/// The layers' types stay known down to the router, so that a request clones and boxes little.
pub(crate) fn stack(
    app: Arc<AppState>,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let id = HeaderName::from_static(REQUEST_ID);
    let nosniff = HeaderValue::from_static("nosniff");
    let no_store = HeaderValue::from_static("no-store");
    ServiceBuilder::new()
        // Request id: first of all, so that whatever happens can be found by it.
        .map_request(drop_malformed_id)
        .layer(SetRequestIdLayer::new(id.clone(), NewRequestId))
        .layer(PropagateRequestIdLayer::new(id))
        // Trace, metrics and log: around everything that may log, so that they tell what was answered.
        .layer(AccessLogLayer(Arc::clone(&app)))
        // What every answer says, failures too: it is what it says it is, and nobody may keep it.
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            nosniff,
        ))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            no_store,
        ))
        // CORS: browsers may read an answer, also a failure, only when it says so. A preflight carries
        // no credential, so it is answered before one is asked for.
        .layer(CorsLayer)
        // Compression: outside of all that makes bodies. Streams of events are not kept back for it.
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(Json),
        )
        // Catch panic: it ends this request only; else the connection would die unanswered.
        .layer(CatchPanicLayer::custom(panicked))
        // Size and sense of the head: before anything that would cost.
        .layer(CheckHeadLayer)
        .service(handlers::Endpoints::new(app))
}

/// Compresses JSON that is long enough.
#[derive(Clone, Copy)]
struct Json;

impl Predicate for Json {
    fn should_compress<B: http_body::Body>(&self, response: &http::Response<B>) -> bool {
        is_json(response.headers())
            && response
                .body()
                .size_hint()
                .exact()
                .is_some_and(|size| size >= COMPRESS_FROM)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let cause = anyhow::anyhow!("panic: {text}");
    Refusal::from(Error::internal(cause)).into_response("", &[])
}
