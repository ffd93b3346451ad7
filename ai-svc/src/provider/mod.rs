//! Providers of language models: asked in one way, answering in one way, piece by piece.
//!
//! Invariant: no key and no text of a provider's error reaches a message, a detail or a log; whoever
//! drops a [`Reply`] closes the connection behind it.

mod anthropic;
mod catalogue;
mod echo;
mod openai;
mod wire;

use futures::{FutureExt as _, future::ready};
use serde::Serialize;
use serde_json::Value;

pub(crate) use catalogue::{Catalogue, Chosen};

use crate::{
    config::{Config, Endpoint, Limits},
    domain::{message::Message, usage::Usage},
};
use mesh::{Error, Result, db::BoxFuture, error::Reason};

/// Where models run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    /// An OpenAI-compatible server.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// This process: repeats what it is told.
    Echo,
}

impl Provider {
    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Echo => "echo",
        }
    }
}

/// A tool as a model is told of it.
#[derive(Clone, Debug)]
pub(crate) struct ToolSpec {
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: String,
    /// JSON Schema of its input.
    pub(crate) parameters: Value,
}

/// What a model is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask<'a> {
    /// Name of the model at the provider.
    pub(crate) model: &'a str,
    /// What it is told before everything else; empty: nothing.
    pub(crate) system: &'a str,
    /// The conversation so far, oldest first.
    pub(crate) messages: &'a [Message],
    /// What it may call.
    pub(crate) tools: &'a [ToolSpec],
    /// Randomness.
    pub(crate) temperature: Option<f64>,
    /// Most tokens of the answer.
    pub(crate) max_tokens: Option<u32>,
    /// Texts that end the answer.
    pub(crate) stop: &'a [String],
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// Text.
    Text(String),
    /// What the model thought on the way.
    Reasoning(String),
    /// A call of a tool begins.
    ToolStart {
        /// Its place among the calls of this answer.
        index: usize,
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
    },
    /// More of a call's input, as JSON text.
    ToolInput {
        /// The call.
        index: usize,
        /// The text.
        delta: String,
    },
    /// What was used so far.
    Usage(Usage),
    /// Why the answer ends.
    Finish(Finish),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// It is whole.
    Stop,
    /// It is as long as it may be.
    Length,
    /// It waits for its tools.
    ToolCalls,
    /// The provider withheld it.
    ContentFilter,
}

impl Finish {
    /// The word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool-calls",
            Self::ContentFilter => "content-filter",
        }
    }
}

/// The ways to the providers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Providers {
    http: wire::Http,
    openai: Endpoint,
    anthropic: Endpoint,
}

/// An answer as it comes.
pub(crate) enum Reply {
    /// From a server.
    Remote(Box<wire::Remote>),
    /// From this process.
    Local(std::vec::IntoIter<Piece>),
}

impl Reply {
    /// The next piece; `None` once the answer is whole.
    ///
    /// # Errors
    /// AI_PROVIDER_ERROR, RATE_LIMITED, TIMEOUT.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>> {
        match self {
            Self::Remote(remote) => remote.next().await,
            Self::Local(pieces) => Ok(pieces.next()),
        }
    }
}

impl Providers {
    /// As configured.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            http: wire::Http::new(config.limits)?,
            openai: config.openai.clone(),
            anthropic: config.anthropic.clone(),
        })
    }

    /// Asks a model; resolves once its answer begins.
    ///
    /// # Errors
    /// AI_PROVIDER_ERROR, RATE_LIMITED, TIMEOUT.
    pub(crate) fn ask(
        &self,
        provider: Provider,
        ask: &Ask<'_>,
    ) -> BoxFuture<'static, Result<Reply>> {
        let call = match provider {
            Provider::OpenAi => openai::call(&self.openai, ask),
            Provider::Anthropic => anthropic::call(&self.anthropic, ask),
            Provider::Echo => {
                let reply = Reply::Local(echo::answer(ask).into_iter());
                return ready(Ok(reply)).boxed();
            }
        };
        let http = self.http.clone();
        async move {
            let remote = http.post(provider, call?).await?;
            Ok(Reply::Remote(Box::new(remote)))
        }
        .boxed()
    }
}

/// The failure of a provider, in our words.
fn failed(provider: Provider, what: &str) -> Error {
    let name = provider.as_str();
    Error::new(
        Reason::AiProviderError,
        format!("The model provider {name} {what}"),
    )
    .with("provider", name)
}

fn timed_out(provider: Provider, limit_ms: u64) -> Error {
    let name = provider.as_str();
    Error::new(
        Reason::Timeout,
        format!("The model provider {name} took too long"),
    )
    .with("provider", name)
    .with("deadlineMs", limit_ms)
}

/// Milliseconds of a limit.
fn total(limits: Limits) -> std::time::Duration {
    std::time::Duration::from_millis(limits.total_ms)
}
