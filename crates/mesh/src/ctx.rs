//! What every call carries beside its message: who asks, how long it may take, and its request id.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use time::OffsetDateTime;
use tonic::metadata::MetadataValue;

use crate::{Error, Result, clock, identity::Identity, revision, telemetry::Trace};

/// Metadata and header name of the request id.
pub const REQUEST_ID: &str = "x-request-id";
/// Metadata by which a caller asks for records as JSON text: `objectmesh-records: json`.
pub const RECORDS: &str = "objectmesh-records";
/// Metadata in which the gateway hands on the client's address, as the trusted-proxy rule has it.
pub const CLIENT_ADDRESS: &str = "objectmesh-client-address";

/// What a call to another service gets less than is left, so that the inner hop answers first: it
/// knows what it was waiting for.
pub const HOP_MARGIN: Duration = Duration::from_millis(20);

/// The caller of a verified request, put into the request by the guard.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub identity: Arc<Identity>,
    /// The identity token, passed on when this service calls another.
    pub token: Arc<str>,
}

/// The context of one call.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who asks; `None` only on public RPCs.
    pub caller: Option<Caller>,
    /// When the answer is due.
    pub deadline: Instant,
    /// The request id, the same on every hop.
    pub request_id: Arc<str>,
    /// The place in a trace that the calls made for this one hang on.
    pub trace: Option<Trace>,
    /// The moment that counts as now for this call.
    pub now: OffsetDateTime,
    /// Whether the caller asked for records as JSON text.
    pub records_as_json: bool,
    /// Address of the client, when a gateway told it.
    pub client_address: Option<String>,
    /// Program of the client (`User-Agent`).
    pub user_agent: Option<String>,
    /// The revision of the metadata that the caller has seen; 0 when it named none.
    pub revision: u64,
}

impl Ctx {
    /// The context that the guard put into the request.
    ///
    /// # Errors
    /// INTERNAL when the request did not come through a guard.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::internal(anyhow::anyhow!("request without a guard")))
    }

    /// Who asks.
    ///
    /// # Errors
    /// UNAUTHENTICATED when nobody is signed in.
    pub fn identity(&self) -> Result<&Identity> {
        self.caller
            .as_ref()
            .map(|caller| &*caller.identity)
            .ok_or_else(|| Error::unauthenticated("Authentication required"))
    }

    /// Time left until the deadline.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A request to another service for the same caller, within the same deadline.
    #[must_use]
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.remaining().saturating_sub(HOP_MARGIN));
        if let Some(caller) = &self.caller {
            set_bearer(&mut request, &caller.token);
        }
        if let Ok(id) = MetadataValue::try_from(&*self.request_id) {
            request.metadata_mut().insert(REQUEST_ID, id);
        }
        if let Some(trace) = &self.trace {
            trace.write(request.metadata_mut().as_mut());
        }
        request
            .metadata_mut()
            .insert(RECORDS, MetadataValue::from_static("json"));
        if self.revision > 0 {
            let revision = MetadataValue::from(self.revision);
            request.metadata_mut().insert(revision::REVISION, revision);
        }
        request
    }

    /// A context for work that no request asked for. It belongs to the trace of the current span,
    /// if that is recorded.
    #[must_use]
    pub fn background(caller: Option<Caller>, limit: Duration) -> Self {
        Self {
            caller,
            deadline: Instant::now() + limit,
            request_id: crate::id::new().into(),
            trace: Trace::current(),
            now: clock::now(),
            records_as_json: true,
            client_address: None,
            user_agent: None,
            revision: 0,
        }
    }
}

/// What every call made while a request is served says of it, also one that is made before there
/// is a [`Ctx`], like the exchange of a credential.
#[derive(Clone, Debug)]
struct Served {
    request_id: Arc<str>,
    trace: Option<Trace>,
}

tokio::task_local! {
    static SERVED: Served;
}

/// Runs `work` as part of that request.
pub fn serving<F: Future>(
    request_id: Arc<str>,
    trace: Option<Trace>,
    work: F,
) -> impl Future<Output = F::Output> {
    SERVED.scope(Served { request_id, trace }, work)
}

/// Says in a call's headers which request it is part of, unless they say so already.
pub(crate) fn name_request(headers: &mut http::HeaderMap) {
    if headers.contains_key(REQUEST_ID) {
        return;
    }
    // Outside of any request there is nothing to say.
    let _named = SERVED.try_with(|served| {
        if let Ok(id) = http::HeaderValue::try_from(&*served.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(trace) = &served.trace {
            trace.write(headers);
        }
    });
}

/// Puts a token into `authorization`.
pub fn set_bearer<T>(request: &mut tonic::Request<T>, token: &str) {
    if let Ok(value) = MetadataValue::try_from(format!("Bearer {token}")) {
        request.metadata_mut().insert("authorization", value);
    }
}
