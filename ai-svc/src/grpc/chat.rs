//! `ChatService`.

use std::pin::Pin;

use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};
use mesh::{Ctx, Result};
use proto::ai::v1::{
    ChatRequest, CompleteRequest, CompleteResponse, ListModelsRequest, ListModelsResponse,
    StreamChatRequest, StreamChatResponse, chat_service_server::ChatService,
};
use tonic::{Request, Response, Status};

use super::{Body, Chats, as_events, events, json, whole};
use crate::chat::{self, Answer, Chat, Relayed, begin, wants_events};

#[tonic::async_trait]
impl ChatService for Chats {
    type ChatStream = Body;
    type StreamChatStream = Pin<Box<dyn Stream<Item = Result<StreamChatResponse, Status>> + Send>>;

    async fn list_models(
        &self,
        _request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let items: Vec<Bytes> = self.0.catalogue.to_json().iter().map(json).collect();
        Ok(Response::new(ListModelsResponse {
            total: i64::try_from(items.len()).unwrap_or(i64::MAX),
            items,
            next_cursor: None,
            default_model: self.0.catalogue.default_id(),
        }))
    }

    async fn chat(&self, request: Request<ChatRequest>) -> Result<Response<Body>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let Chat { messages, settings } = Chat::parse(&request.chat)?;
        if wants_events(settings.stream, &request.accept) {
            let turn = chat::turn(&self.0, as_events(ctx), messages, settings, "stream_chat");
            return Ok(Response::new(events(turn.boxed().await?).await?));
        }
        let turn = chat::turn(&self.0, ctx, messages, settings, "chat");
        let body = whole(turn.boxed().await?, Answer::of_chat).await?;
        Ok(Response::new(body))
    }

    async fn stream_chat(
        &self,
        request: Request<StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        let ctx = as_events(Ctx::of(&request)?);
        let Chat { messages, settings } = Chat::parse(&request.into_inner().chat)?;
        let turn = chat::turn(&self.0, ctx, messages, settings, "stream_chat");
        let turn = turn.boxed().await?;
        let told = begin(|sink| async move { turn.play(sink).await.map(drop) }).await?;
        let messages = told.map(|told| {
            let event = match told {
                Relayed::Event(event) => json(&event),
                Relayed::Alive => Bytes::new(),
            };
            Ok(StreamChatResponse { event })
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn complete(
        &self,
        request: Request<CompleteRequest>,
    ) -> Result<Response<CompleteResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let (prompt, settings) = chat::completion(&request.into_inner().prompt)?;
        let answer = chat::complete(&self.0, &ctx, prompt, &settings)
            .boxed()
            .await?;
        Ok(Response::new(CompleteResponse {
            answer: json(&answer),
        }))
    }
}
