//! `ApiKeyService`.

use std::sync::Arc;

use mesh::Ctx;
use proto::auth::v1::{self as pb, api_key_service_server::ApiKeyService};
use tonic::{Request, Response, Status};

use super::convert::{moment, timestamp};
use crate::{
    app::{self, App, NewKey},
    domain::api_key::ApiKey,
};

/// Serves `ApiKeyService`.
pub(crate) struct ApiKeys(pub Arc<App>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ApiKeyService for ApiKeys {
    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Answer<pb::ListApiKeysResponse> {
        let ctx = Ctx::of(&request)?;
        let user_id = request.get_ref().user_id.as_deref();
        let keys = app::keys::list_keys(&self.0, &ctx, user_id).await?;
        Ok(Response::new(pb::ListApiKeysResponse {
            total: i64::try_from(keys.len()).unwrap_or(i64::MAX),
            items: keys.into_iter().map(key).collect(),
            next_cursor: None,
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Answer<pb::CreateApiKeyResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.get_ref();
        let new = NewKey {
            name: &asked.name,
            expires_at: asked.expires_at.as_ref().map(moment).transpose()?,
            scopes: asked.scopes.as_deref(),
        };
        let (made, secret) = app::keys::create_key(&self.0, &ctx, new).await?;
        let made = key(made);
        Ok(Response::new(pb::CreateApiKeyResponse {
            id: made.id,
            name: made.name,
            prefix: made.prefix,
            key: secret,
            expires_at: made.expires_at,
            scopes: made.scopes,
        }))
    }

    async fn delete_api_key(
        &self,
        request: Request<pb::DeleteApiKeyRequest>,
    ) -> Answer<pb::DeleteApiKeyResponse> {
        let ctx = Ctx::of(&request)?;
        app::keys::delete_key(&self.0, &ctx, &request.get_ref().id).await?;
        Ok(Response::new(pb::DeleteApiKeyResponse {}))
    }
}

fn key(key: ApiKey) -> pb::ApiKey {
    let scopes = key
        .scopes
        .map(|scopes| serde_json::json!(scopes).to_string());
    pb::ApiKey {
        id: key.id,
        name: key.name,
        prefix: key.prefix,
        scopes: scopes.map(Into::into),
        expires_at: key.expires_at.map(timestamp),
        created_at: Some(timestamp(key.created_at)),
        last_used_at: key.last_used_at.map(timestamp),
    }
}
