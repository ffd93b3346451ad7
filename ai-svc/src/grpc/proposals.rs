//! `PendingActionService`.

use futures::FutureExt as _;
use mesh::{Ctx, Result};
use proto::ai::v1::{
    ApprovePendingActionRequest, ApprovePendingActionResponse, GetPendingActionRequest,
    GetPendingActionResponse, ListPendingActionsRequest, ListPendingActionsResponse,
    RejectPendingActionRequest, RejectPendingActionResponse,
    pending_action_service_server::PendingActionService,
};
use tonic::{Request, Response, Status};

use super::{PendingActions, filter, json};
use crate::proposals::{self, Which};

#[tonic::async_trait]
impl PendingActionService for PendingActions {
    async fn list_pending_actions(
        &self,
        request: Request<ListPendingActionsRequest>,
    ) -> Result<Response<ListPendingActionsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let which = Which {
            status: request.status,
            conversation_id: filter(&request.conversation_id),
            object_name: filter(&request.object_name),
            limit: request.limit,
            cursor: request.cursor,
        };
        let page = proposals::list(&self.0, &ctx, &which).await?;
        Ok(Response::new(ListPendingActionsResponse {
            items: page.items.iter().map(json).collect(),
            total: page.total,
            next_cursor: page.next_cursor,
        }))
    }

    async fn get_pending_action(
        &self,
        request: Request<GetPendingActionRequest>,
    ) -> Result<Response<GetPendingActionResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = request.into_inner().id;
        let action = json(&proposals::show(&self.0, &ctx, &id).await?);
        Ok(Response::new(GetPendingActionResponse { action }))
    }

    async fn approve_pending_action(
        &self,
        request: Request<ApprovePendingActionRequest>,
    ) -> Result<Response<ApprovePendingActionResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let decided = proposals::approve(&self.0, &ctx, &request.id, &request.decision);
        let outcome = json(&decided.boxed().await?);
        Ok(Response::new(ApprovePendingActionResponse { outcome }))
    }

    async fn reject_pending_action(
        &self,
        request: Request<RejectPendingActionRequest>,
    ) -> Result<Response<RejectPendingActionResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let decided = proposals::reject(&self.0, &ctx, &request.id, &request.decision);
        let outcome = json(&decided.boxed().await?);
        Ok(Response::new(RejectPendingActionResponse { outcome }))
    }
}
