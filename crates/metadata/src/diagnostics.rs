//! Findings about metadata, worded for the person who wrote it.

use std::fmt;
use std::path::PathBuf;

/// How much a finding matters. Validation rules of objects use the same three steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The item, or the part named by the path, was left out or can never work.
    Error,
    /// Kept, but something about it will not do what its author expects.
    Warning,
    /// Worth knowing; nothing needs to change.
    Info,
}

impl Severity {
    /// The lowercase word used in output and in metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// Stable SCREAMING_SNAKE code, for filters and tests.
    pub code: String,
    /// What is wrong, with the offending value in it.
    pub message: String,
    /// The file that holds the item, where one is known.
    pub file: Option<PathBuf>,
    /// Where in the metadata, by names: `objects.ticket.fields.status.options[2]`.
    pub path: String,
    /// How to fix it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding of the given severity, without file and hint.
    pub fn new(
        severity: Severity,
        code: &str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            message: message.into(),
            file: None,
            path: path.into(),
            hint: None,
        }
    }

    /// A finding that cost the author an item or a part of one.
    pub fn error(code: &str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, path, message)
    }

    /// A finding about something that was kept.
    pub fn warning(code: &str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, path, message)
    }

    /// A finding that asks for nothing.
    pub fn info(code: &str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, path, message)
    }

    /// Adds how to fix it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the file the item came from.
    #[must_use]
    pub fn with_file(mut self, file: Option<PathBuf>) -> Self {
        self.file = file;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity.as_str())?;
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " (fix: {hint})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_file_path_and_fix() {
        let diagnostic = Diagnostic::error("BAD", "objects.a", "is bad")
            .with_file(Some("app/objects/a.yaml".into()))
            .with_hint("make it good");
        assert_eq!(
            diagnostic.to_string(),
            "error: app/objects/a.yaml: objects.a: is bad (fix: make it good)"
        );
    }

    #[test]
    fn display_leaves_out_what_is_unknown() {
        assert_eq!(Diagnostic::info("X", "", "fine").to_string(), "info: fine");
    }
}
