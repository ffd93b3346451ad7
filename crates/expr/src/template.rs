//! Templates of texts: `{{path}}`, `{{path | formatter:argument}}`, `{{{path}}}`.

use std::fmt::Write as _;

use crate::{
    error::{CompileError, EvalErrorKind, Position},
    moment::{format_date, format_moment},
    scope::Scope,
    slot::Slot,
    value::{Val, to_text},
};

/// Longest template, in bytes.
const SOURCE_MAX: usize = 256 * 1024;
/// Longest text a template may become, in bytes.
const RENDERED_MAX: usize = 4 << 20;

/// What is done to values that are put into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// Nothing: plain text.
    None,
    /// `& < > " '` become entities, except in `{{{path}}}`.
    Html,
}

/// A compiled template.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value {
        slot: Slot,
        formats: Vec<Format>,
        raw: bool,
    },
}

#[derive(Debug, Clone)]
struct Format {
    name: FormatName,
    argument: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FormatName {
    Currency,
    Number,
    Percent,
    Date,
    Moment,
    Upper,
    Lower,
    Trim,
    Truncate,
    Default,
    Json,
}

impl FormatName {
    fn named(name: &str) -> Option<FormatName> {
        Some(match name {
            "currency" => FormatName::Currency,
            "number" => FormatName::Number,
            "percent" => FormatName::Percent,
            "date" => FormatName::Date,
            "datetime" => FormatName::Moment,
            "upper" => FormatName::Upper,
            "lower" => FormatName::Lower,
            "trim" => FormatName::Trim,
            "truncate" => FormatName::Truncate,
            "default" => FormatName::Default,
            "json" => FormatName::Json,
            _ => return None,
        })
    }
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// When braces are not closed, a formatter is unknown, or what stands in braces is neither a path
    /// nor an expression.
    pub fn compile(source: &str) -> Result<Template, CompileError> {
        let fault = |rest: &str, message: String| CompileError {
            position: Position::of(
                source,
                u32::try_from(source[..source.len() - rest.len()].chars().count())
                    .unwrap_or(u32::MAX),
            ),
            message,
        };
        if source.len() > SOURCE_MAX {
            return Err(fault(
                source,
                format!("the template is longer than {SOURCE_MAX} bytes"),
            ));
        }
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find("{{") {
            let (text, from) = rest.split_at(open);
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let raw = from.starts_with("{{{");
            let (opening, closing) = if raw { ("{{{", "}}}") } else { ("{{", "}}") };
            let inner = &from[opening.len()..];
            let Some(close) = inner.find(closing) else {
                return Err(fault(
                    from,
                    format!("`{opening}` is not closed by `{closing}`"),
                ));
            };
            let (content, after) = inner.split_at(close);
            let (slot, formats) = value(content).map_err(|message| fault(from, message))?;
            parts.push(Part::Value { slot, formats, raw });
            rest = &after[closing.len()..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template { parts })
    }

    /// The paths and expressions in braces, in order: what a caller must provide.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value { slot, .. } => Some(slot.source.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with the values of a scope. What is missing or has no value is empty.
    ///
    /// # Errors
    ///
    /// When the text gets longer than 4 MiB, or an expression is beyond its budget.
    pub fn render(&self, scope: &Scope<'_>, escape: Escape) -> Result<String, EvalErrorKind> {
        let mut rendered = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Value { slot, formats, raw } => {
                    let mut value = slot.value(scope)?;
                    for format in formats {
                        value = format.apply(value);
                    }
                    let text = to_text(&value).unwrap_or_else(|| value.into_json().to_string());
                    if *raw || escape == Escape::None {
                        rendered.push_str(&text);
                    } else {
                        escape_html(&text, &mut rendered);
                    }
                }
            }
            if rendered.len() > RENDERED_MAX {
                return Err(EvalErrorKind::Budget("4 MiB of text"));
            }
        }
        Ok(rendered)
    }
}

fn value(content: &str) -> Result<(Slot, Vec<Format>), String> {
    let mut pieces = Vec::new();
    // `||` is an operator of expressions, `|` the separator.
    let mut piece = String::new();
    let mut characters = content.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '|' && characters.peek() == Some(&'|') {
            characters.next();
            piece.push_str("||");
        } else if character == '|' {
            pieces.push(std::mem::take(&mut piece));
        } else {
            piece.push(character);
        }
    }
    pieces.push(piece);
    let mut pieces = pieces.iter().map(|piece| piece.trim());
    let source = pieces.next().unwrap_or_default();
    let slot = Slot::parse(source)
        .ok_or_else(|| format!("`{source}` is neither a path nor an expression"))?;
    let formats = pieces.map(|text| {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name.trim(), Some(unquoted(argument.trim()))),
            None => (text, None),
        };
        let known =
            FormatName::named(name).ok_or_else(|| format!("there is no formatter `{name}`"))?;
        Ok(Format {
            name: known,
            argument,
        })
    });
    Ok((slot, formats.collect::<Result<_, String>>()?))
}

fn unquoted(text: &str) -> String {
    let quoted = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    quoted('"')
        .or_else(|| quoted('\''))
        .unwrap_or(text)
        .to_owned()
}

impl Format {
    /// The value as the formatter writes it; a value it does not know is left as it is.
    fn apply<'v>(&self, value: Val<'v>) -> Val<'v> {
        let digits = self.argument.as_deref().and_then(|text| text.parse().ok());
        let text = match self.name {
            FormatName::Default => {
                return if value.is_empty() {
                    Val::text(self.argument.clone().unwrap_or_default())
                } else {
                    value
                };
            }
            FormatName::Json => Some(value.clone().into_json().to_string()),
            FormatName::Currency => grouped(&value, 2).map(|amount| {
                let symbol = match self.argument.as_deref() {
                    None | Some("USD") => "$",
                    Some("EUR") => "€",
                    Some("GBP") => "£",
                    Some("JPY") => "¥",
                    Some(other) => return format!("{other} {amount}"),
                };
                match amount.strip_prefix('-') {
                    Some(amount) => format!("-{symbol}{amount}"),
                    None => format!("{symbol}{amount}"),
                }
            }),
            FormatName::Number => match digits {
                Some(digits) => grouped(&value, digits),
                None => value
                    .as_decimal()
                    .and_then(|number| grouped(&value, number.normalize().scale())),
            },
            FormatName::Percent => grouped(&value, digits.unwrap_or(0)).map(|text| text + "%"),
            FormatName::Date => value.as_moment().map(|moment| format_date(moment.date())),
            FormatName::Moment => value.as_moment().map(format_moment),
            FormatName::Upper => to_text(&value).map(|text| text.to_uppercase()),
            FormatName::Lower => to_text(&value).map(|text| text.to_lowercase()),
            FormatName::Trim => to_text(&value).map(|text| text.trim().to_owned()),
            FormatName::Truncate => to_text(&value).map(|text| {
                let most = digits.map_or(100, |digits| digits as usize);
                match text.char_indices().nth(most) {
                    Some((end, _)) => format!("{}…", &text[..end]),
                    None => text,
                }
            }),
        };
        text.map_or(value, Val::text)
    }
}

/// A number with thousands apart and so many digits after the point.
fn grouped(value: &Val<'_>, digits: u32) -> Option<String> {
    let digits = digits.min(20);
    let number = value
        .as_decimal()?
        .round_dp_with_strategy(digits, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
    let text = format!("{:.*}", digits as usize, number.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    if number.is_sign_negative() && !number.is_zero() {
        grouped.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !fraction.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(grouped, ".{fraction}");
    }
    Some(grouped)
}

fn escape_html(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            other => into.push(other),
        }
    }
}
