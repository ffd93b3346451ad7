//! `AuthService`.

use std::sync::Arc;

use mesh::{Ctx, resolver::Credential};
use proto::auth::v1::{self as pb, auth_service_server::AuthService};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::convert::{session, user, with_cookie};
use crate::{
    app::{self, App, SignIn, SignUp},
    domain::identity::roles,
};

/// Serves `AuthService`.
pub(crate) struct Auth(pub Arc<App>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuthService for Auth {
    async fn sign_up_email(
        &self,
        request: Request<pb::SignUpEmailRequest>,
    ) -> Answer<pb::SignUpEmailResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let asked = SignUp {
            name: asked.name,
            email: asked.email,
            password: asked.password,
            image: asked.image,
            remember: asked.remember_me.unwrap_or(true),
            callback_url: asked.callback_url,
        };
        let begun = app::sign_in::sign_up(&self.0, &ctx, asked).await?;
        let answer = pb::SignUpEmailResponse {
            token: Some(begun.token.clone()),
            user: Some(user(begun.user)),
            set_auth_token: begun.token,
        };
        Ok(with_cookie(answer, &begun.cookie)?)
    }

    async fn sign_in_email(
        &self,
        request: Request<pb::SignInEmailRequest>,
    ) -> Answer<pb::SignInEmailResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let asked = SignIn {
            email: asked.email,
            password: asked.password,
            remember: asked.remember_me.unwrap_or(true),
            callback_url: asked.callback_url,
        };
        let (begun, url) = app::sign_in::sign_in(&self.0, &ctx, asked).await?;
        let answer = pb::SignInEmailResponse {
            redirect: url.is_some(),
            token: begun.token.clone(),
            user: Some(user(begun.user)),
            url,
            set_auth_token: begun.token,
        };
        Ok(with_cookie(answer, &begun.cookie)?)
    }

    async fn sign_out(&self, request: Request<pb::SignOutRequest>) -> Answer<pb::SignOutResponse> {
        let ctx = Ctx::of(&request)?;
        app::sessions::sign_out(&self.0, &ctx).await?;
        Ok(with_cookie(
            pb::SignOutResponse { success: true },
            &self.0.cleared_cookie(),
        )?)
    }

    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Answer<pb::GetSessionResponse> {
        let ctx = Ctx::of(&request)?;
        let sent = Sent::of(request.metadata());
        let Some(mut signed_in) = app::admit::signed_in_if_any(&self.0, &ctx).await? else {
            return Ok(Response::new(pb::GetSessionResponse { current: None }));
        };
        let refresh = !request.get_ref().disable_refresh.unwrap_or(false);
        if refresh {
            app::sessions::prolong(&self.0, &ctx, &mut signed_in.session).await?;
        }
        let token = app::sessions::token_of(&self.0, &signed_in.session, sent.text());
        let cookie = token
            .filter(|_| refresh && sent.is_cookie())
            .map(|token| app::sessions::renewed_cookie(&self.0, &signed_in.session, token));
        let roles = roles(ctx.identity()?);
        let current = pb::CurrentSession {
            session: Some(session(signed_in.session, token)),
            user: Some(pb::User {
                role: Some(roles.join(",")),
                roles,
                ..user(signed_in.user)
            }),
        };
        let answer = pb::GetSessionResponse {
            current: Some(current),
        };
        Ok(match cookie {
            Some(cookie) => with_cookie(answer, &cookie)?,
            None => Response::new(answer),
        })
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Answer<pb::ListSessionsResponse> {
        let ctx = Ctx::of(&request)?;
        let sent = Sent::of(request.metadata());
        let sessions = app::sessions::list_sessions(&self.0, &ctx).await?;
        let show = |of| {
            let token = app::sessions::token_of(&self.0, &of, sent.text());
            session(of, token)
        };
        Ok(Response::new(pb::ListSessionsResponse {
            sessions: sessions.into_iter().map(show).collect(),
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Answer<pb::RevokeSessionResponse> {
        let ctx = Ctx::of(&request)?;
        app::sessions::revoke_session(&self.0, &ctx, &request.get_ref().token).await?;
        Ok(Response::new(pb::RevokeSessionResponse { status: true }))
    }

    async fn revoke_sessions(
        &self,
        request: Request<pb::RevokeSessionsRequest>,
    ) -> Answer<pb::RevokeSessionsResponse> {
        let ctx = Ctx::of(&request)?;
        app::sessions::revoke_sessions(&self.0, &ctx, false).await?;
        Ok(Response::new(pb::RevokeSessionsResponse { status: true }))
    }

    async fn revoke_other_sessions(
        &self,
        request: Request<pb::RevokeOtherSessionsRequest>,
    ) -> Answer<pb::RevokeOtherSessionsResponse> {
        let ctx = Ctx::of(&request)?;
        app::sessions::revoke_sessions(&self.0, &ctx, true).await?;
        Ok(Response::new(pb::RevokeOtherSessionsResponse {
            status: true,
        }))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Answer<pb::ChangePasswordResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let begun = app::sessions::change_password(
            &self.0,
            &ctx,
            asked.current_password,
            asked.new_password,
        )
        .await?;
        let answer = pb::ChangePasswordResponse {
            token: Some(begun.token.clone()),
            user: Some(user(begun.user)),
            set_auth_token: begun.token,
        };
        Ok(with_cookie(answer, &begun.cookie)?)
    }

    async fn update_user(
        &self,
        request: Request<pb::UpdateUserRequest>,
    ) -> Answer<pb::UpdateUserResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.get_ref();
        app::profile::update_user(&self.0, &ctx, asked.name.as_deref(), asked.image.as_deref())
            .await?;
        Ok(Response::new(pb::UpdateUserResponse { status: true }))
    }

    async fn get_bootstrap_status(
        &self,
        _request: Request<pb::GetBootstrapStatusRequest>,
    ) -> Answer<pb::GetBootstrapStatusResponse> {
        let has_owner = self.0.has_owner().await?;
        Ok(Response::new(pb::GetBootstrapStatusResponse { has_owner }))
    }

    async fn get_auth_config(
        &self,
        _request: Request<pb::GetAuthConfigRequest>,
    ) -> Answer<pb::GetAuthConfigResponse> {
        let config = self.0.email_and_password();
        Ok(Response::new(pb::GetAuthConfigResponse {
            email_and_password: Some(pb::EmailAndPasswordConfig {
                enabled: config.enabled,
                disable_sign_up: config.disable_sign_up,
                require_email_verification: false,
                min_password_length: u32::try_from(config.min_password_length).unwrap_or(u32::MAX),
            }),
            social_providers: Vec::new(),
        }))
    }

    async fn get_auth_status(
        &self,
        _request: Request<pb::GetAuthStatusRequest>,
    ) -> Answer<pb::GetAuthStatusResponse> {
        Ok(Response::new(pb::GetAuthStatusResponse { ok: true }))
    }
}

/// The session token or cookie that came with a call, when it came: from a client that calls
/// directly, or from a gateway that hands on the `cookie` header. The server itself knows no token.
enum Sent {
    Token(String),
    Cookie(String),
    Nothing,
}

impl Sent {
    fn of(metadata: &MetadataMap) -> Self {
        let mut headers = metadata.clone().into_headers();
        match Credential::of(&headers) {
            // An identity token, when a gateway calls; looked through by `token_of`.
            Ok(Some(Credential::Bearer(token))) if !token.starts_with("eyJ") => {
                return Self::Token(token);
            }
            Ok(_) | Err(_) => {}
        }
        headers.remove(http::header::AUTHORIZATION);
        headers.remove("x-api-key");
        match Credential::of(&headers) {
            Ok(Some(Credential::Cookie(value))) => Self::Cookie(value),
            Ok(_) | Err(_) => Self::Nothing,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Token(text) | Self::Cookie(text) => Some(text),
            Self::Nothing => None,
        }
    }

    fn is_cookie(&self) -> bool {
        matches!(self, Self::Cookie(_))
    }
}
