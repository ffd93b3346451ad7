//! The provider that needs no network: deterministic, for demos, tests and a first look.
//!
//! A line `call <tool> {json}` of the last user message makes it call that tool, several lines several
//! tools at once; then it answers with what the tools put out. Otherwise it repeats the message.

use serde_json::Value;

use super::{Ask, Finish, Piece};
use crate::domain::{
    message::{Message, Role},
    usage::{Usage, estimate},
};

/// The pieces of an answer.
pub(super) fn answer(ask: &Ask<'_>) -> Vec<Piece> {
    let last = ask.messages.iter().rposition(|one| one.role == Role::User);
    let (asked, since): (&str, &[Message]) = match last {
        Some(at) => (&ask.messages[at].content, &ask.messages[at + 1..]),
        None => ("", &[]),
    };
    let mut pieces = Vec::new();
    let outputs: Vec<&str> = since
        .iter()
        .filter(|message| message.role == Role::Tool)
        .map(|message| message.content.as_str())
        .collect();
    let calls: Vec<(&str, &str)> = asked.lines().filter_map(call).collect();
    let offered = |name: &str| ask.tools.iter().any(|tool| tool.name == name);
    let calling = outputs.is_empty() && calls.iter().any(|(name, _)| offered(name));
    let mut written = String::new();
    if calling {
        let calls = calls.iter().filter(|(name, _)| offered(name));
        for (index, (name, input)) in calls.enumerate() {
            let id = format!("call_{}", since.len() + index + 1);
            let name = (*name).to_owned();
            pieces.push(Piece::ToolStart { index, id, name });
            let delta = (*input).to_owned();
            pieces.push(Piece::ToolInput { index, delta });
            written.push_str(input);
        }
    } else {
        written = match outputs.is_empty() {
            true => asked.to_owned(),
            false => outputs.join("\n"),
        };
        for part in written.split_inclusive(' ') {
            pieces.push(Piece::Text(part.to_owned()));
        }
    }
    let read: usize = ask.messages.iter().map(|one| one.content.len()).sum();
    pieces.push(Piece::Usage(Usage {
        prompt_tokens: estimate(ask.system.len() + read),
        completion_tokens: estimate(written.len()),
    }));
    pieces.push(Piece::Finish(match calling {
        true => Finish::ToolCalls,
        false => Finish::Stop,
    }));
    pieces
}

/// Tool and input of a line `call <tool> {json}`.
fn call(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim().strip_prefix("call ")?.trim_start();
    let (name, input) = rest.split_once(' ').unwrap_or((rest, "{}"));
    serde_json::from_str::<Value>(input).ok()?;
    Some((name, input.trim()))
}
