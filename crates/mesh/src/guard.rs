//! The one layer around every service, the same over a socket and in process: panic guard → span
//! and metrics → deadline → identity → access. A service that is called directly over gRPC meets
//! exactly what the gateway meets.
//!
//! Invariant: a path that is neither in the access table nor explicitly open is refused.

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use proto::annotations::v1::access::Rule;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;
use transcoding::access::{self, Entry};

use crate::{
    Ctx, Error, Result, clock,
    concurrency::{ConcurrencyLimit, Held, Permit},
    ctx::{self, CLIENT_ADDRESS, RECORDS, REQUEST_ID},
    error::Reason,
    identity::{Identity, Kind},
    pace::{CLIENT_IDLE_MAX, Pace, Paced, Turn},
    resolver::{Credential, Resolver},
    revision,
    telemetry::{self, Served, Trace},
};

/// The layer. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    service: &'static str,
    access: HashMap<String, Entry>,
    resolver: Resolver,
    reflection: bool,
    load: ConcurrencyLimit,
    /// The metadata that the service serves, where it serves any.
    metadata: Option<Arc<revision::Served>>,
    answered: HashMap<String, Answered>,
}

/// The metrics of one RPC, looked up once instead of at every call.
struct Answered {
    ok: metrics::Counter,
    took: metrics::Histogram,
}

impl Answered {
    fn of(rpc: &str) -> Self {
        Self {
            ok: metrics::counter!("objectmesh_rpc_total", "rpc" => rpc.to_owned(), "code" => "OK"),
            took: metrics::histogram!("objectmesh_rpc_duration_seconds", "rpc" => rpc.to_owned()),
        }
    }
}

impl Guard {
    /// A guard for the service of that name. `reflection` opens gRPC server reflection.
    ///
    /// # Errors
    /// When an RPC states no `access`.
    pub fn new(
        service: &'static str,
        resolver: Resolver,
        reflection: bool,
    ) -> anyhow::Result<Self> {
        Self::over_metadata(service, resolver, reflection, None)
    }

    /// The same for a service that serves metadata: a call that names a revision waits until that
    /// one is in force, and every reply names the one that is (ARCHITECTURE.md).
    ///
    /// # Errors
    /// When an RPC states no `access`.
    pub fn over_metadata(
        service: &'static str,
        resolver: Resolver,
        reflection: bool,
        metadata: Option<Arc<revision::Served>>,
    ) -> anyhow::Result<Self> {
        let access = access::table(proto::descriptor_pool())?;
        Ok(Self::over_access(
            service, resolver, reflection, metadata, access,
        ))
    }

    /// The same for the RPCs of another contract than this product's.
    #[must_use]
    pub fn over_access(
        service: &'static str,
        resolver: Resolver,
        reflection: bool,
        metadata: Option<Arc<revision::Served>>,
        access: HashMap<String, Entry>,
    ) -> Self {
        // Handles made before anything records would count nothing.
        telemetry::metrics();
        let answered = access.keys().map(|path| path.trim_start_matches('/'));
        let answered = answered.map(|rpc| (rpc.to_owned(), Answered::of(rpc)));
        let load = ConcurrencyLimit::new(service);
        telemetry::gauge_in_flight(service, &load);
        Self {
            inner: Arc::new(Inner {
                service,
                answered: answered.collect(),
                access,
                resolver,
                reflection,
                load,
                metadata,
            }),
        }
    }

    /// The places for calls.
    #[must_use]
    pub fn concurrency_limit(&self) -> &ConcurrencyLimit {
        &self.inner.load
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            inner,
        }
    }
}

/// A service behind its guard.
#[derive(Clone)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(self.guard.clone().handle(inner, request))
    }
}

impl Guard {
    async fn handle<S>(
        self,
        inner: S,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Infallible>
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + Send
            + 'static,
        S::Future: Send,
    {
        let started = Instant::now();
        let rpc = request.uri().path().trim_start_matches('/').to_owned();
        let request_id: Arc<str> =
            header(&request, REQUEST_ID).map_or_else(|| crate::id::new().into(), Into::into);
        let served = Served::rpc(self.inner.service, &rpc, &request_id, request.headers());
        let span = served.span().clone();
        let trace = served.trace().cloned();
        let mut answering = CallRecord {
            guard: &self,
            rpc: &rpc,
            served,
            started,
            user: None,
            answered: false,
        };
        // A panic ends this request only; in process it would take the whole HTTP connection along.
        let work = self.admit_and_call(
            inner,
            request,
            request_id.clone(),
            trace.clone(),
            &mut answering.user,
        );
        let answer = AssertUnwindSafe(ctx::serving(request_id, trace, work))
            .catch_unwind()
            .instrument(span.clone())
            .await;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => span.in_scope(|| error.into_status().into_http()),
            Err(panic) => span.in_scope(|| {
                let error = Error::internal(anyhow::anyhow!("panic: {}", panic_text(&*panic)));
                error.into_status().into_http()
            }),
        };
        let code =
            Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        answering.answered(code);
        let revision = self.inner.metadata.as_ref().map(|served| served.current());
        if let Some(revision) = revision.and_then(revision::header) {
            response.headers_mut().insert(revision::REVISION, revision);
        }
        Ok(response)
    }

    async fn admit_and_call<S>(
        &self,
        mut inner: S,
        mut request: http::Request<Body>,
        request_id: Arc<str>,
        trace: Option<Trace>,
        user: &mut Option<Arc<Identity>>,
    ) -> Result<http::Response<Body>>
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    {
        let path = request.uri().path();
        let Some(entry) = self.inner.access.get(path) else {
            if self.is_open(path) {
                let Ok(response) = inner.call(request).await;
                return Ok(response);
            }
            return Err(Error::new(Reason::NotImplemented, "No such RPC"));
        };
        // Before anything that costs.
        let permit = match entry.never_shed {
            true => None,
            false => Some(self.inner.load.enter()?),
        };
        // What streams in may take long as long as neither side keeps the other waiting.
        let longest = match entry.uploads {
            true => access::STREAM_LIFE_MAX,
            false => entry.deadline,
        };
        let limit = grpc_timeout(request.headers()).map_or(longest, |asked| asked.min(longest));
        let pace = entry.uploads.then(Arc::<Pace>::default);
        if let Some(pace) = &pace {
            request = request.map(|body| Body::new(Paced::new(body, Arc::clone(pace))));
        }
        let ctx = Ctx {
            caller: None,
            deadline: Instant::now() + limit,
            request_id,
            trace,
            now: clock::now(),
            records_as_json: header(&request, RECORDS) == Some("json"),
            client_address: header(&request, CLIENT_ADDRESS).map(str::to_owned),
            user_agent: header(&request, "user-agent").map(|text| client_program(text).to_owned()),
            revision: revision::Seen::in_headers(request.headers()),
        };
        let work = async {
            let caller = self.identify(entry, request.headers()).await?;
            let mut permit = permit;
            if let Some(caller) = &caller {
                *user = Some(caller.identity.clone());
                admit(entry, &caller.identity)?;
                if let Some(permit) = &mut permit {
                    take_share(permit, &caller.identity)?;
                }
            }
            if let Some(served) = &self.inner.metadata {
                served.catch_up(ctx.revision).await?;
            }
            if !entry.implemented {
                let rpc = request.uri().path().trim_start_matches('/');
                return Err(
                    Error::new(Reason::NotImplemented, "This is not built yet").with("rpc", rpc)
                );
            }
            request.extensions_mut().insert(Ctx { caller, ..ctx });
            let Ok(response) = inner.call(request).await;
            Ok(match permit {
                Some(permit) if entry.streams => {
                    response.map(|body| Body::new(Held::new(body, permit)))
                }
                Some(_) | None => response,
            })
        };
        let mut work = pin!(tokio::time::timeout(limit, work));
        let answer = match &pace {
            None => work.as_mut().await,
            Some(pace) => tokio::select! {
                answer = work.as_mut() => answer,
                turn = pace.overdue(CLIENT_IDLE_MAX, entry.deadline) => {
                    return Err(kept_waiting(turn, entry.deadline));
                }
            },
        };
        answer.unwrap_or_else(|_| Err(deadline_passed(limit)))
    }

    /// Who calls. On public RPCs a credential that is not good counts as none; but an identity
    /// token that was overtaken or has ended is refused there too, since its maker gets another one:
    /// somebody who is signed in must not look like nobody.
    async fn identify(
        &self,
        entry: &Entry,
        headers: &http::HeaderMap,
    ) -> Result<Option<crate::ctx::Caller>> {
        let public = matches!(entry.rule, Rule::Public(true));
        let credential = match Credential::of(headers) {
            Ok(Some(credential)) => credential,
            Ok(None) if public => return Ok(None),
            Ok(None) => return Err(Error::unauthenticated("Authentication required")),
            Err(_) if public => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.inner.resolver.resolve(&credential).await {
            Ok(caller) => Ok(Some(caller)),
            Err(error) if public && error.reason() == Reason::Unauthenticated => {
                let stale = error.detail("reason").is_some();
                if stale && credential.looks_like_identity_token() {
                    return Err(error);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn is_open(&self, path: &str) -> bool {
        path.starts_with("/grpc.health.v1.Health/")
            || (self.inner.reflection && path.starts_with("/grpc.reflection."))
    }
}

/// A call that is being answered; told when it is, or when its caller has gone away.
struct CallRecord<'g> {
    guard: &'g Guard,
    rpc: &'g str,
    served: Served,
    started: Instant,
    user: Option<Arc<Identity>>,
    answered: bool,
}

impl CallRecord<'_> {
    fn count(&self, code: Code, took: Duration) {
        if let Some(known) = self.guard.inner.answered.get(self.rpc) {
            known.took.record(took);
            if code == Code::Ok {
                known.ok.increment(1);
                return;
            }
        }
        let label = rpc_label(&self.guard.inner.access, self.rpc);
        metrics::counter!("objectmesh_rpc_total", "rpc" => label, "code" => code_label(code))
            .increment(1);
    }

    fn answered(mut self, code: Code) {
        self.answered = true;
        self.tell(code);
    }

    fn tell(&self, code: Code) {
        let took = self.started.elapsed();
        let name = code_label(code);
        self.count(code, took);
        let person = self.user.as_deref();
        let person = person.filter(|identity| identity.kind == Kind::User);
        let user = person.map(|identity| &*identity.subject);
        self.served.rpc_ended(name, user, is_ours(code));
        let message = if self.answered {
            "call answered"
        } else {
            "the caller went away"
        };
        let duration_ms = took.as_secs_f64() * 1e3;
        // Probes come every few seconds and tell nothing.
        let probe = self.rpc.starts_with("grpc.health.") && code == Code::Ok;
        self.served.span().in_scope(|| match probe {
            true => tracing::debug!(rpc.response.status_code = name, duration_ms, message),
            false => tracing::info!(
                rpc.response.status_code = name,
                duration_ms,
                user.id = user,
                message
            ),
        });
    }
}

impl Drop for CallRecord<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.tell(Code::Cancelled);
        }
    }
}

fn deadline_passed(limit: Duration) -> Error {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Error::new(Reason::Timeout, "The deadline passed").with("deadlineMs", limit)
}

/// What ends a request that streams when one side keeps the other waiting.
fn kept_waiting(turn: Turn, silence: Duration) -> Error {
    match turn {
        Turn::Service => deadline_passed(silence),
        Turn::Client => Error::new(Reason::Timeout, "Nothing more of the request arrived"),
    }
}

/// Whether an RPC that ended so failed by its server's fault.
fn is_ours(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// Whether the identity may call the RPC.
///
/// # Errors
/// PERMISSION_DENIED, naming the permission or `SCOPE`.
pub fn admit(entry: &Entry, identity: &Identity) -> Result<()> {
    match &entry.rule {
        Rule::Public(true) => return Ok(()),
        Rule::Internal(true) if identity.kind == Kind::Service => return Ok(()),
        Rule::Authenticated(true) => {}
        Rule::Permission(key) => {
            if !identity.has_permission(key) {
                return Err(
                    Error::denied(format!("Missing {key}")).with("permission", key.as_str())
                );
            }
        }
        Rule::Internal(_) | Rule::Public(false) | Rule::Authenticated(false) => {
            return Err(Error::denied("Only services of the mesh may call this"));
        }
    }
    if !identity.in_scope(&entry.scope) {
        return Err(Error::denied("The API key's scopes do not reach this").with("reason", "SCOPE"));
    }
    Ok(())
}

/// Counts a call to the organisation it is made in, or to the user where there is none. What the mesh
/// does for itself is nobody's.
fn take_share(permit: &mut Permit, identity: &Identity) -> Result<()> {
    if identity.kind == Kind::Service {
        return Ok(());
    }
    let tenant = identity.organization_id.as_deref();
    permit.belongs_to(tenant.unwrap_or(&identity.subject))
}

fn header<'r>(request: &'r http::Request<Body>, name: &str) -> Option<&'r str> {
    request.headers().get(name)?.to_str().ok()
}

/// What the client sent: over a socket tonic appends its own name, in process it does not.
fn client_program(user_agent: &str) -> &str {
    user_agent
        .rsplit_once(" tonic/")
        .map_or(user_agent, |(client, _)| client)
}

/// The caller's deadline (gRPC over HTTP/2, "Timeout").
pub(crate) fn grpc_timeout(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Unknown paths share one label, so that a caller cannot make labels.
fn rpc_label(access: &HashMap<String, Entry>, rpc: &str) -> String {
    if access.contains_key(&format!("/{rpc}")) || rpc.starts_with("grpc.health.v1.") {
        rpc.to_owned()
    } else {
        "unknown".to_owned()
    }
}

fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
