//! Webhooks: calls to other systems when records change (docs/reference/automation.md, "Webhooks and jobs").

use serde_json::{Map, Value};

use super::retry::Backoff;
use crate::diagnostics::Diagnostic;
use crate::reader::{Reader, Sink};

/// A call, at least once after each change that it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// The object whose changes it tells.
    pub object: Option<String>,
    /// Which changes.
    pub triggers: Vec<WebhookTrigger>,
    /// Where it is sent.
    pub url: Option<String>,
    /// POST unless written.
    pub method: String,
    /// Sent with it.
    pub headers: Map<String, Value>,
    /// The fields of the record that are sent; all without them.
    pub payload_fields: Option<Vec<String>>,
    /// Signs the body (HMAC-SHA256), where there is one.
    pub secret: Option<String>,
    /// How the other side is told who calls, as written.
    pub authentication: Option<Value>,
    /// How often a failed one is sent again; three times, from a second to a minute apart, unless
    /// written.
    pub retry: Backoff,
    /// The longest a call may take, in milliseconds; 30000 unless written.
    pub timeout_ms: u64,
    /// Whether it is sent at all; true unless written.
    pub is_active: bool,
}

/// A change that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookTrigger {
    /// A record was created.
    Create,
    /// A record was changed.
    Update,
    /// A record was deleted.
    Delete,
    /// A deleted record came back.
    Undelete,
    /// Somebody asked for it.
    Api,
    /// One that never happens.
    Other(String),
}

impl Webhook {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("webhooks.{name}"), &sink);
        let webhook = reader.map(|reader| Self::read(name, &reader));
        (webhook, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let triggers = reader.strings(&["triggers", "events"]).unwrap_or_default();
        let method = reader.string(&["method"]);
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            object: reader.string(&["object", "objectName"]),
            triggers: triggers.into_iter().map(trigger).collect(),
            url: reader.string(&["url"]),
            method: method.as_deref().unwrap_or("POST").to_ascii_uppercase(),
            headers: reader.free_object(&["headers"]),
            payload_fields: reader.strings(&["payloadFields"]),
            secret: reader.string(&["secret"]),
            authentication: reader.raw(&["authentication"]).cloned(),
            retry: match reader.object(&["retryPolicy"]) {
                Some(retry) => Backoff::read(&retry, 0),
                None => Backoff {
                    retries: 3,
                    delay_ms: 1000.0,
                    multiplier: 2.0,
                    delay_max_ms: 60_000.0,
                    jitter: false,
                },
            },
            timeout_ms: reader.natural(&["timeoutMs", "timeout"]).unwrap_or(30_000),
            is_active: reader.flag(&["isActive", "active"]).unwrap_or(true),
        }
    }
}

fn trigger(word: String) -> WebhookTrigger {
    match word.as_str() {
        "create" => WebhookTrigger::Create,
        "update" => WebhookTrigger::Update,
        "delete" => WebhookTrigger::Delete,
        "undelete" => WebhookTrigger::Undelete,
        "api" => WebhookTrigger::Api,
        _ => WebhookTrigger::Other(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_webhook_is_read_with_its_defaults() {
        let value = json!({"object": "deal", "triggers": ["create", "sunrise"], "url": "https://a.example"});
        let webhook = Webhook::from_value("w", &value).0.unwrap();
        assert_eq!(
            webhook.triggers[1],
            WebhookTrigger::Other("sunrise".to_owned())
        );
        assert_eq!(
            (webhook.method.as_str(), webhook.timeout_ms),
            ("POST", 30_000)
        );
        assert_eq!(webhook.retry.retries, 3);
    }
}
