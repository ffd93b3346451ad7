//! The paths that are the gateway's own, and what answers them.

use std::time::Duration;

use http::{HeaderMap, Method, Response, header};
use mesh::{Error, guard, route::RateClass};
use tokio::time::timeout_at;

use crate::{
    answer::{Body, Refusal},
    docs::{self, Asset},
    edge::{Asked, Edge, Noted, is_overtaken, timed_out},
    origin, probes,
};

/// A path of the gateway's own.
#[derive(Clone, Copy)]
pub(crate) enum Own {
    Health,
    Ready,
    Metrics,
    Versions,
    Discovery,
    WellKnown,
    OpenApi,
    Docs(&'static Asset),
}

/// The methods that all of them take.
pub(crate) const METHODS: [Method; 2] = [Method::GET, Method::HEAD];

/// The longest that making a document may take.
const LIMIT: Duration = guard::DEADLINE_DEFAULT;

/// The one that a path names.
pub(crate) fn own(path: &str) -> Option<Own> {
    Some(match path.strip_suffix('/').unwrap_or(path) {
        "/health" => Own::Health,
        "/ready" => Own::Ready,
        "/metrics" => Own::Metrics,
        "/api" => Own::Versions,
        "/api/v1" | "/api/v1/discovery" => Own::Discovery,
        "/api/v1/openapi.json" => Own::OpenApi,
        "/.well-known/objectstack" => Own::WellKnown,
        other => Own::Docs(docs::asset(other)?),
    })
}

impl Edge {
    /// Answers it.
    pub(crate) async fn own(
        &self,
        asked: &Asked,
        own: Own,
        noted: &mut Noted,
    ) -> Result<Response<Body>, Refusal> {
        match own {
            Own::Health => Ok(probes::health()),
            Own::Ready => self.probes.ready().await,
            Own::Metrics => Ok(probes::metrics()),
            Own::Versions => Ok(self.discovery.versions()),
            Own::Docs(asset) => Ok(asset.response(&asked.parts.headers)),
            Own::Discovery | Own::WellKnown => {
                let wrapped = matches!(own, Own::WellKnown);
                let work = self.discover(asked, wrapped, noted);
                self.within_limits(asked, work).await
            }
            Own::OpenApi => {
                let work = self.describe(asked, noted);
                self.within_limits(asked, work).await
            }
        }
    }

    /// As for any read: a place while there is one, and not for ever.
    async fn within_limits(
        &self,
        asked: &Asked,
        work: impl Future<Output = Result<Response<Body>, Refusal>>,
    ) -> Result<Response<Body>, Refusal> {
        let _place = self.load.request(RateClass::Reads, asked.spare)?;
        match timeout_at(asked.started + LIMIT, work).await {
            Ok(answer) => answer,
            Err(_) => Err(timed_out(LIMIT)),
        }
    }

    async fn discover(
        &self,
        asked: &Asked,
        wrapped: bool,
        noted: &mut Noted,
    ) -> Result<Response<Body>, Refusal> {
        let public = self.config.public_discovery;
        let class = RateClass::Reads;
        self.identify(asked, class, public, LIMIT, noted).await?;
        let services = self.probes.statuses().await;
        Ok(self.discovery.document(&services, wrapped))
    }

    /// The OpenAPI document for the caller.
    async fn describe(&self, asked: &Asked, noted: &mut Noted) -> Result<Response<Body>, Refusal> {
        let class = RateClass::Reads;
        let identified = self.identify(asked, class, false, LIMIT, noted).await?;
        let (Some(credential), Some(caller)) = identified else {
            return Err(Error::unauthenticated("Authentication required").into());
        };
        noted.user = Some(caller.identity.clone());
        let mut ctx = self.context(asked, Some(caller), LIMIT, noted.trace.clone());
        let document = match self.documents.of(&ctx).await {
            Err(error) if is_overtaken(&error) => {
                self.resolver.forget(&credential);
                ctx.caller = Some(self.resolver.resolve(&credential).await?);
                self.documents.of(&ctx).await?
            }
            document => document?,
        };
        let server = self.server(asked);
        Ok(document.response(&server, &asked.parts.headers))
    }

    /// The URL under which the client reaches the gateway, for the document's `servers`.
    fn server(&self, asked: &Asked) -> String {
        if let Some(url) = &self.config.public_url {
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
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
