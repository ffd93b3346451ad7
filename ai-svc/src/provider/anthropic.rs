//! Anthropic's messages, streamed.

use std::collections::VecDeque;

use http::{HeaderMap, HeaderName, HeaderValue};
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

/// The version of the interface.
const VERSION: &str = "2023-06-01";
/// Most tokens of an answer where the caller names none: the interface wants a number.
const MAX_TOKENS: u32 = 4_096;

pub(super) fn call(endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Call> {
    let base = endpoint.base_url.trim_end_matches('/');
    // Both forms of the URL are in use.
    let base = base.strip_suffix("/v1").unwrap_or(base);
    let url = format!("{base}/v1/messages");
    let mut headers = HeaderMap::new();
    let key = HeaderValue::try_from(endpoint.api_key.reveal());
    let mut key = key.map_err(|_| Error::internal(anyhow::anyhow!("the Anthropic key")))?;
    key.set_sensitive(true);
    headers.insert(HeaderName::from_static("x-api-key"), key);
    let version = HeaderValue::from_static(VERSION);
    headers.insert(HeaderName::from_static("anthropic-version"), version);
    Ok(Call {
        url,
        headers,
        body: body(ask),
        reader: Box::new(Events::default()),
    })
}

fn body(ask: &Ask<'_>) -> Value {
    let mut system = ask.system.to_owned();
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in ask.messages {
        // What the system says in between is told with the rest of it.
        if message.role == Role::System {
            system.push_str("\n\n");
            system.push_str(&message.content);
            continue;
        }
        let (role, blocks) = blocks(message);
        match turns.last_mut() {
            // Roles have to alternate.
            Some((last, gathered)) if *last == role => gathered.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => turns.push((role, blocks)),
        }
    }
    let messages = turns
        .into_iter()
        .map(|(role, content)| json!({"role": role, "content": content}));
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(ask.model));
    body.insert(
        "max_tokens".to_owned(),
        json!(ask.max_tokens.unwrap_or(MAX_TOKENS)),
    );
    body.insert("messages".to_owned(), messages.collect());
    body.insert("stream".to_owned(), json!(true));
    if !system.trim().is_empty() {
        body.insert("system".to_owned(), json!(system.trim()));
    }
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|tool| {
            json!({
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters,
            })
        });
        body.insert("tools".to_owned(), tools.collect());
    }
    if let Some(temperature) = ask.temperature {
        body.insert("temperature".to_owned(), json!(temperature.min(1.0)));
    }
    if !ask.stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(ask.stop));
    }
    Value::Object(body)
}

fn blocks(message: &Message) -> (&'static str, Vec<Value>) {
    let mut blocks = Vec::new();
    if message.role == Role::Tool {
        blocks.push(json!({
            "type": "tool_result",
            "tool_use_id": message.tool_call_id,
            "content": message.content,
        }));
        return ("user", blocks);
    }
    if !message.content.is_empty() {
        blocks.push(json!({"type": "text", "text": message.content}));
    }
    for call in &message.tool_calls {
        blocks.push(json!({
            "type": "tool_use",
            "id": call.id,
            "name": call.name,
            "input": call.input,
        }));
    }
    match message.role {
        Role::Assistant => ("assistant", blocks),
        Role::User | Role::System | Role::Tool => ("user", blocks),
    }
}

/// Reads the events of a message.
#[derive(Default)]
struct Events {
    prompt_tokens: i64,
    completion_tokens: i64,
}

impl Events {
    fn used(&mut self, usage: &Value) {
        if let Some(count) = usage["input_tokens"].as_i64() {
            self.prompt_tokens = count;
        }
        if let Some(count) = usage["output_tokens"].as_i64() {
            self.completion_tokens = count;
        }
    }

    fn ended(&self, reason: &Value, pieces: &mut VecDeque<Piece>) {
        if self.prompt_tokens + self.completion_tokens > 0 {
            pieces.push_back(Piece::Usage(Usage {
                prompt_tokens: self.prompt_tokens,
                completion_tokens: self.completion_tokens,
            }));
        }
        if let Some(reason) = reason.as_str() {
            pieces.push_back(Piece::Finish(match reason {
                "max_tokens" => Finish::Length,
                "tool_use" => Finish::ToolCalls,
                "refusal" => Finish::ContentFilter,
                _ => Finish::Stop,
            }));
        }
    }
}

impl Reader for Events {
    fn event(&mut self, event: &Value, pieces: &mut VecDeque<Piece>) -> Result<bool> {
        let index = event["index"].as_u64().unwrap_or_default();
        let index = usize::try_from(index).unwrap_or_default();
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.used(&event["message"]["usage"]),
            "content_block_start" => begun(index, &event["content_block"], pieces),
            "content_block_delta" => {
                let delta = &event["delta"];
                let text = |key: &str| delta[key].as_str().unwrap_or_default().to_owned();
                match delta["type"].as_str().unwrap_or_default() {
                    "text_delta" => pieces.push_back(Piece::Text(text("text"))),
                    "thinking_delta" => pieces.push_back(Piece::Reasoning(text("thinking"))),
                    "input_json_delta" => {
                        let delta = text("partial_json");
                        pieces.push_back(Piece::ToolInput { index, delta });
                    }
                    _ => {}
                }
            }
            "message_delta" => {
                self.used(&event["usage"]);
                self.ended(&event["delta"]["stop_reason"], pieces);
            }
            "message_stop" => return Ok(true),
            "error" => return Err(failed(Provider::Anthropic, "broke off its answer")),
            _ => {}
        }
        Ok(false)
    }

    fn whole(&mut self, answer: &Value, pieces: &mut VecDeque<Piece>) {
        let content = answer["content"].as_array().map_or(&[][..], Vec::as_slice);
        for (index, block) in content.iter().enumerate() {
            begun(index, block, pieces);
            if block["type"] == "tool_use" {
                let delta = block["input"].to_string();
                pieces.push_back(Piece::ToolInput { index, delta });
            }
        }
        self.used(&answer["usage"]);
        self.ended(&answer["stop_reason"], pieces);
    }
}

fn begun(index: usize, block: &Value, pieces: &mut VecDeque<Piece>) {
    let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
    match block["type"].as_str().unwrap_or_default() {
        "tool_use" => pieces.push_back(Piece::ToolStart {
            index,
            id: text("id"),
            name: text("name"),
        }),
        "text" if !text("text").is_empty() => pieces.push_back(Piece::Text(text("text"))),
        _ => {}
    }
}
