//! Bodies of requests (docs/reference/ai.md §3, §6): every key is known, and what is wrong is named.

use mesh::Result;
use serde_json::{Map, Value};

use crate::domain::{
    body::{known, object},
    message::{self, Message, wrong},
};

/// Keys of a chat; each may also stand in `options`, where those at the top win.
const CHAT: [&str; 15] = [
    "messages",
    "model",
    "temperature",
    "maxTokens",
    "system",
    "systemPrompt",
    "conversationId",
    "tools",
    "maxIterations",
    "context",
    "agent",
    "stream",
    "persist",
    "options",
    "stop",
];
/// What the AI SDK's transport sends beside them; it means nothing here.
const SDK: [&str; 4] = ["id", "trigger", "messageId", "metadata"];
/// Keys of a message that is appended, beside the settings of a chat.
const MESSAGE: [&str; 5] = ["message", "role", "content", "parts", "createdAt"];
/// Longest name of an agent, model or tool.
const NAME_MAX: usize = 200;

/// Which of its tools an agent may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    /// Every one.
    All,
    /// None.
    None,
    /// Those.
    Named(Vec<String>),
}

/// What a request says beside its messages.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The model, by id.
    pub(crate) model: Option<String>,
    /// Randomness, 0 to 2.
    pub(crate) temperature: Option<f64>,
    /// Most tokens of an answer.
    pub(crate) max_tokens: Option<u32>,
    /// Told to the model before the conversation.
    pub(crate) system: Option<String>,
    /// The conversation to go on with.
    pub(crate) conversation_id: Option<String>,
    /// Which tools may be used.
    pub(crate) tools: ToolChoice,
    /// How often the model may be asked with tools.
    pub(crate) iterations: Option<u32>,
    /// What the user looks at.
    pub(crate) context: Map<String, Value>,
    /// The agent, by name.
    pub(crate) agent: Option<String>,
    /// Whether the answer is wanted as events.
    pub(crate) stream: Option<bool>,
    /// Whether a conversation is to be begun.
    pub(crate) persist: bool,
    /// Texts that end the answer.
    pub(crate) stop: Vec<String>,
}

/// A chat to answer.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    /// The conversation so far.
    pub(crate) messages: Vec<Message>,
    /// The rest.
    pub(crate) settings: Settings,
}

impl Chat {
    /// Reads a body.
    ///
    /// # Errors
    /// VALIDATION_ERROR naming the field.
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        let map = object(body)?;
        known(&map, &[&CHAT, &SDK])?;
        let map = flattened(map)?;
        let messages = message::list(map.get("messages"))?;
        let settings = Settings::read(&map)?;
        Ok(Self { messages, settings })
    }
}

/// A message to append to a conversation.
///
/// # Errors
/// VALIDATION_ERROR naming the field.
pub(crate) fn appended(body: &[u8]) -> Result<(Message, Settings)> {
    let map = object(body)?;
    known(&map, &[&CHAT[1..], &SDK, &MESSAGE])?;
    let message = message::user_message(&map)?;
    let settings = Settings::read(&flattened(map)?)?;
    if settings.conversation_id.is_some() {
        return Err(wrong("conversationId", "unknown_field", "is in the path"));
    }
    Ok((message, settings))
}

/// Prompt and settings of a completion.
///
/// # Errors
/// VALIDATION_ERROR naming the field.
pub(crate) fn completion(body: &[u8]) -> Result<(String, Settings)> {
    let map = object(body)?;
    let keys = [
        "prompt",
        "model",
        "temperature",
        "maxTokens",
        "stop",
        "options",
        "stream",
    ];
    known(&map, &[&keys])?;
    let map = flattened(map)?;
    let prompt = match map.get("prompt") {
        Some(Value::String(prompt)) if !prompt.is_empty() => prompt.clone(),
        Some(Value::String(_)) | None | Some(Value::Null) => {
            return Err(wrong("prompt", "required", "is required"));
        }
        Some(_) => return Err(wrong("prompt", "type", "must be a text")),
    };
    Ok((prompt, Settings::read(&map)?))
}

fn flattened(mut map: Map<String, Value>) -> Result<Map<String, Value>> {
    match map.remove("options") {
        None | Some(Value::Null) => {}
        Some(Value::Object(options)) => {
            known(&options, &[&CHAT[..13], &["stop"]])?;
            for (key, value) in options {
                map.entry(key).or_insert(value);
            }
        }
        Some(_) => return Err(wrong("options", "type", "must be an object")),
    }
    Ok(map)
}

impl Settings {
    fn read(map: &Map<String, Value>) -> Result<Self> {
        let system = match text(map, "system")? {
            Some(system) => Some(system),
            None => text(map, "systemPrompt")?,
        };
        let context = match map.get("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context.clone(),
            Some(_) => return Err(wrong("context", "type", "must be an object")),
        };
        Ok(Self {
            model: name(map, "model")?,
            temperature: temperature(map)?,
            max_tokens: count(map, "maxTokens", 1_000_000)?,
            system,
            conversation_id: name(map, "conversationId")?,
            tools: tools(map.get("tools"))?,
            iterations: count(map, "maxIterations", 50)?,
            context,
            agent: name(map, "agent")?,
            stream: flag(map, "stream")?,
            persist: flag(map, "persist")?.unwrap_or_default(),
            stop: stop(map.get("stop"))?,
        })
    }
}

fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(key, "type", "must be a text")),
    }
}

fn name(map: &Map<String, Value>, key: &str) -> Result<Option<String>> {
    let name = text(map, key)?;
    if name.as_ref().is_some_and(|name| name.len() > NAME_MAX) {
        return Err(wrong(key, "too_long", "is too long"));
    }
    Ok(name.filter(|name| !name.is_empty()))
}

fn flag(map: &Map<String, Value>, key: &str) -> Result<Option<bool>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(wrong(key, "type", "must be true or false")),
    }
}

fn temperature(map: &Map<String, Value>) -> Result<Option<f64>> {
    match map.get("temperature") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) if (0.0..=2.0).contains(&number) => Ok(Some(number)),
            _ => Err(wrong("temperature", "range", "must be a number of 0 to 2")),
        },
    }
}

fn count(map: &Map<String, Value>, key: &str, max: u32) -> Result<Option<u32>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            match number.filter(|number| (1..=max).contains(number)) {
                Some(number) => Ok(Some(number)),
                None => Err(wrong(
                    key,
                    "range",
                    &format!("must be a whole number of 1 to {max}"),
                )),
            }
        }
    }
}

fn tools(value: Option<&Value>) -> Result<ToolChoice> {
    match value {
        None | Some(Value::Null | Value::Bool(true)) => Ok(ToolChoice::All),
        Some(Value::Bool(false)) => Ok(ToolChoice::None),
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned));
            let names: Option<Vec<String>> = names.collect();
            let names = names.ok_or_else(|| wrong("tools", "type", "must hold names"))?;
            Ok(ToolChoice::Named(names))
        }
        Some(_) => Err(wrong(
            "tools",
            "type",
            "must be true, false or a list of names",
        )),
    }
}

fn stop(value: Option<&Value>) -> Result<Vec<String>> {
    let texts = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.clone()]),
        Some(Value::Array(texts)) => {
            let texts = texts.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect()
        }
        Some(_) => None,
    };
    let texts = texts.filter(|texts: &Vec<String>| texts.len() <= 4);
    texts.ok_or_else(|| wrong("stop", "type", "must be a text or up to four texts"))
}

/// Whether a caller wants events: the body says so, or it accepts nothing else.
pub(crate) fn wants_events(stated: Option<bool>, accept: &str) -> bool {
    let accept = accept.to_ascii_lowercase();
    let only = accept.contains("text/event-stream")
        && !accept.contains("application/json")
        && !accept.contains("*/*");
    stated.unwrap_or(only)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: Value) -> String {
        let error = Chat::parse(body.to_string().as_bytes()).unwrap_err();
        error.field_violations()[0].field.clone()
    }

    #[test]
    fn the_sdk_and_older_options_are_understood() {
        let body = json!({
            "id": "c", "trigger": "submit-message", "messageId": null,
            "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}],
            "options": {"model": "fast", "maxTokens": 5}, "maxTokens": 7,
        });
        let chat = Chat::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(chat.settings.model.as_deref(), Some("fast"));
        assert_eq!(chat.settings.max_tokens, Some(7));
    }

    #[test]
    fn every_wrong_key_is_named() {
        let hi = json!([{"role": "user", "content": "hi"}]);
        for (key, value) in [
            ("system", json!(1)),
            ("tools", json!({})),
            ("temperature", json!(3)),
            ("maxTokens", json!(0)),
            ("context", json!([])),
            ("mesages", json!([])),
            ("stream", json!("yes")),
        ] {
            let mut body = json!({"messages": hi});
            body[key] = value;
            assert_eq!(refused(body), key);
        }
    }

    #[test]
    fn events_are_for_who_takes_nothing_else() {
        for (stated, accept, events) in [
            (None, "*/*", false),
            (None, "", false),
            (None, "text/event-stream", true),
            (None, "application/json, text/event-stream", false),
            (Some(true), "application/json", true),
            (Some(false), "text/event-stream", false),
        ] {
            assert_eq!(wants_events(stated, accept), events, "{stated:?} {accept}");
        }
    }
}
