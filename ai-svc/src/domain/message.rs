//! Messages of a conversation (docs/reference/ai.md §3): as a string, as parts, or as the AI SDK's UI messages.

use std::collections::HashSet;

use mesh::{Error, FieldViolation, Result};
use serde_json::{Map, Value, json};

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Who set the conversation up.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool, to the model.
    Tool,
}

impl Role {
    /// The word on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of that word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::System, Self::User, Self::Assistant, Self::Tool]
            .into_iter()
            .find(|role| role.as_str() == word)
    }
}

/// A call of a tool by a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolCall {
    /// Its id.
    pub(crate) id: String,
    /// Name of the tool.
    pub(crate) name: String,
    /// The input.
    pub(crate) input: Value,
}

impl ToolCall {
    /// As it is stored and shown.
    pub(crate) fn to_json(&self) -> Value {
        json!({"toolCallId": self.id, "toolName": self.name, "input": self.input})
    }

    /// Reads [`ToolCall::to_json`], or what other clients call it.
    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let text = |keys: [&str; 2]| keys.iter().find_map(|key| value[*key].as_str());
        Some(Self {
            id: text(["toolCallId", "id"])?.to_owned(),
            name: text(["toolName", "name"])?.to_owned(),
            input: value.get("input").or_else(|| value.get("args"))?.clone(),
        })
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    /// Who says it.
    pub(crate) role: Role,
    /// What is said.
    pub(crate) content: String,
    /// What a model calls with it.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// The call that a tool answers.
    pub(crate) tool_call_id: Option<String>,
}

impl Message {
    /// A message without calls.
    pub(crate) fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// What a tool put out.
    pub(crate) fn output(call_id: &str, content: String) -> Self {
        Self {
            tool_call_id: Some(call_id.to_owned()),
            ..Self::new(Role::Tool, content)
        }
    }

    /// Reads one message, and the tool outputs that it carries in its parts, into `out`.
    ///
    /// # Errors
    /// VALIDATION_ERROR naming the field below `at`.
    fn read(value: &Value, at: &str, out: &mut Vec<Self>) -> Result<()> {
        let Some(map) = value.as_object() else {
            return Err(wrong(at, "type", "must be an object"));
        };
        let role = match map.get("role") {
            None => return Err(wrong(&format!("{at}.role"), "required", "is required")),
            Some(role) => role.as_str().and_then(Role::parse),
        };
        let Some(role) = role else {
            let field = format!("{at}.role");
            let known = "must be system, user, assistant or tool";
            return Err(wrong(&field, "invalid_option", known));
        };
        let read = content(map, at)?;
        if read.text.is_none() && matches!(role, Role::System | Role::User) {
            return Err(wrong(&format!("{at}.content"), "required", "is required"));
        }
        let mut message = Self::new(role, read.text.unwrap_or_default());
        if role == Role::Assistant {
            let calls = ["toolCalls", "tool_calls"]
                .iter()
                .find_map(|key| map.get(*key));
            let calls = calls.and_then(Value::as_array).into_iter().flatten();
            message.tool_calls = calls
                .filter_map(ToolCall::from_json)
                .chain(read.calls)
                .collect();
        }
        let call = ["toolCallId", "tool_call_id"]
            .iter()
            .find_map(|key| map.get(*key));
        if role == Role::Tool {
            message.tool_call_id = call.and_then(Value::as_str).map(str::to_owned);
        }
        out.push(message);
        if role == Role::Assistant {
            out.extend(read.outputs);
        }
        Ok(())
    }
}

/// What the content of a message holds.
#[derive(Default)]
struct Content {
    text: Option<String>,
    calls: Vec<ToolCall>,
    outputs: Vec<Message>,
}

fn content(map: &Map<String, Value>, at: &str) -> Result<Content> {
    let (key, value) = match (map.get("content"), map.get("parts")) {
        (Some(value), None) => ("content", value),
        (None | Some(Value::Null), Some(value)) => ("parts", value),
        // The AI SDK's older messages carry both; the parts are the whole of it.
        (Some(Value::String(text)), Some(Value::Array(parts))) if parts.is_empty() => {
            return Ok(Content {
                text: Some(text.clone()),
                ..Content::default()
            });
        }
        (Some(_), Some(value)) => ("parts", value),
        (None, None) => return Ok(Content::default()),
    };
    let field = format!("{at}.{key}");
    let parts = match value {
        Value::Null => return Ok(Content::default()),
        Value::String(text) if key == "content" => {
            return Ok(Content {
                text: Some(text.clone()),
                ..Content::default()
            });
        }
        Value::Array(parts) => parts,
        _ => return Err(wrong(&field, "type", "must be a text or a list of parts")),
    };
    let mut read = Content::default();
    let mut texts = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        let field = format!("{field}[{place}]");
        let kind = part.get("type").and_then(Value::as_str);
        let Some(kind) = kind else {
            return Err(wrong(&format!("{field}.type"), "required", "is required"));
        };
        if kind == "text" {
            let text = part.get("text").and_then(Value::as_str);
            let text =
                text.ok_or_else(|| wrong(&format!("{field}.text"), "type", "must be a text"))?;
            texts.push(text);
        } else if kind.starts_with("tool-") || kind == "dynamic-tool" {
            tool_part(kind, part, &mut read);
        }
        // Files, sources, thoughts and steps are no text; a model is not told of them.
    }
    read.text = Some(texts.concat());
    Ok(read)
}

/// A call of an earlier answer that the AI SDK sends back, with its output.
fn tool_part(kind: &str, part: &Value, read: &mut Content) {
    let name = part["toolName"]
        .as_str()
        .or_else(|| kind.strip_prefix("tool-"));
    let (Some(name), Some(id), Some(input)) =
        (name, part["toolCallId"].as_str(), part.get("input"))
    else {
        return;
    };
    let output = match part.get("output") {
        Some(output) => output.to_string(),
        None => match part["errorText"].as_str() {
            Some(text) => json!({"error": text}).to_string(),
            None => return,
        },
    };
    read.calls.push(ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        input: input.clone(),
    });
    read.outputs.push(Message::output(id, output));
}

/// Reads the messages of a request, in order.
///
/// # Errors
/// VALIDATION_ERROR naming the field.
pub(crate) fn list(value: Option<&Value>) -> Result<Vec<Message>> {
    let list = match value {
        None | Some(Value::Null) => return Err(wrong("messages", "required", "is required")),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("messages", "type", "must be a list")),
    };
    if list.is_empty() {
        return Err(wrong("messages", "required", "must hold a message"));
    }
    let mut messages = Vec::with_capacity(list.len());
    for (place, value) in list.iter().enumerate() {
        Message::read(value, &format!("messages[{place}]"), &mut messages)?;
    }
    Ok(messages)
}

/// Reads the one message that is appended to a conversation: itself, `{message}` or `{content}`.
///
/// # Errors
/// VALIDATION_ERROR naming the field.
pub(crate) fn user_message(body: &Map<String, Value>) -> Result<Message> {
    let (value, at) = match body.get("message") {
        Some(Value::String(text)) => return text_message(text, "message"),
        Some(inner) => (inner.clone(), "message"),
        None => (Value::Object(body.clone()), ""),
    };
    let Value::Object(mut map) = value else {
        return Err(wrong(at, "type", "must be an object"));
    };
    let name = |key: &str| match at {
        "" => key.to_owned(),
        at => format!("{at}.{key}"),
    };
    match map.entry("role").or_insert_with(|| json!("user")).as_str() {
        Some("user") => {}
        _ => return Err(wrong(&name("role"), "invalid_option", "must be user")),
    }
    if !map.contains_key("content") && !map.contains_key("parts") {
        return Err(wrong(&name("content"), "required", "is required"));
    }
    let read = match at {
        "" => content(&map, "").map_err(|error| unprefixed(&error))?,
        at => content(&map, at)?,
    };
    text_message(&read.text.unwrap_or_default(), &name("content"))
}

fn text_message(text: &str, field: &str) -> Result<Message> {
    if text.trim().is_empty() {
        return Err(wrong(field, "required", "must not be empty"));
    }
    Ok(Message::new(Role::User, text))
}

/// The violation of a field at the top, whose path begins with nothing.
fn unprefixed(error: &Error) -> Error {
    let fields = error.field_violations().iter().map(|violation| {
        let field = violation.field.trim_start_matches('.');
        let message = violation.message.trim_start_matches('.');
        FieldViolation::new(field, &violation.code, message)
    });
    Error::fields(fields.collect())
}

/// Leaves out tool outputs without their call, and calls without their output: providers refuse both.
pub(crate) fn paired(messages: Vec<Message>) -> Vec<Message> {
    let answered: HashSet<String> = messages
        .iter()
        .filter(|message| message.role == Role::Tool)
        .filter_map(|message| message.tool_call_id.clone())
        .collect();
    let mut called = HashSet::new();
    let mut kept = Vec::with_capacity(messages.len());
    for mut message in messages {
        if message.role == Role::Tool {
            let id = message.tool_call_id.as_ref();
            if !id.is_some_and(|id| called.remove(id)) {
                continue;
            }
        } else {
            message
                .tool_calls
                .retain(|call| answered.contains(&call.id));
            called.extend(message.tool_calls.iter().map(|call| call.id.clone()));
            if message.role == Role::Assistant
                && message.content.is_empty()
                && message.tool_calls.is_empty()
            {
                continue;
            }
        }
        kept.push(message);
    }
    kept
}

/// A violation of a field, named with its path.
pub(crate) fn wrong(field: &str, code: &str, what: &str) -> Error {
    Error::fields(vec![FieldViolation::new(
        field,
        code,
        format!("{field} {what}"),
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Vec<Message>> {
        list(Some(&value))
    }

    #[test]
    fn texts_parts_and_ui_messages_read_alike() {
        let expected = vec![Message::new(Role::User, "hello")];
        for message in [
            json!({"role": "user", "content": "hello"}),
            json!({"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]}),
            json!({"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}),
        ] {
            assert_eq!(read(json!([message])).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (messages, field) in [
            (json!([]), "messages"),
            (json!("x"), "messages"),
            (json!([{"content": "x"}]), "messages[0].role"),
            (
                json!([{"role": "boss", "content": "x"}]),
                "messages[0].role",
            ),
            (json!([{"role": "user"}]), "messages[0].content"),
            (
                json!([{"role": "user", "content": 1}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": [{"text": "x"}]}]),
                "messages[0].content[0].type",
            ),
            (
                json!([{"role": "user", "parts": [{"type": "text"}]}]),
                "messages[0].parts[0].text",
            ),
        ] {
            let error = read(messages.clone()).unwrap_err();
            assert_eq!(error.field_violations()[0].field, field, "{messages}");
        }
    }

    #[test]
    fn calls_and_outputs_stay_together() {
        let messages = json!([
            {"role": "tool", "toolCallId": "lost", "content": "{}"},
            {"role": "user", "content": "x"},
            {"role": "assistant", "parts": [
                {"type": "tool-get_record", "toolCallId": "a", "input": {}, "output": {"n": 1}},
                {"type": "tool-get_record", "toolCallId": "b", "input": {}},
            ]},
        ]);
        let kept = paired(read(messages).unwrap());
        let roles: Vec<_> = kept.iter().map(|message| message.role.as_str()).collect();
        assert_eq!(roles, ["user", "assistant", "tool"]);
        assert_eq!(kept[1].tool_calls.len(), 1);
        assert_eq!(kept[2].content, r#"{"n":1}"#);
    }
}
