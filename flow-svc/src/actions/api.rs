//! Actions of type `api`: a route of the REST API, called as its RPC with the caller's identity, never
//! through a gateway (docs/reference/automation.md, "Actions").

use http::{HeaderMap, HeaderValue, Method};
use mesh::{Ctx, Error, Link, Result, call};
use metadata::Action as Spec;
use serde_json::{Map, Value, json};
use transcoding::Match;

use crate::{app::App, catalog::Action};

const PREFIX: &str = "/api/v1";

/// Calls what the action names and answers its JSON; nothing for an answer without a body.
///
/// # Errors
/// VALIDATION_ERROR `NOT_INVOKABLE` for a target that is none; those of what is called.
pub(super) async fn call(
    app: &App,
    ctx: &Ctx,
    action: &Action,
    target: &str,
    record_id: Option<&str>,
    input: Map<String, Value>,
    key: Option<&str>,
) -> Result<Option<Value>> {
    let not_invokable = |why: &str| {
        let message = format!("`{}` cannot run: {why}", action.name());
        Error::validation("NOT_INVOKABLE", message).with("target", target)
    };
    if target.contains("://") || target.starts_with("//") {
        return Err(not_invokable("other hosts are not called"));
    }
    let target = fill(target, ctx, record_id, &input);
    let target = match target.starts_with(PREFIX) {
        true => target,
        false => format!("{PREFIX}/{}", target.trim_start_matches('/')),
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target.as_str(), None),
    };
    let method: Method = action
        .spec
        .method
        .parse()
        .map_err(|_| not_invokable("its method is none"))?;
    let Match::Found(route, vars) = app.table.find(&method, path) else {
        return Err(not_invokable("there is no such route"));
    };
    let link = link_to(app, &route.package);
    let link = link.ok_or_else(|| not_invokable("an action may call records and users only"))?;
    let mut headers = HeaderMap::new();
    if let Some(key) = key.and_then(|key| HeaderValue::try_from(format!("{key}:api")).ok()) {
        headers.insert("idempotency-key", key);
    }
    let body = match route.takes_body() {
        true => payload(&action.spec, record_id, input).to_string(),
        false => String::new(),
    };
    let message = route.encode(&vars, query, &headers, body.as_bytes())?;
    let answer = call::unary(link, route, message, ctx, None).await?;
    let (_, body) = route.render(&vars, &answer.message, &mut HeaderMap::new())?;
    if body.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(Error::internal)
}

/// The services that actions may call. Actions and flows are not among them: an action that calls
/// itself would never end.
fn link_to(app: &App, package: &str) -> Option<Link> {
    match package.split('.').nth(1)? {
        "data" => Some(app.data.clone()),
        "auth" => Some(app.auth.clone()),
        _ => None,
    }
}

fn payload(action: &Spec, record_id: Option<&str>, input: Map<String, Value>) -> Value {
    let mut body = match &action.body_wrap {
        Some(wrap) => Map::from_iter([(wrap.clone(), Value::Object(input))]),
        None => input,
    };
    if let (Some(param), Some(id)) = (&action.record_id_param, record_id) {
        body.insert(param.clone(), json!(id));
    }
    body.extend(action.body_extra.clone());
    Value::Object(body)
}

/// Puts values in the place of `{id}`, `{recordId}`, `${param.x}` and `${ctx.x}`, percent-encoded.
fn fill(target: &str, ctx: &Ctx, record_id: Option<&str>, input: &Map<String, Value>) -> String {
    let mut filled = String::with_capacity(target.len());
    let mut rest = target;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else {
            break;
        };
        let name = &rest[open + 1..open + length];
        filled.push_str(rest[..open].trim_end_matches('$'));
        let value = match name {
            "id" | "recordId" | "ctx.recordId" | "ctx.id" => record_id.map(str::to_owned),
            "ctx.userId" | "ctx.user.id" => {
                ctx.identity().ok().map(|identity| identity.subject.clone())
            }
            "ctx.orgId" | "ctx.org.id" => ctx
                .identity()
                .ok()
                .and_then(|identity| identity.organization_id.clone()),
            name => name
                .strip_prefix("param.")
                .and_then(|name| input.get(name))
                .map(|value| {
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                }),
        };
        filled.push_str(&encode(&value.unwrap_or_default()));
        rest = &rest[open + length + 1..];
    }
    filled.push_str(rest);
    filled
}

/// Percent-encodes all that is not unreserved (RFC 3986 §2.3): a value stays within its segment.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => {
                // Writing to a text does not fail.
                let _written = write!(encoded, "%{other:02X}");
            }
        }
    }
    encoded
}
