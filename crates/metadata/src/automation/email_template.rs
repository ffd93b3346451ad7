//! Texts of mail (docs/reference/automation.md, "Email").

use serde_json::Value;

use super::param::ParamType;
use crate::diagnostics::Diagnostic;
use crate::reader::{Reader, Sink};

/// Subject and body of a mail, in one language. `{{a.b}}` is filled in HTML-escaped, `{{{a.b}}}` raw.
#[derive(Debug, Clone, PartialEq)]
pub struct EmailTemplate {
    /// Dotted name; each language of it is an item of its own.
    pub name: String,
    /// Name for people.
    pub label: Option<String>,
    /// What it is about.
    pub category: Option<String>,
    /// Language tag; `en-US` unless written.
    pub locale: String,
    /// The subject.
    pub subject: String,
    /// The body as HTML.
    pub body_html: Option<String>,
    /// The body as text, for readers without HTML.
    pub body_text: Option<String>,
    /// What has to be handed in.
    pub variables: Vec<TemplateVariable>,
    /// Whether it is used; true unless written.
    pub is_active: bool,
}

/// Something that a template is filled in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVariable {
    /// Its name, as the placeholders have it.
    pub name: String,
    /// What it holds; text unless written.
    pub variable_type: ParamType,
    /// Whether a mail without it is refused.
    pub is_required: bool,
}

impl EmailTemplate {
    /// Reads one, with what could not be read of it.
    pub fn from_value(name: &str, value: &Value) -> (Option<Self>, Vec<Diagnostic>) {
        let sink = Sink::default();
        let reader = Reader::new(value, format!("emailTemplates.{name}"), &sink);
        let template = reader.map(|reader| Self::read(name, &reader));
        (template, sink.into_diagnostics())
    }

    pub(crate) fn read(name: &str, reader: &Reader<'_>) -> Self {
        let mut variables = Vec::new();
        for entry in reader.entries(&["variables"]) {
            // A variable may be a mere name.
            let Some(name) = entry
                .name
                .or_else(|| entry.value.as_str().map(str::to_owned))
            else {
                continue;
            };
            let word = entry.value.get("type").and_then(Value::as_str);
            variables.push(TemplateVariable {
                name,
                variable_type: ParamType::parse(word.unwrap_or("text")),
                is_required: entry.value.get("required") == Some(&Value::Bool(true)),
            });
        }
        Self {
            name: name.to_owned(),
            label: reader.string(&["label"]),
            category: reader.string(&["category"]),
            locale: reader
                .string(&["locale", "language"])
                .unwrap_or_else(|| "en-US".to_owned()),
            subject: reader.string(&["subject"]).unwrap_or_default(),
            body_html: reader.string(&["bodyHtml", "html", "body"]),
            body_text: reader.string(&["bodyText", "text"]),
            variables,
            is_active: reader.flag(&["active", "isActive"]).unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_is_read_with_its_defaults() {
        let value = json!({"subject": "Hello {{name}}", "bodyHtml": "<p>", "variables": [
            {"name": "name", "required": true}, "place"]});
        let template = EmailTemplate::from_value("auth.hello", &value).0.unwrap();
        assert_eq!(
            (template.locale.as_str(), template.is_active),
            ("en-US", true)
        );
        let names: Vec<_> = template
            .variables
            .iter()
            .map(|v| (&*v.name, v.is_required))
            .collect();
        assert_eq!(names, [("name", true), ("place", false)]);
    }
}
