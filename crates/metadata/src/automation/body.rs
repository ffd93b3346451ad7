//! Code that travels inside metadata (docs/reference/automation.md, "Script bodies").

use serde_json::Value;

use crate::reader::Reader;

/// A script or an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What it is written in.
    pub language: Language,
    /// For a script the body of a function; empty where nothing was written.
    pub source: String,
    /// What the script says it uses (`api.read`, `api.write`, `crypto.uuid`, `log`); where it says
    /// nothing, its text tells.
    pub capabilities: Vec<String>,
    /// CPU time it asks for, in milliseconds; the service that runs it sets the most.
    pub timeout_ms: Option<u64>,
    /// Memory it asks for, in MiB.
    pub memory_mb: Option<u64>,
}

/// The language of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Language {
    /// JavaScript, also where nothing is said.
    Js,
    /// CEL.
    Expression,
    /// One that nothing here runs.
    Other(String),
}

impl Body {
    /// Reads `{language, source, …}` or the source itself.
    pub(crate) fn read(reader: &Reader<'_>, keys: &[&str]) -> Option<Self> {
        if let Value::String(source) = reader.raw(keys)? {
            return Some(Self {
                language: Language::Js,
                source: source.clone(),
                capabilities: Vec::new(),
                timeout_ms: None,
                memory_mb: None,
            });
        }
        let body = reader.object(keys)?;
        let language = body.string(&["language"]);
        Some(Self {
            language: match language.as_deref() {
                None | Some("js") => Language::Js,
                Some("expression") => Language::Expression,
                Some(other) => Language::Other(other.to_owned()),
            },
            source: body.string(&["source"]).unwrap_or_default(),
            capabilities: body.strings(&["capabilities"]).unwrap_or_default(),
            timeout_ms: body.natural(&["timeoutMs"]),
            memory_mb: body.natural(&["memoryMb"]),
        })
    }

    /// Whether there is any code.
    pub fn has_source(&self) -> bool {
        !self.source.trim().is_empty()
    }
}

/// A named callable. In compiled artifacts it is often a mere name, which nothing here can call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its code.
    pub body: Option<Body>,
}

impl Function {
    pub(crate) fn read(reader: &Reader<'_>) -> Self {
        Self {
            body: Body::read(reader, &["body"]),
        }
    }
}
