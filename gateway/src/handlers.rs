//! The paths that are the gateway's own, and what answers them; all others are the table's.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{MethodRouter, future::RouteFuture, get},
};
use futures::future::{BoxFuture, Either};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use mesh::Error;
use tokio::time::timeout_at;
use tower::Service;
use transcoding::{RateClass, access};

use crate::{
    docs::{self, Asset},
    own_paths, probes, public_url,
    request_context::RequestContext,
    response::{Refusal, empty, timed_out},
    state::AppState,
    transcode::{self, is_overtaken},
};

/// The longest that making a document may take.
const LIMIT: Duration = access::DEADLINE_DEFAULT;
/// What answers: the own paths' router, or the table of routes. The router is asked for its own paths
/// alone; as its fallback the table would pay for it with each request.
#[derive(Clone)]
pub(crate) struct Endpoints {
    app: Arc<AppState>,
    own: Router,
}

impl Endpoints {
    pub(crate) fn new(app: Arc<AppState>) -> Self {
        Self {
            own: routes(&app),
            app,
        }
    }
}

impl Service<Request> for Endpoints {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<RouteFuture<Infallible>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if own_paths::is_own(request.uri().path()) {
            return Either::Left(self.own.call(request));
        }
        let app = Arc::clone(&self.app);
        Either::Right(Box::pin(async move {
            Ok(transcode::answer(&app, request).await)
        }))
    }
}

/// The own paths.
fn routes(app: &Arc<AppState>) -> Router {
    let own = |router: Router<Arc<AppState>>, path: &str, handler: MethodRouter<Arc<AppState>>| {
        // A trailing slash does not count, here as in the table.
        let slashed = format!("{path}/");
        router.route(path, handler.clone()).route(&slashed, handler)
    };
    let mut router = Router::new().route("/", get(start));
    for (path, handler) in [
        ("/health", get(async || probes::health())),
        ("/ready", get(ready)),
        ("/metrics", get(async || probes::metrics())),
        ("/api", get(versions)),
        ("/api/v1", get(discover)),
        ("/api/v1/discovery", get(discover)),
        ("/.well-known/objectstack", get(discover_wrapped)),
        ("/api/v1/openapi.json", get(describe)),
    ] {
        router = own(router, path, handler);
    }
    for asset in docs::assets() {
        let file = async move |headers: HeaderMap| asset_of(asset, &headers);
        router = own(router, asset.path, get(file));
    }
    router
        .method_not_allowed_fallback(other_method)
        .with_state(Arc::clone(app))
}

fn asset_of(asset: &'static Asset, headers: &HeaderMap) -> Response {
    asset.response(headers)
}

/// Leads browsers to the explorer; for programs there is nothing.
async fn start(request: Request) -> Response {
    let accepted = request.headers().get_all(header::ACCEPT).iter();
    let browser = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"));
    if !browser {
        let path = request.uri().path();
        return Refusal::no_route(request.method(), path).into_response(path, &[]);
    }
    let mut response = empty(StatusCode::FOUND);
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("/docs"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

async fn ready(State(app): State<Arc<AppState>>) -> Response {
    let ready = app.probes.ready().await;
    ready.unwrap_or_else(|refusal| refusal.into_response("/ready", &[]))
}

async fn versions(State(app): State<Arc<AppState>>) -> Response {
    app.discovery.versions()
}

/// Another method than GET on an own path.
async fn other_method(State(app): State<Arc<AppState>>, request: Request) -> Response {
    let path = request.uri().path();
    let allowed = app.allowed(path);
    if *request.method() == Method::OPTIONS {
        return transcode::options(&allowed, path);
    }
    Refusal::method(request.method(), &allowed).into_response(path, &allowed)
}

async fn discover(State(app): State<Arc<AppState>>, request: Request) -> Response {
    discovery(&app, request, false).await
}

async fn discover_wrapped(State(app): State<Arc<AppState>>, request: Request) -> Response {
    discovery(&app, request, true).await
}

async fn discovery(app: &AppState, request: Request, wrapped: bool) -> Response {
    within_limits(app, request, async |context, parts| {
        let public = app.config.public_discovery;
        transcode::identify(
            app,
            context,
            &parts.headers,
            RateClass::Reads,
            public,
            LIMIT,
        )
        .await?;
        let services = app.probes.statuses().await;
        Ok(app.discovery.document(&services, wrapped))
    })
    .await
}

/// The OpenAPI document for the caller.
async fn describe(State(app): State<Arc<AppState>>, request: Request) -> Response {
    let app = &*app;
    within_limits(app, request, async |context, parts| {
        let headers = &parts.headers;
        let class = RateClass::Reads;
        let identified = transcode::identify(app, context, headers, class, false, LIMIT).await?;
        let (Some(credential), Some(caller)) = identified else {
            return Err(Error::unauthenticated("Authentication required").into());
        };
        let mut ctx = transcode::call_context(app, context, headers, Some(caller), LIMIT);
        let document = match app.documents.of(&ctx).await {
            Err(error) if is_overtaken(&error) => {
                app.resolver.forget(&credential);
                ctx.caller = Some(app.resolver.resolve(&credential).await?);
                app.documents.of(&ctx).await?
            }
            document => document?,
        };
        // Without a host that is one, the document's own address has to do.
        let server = public_url::of(app, context, headers);
        let server = server.as_deref().unwrap_or("/");
        Ok(document.response(server, headers))
    })
    .await
}

/// As for any read: a permit while there is one, and not for ever.
async fn within_limits<F>(app: &AppState, request: Request, work: F) -> Response
where
    F: AsyncFnOnce(&RequestContext, &Parts) -> Result<Response, Refusal>,
{
    let context = RequestContext::of(&request);
    let (parts, _) = request.into_parts();
    let limited = async {
        let _permit = app.concurrency.request(RateClass::Reads, context.spare)?;
        match timeout_at(context.started + LIMIT, work(&context, &parts)).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out(LIMIT, true).into()),
        }
    };
    let path = parts.uri.path();
    let outcome: Result<Response, Refusal> = limited.await;
    let mut response = outcome.unwrap_or_else(|refusal| refusal.into_response(path, &[]));
    transcode::tell_limit(&context, response.headers_mut());
    response
}
