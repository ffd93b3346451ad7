//! `ActionService`.

use std::{sync::Arc, time::Duration};

use mesh::{Ctx, Error, Result, clock};
use proto::flow::v1::{
    InvokeActionRequest, InvokeActionResponse, action_service_server::ActionService,
};
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};

use crate::{
    actions::{self, Invocation},
    app::App,
    store::idempotency::{Call, Claim},
};

/// How long a call waits for another one with the same key before it looks again.
const LOOK: Duration = Duration::from_millis(50);

/// Longest idempotency key, in characters.
const KEY_MAX: usize = 255;

/// Invokes actions.
pub(crate) struct Actions {
    pub(crate) app: Arc<App>,
}

#[tonic::async_trait]
impl ActionService for Actions {
    async fn invoke_action(
        &self,
        request: Request<InvokeActionRequest>,
    ) -> Result<Response<InvokeActionResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let result = match request.idempotency_key.is_empty() {
            true => self.invoke(&ctx, request, None).await?,
            false => self.invoke_once(&ctx, request).await?,
        };
        Ok(Response::new(InvokeActionResponse {
            result: result.into(),
        }))
    }
}

impl Actions {
    async fn invoke(
        &self,
        ctx: &Ctx,
        request: InvokeActionRequest,
        key: Option<String>,
    ) -> Result<String> {
        let body = actions::parse(&request.input)?;
        let invocation = Invocation {
            object: request.object,
            name: request.action,
            record_id: request.record_id,
            body,
            key,
        };
        let result = actions::invoke(&self.app, ctx, invocation).await?;
        Ok(result.to_string())
    }

    /// The same once for each key: a repeated call gets the first one's answer, and one that comes
    /// while the first runs waits for it.
    async fn invoke_once(&self, ctx: &Ctx, request: InvokeActionRequest) -> Result<String> {
        let key = request.idempotency_key.clone();
        if key.chars().count() > KEY_MAX {
            let message = format!("The Idempotency-Key has more than {KEY_MAX} characters");
            let error = Error::validation("INVALID_REQUEST", message);
            return Err(error.with("parameter", "Idempotency-Key"));
        }
        actions::check_permissions(&self.app, ctx, &request.object, &request.action)?;
        let principal = ctx.identity()?.subject.clone();
        let call = Call {
            hash: hash(&request),
            holder: mesh::id::new(),
            principal,
            key,
        };
        let db = &self.app.db;
        loop {
            let now = clock::now();
            match call.claim(db, now, now + ctx.remaining()).await? {
                Claim::Answered(answer) => return Ok(answer),
                Claim::Running if ctx.remaining() > LOOK * 2 => tokio::time::sleep(LOOK).await,
                Claim::Running => {
                    return Err(Error::unavailable(
                        "The first call with this Idempotency-Key",
                    ));
                }
                Claim::Ours => break,
            }
        }
        // Keys of one caller are not those of another, nor those of a flow.
        let effects = format!("action:{}", short(&[&call.principal, &call.key]));
        match self.invoke(ctx, request, Some(effects)).await {
            Ok(answer) => {
                call.answer(db, &answer).await?;
                Ok(answer)
            }
            Err(error) => {
                call.release(db).await?;
                Err(error)
            }
        }
    }
}

fn hash(request: &InvokeActionRequest) -> String {
    let input = String::from_utf8_lossy(&request.input);
    short(&[&request.object, &request.action, &request.record_id, &input])
}

/// Hex SHA-256 of texts, told apart.
fn short(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let hash = hasher.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
