//! Default values (docs/reference/metadata.md §9).

use metadata::Field;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::kernel::{
    Work,
    eval::{self, EvalContext},
    model::cell,
};

/// The moment and the person that defaults may refer to.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// Now.
    pub now: OffsetDateTime,
    /// Who writes; `None` for the system.
    pub user_id: Option<String>,
    /// Who writes and when, for expressions.
    pub eval_context: EvalContext,
}

impl Scope {
    /// That of a piece of work.
    #[must_use]
    pub(crate) fn of(work: &Work) -> Self {
        Self {
            now: work.now,
            user_id: work.principal.user_id().map(str::to_owned),
            eval_context: work.eval_context(),
        }
    }
}

/// The default of a field, as JSON that is then checked like any value. `None` when it has none.
#[must_use]
pub(crate) fn value(field: &Field, scope: &Scope) -> Option<Value> {
    if let Some(declared) = &field.default_value {
        return evaluate(declared, scope);
    }
    if field.is_multi_value() {
        return None;
    }
    field
        .options
        .iter()
        .find(|option| option.default)
        .map(|option| Value::String(option.value.clone()))
}

/// The value of an expression, token or literal in a record that a package brings along.
#[must_use]
pub fn evaluate_default(work: &Work, declared: &Value) -> Option<Value> {
    evaluate(declared, &Scope::of(work))
}

/// A literal, a token, or an expression. `None` for an expression that has no value.
#[must_use]
pub(crate) fn evaluate(declared: &Value, scope: &Scope) -> Option<Value> {
    let source = match declared {
        Value::Object(envelope) if envelope.contains_key("dialect") => {
            envelope.get("source").and_then(Value::as_str)?
        }
        Value::String(token) if matches!(token.as_str(), "NOW()" | "TODAY()" | "current_user") => {
            token
        }
        literal => return Some(literal.clone()),
    };
    match source.trim() {
        "NOW()" | "now()" => Some(json!(cell::format_datetime(scope.now))),
        "TODAY()" | "today()" => Some(json!(cell::format_date(scope.now.date()))),
        "current_user" | "os.user.id" | "current_user.id" | "user.id" => {
            scope.user_id.clone().map(Value::String)
        }
        source => {
            let program = eval::program(source)?;
            program.evaluate(&scope.eval_context.scope()).ok()
        }
    }
}

/// Whether [`value`] can evaluate this default; others are reported when the package is loaded.
#[must_use]
pub(crate) fn is_supported(declared: &Value) -> bool {
    let source = declared
        .as_object()
        .filter(|envelope| envelope.contains_key("dialect"))
        .map(|envelope| envelope.get("source").and_then(Value::as_str));
    match source {
        None => true,
        Some(None) => false,
        Some(Some("NOW()" | "TODAY()" | "current_user")) => true,
        Some(Some(source)) => eval::program(source).is_some(),
    }
}
