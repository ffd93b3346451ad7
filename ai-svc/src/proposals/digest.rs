//! What a proposal is bound to: the digest that an approver approves, and the difference that they see.

use metadata::canonical;
use serde_json::{Map, Value, json};

/// All that an approval is about.
pub(crate) struct Bound<'a> {
    /// Id of the proposal.
    pub(crate) id: &'a str,
    /// Name of the tool.
    pub(crate) tool: &'a str,
    /// Hash of its definition.
    pub(crate) tool_hash: &'a str,
    /// The input.
    pub(crate) input: &'a Value,
    /// Object, record and version.
    pub(crate) target: (Option<&'a str>, Option<&'a str>, Option<i64>),
    /// The agent.
    pub(crate) proposed_by: &'a str,
    /// The user.
    pub(crate) requested_by: &'a str,
    /// When it ends, RFC 3339.
    pub(crate) expires_at: &'a str,
}

impl Bound<'_> {
    /// `sha256:<hex>` over the canonical JSON of it.
    pub(crate) fn digest(&self) -> String {
        let (object, record, version) = self.target;
        canonical::hash(&json!({
            "id": self.id,
            "tool": self.tool,
            "toolHash": self.tool_hash,
            "input": self.input,
            "object": object,
            "record": record,
            "version": version,
            "proposedBy": self.proposed_by,
            "requestedBy": self.requested_by,
            "expiresAt": self.expires_at,
        }))
    }
}

/// The values of `fields` in a record; null where it has none.
pub(crate) fn values<'a>(record: &Value, fields: impl Iterator<Item = &'a String>) -> Value {
    let values = fields.map(|field| {
        (
            field.clone(),
            record.get(field).cloned().unwrap_or_default(),
        )
    });
    Value::Object(values.collect())
}

/// An object without the fields that a viewer may not see.
pub(crate) fn masked(value: &Value, sees: impl Fn(&str) -> bool) -> Value {
    let Some(map) = value.as_object() else {
        return value.clone();
    };
    let kept = map.iter().filter(|(field, _)| sees(field));
    let kept: Map<String, Value> = kept
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    Value::Object(kept)
}
