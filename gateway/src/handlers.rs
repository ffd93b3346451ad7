//! What answers the paths that are the gateway's own.

use std::time::Duration;

use http::{HeaderMap, Response, header};
use mesh::{Error, guard, route::RateClass};
use tokio::time::timeout_at;

use super::{
    Edge, is_overtaken,
    request::{Asked, Noted},
    timed_out,
};
use crate::{
    answer::{Body, Refusal},
    origin,
    own::Own,
    probes,
};

/// The longest that making a document may take.
const LIMIT: Duration = guard::DEADLINE_DEFAULT;

/// Answers it.
pub(super) async fn answer(
    edge: &Edge,
    asked: &Asked,
    own: Own,
    noted: &mut Noted,
) -> Result<Response<Body>, Refusal> {
    match own {
        Own::Health => Ok(probes::health()),
        Own::Ready => edge.probes.ready().await,
        Own::Metrics => Ok(probes::metrics()),
        Own::Versions => Ok(edge.discovery.versions()),
        Own::Docs(asset) => Ok(asset.response(&asked.parts.headers)),
        Own::Discovery | Own::WellKnown => {
            let wrapped = matches!(own, Own::WellKnown);
            let work = discover(edge, asked, wrapped, noted);
            within_limits(edge, asked, work).await
        }
        Own::OpenApi => {
            let work = describe(edge, asked, noted);
            within_limits(edge, asked, work).await
        }
    }
}

/// As for any read: a place while there is one, and not for ever.
async fn within_limits(
    edge: &Edge,
    asked: &Asked,
    work: impl Future<Output = Result<Response<Body>, Refusal>>,
) -> Result<Response<Body>, Refusal> {
    let _place = edge.load.request(RateClass::Reads, asked.spare)?;
    match timeout_at(asked.started + LIMIT, work).await {
        Ok(answer) => answer,
        Err(_) => Err(timed_out(LIMIT)),
    }
}

async fn discover(
    edge: &Edge,
    asked: &Asked,
    wrapped: bool,
    noted: &mut Noted,
) -> Result<Response<Body>, Refusal> {
    let public = edge.config.public_discovery;
    let class = RateClass::Reads;
    edge.identify(asked, class, public, LIMIT, noted).await?;
    let services = edge.probes.statuses().await;
    Ok(edge.discovery.document(&services, wrapped))
}

/// The OpenAPI document for the caller.
async fn describe(
    edge: &Edge,
    asked: &Asked,
    noted: &mut Noted,
) -> Result<Response<Body>, Refusal> {
    let class = RateClass::Reads;
    let identified = edge.identify(asked, class, false, LIMIT, noted).await?;
    let (Some(credential), Some(caller)) = identified else {
        return Err(Error::unauthenticated("Authentication required").into());
    };
    noted.user = Some(caller.identity.clone());
    let mut ctx = edge.context(asked, Some(caller), LIMIT, noted.trace.clone());
    let document = match edge.documents.of(&ctx).await {
        Err(error) if is_overtaken(&error) => {
            edge.resolver.forget(&credential);
            ctx.caller = Some(edge.resolver.resolve(&credential).await?);
            edge.documents.of(&ctx).await?
        }
        document => document?,
    };
    let server = server(edge, asked);
    Ok(document.response(&server, &asked.parts.headers))
}

/// The URL under which the client reaches the gateway, for the document's `servers`.
fn server(edge: &Edge, asked: &Asked) -> String {
    if let Some(url) = &edge.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let headers = &asked.parts.headers;
    let forwarded = |name| asked.proxied.then(|| text(headers, name)).flatten();
    let scheme = match forwarded("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let host = forwarded("x-forwarded-host").or_else(|| text(headers, header::HOST.as_str()));
    // Without a host that is one, the document's own address has to do.
    host.and_then(|host| origin::url(scheme, host))
        .unwrap_or_else(|| "/".to_owned())
}
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
