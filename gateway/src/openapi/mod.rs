//! `GET /api/v1/openapi.json`: the fragments of all services as one document, for one caller
//! (docs/reference/discovery.md).
//!
//! Every service is asked as the caller, first only for the key of the caller's rights and the
//! revision of its metadata; a document of the same keys and revisions is kept. Who may see what is
//! decided by the services alone.
//!
//! A document that lacks a part must not look whole, since people generate clients from it. When
//! auth-svc or data-svc does not answer, there is none (503), as there is no API; without one of the
//! others the rest is told, the gap named in `x-unavailable`, and the document is neither kept nor
//! may anybody else keep it.

mod document;
mod frame;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use mesh::{
    Ctx, Error, Link,
    cache::{Cache, Stay},
    error::Reason,
    openapi::Fragment,
};
use proto::mesh::v1::{
    DescribeRequest, DescribeResponse, describe_service_client::DescribeServiceClient,
};
use serde_json::json;
use tokio::time::timeout;

pub use document::Document;
pub(crate) use document::{etag, is_known};

use crate::{Config, Peers, probes::NEEDED};

/// Longest wait for one service; nobody is to wait for a service that hangs as long as for a write.
const WAIT: Duration = Duration::from_secs(3);
/// Most bytes of documents that are kept.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The documents of this gateway.
pub(crate) struct Documents {
    peers: Vec<(&'static str, Link)>,
    kept: Cache<Document>,
    settings: Settings,
}

/// What a document says of the gateway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Whether browsers reach it over HTTPS: then the session cookie is called otherwise.
    pub secure: bool,
    /// Whether discovery needs no session.
    pub public_discovery: bool,
}

/// What the services answered.
struct Descriptions {
    answers: Vec<(&'static str, DescribeResponse)>,
    /// Those that did not.
    away: Vec<&'static str>,
}

impl Documents {
    pub(crate) fn new(peers: &Peers, config: &Config) -> Self {
        let https = |url: &String| url.starts_with("https:");
        Self {
            peers: peers
                .all()
                .map(|(name, link, _)| (name, link.clone()))
                .into(),
            kept: Cache::weighed(KEPT_BYTES_MAX, Document::weight, Stay::Long),
            settings: Settings {
                secure: config.public_url.as_ref().is_some_and(https),
                public_discovery: config.public_discovery,
            },
        }
    }

    /// The document for the caller.
    pub(crate) async fn of(&self, ctx: &Ctx) -> Result<Arc<Document>, Error> {
        let told = self.ask(ctx, false).await?;
        if let (true, Some(kept)) = (told.away.is_empty(), self.kept.get(told.key())) {
            return Ok(kept);
        }
        let told = self.ask(ctx, true).await?;
        let mut fragments = Vec::new();
        for (name, answer) in &told.answers {
            let fragment: Fragment = serde_json::from_slice(&answer.openapi).map_err(|error| {
                Error::internal(anyhow::anyhow!("the fragment of {name}: {error}"))
            })?;
            fragments.push(fragment);
        }
        let document = Arc::new(Document::merge(fragments, &told.away, self.settings));
        if told.away.is_empty() {
            self.kept.insert(told.key(), document.clone());
        }
        Ok(document)
    }

    /// Asks all services at once, as the caller.
    async fn ask(&self, ctx: &Ctx, with_openapi: bool) -> Result<Descriptions, Error> {
        let asked = self.peers.iter().map(|(name, link)| async move {
            let mut client = DescribeServiceClient::new(link.clone())
                .max_decoding_message_size(mesh::node::MESSAGE_MAX);
            let asked = client.describe(ctx.request(DescribeRequest { with_openapi }));
            let answer = match timeout(WAIT, asked).await {
                Ok(Ok(answer)) => Ok(answer.into_inner()),
                Ok(Err(status)) => Err(Error::from_status(&status)),
                Err(_) => Err(Error::new(Reason::Timeout, "No answer in time")),
            };
            (*name, answer)
        });
        let mut told = Descriptions {
            answers: Vec::new(),
            away: Vec::new(),
        };
        for (name, answer) in join_all(asked).await {
            match answer {
                Ok(answer) => told.answers.push((name, answer)),
                Err(error) if is_away(&error) => {
                    tracing::warn!(
                        peer = name,
                        error = error.message(),
                        "a service does not describe itself"
                    );
                    told.away.push(name);
                }
                Err(error) => return Err(error),
            }
        }
        let missing: Vec<_> = told
            .away
            .iter()
            .filter(|name| NEEDED.contains(name))
            .collect();
        if missing.is_empty() {
            return Ok(told);
        }
        Err(Error::unavailable("The description of the API").with("missing", json!(missing)))
    }
}

impl Descriptions {
    /// Name, rights key and revision of every service.
    fn key(&self) -> String {
        let answers = self.answers.iter().map(|(name, answer)| {
            let (rights, revision) = (&answer.rights_key, answer.registry_revision);
            format!("{name} {rights} {revision}\n")
        });
        answers.collect()
    }
}

/// Whether a service could not be asked, or is of a build that cannot tell yet.
fn is_away(error: &Error) -> bool {
    matches!(
        error.reason(),
        Reason::ServiceUnavailable | Reason::Timeout | Reason::NotImplemented
    )
}
