//! What answers every path that is not the gateway's own: the refusals in their order
//! (ARCHITECTURE.md), then the call of the route's RPC.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use mesh::{Ctx, Error, clock, ctx::Caller, error::Reason, resolver::Credential};
use proto::annotations::v1::access::Rule;
use tokio::{sync::OwnedSemaphorePermit, time::timeout_at};
use transcoding::{Match, RateClass, Route, Vars};

use crate::{
    authentication, body,
    limits::{Subject, Verdict},
    request_context::RequestContext,
    response::{Refusal, Streaming, empty},
    state::AppState,
};

/// Answers a request by the table of routes.
pub(crate) async fn answer(app: &AppState, request: Request) -> Response {
    let context = RequestContext::of(&request);
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if parts.method == Method::OPTIONS {
        return options(&app.allowed(path), path);
    }
    let (route, vars) = match app.table.find(&parts.method, path) {
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
        route,
        vars,
    };
    let mut response = match call.admit(body).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(path, &app.table.allowed(path)),
    };
    // Told on refusals too, so that a client can pace itself, and turns elsewhere in time.
    tell_limit(&context, response.headers_mut());
    if let Some(deprecated) = &route.deprecated {
        deprecated.tell(response.headers_mut());
    }
    response
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
    route: &'a Route,
    vars: Vars<'a>,
}

impl Call<'_> {
    async fn admit(&self, body: Body) -> Result<Response, Refusal> {
        let route = self.route;
        // Load shed: before anything that costs; the body is not read.
        let concurrency = &self.app.concurrency;
        let permit = concurrency.request(route.rate_class, self.context.spare)?;
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
        let Self {
            app,
            context,
            parts,
            route,
            ..
        } = *self;
        let limit = route.entry.deadline;
        let path = parts.uri.path();
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
        let ctx = call_context(app, context, &parts.headers, caller, limit);
        // Body: its size and media type, from here on, so that strangers send nothing.
        let body = body::read(route, &parts.headers, body, context.started + limit).await?;
        let credential = credential.as_ref();
        let response = self.transcode(&body, ctx, credential, permit).await?;
        let changes = route.cookies && route.method != Method::GET;
        if let (true, Some(credential)) = (changes, credential) {
            // The session may just have ended or changed.
            app.resolver.forget(credential);
        }
        Ok(response)
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
        let message = route
            .encode(&self.vars, parts.uri.query(), &parts.headers, body)
            .map_err(|error| authentication::right_first(route, &ctx, error.into()))?;
        let upstream = app.upstreams.get(&route.rpc);
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
            app.revision.raise(opened.revision());
            let mut response = empty(StatusCode::OK);
            opened.write_headers(response.headers_mut());
            *response.body_mut() = Streaming::body(Box::pin(opened.into_body()), permit);
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
        app.revision.raise(answer.revision());
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

/// 504. A change that may have been made says so.
pub(crate) fn timed_out(limit: Duration, safe: bool) -> Error {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let error = Error::new(Reason::Timeout, "The deadline passed").with("deadlineMs", limit);
    if safe {
        error
    } else {
        error.with("outcome", "unknown")
    }
}
