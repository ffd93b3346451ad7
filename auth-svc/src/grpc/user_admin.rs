//! `UserAdminService`.

use std::sync::Arc;

use mesh::{Ctx, clock};
use proto::auth::v1::{self as pb, user_admin_service_server::UserAdminService};
use tonic::{Request, Response, Status};

use super::convert::user_for_admin;
use crate::{
    app::{self, Account, App},
    domain::input::Page,
};

/// Serves `UserAdminService`.
pub(crate) struct UserAdmin(pub Arc<App>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl UserAdminService for UserAdmin {
    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Answer<pb::CreateUserResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        let account = Account {
            name: asked.name,
            email: asked.email,
            password: asked.password,
        };
        let user = app::admin::create_user(&self.0, &ctx, account).await?;
        Ok(Response::new(pb::CreateUserResponse {
            user: Some(user_for_admin(user, clock::now())),
        }))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Answer<pb::ListUsersResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.get_ref();
        let page = Page::of(
            asked.limit,
            asked.offset,
            &asked.search_value,
            &asked.search_field,
        )?;
        let (users, total) = app::admin::list_users(&self.0, &ctx, &page).await?;
        Ok(Response::new(pb::ListUsersResponse {
            users: users
                .into_iter()
                .map(|user| user_for_admin(user, ctx.now))
                .collect(),
            total,
            limit: Some(page.limit),
            offset: Some(page.offset),
        }))
    }

    async fn set_user_password(
        &self,
        request: Request<pb::SetUserPasswordRequest>,
    ) -> Answer<pb::SetUserPasswordResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.into_inner();
        app::admin::set_user_password(&self.0, &ctx, &asked.user_id, asked.new_password).await?;
        Ok(Response::new(pb::SetUserPasswordResponse { status: true }))
    }

    async fn ban_user(&self, request: Request<pb::BanUserRequest>) -> Answer<pb::BanUserResponse> {
        let ctx = Ctx::of(&request)?;
        let asked = request.get_ref();
        let user = app::admin::ban_user(
            &self.0,
            &ctx,
            &asked.user_id,
            asked.ban_reason.as_deref(),
            asked.ban_expires_in,
        )
        .await?;
        Ok(Response::new(pb::BanUserResponse {
            user: Some(user_for_admin(user, clock::now())),
        }))
    }

    async fn unban_user(
        &self,
        request: Request<pb::UnbanUserRequest>,
    ) -> Answer<pb::UnbanUserResponse> {
        let ctx = Ctx::of(&request)?;
        let user = app::admin::unban_user(&self.0, &ctx, &request.get_ref().user_id).await?;
        Ok(Response::new(pb::UnbanUserResponse {
            user: Some(user_for_admin(user, clock::now())),
        }))
    }

    async fn remove_user(
        &self,
        request: Request<pb::RemoveUserRequest>,
    ) -> Answer<pb::RemoveUserResponse> {
        let ctx = Ctx::of(&request)?;
        app::admin::remove_user(&self.0, &ctx, &request.get_ref().user_id).await?;
        Ok(Response::new(pb::RemoveUserResponse { success: true }))
    }
}
