//! Servers that speak OpenAI's chat completions, streamed.

use std::collections::VecDeque;

use http::{HeaderMap, HeaderValue, header};
use mesh::{Error, Result};
use serde_json::{Map, Value, json};

use super::{
    Ask, Finish, Piece, Provider, failed,
    wire::{Call, Reader},
};
use crate::{
    config::Endpoint,
    domain::{
        message::{Message, Role},
        usage::Usage,
    },
};

pub(super) fn call(endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Call> {
    let url = format!(
        "{}/chat/completions",
        endpoint.base_url.trim_end_matches('/')
    );
    let mut headers = HeaderMap::new();
    let key = endpoint.api_key.reveal();
    if !key.is_empty() {
        let value = HeaderValue::try_from(format!("Bearer {key}"));
        let mut value = value.map_err(|_| Error::internal(anyhow::anyhow!("the OpenAI key")))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(Call {
        url,
        headers,
        body: body(ask),
        reader: Box::new(Chunks),
    })
}

fn body(ask: &Ask<'_>) -> Value {
    let mut messages = Vec::with_capacity(ask.messages.len() + 1);
    if !ask.system.is_empty() {
        messages.push(json!({"role": "system", "content": ask.system}));
    }
    messages.extend(ask.messages.iter().map(message));
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(ask.model));
    body.insert("messages".to_owned(), json!(messages));
    body.insert("stream".to_owned(), json!(true));
    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            }})
        });
        body.insert("tools".to_owned(), tools.collect());
    }
    if let Some(temperature) = ask.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(max) = ask.max_tokens {
        body.insert("max_tokens".to_owned(), json!(max));
    }
    if !ask.stop.is_empty() {
        body.insert("stop".to_owned(), json!(ask.stop));
    }
    Value::Object(body)
}

fn message(message: &Message) -> Value {
    match message.role {
        Role::Tool => json!({
            "role": "tool",
            "tool_call_id": message.tool_call_id,
            "content": message.content,
        }),
        Role::Assistant if !message.tool_calls.is_empty() => {
            let calls = message.tool_calls.iter().map(|call| {
                json!({"id": call.id, "type": "function", "function": {
                    "name": call.name,
                    "arguments": call.input.to_string(),
                }})
            });
            let content = (!message.content.is_empty()).then_some(&message.content);
            json!({
                "role": "assistant",
                "content": content,
                "tool_calls": calls.collect::<Vec<_>>(),
            })
        }
        role => json!({"role": role.as_str(), "content": message.content}),
    }
}

/// Reads `chat.completion.chunk` events.
struct Chunks;

impl Reader for Chunks {
    fn event(&mut self, event: &Value, pieces: &mut VecDeque<Piece>) -> Result<bool> {
        if event.get("error").is_some_and(|error| !error.is_null()) {
            return Err(failed(Provider::OpenAi, "broke off its answer"));
        }
        if let Some(choice) = event["choices"].get(0) {
            said(&choice["delta"], pieces);
            ended(choice, pieces);
        }
        used(event, pieces);
        Ok(false)
    }

    fn whole(&mut self, answer: &Value, pieces: &mut VecDeque<Piece>) {
        if let Some(choice) = answer["choices"].get(0) {
            said(&choice["message"], pieces);
            ended(choice, pieces);
        }
        used(answer, pieces);
    }
}

fn said(delta: &Value, pieces: &mut VecDeque<Piece>) {
    for key in ["reasoning_content", "reasoning"] {
        if let Some(text) = delta[key].as_str().filter(|text| !text.is_empty()) {
            pieces.push_back(Piece::Reasoning(text.to_owned()));
            break;
        }
    }
    if let Some(text) = delta["content"].as_str().filter(|text| !text.is_empty()) {
        pieces.push_back(Piece::Text(text.to_owned()));
    }
    let calls = delta["tool_calls"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for (place, call) in calls.iter().enumerate() {
        let index = call["index"]
            .as_u64()
            .and_then(|at| usize::try_from(at).ok());
        let index = index.unwrap_or(place);
        let function = &call["function"];
        if let Some(name) = function["name"].as_str().filter(|name| !name.is_empty()) {
            let id = call["id"].as_str().filter(|id| !id.is_empty());
            let id = id.map_or_else(|| format!("call_{}", mesh::id::new()), str::to_owned);
            let name = name.to_owned();
            pieces.push_back(Piece::ToolStart { index, id, name });
        }
        if let Some(text) = function["arguments"]
            .as_str()
            .filter(|text| !text.is_empty())
        {
            let delta = text.to_owned();
            pieces.push_back(Piece::ToolInput { index, delta });
        }
    }
}

fn ended(choice: &Value, pieces: &mut VecDeque<Piece>) {
    if let Some(reason) = choice["finish_reason"].as_str() {
        pieces.push_back(Piece::Finish(match reason {
            "length" => Finish::Length,
            "tool_calls" | "function_call" => Finish::ToolCalls,
            "content_filter" => Finish::ContentFilter,
            _ => Finish::Stop,
        }));
    }
}

fn used(event: &Value, pieces: &mut VecDeque<Piece>) {
    let count = |key: &str| event["usage"][key].as_i64();
    if let (Some(prompt_tokens), Some(completion_tokens)) =
        (count("prompt_tokens"), count("completion_tokens"))
    {
        pieces.push_back(Piece::Usage(Usage {
            prompt_tokens,
            completion_tokens,
        }));
    }
}
