//! `ConversationService`.

use futures::FutureExt as _;
use mesh::{Ctx, Result};
use proto::ai::v1::{
    CreateConversationRequest, CreateConversationResponse, DeleteConversationRequest,
    DeleteConversationResponse, GetConversationRequest, GetConversationResponse,
    ListConversationsRequest, ListConversationsResponse, RunConversationRequest,
    UpdateConversationRequest, UpdateConversationResponse,
    conversation_service_server::ConversationService,
};
use tonic::{Request, Response, Status};

use super::{Body, Conversations, as_events, events, filter, json, whole};
use crate::{
    chat::{self, Answer, wants_events},
    conversations::{self, Wanted},
};

#[tonic::async_trait]
impl ConversationService for Conversations {
    type RunConversationStream = Body;

    async fn list_conversations(
        &self,
        request: Request<ListConversationsRequest>,
    ) -> Result<Response<ListConversationsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let wanted = Wanted {
            agent_id: filter(&request.agent_id),
            limit: request.limit,
            cursor: request.cursor,
            user_id: filter(&request.user_id),
        };
        let page = conversations::list(&self.0, &ctx, &wanted).await?;
        Ok(Response::new(ListConversationsResponse {
            items: page.items.iter().map(json).collect(),
            total: page.total,
            next_cursor: page.next_cursor,
        }))
    }

    async fn create_conversation(
        &self,
        request: Request<CreateConversationRequest>,
    ) -> Result<Response<CreateConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let body = request.into_inner().conversation;
        let conversation = json(&conversations::create(&self.0, &ctx, &body).await?);
        Ok(Response::new(CreateConversationResponse { conversation }))
    }

    async fn get_conversation(
        &self,
        request: Request<GetConversationRequest>,
    ) -> Result<Response<GetConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = request.into_inner().id;
        let conversation = json(&conversations::show(&self.0, &ctx, &id).await?);
        Ok(Response::new(GetConversationResponse { conversation }))
    }

    async fn update_conversation(
        &self,
        request: Request<UpdateConversationRequest>,
    ) -> Result<Response<UpdateConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let changed = conversations::change(&self.0, &ctx, &request.id, &request.conversation);
        let conversation = json(&changed.await?);
        Ok(Response::new(UpdateConversationResponse { conversation }))
    }

    async fn delete_conversation(
        &self,
        request: Request<DeleteConversationRequest>,
    ) -> Result<Response<DeleteConversationResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = request.into_inner().id;
        conversations::delete(&self.0, &ctx, &id).await?;
        Ok(Response::new(DeleteConversationResponse {}))
    }

    async fn run_conversation(
        &self,
        request: Request<RunConversationRequest>,
    ) -> Result<Response<Body>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let (message, mut settings) = chat::appended(&request.message)?;
        settings.conversation_id = Some(request.id);
        let messages = vec![message];
        if wants_events(settings.stream, &request.accept) {
            let turn = chat::turn(&self.0, as_events(ctx), messages, settings, "stream_chat");
            return Ok(Response::new(events(turn.boxed().await?).await?));
        }
        let turn = chat::turn(&self.0, ctx, messages, settings, "chat_with_tools");
        let body = whole(turn.boxed().await?, Answer::of_conversation).await?;
        Ok(Response::new(body))
    }
}
