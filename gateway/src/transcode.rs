//! What a request passes, in one place and in order: [`Edge::answer`] wraps, [`Edge::admit`]
//! decides, [`Edge::transcode`] calls.

mod own_paths;
mod request;

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, header, request::Parts, uri::PathAndQuery,
};
use mesh::{
    Ctx, Error, clock,
    ctx::{self, Caller},
    error::Reason,
    resolver::{Credential, Resolver},
    revision::Seen,
    route::{Match, RateClass, Route, Table, Vars},
    telemetry::{Served, Trace},
};
use proto::annotations::v1::access::Rule;
use tokio::time::{Instant, timeout_at};
use tower::BoxError;
use tracing::Instrument as _;

pub(crate) use self::request::From;
use self::request::{Answering, Asked, Noted, protect, tell};
use crate::{
    Config,
    address::Networks,
    answer::{Body, Refusal, empty},
    body, cors,
    discovery::Discovery,
    gate,
    limits::{Limits, Verdict, Who},
    load::Load,
    openapi::Documents,
    origin::Origins,
    own::{self, Own},
    probes::{self, Probes},
    upstream::Upstream,
};

/// Everything a request needs.
pub(crate) struct Edge {
    pub(crate) table: Table,
    /// The peer behind each RPC.
    pub(crate) upstreams: HashMap<PathAndQuery, Arc<Upstream>>,
    /// The peer that exchanges credentials.
    pub(crate) auth: Arc<Upstream>,
    pub(crate) resolver: Resolver,
    pub(crate) limits: Limits,
    pub(crate) load: Load,
    pub(crate) origins: Origins,
    pub(crate) proxies: Networks,
    pub(crate) discovery: Discovery,
    pub(crate) documents: Documents,
    pub(crate) probes: Probes,
    /// The newest metadata seen in an answer: who changed it sees it in the next request, whichever
    /// replica answers.
    pub(crate) revision: Seen,
    pub(crate) config: Config,
}

/// Where a request leads.
enum Target<'e, 'p> {
    Route(&'e Route, Vars<'p>),
    Own(Own),
}

impl Edge {
    /// The stack, outermost first.
    pub(crate) async fn answer<B>(&self, from: From, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        gate::name_host(&mut parts);
        let asked = Asked {
            // Request id: first of all, so that whatever happens can be found by it.
            id: gate::request_id(&parts.headers).into(),
            client: self.proxies.client(from.address, &parts.headers),
            proxied: self.proxies.contain(from.address),
            spare: from.spare,
            started,
            origin: self.origins.trusted(&parts.headers).cloned(),
            parts,
        };
        let target = self.target(&asked.parts.method, asked.path());
        let label: Arc<str> = match &target {
            Ok(Target::Route(route, _)) => route.pattern.clone(),
            Ok(Target::Own(_)) => asked.path().trim_end_matches('/').into(),
            // Names that clients choose would grow the metrics without end.
            Err(_) => "unmatched".into(),
        };
        let deprecated = match &target {
            Ok(Target::Route(route, _)) => route.deprecated.as_ref(),
            Ok(Target::Own(_)) | Err(_) => None,
        };
        // Trace: one span a request, around everything that may log.
        let served = Served::http(
            "gateway",
            probes::method_label(&asked.parts.method),
            &label,
            &asked.id,
            &asked.parts.headers,
        );
        let span = served.span().clone();
        let trace = served.trace().cloned();
        let mut answering = Answering {
            method: &asked.parts.method,
            route: &label,
            served,
            started,
            noted: Noted {
                trace: trace.clone(),
                ..Noted::default()
            },
            answered: false,
        };
        // Catch panic: it ends this request only; else the connection would die unanswered.
        let work = self.admit(&asked, target, body, &mut answering.noted);
        let outcome = AssertUnwindSafe(ctx::serving(asked.id.clone(), trace, work))
            .catch_unwind()
            .instrument(span.clone())
            .await;
        // Error envelope: whatever failed looks the same.
        let mut response = span.in_scope(|| match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(refusal)) => refusal.into_response(asked.path(), &self.allowed(asked.path())),
            Err(panic) => {
                let cause = anyhow::anyhow!("panic: {}", panic_text(&*panic));
                Refusal::from(Error::internal(cause)).into_response(asked.path(), &[])
            }
        });
        // Limits: told on refusals too, so that a client can pace itself.
        if let Some(verdict) = answering.noted.counted.take() {
            tell(verdict, response.headers_mut());
        }
        // Deprecation: told on every answer, so that clients turn elsewhere in time.
        if let Some(deprecated) = deprecated {
            deprecated.tell(response.headers_mut());
        }
        // CORS: browsers may read an answer, also a failure, only when it says so.
        cors::mark(response.headers_mut(), asked.origin.clone());
        protect(response.headers_mut(), &asked.id);
        // Metrics and log: last, so that they tell what was really answered.
        answering.answered(response.status().as_u16());
        response
    }

    /// The refusals in their order (architecture.md §10), then the answer.
    async fn admit<B>(
        &self,
        asked: &Asked,
        target: Result<Target<'_, '_>, Refusal>,
        body: B,
        noted: &mut Noted,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let parts = &asked.parts;
        // Size of the head: before anything that would cost.
        gate::check_head(parts)?;
        // Preflight: it carries no credential, so it is answered before one is asked for.
        if cors::is_preflight(&parts.method, &parts.headers) {
            return Ok(cors::preflight(asked.origin.is_some()));
        }
        // Route: 404 and 405 are the same for everybody.
        if parts.method == Method::OPTIONS {
            return self.options(asked);
        }
        let (route, vars) = match target? {
            Target::Route(route, vars) => (route, vars),
            Target::Own(own) => return own_paths::answer(self, asked, own, noted).await,
        };
        // Load shed: before anything that costs; the body is not read.
        let place = self.load.request(route.rate_class, asked.spare)?;
        // Deadline: it covers all that follows, slow bodies too.
        let limit = route.entry.deadline;
        let work = self.work(asked, route, &vars, body, noted);
        match timeout_at(asked.started + limit, work).await {
            Ok(answer) => answer.map(|mut response| {
                response.body_mut().hold(place);
                response
            }),
            Err(_) => Err(timed_out(limit)),
        }
    }

    /// What costs something: who asks, and the call.
    async fn work<B>(
        &self,
        asked: &Asked,
        route: &Route,
        vars: &Vars<'_>,
        body: B,
        noted: &mut Noted,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let parts = &asked.parts;
        let limit = route.entry.deadline;
        // Rate limit by address: where anybody may come, and guesses would cost us a check.
        let class = route.rate_class;
        match class {
            RateClass::Auth => {
                self.count(class, noted, || Who::address(asked.client))
                    .await?;
            }
            RateClass::Forms => {
                self.count(class, noted, || Who::visitor(asked.client, asked.path()))
                    .await?;
            }
            RateClass::Reads | RateClass::Writes | RateClass::Exempt | RateClass::Unspecified => {}
        }
        // Authenticate, unless the route is public; there a bad credential counts as none.
        let public = matches!(route.entry.rule, Rule::Public(_));
        let (credential, caller) = self.identify(asked, class, public, limit, noted).await?;
        noted.user = caller.as_ref().map(|caller| caller.identity.clone());
        // Origin: a cookie travels by itself, so a change must come from a trusted page.
        if caller.is_some() {
            gate::check_origin(&self.origins, parts, credential.as_ref())?;
        }
        let ctx = self.context(asked, caller, limit, noted.trace.clone());
        // Body: its size and media type, from here on, so that strangers send nothing.
        let body = body::read(route, &parts.headers, body, asked.started + limit).await?;
        let credential = credential.as_ref();
        let response = self
            .transcode(route, vars, parts, &body, ctx, credential)
            .await?;
        let changes = route.cookies && route.method != Method::GET;
        if let (true, Some(credential)) = (changes, credential) {
            // The session may just have ended or changed.
            self.resolver.forget(credential);
        }
        Ok(response)
    }

    /// Who asks, and the rate limit by caller; by address where nobody does or the credential is
    /// not good, so that guessing has an end.
    async fn identify(
        &self,
        asked: &Asked,
        class: RateClass,
        public: bool,
        limit: Duration,
        noted: &mut Noted,
    ) -> Result<(Option<Credential>, Option<Caller>), Refusal> {
        let deadline = asked.started + limit;
        let resolved = gate::authenticate(
            &self.resolver,
            &self.auth,
            &asked.parts.headers,
            public,
            deadline,
        );
        let resolved = resolved.await;
        if noted.counted.is_none() {
            let who = || match &resolved {
                Ok((_, Some(caller))) => Who::caller(caller),
                Ok((_, None)) | Err(_) => Who::address(asked.client),
            };
            match &resolved {
                // We could not tell, which is not the client's fault.
                Err(error) if error.reason() != Reason::Unauthenticated => {}
                Ok(_) | Err(_) => self.count(class, noted, who).await?,
            }
        }
        Ok(resolved?)
    }

    /// Counts the request; refuses it when there were too many.
    async fn count(
        &self,
        class: RateClass,
        noted: &mut Noted,
        who: impl FnOnce() -> Who,
    ) -> Result<(), Error> {
        noted.counted = self.limits.take(class, who).await;
        noted.counted.as_ref().map_or(Ok(()), Verdict::check)
    }

    /// The route's plan: encode, call, render.
    async fn transcode(
        &self,
        route: &Route,
        vars: &Vars<'_>,
        parts: &Parts,
        body: &[u8],
        mut ctx: Ctx,
        credential: Option<&Credential>,
    ) -> Result<Response<Body>, Refusal> {
        let message = route
            .encode(vars, parts.uri.query(), &parts.headers, body)
            .map_err(|error| gate::right_first(route, &ctx, error))?;
        let upstream = self.upstreams.get(&route.rpc);
        let upstream =
            upstream.ok_or_else(|| Error::internal(anyhow::anyhow!("no peer for {route}")))?;
        let repeatable = route.is_repeatable(&parts.headers);
        // With another credential the cookie is not looked at, so it does not go along either.
        let named = [header::AUTHORIZATION.as_str(), "x-api-key"]
            .iter()
            .any(|name| parts.headers.contains_key(*name));
        let cookie = parts.headers.get(header::COOKIE).filter(|_| !named);
        let cookie = cookie.and_then(|value| value.to_str().ok());
        if let Some(form) = &route.stream {
            let opened = match upstream.open(route, form, message.clone(), &ctx).await {
                Ok(opened) => opened,
                Err(error) => {
                    self.renew(error, &mut ctx, credential).await?;
                    upstream.open(route, form, message, &ctx).await?
                }
            };
            self.revision.raise(opened.revision());
            let mut response = Response::new(Body::default());
            opened.write_headers(response.headers_mut());
            *response.body_mut() = Body::stream(opened.into_body());
            return Ok(response);
        }
        let call = async |ctx: &Ctx| {
            upstream
                .call(route, message.clone(), ctx, cookie, repeatable)
                .await
        };
        let answer = match call(&ctx).await {
            Ok(answer) => answer,
            Err(error) => {
                self.renew(error, &mut ctx, credential).await?;
                call(&ctx).await?
            }
        };
        self.revision.raise(answer.revision());
        let mut response = Response::new(Body::default());
        let (status, body) = route.render(vars, &answer.message, response.headers_mut())?;
        for cookie in answer.cookies(route) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        *response.status_mut() = status;
        *response.body_mut() = Body::new(body);
        Ok(response)
    }

    /// Takes another token where a call failed since the one that we made is no longer good, while
    /// the client's credential may be: the guard refused before anything ran, so whatever it was may
    /// be called once more.
    ///
    /// # Errors
    /// The call's own otherwise.
    async fn renew(
        &self,
        error: Error,
        ctx: &mut Ctx,
        credential: Option<&Credential>,
    ) -> Result<(), Error> {
        match credential {
            Some(credential) if ctx.caller.is_some() && is_overtaken(&error) => {
                self.resolver.forget(credential);
                ctx.caller = Some(self.resolver.resolve(credential).await?);
                Ok(())
            }
            Some(_) | None => Err(error),
        }
    }

    fn target<'p>(&self, method: &Method, path: &'p str) -> Result<Target<'_, 'p>, Refusal> {
        if let Some(own) = own::own(path) {
            return match *method {
                Method::GET | Method::HEAD => Ok(Target::Own(own)),
                _ => Err(Refusal::method(method, &own::METHODS)),
            };
        }
        match self.table.find(method, path) {
            Match::Found(route, vars) => Ok(Target::Route(route, vars)),
            Match::MethodNotAllowed(allowed) => Err(Refusal::method(method, &allowed)),
            Match::NotFound => Err(Refusal::no_route(method, path)),
        }
    }

    fn allowed(&self, path: &str) -> Vec<Method> {
        match own::own(path) {
            Some(_) => own::METHODS.to_vec(),
            None => self.table.allowed(path),
        }
    }

    /// What a path takes, for who asks without a browser's preflight.
    fn options(&self, asked: &Asked) -> Result<Response<Body>, Refusal> {
        let mut allowed = self.allowed(asked.path());
        if allowed.is_empty() {
            return Err(Refusal::no_route(&Method::OPTIONS, asked.path()));
        }
        allowed.push(Method::OPTIONS);
        let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let mut response = empty(StatusCode::NO_CONTENT);
        let value = HeaderValue::try_from(allowed.join(", ")).map_err(Error::internal)?;
        response.headers_mut().insert(header::ALLOW, value);
        Ok(response)
    }

    /// What goes with the call. Nothing of the client's headers does but what is named here.
    fn context(
        &self,
        asked: &Asked,
        caller: Option<Caller>,
        limit: Duration,
        trace: Option<Trace>,
    ) -> Ctx {
        let headers = &asked.parts.headers;
        let user_agent = headers.get(header::USER_AGENT);
        Ctx {
            caller,
            deadline: (asked.started + limit).into_std(),
            request_id: asked.id.clone(),
            trace,
            now: clock::now(),
            records_as_json: true,
            client_address: Some(asked.client.to_string()),
            user_agent: user_agent.and_then(|text| Some(text.to_str().ok()?.to_owned())),
            revision: self.revision.highest(),
        }
    }
}

/// Whether a service refused the identity token that came with the call, because of what happened
/// since it was made.
fn is_overtaken(error: &Error) -> bool {
    let reason = error.detail("reason").and_then(|reason| reason.as_str());
    error.reason() == Reason::Unauthenticated
        && matches!(reason, Some("REVOKED_TOKEN" | "EXPIRED_TOKEN"))
}

fn timed_out(limit: Duration) -> Refusal {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    Error::new(Reason::Timeout, "The deadline passed")
        .with("deadlineMs", limit)
        .into()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
