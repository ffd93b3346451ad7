//! JSON and YAML text into values, with the place of a syntax error.

use std::path::Path;

use serde_json::Value;

pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

/// By extension: `.json` is JSON, anything else YAML. Several YAML documents become a list,
/// an empty file null.
pub(super) fn parse(path: &Path, text: &str) -> Result<Value, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if path.extension().is_some_and(|ext| ext == "json") {
        return serde_json::from_str(text).map_err(|error| SyntaxError {
            line: error.line(),
            column: error.column(),
            message: format!("JSON syntax: {error}"),
        });
    }
    // YAML 1.2: `no`, `on` and `y` are words (country codes, option values), not booleans.
    let options = serde_saphyr::options! { strict_booleans: true };
    let read = serde_saphyr::from_multiple_with_options(text, options);
    let mut documents: Vec<Value> = read.map_err(yaml_error)?;
    Ok(match documents.len() {
        0 => Value::Null,
        1 => documents.swap_remove(0),
        _ => Value::Array(documents),
    })
}

fn yaml_error(error: serde_saphyr::Error) -> SyntaxError {
    let (line, column) = error.location().map_or((1, 1), |at| {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        (number(at.line()), number(at.column()))
    });
    // The library adds a picture of the place, which the diagnostic gives in its own way.
    let message = error.to_string();
    let first = message.lines().next().unwrap_or_default();
    SyntaxError {
        line,
        column,
        message: format!("YAML syntax: {first}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn yaml(text: &str) -> Value {
        parse(Path::new("x.yaml"), text).ok().unwrap()
    }

    #[test]
    fn yaml_scalars_and_documents() {
        let value = yaml("a: 1\nb: [true, 1.5, ~, \"x\"]\nc: |\n  two\n  lines\nd: no\n");
        assert_eq!(
            value,
            json!({"a": 1, "b": [true, 1.5, null, "x"], "c": "two\nlines\n", "d": "no"})
        );
        assert_eq!(yaml("a: 1\n---\na: 2\n"), json!([{"a": 1}, {"a": 2}]));
        assert_eq!(yaml("# nothing\n"), Value::Null);
    }

    #[test]
    fn errors_say_where() {
        let error = parse(Path::new("x.yaml"), "a: 1\nb: [1, 2\nc: 3\n")
            .err()
            .unwrap();
        assert!(error.line >= 2, "{}: {}", error.line, error.message);
        let error = parse(Path::new("x.json"), "{\n \"a\": }").err().unwrap();
        assert_eq!(error.line, 2);
    }
}
