//! What answers every path that is not the gateway's own: the refusals in their order
//! (ARCHITECTURE.md), then the call of the route's RPC.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
};
use mesh::{Ctx, Error, call::Answer, clock, ctx::Caller, error::Reason, resolver::Credential};
use proto::annotations::v1::access::Rule;
use tokio::{sync::OwnedSemaphorePermit, time::timeout_at};
use transcoding::{Challenge, Match, RateClass, RawBody, Route, Vars, access::STREAM_LIFE_MAX};

use crate::{
    authentication, body,
    limits::{Subject, Verdict},
    public_url,
    request_context::RequestContext,
    response::{Refusal, Streaming, empty, timed_out},
    state::AppState,
    upload::{self, Upload},
    upstream::Upstream,
};

/// Answers a request by the table of routes.
pub(crate) async fn answer(app: &AppState, request: Request) -> Response {
    let context = RequestContext::of(&request);
    let (parts, body) = request.into_parts();
    let Some((table, path)) = app.locate(parts.uri.path()) else {
        let path = parts.uri.path();
        return Refusal::no_route(&parts.method, path).into_response(path, &[]);
    };
    if parts.method == Method::OPTIONS {
        return options(&table.allowed(path), path);
    }
    let (route, vars) = match table.find(&parts.method, path) {
        Match::Found(route, vars) => (route, vars),
        Match::MethodNotAllowed(allowed) => {
            return Refusal::method(&parts.method, &allowed).into_response(path, &allowed);
        }
        Match::NotFound => {
            return Refusal::no_route(&parts.method, path).into_response(path, &[]);
        }
    };
    let call = Call {
        app,
        context: &context,
        parts: &parts,
        path,
        route,
        vars,
    };
    let mut response = match call.admit(body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(path, &table.allowed(path)),
    };
    if let Some(challenge) = &route.challenge {
        challenge_caller(app, &context, &parts.headers, challenge, &mut response);
    }
    // Told on refusals too, so that a client can pace itself, and turns elsewhere in time.
    tell_limit(&context, response.headers_mut());
    if let Some(deprecated) = &route.deprecated {
        deprecated.tell(response.headers_mut());
    }
    response
}

/// Says on a 401 where the way in is.
fn challenge_caller(
    app: &AppState,
    context: &RequestContext,
    headers: &HeaderMap,
    challenge: &Challenge,
    response: &mut Response,
) {
    if response.status() != StatusCode::UNAUTHORIZED {
        return;
    }
    let url = public_url::of(app, context, headers);
    if let Some(value) = url.and_then(|url| challenge.render(&url)) {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, value);
    }
}

/// What a path takes, for who asks without a browser's preflight.
pub(crate) fn options(allowed: &[Method], path: &str) -> Response {
    if allowed.is_empty() {
        return Refusal::no_route(&Method::OPTIONS, path).into_response(path, &[]);
    }
    let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    names.push(Method::OPTIONS.as_str());
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Ok(value) = HeaderValue::try_from(names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// A request on its way to a route's RPC.
struct Call<'a> {
    app: &'a AppState,
    context: &'a RequestContext,
    parts: &'a Parts,
    /// Its path in the table, without the prefix of a profile.
    path: &'a str,
    route: &'a Route,
    vars: Vars<'a>,
}

impl Call<'_> {
    async fn admit(&self, body: Body) -> Result<Response, Refusal> {
        let route = self.route;
        // Load shed: before anything that costs; the body is not read.
        let concurrency = &self.app.concurrency;
        let permit = concurrency.request(route.rate_class, self.context.spare)?;
        if let Some(raw_body) = route.upload {
            // Boxed, so that only uploads pay for its size.
            return Box::pin(self.upload(body, raw_body, permit)).await;
        }
        // Deadline: it covers all that follows, slow bodies too.
        let limit = route.entry.deadline;
        match timeout_at(self.context.started + limit, self.work(body, permit)).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out(limit, route.safe).into()),
        }
    }

    /// What costs something: who asks, and the call.
    async fn work(
        &self,
        body: Body,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response, Refusal> {
        let (context, route, headers) = (self.context, self.route, &self.parts.headers);
        let limit = route.entry.deadline;
        let (credential, caller) = self.caller().await?;
        let ctx = call_context(self.app, context, headers, caller, limit);
        // Body: its size and media type, from here on, so that strangers send nothing.
        let body = body::read(route, headers, body, context.started + limit).await?;
        let credential = credential.as_ref();
        let response = self.transcode(&body, ctx, credential, permit).await?;
        self.forget_changed(credential);
        Ok(response)
    }

    /// Who asks, unless they ask too often, or from a page that may not.
    async fn caller(&self) -> Result<(Option<Credential>, Option<Caller>), Refusal> {
        let Self {
            app,
            context,
            parts,
            path,
            route,
            ..
        } = *self;
        let limit = route.entry.deadline;
        // Rate limit by address: where anybody may come, and guesses would cost us a check.
        let class = route.rate_class;
        match class {
            RateClass::Auth => {
                count(app, context, class, || Subject::address(context.client)).await?
            }
            RateClass::Forms => {
                count(app, context, class, || {
                    Subject::visitor(context.client, path)
                })
                .await?;
            }
            RateClass::Reads | RateClass::Writes | RateClass::Exempt | RateClass::Unspecified => {}
        }
        // Authenticate, unless the route is public; there a bad credential counts as none.
        let public = matches!(route.entry.rule, Rule::Public(_));
        let identified = identify(app, context, &parts.headers, class, public, limit);
        let (credential, caller) = identified.await?;
        // Origin: a cookie travels by itself, so a change must come from a trusted page.
        if caller.is_some() {
            let request = (&parts.method, path, &parts.headers);
            authentication::check_origin(&app.origins, request, credential.as_ref())?;
        }
        Ok((credential, caller))
    }

    /// Forgets what is known of a session that may just have ended or changed.
    fn forget_changed(&self, credential: Option<&Credential>) {
        let changes = self.route.cookies && self.route.method != Method::GET;
        if let (true, Some(credential)) = (changes, credential) {
            self.app.resolver.forget(credential);
        }
    }

    /// Passes a body on as it arrives. The deadline of the route is for finding out who asks, then for
    /// silence of the service; the whole may take as long as a stream may.
    async fn upload(
        &self,
        body: Body,
        raw_body: RawBody,
        _permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response, Refusal> {
        let (app, context, route) = (self.app, self.context, self.route);
        let (version, headers) = (self.parts.version, &self.parts.headers);
        let limit = route.entry.deadline;
        let identified = timeout_at(context.started + limit, self.caller()).await;
        // Nothing was done yet. From strangers nothing is read, not even to forget it.
        let identified = identified.map_err(|_| timed_out(limit, true))?;
        let (credential, caller) = identified?;
        let upload = Upload::new(body, raw_body, route, headers);
        let passed_on = async {
            let _upload_permit = app.concurrency.upload()?;
            let mut ctx = call_context(app, context, headers, caller, STREAM_LIFE_MAX);
            upload::check_head(route, headers)?;
            let first = self.encode(&[], &ctx)?;
            upload.begin();
            let idle = Duration::from_millis(app.config.upload_idle_ms);
            let answer = tokio::select! {
                // A body that broke off is told as such, whatever the service made of it.
                biased;
                refusal = upload.failure(route, idle) => return Err(refusal),
                answer = self.pass_on(&upload, first, &mut ctx, credential.as_ref()) => answer?,
            };
            self.forget_changed(credential.as_ref());
            Ok(answer)
        };
        let answer: Result<Answer, Refusal> = passed_on.await;
        // Over HTTP/1 a client that is still sending would see a broken connection instead of the answer;
        // over HTTP/2 it is told to stop.
        if let (Some(rest), true) = (upload.into_rest(), version < Version::HTTP_2) {
            body::discard_beside(&app.tasks, rest);
        }
        self.render(&answer?)
    }

    async fn pass_on(
        &self,
        upload: &Upload,
        first: Bytes,
        ctx: &mut Ctx,
        credential: Option<&Credential>,
    ) -> Result<Answer, Error> {
        let (route, upstream, cookie) = (self.route, self.upstream()?, self.cookie());
        let passed_on = upstream.upload(route, upload, &first, ctx, cookie).await;
        let error = match passed_on {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if is_overtaken(&error) && upload.has_begun() {
            // What was taken of the body is gone, but the guard let nobody have it: nothing was done.
            if let Some(credential) = credential {
                self.app.resolver.forget(credential);
            }
            return Err(Error::unavailable("The gateway").with_cause(error));
        }
        self.renew(error, ctx, credential).await?;
        upstream.upload(route, upload, &first, ctx, cookie).await
    }

    /// The route's plan: encode, call, render.
    async fn transcode(
        &self,
        body: &[u8],
        mut ctx: Ctx,
        credential: Option<&Credential>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response, Refusal> {
        let Self {
            app, parts, route, ..
        } = *self;
        let message = self.encode(body, &ctx)?;
        let (upstream, cookie) = (self.upstream()?, self.cookie());
        let repeatable = route.is_repeatable(&parts.headers);
        if let Some(form) = &route.stream {
            let opened = match upstream.open(route, form, message.clone(), &ctx).await {
                Ok(opened) => opened,
                Err(error) => {
                    self.renew(error, &mut ctx, credential).await?;
                    upstream.open(route, form, message, &ctx).await?
                }
            };
            app.revision.raise(opened.revision());
            let mut response = empty(opened.status());
            opened.write_headers(response.headers_mut());
            // Letting go of it ends the call.
            if parts.method != Method::HEAD && opened.has_body() {
                *response.body_mut() = Streaming::body(Box::pin(opened.into_body()), permit);
            }
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
        self.render(&answer)
    }

    /// The message that the request becomes.
    fn encode(&self, body: &[u8], ctx: &Ctx) -> Result<Bytes, Error> {
        let (route, headers) = (self.route, &self.parts.headers);
        let message = route.encode(&self.vars, self.parts.uri.query(), headers, body);
        message.map_err(|error| authentication::right_first(route, ctx, error.into()))
    }

    fn upstream(&self) -> Result<&Upstream, Error> {
        let upstream = self.app.upstreams.get(&self.route.rpc);
        let upstream = upstream.map(Arc::as_ref);
        upstream.ok_or_else(|| Error::internal(anyhow::anyhow!("no peer for {}", self.route)))
    }

    /// The cookies that go along: with another credential the cookie is not looked at, so it does not go.
    fn cookie(&self) -> Option<&str> {
        let headers = &self.parts.headers;
        let named = [header::AUTHORIZATION.as_str(), "x-api-key"]
            .iter()
            .any(|name| headers.contains_key(*name));
        let cookie = headers.get(header::COOKIE).filter(|_| !named);
        cookie.and_then(|value| value.to_str().ok())
    }

    /// What the client gets of an answer.
    fn render(&self, answer: &Answer) -> Result<Response, Refusal> {
        let route = self.route;
        self.app.revision.raise(answer.revision());
        let mut response = empty(StatusCode::OK);
        let headers = response.headers_mut();
        let (status, body) = route.render(&self.vars, &answer.message, headers)?;
        for cookie in answer.cookies(route) {
            headers.append(header::SET_COOKIE, cookie);
        }
        *response.status_mut() = status;
        *response.body_mut() = Body::from(body);
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
        let resolver = &self.app.resolver;
        match credential {
            Some(credential) if ctx.caller.is_some() && is_overtaken(&error) => {
                resolver.forget(credential);
                ctx.caller = Some(resolver.resolve(credential).await?);
                Ok(())
            }
            Some(_) | None => Err(error),
        }
    }
}

/// Who asks, and the rate limit by caller; by address where nobody does or the credential is not
/// good, so that guessing has an end.
///
/// # Errors
/// UNAUTHENTICATED, RATE_LIMITED, SERVICE_UNAVAILABLE.
pub(crate) async fn identify(
    app: &AppState,
    context: &RequestContext,
    headers: &HeaderMap,
    class: RateClass,
    public: bool,
    limit: Duration,
) -> Result<(Option<Credential>, Option<Caller>), Refusal> {
    let deadline = context.started + limit;
    let (resolver, auth) = (&app.resolver, &app.auth);
    let resolved = authentication::authenticate(resolver, auth, headers, public, deadline).await;
    if context.verdict.get().is_none() {
        let subject = || match &resolved {
            Ok((_, Some(caller))) => Subject::caller(caller),
            Ok((_, None)) | Err(_) => Subject::address(context.client),
        };
        match &resolved {
            // We could not tell, which is not the client's fault.
            Err(error) if error.reason() != Reason::Unauthenticated => {}
            Ok(_) | Err(_) => count(app, context, class, subject).await?,
        }
    }
    let (credential, caller) = resolved?;
    if let Some(caller) = &caller {
        let _told_once = context.user.set(Arc::clone(&caller.identity));
    }
    Ok((credential, caller))
}

/// Counts the request; refuses it when there were too many.
async fn count(
    app: &AppState,
    context: &RequestContext,
    class: RateClass,
    subject: impl FnOnce() -> Subject,
) -> Result<(), Error> {
    if class == RateClass::Auth && app.limits.is_exempt(context.client) {
        return Ok(());
    }
    let Some(verdict) = app.limits.take(class, subject).await else {
        return Ok(());
    };
    let _told_once = context.verdict.set(verdict);
    verdict.check()
}

/// What goes with the call. Nothing of the client's headers does but what is named here.
pub(crate) fn call_context(
    app: &AppState,
    context: &RequestContext,
    headers: &HeaderMap,
    caller: Option<Caller>,
    limit: Duration,
) -> Ctx {
    let user_agent = headers.get(header::USER_AGENT);
    Ctx {
        caller,
        deadline: (context.started + limit).into_std(),
        request_id: context.id.clone(),
        trace: context.trace.clone(),
        now: clock::now(),
        records_as_json: true,
        client_address: Some(context.client.to_string()),
        user_agent: user_agent.and_then(|text| Some(text.to_str().ok()?.to_owned())),
        revision: app.revision.highest(),
    }
}

/// The limit, what is left of it, and when all of it is there again (epoch seconds).
pub(crate) fn tell_limit(context: &RequestContext, headers: &mut HeaderMap) {
    let Some(Verdict {
        limit,
        remaining,
        full_in,
        ..
    }) = context.verdict.get()
    else {
        return;
    };
    let full_at_ms = clock::unix_ms() + i64::try_from(full_in.as_millis()).unwrap_or(0);
    for (name, value) in [
        ("x-ratelimit-limit", i64::from(*limit)),
        ("x-ratelimit-remaining", i64::from(*remaining)),
        ("x-ratelimit-reset", (full_at_ms + 999) / 1000),
    ] {
        headers.insert(HeaderName::from_static(name), value.into());
    }
}

/// Whether a service refused the identity token that came with the call, because of what happened
/// since it was made.
pub(crate) fn is_overtaken(error: &Error) -> bool {
    let reason = error.detail("reason").and_then(|reason| reason.as_str());
    error.reason() == Reason::Unauthenticated
        && matches!(reason, Some("REVOKED_TOKEN" | "EXPIRED_TOKEN"))
}
