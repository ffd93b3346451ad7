//! HTTP request → wire bytes, over a route's plan: path, then headers, then query, then body.
//!
//! Invariant: nothing is dropped in silence; a parameter, key or value that fits nowhere is
//! refused with its name.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

use crate::{
    Error, Result,
    json::{self, nearest},
    scalar::{self, Unfit},
    shape::{Field, Kind},
    table::{Body, Route, Vars},
    wire::{put_bytes, put_nested},
};

impl Route {
    /// Writes the request message; where the body streams, the first of the messages, without any of it.
    ///
    /// # Errors
    /// Names the parameter, or lists the fields; `reason` is `MALFORMED_JSON` for a body that is none or
    /// is missing.
    pub fn encode(
        &self,
        vars: &Vars<'_>,
        query: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Bytes> {
        let fields = &self.shapes.request.fields;
        let mut out = Vec::with_capacity(64 + query.map_or(0, str::len) + body.len());
        for (position, text) in self.vars.iter().zip(&vars.0) {
            let field = &fields[*position];
            let text = decoded(text, false).ok_or_else(|| undecodable(&field.json))?;
            put(&mut out, field, &text, &field.json)?;
        }
        for (name, position) in &self.request_headers {
            if let Some(text) = header_text(headers, name)? {
                put(&mut out, &fields[*position], &text, name.as_str())?;
            }
        }
        self.encode_query(query.unwrap_or_default(), &mut out)?;
        self.encode_body(body, &mut out)?;
        Ok(out.into())
    }

    /// Checks that a body is one that the route takes.
    ///
    /// # Errors
    /// Unless the media type is JSON, unencoded. A body that streams may be of any type.
    pub fn check_media_type(&self, headers: &HeaderMap) -> Result<()> {
        let streams = matches!(self.body, Body::Stream(_));
        let supported = if streams { "*/*" } else { "application/json" };
        let refuse =
            |message: String| Error::media_type(message).with("supported", vec![supported]);
        if let Some(coding) = headers.get(header::CONTENT_ENCODING)
            && coding != "identity"
        {
            return Err(refuse(
                "Bodies are taken without Content-Encoding".to_owned(),
            ));
        }
        if streams {
            return Ok(());
        }
        let Some(given) = headers.get(header::CONTENT_TYPE) else {
            return Err(refuse(
                "Content-Type is missing; send application/json".to_owned(),
            ));
        };
        let given = given.to_str().unwrap_or("?");
        let essence = given.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        let json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        if json && charset_is_utf8(given) {
            return Ok(());
        }
        Err(refuse(format!(
            "Content-Type `{given}` is not taken here; send application/json"
        ))
        .with("contentType", given))
    }

    fn encode_query(&self, query: &str, out: &mut Vec<u8>) -> Result<()> {
        let fields = &self.shapes.request.fields;
        // Which name filled a field, and with what; a handful at most.
        let mut filled: Vec<(usize, Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name, true).ok_or_else(|| undecodable(name))?;
            let value = decoded(value, true).ok_or_else(|| undecodable(&name))?;
            let Some(&position) = self.query.names.get(&*name) else {
                let Some(number) = self.query.remaining else {
                    return Err(self.unknown_parameter(&name));
                };
                put_nested(out, number, |out| {
                    put_bytes(out, 1, name.as_bytes());
                    put_bytes(out, 2, value.as_bytes());
                });
                continue;
            };
            let field = &fields[position];
            if !field.repeated {
                match filled.iter().find(|(other, ..)| *other == position) {
                    Some((_, other, _)) if *other == name => {
                        return Err(conflict(
                            field,
                            &name,
                            format!("Query parameter `{name}` is given twice"),
                        ));
                    }
                    Some((_, other, before)) if *before != value => {
                        let message = format!(
                            "Query parameters `{other}` and `{name}` mean the same and differ"
                        );
                        return Err(conflict(field, &name, message));
                    }
                    Some(_) => continue,
                    None => filled.push((position, name.clone(), value.clone())),
                }
            }
            put(out, field, &value, &name)?;
        }
        Ok(())
    }

    fn encode_body(&self, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let elsewhere = matches!(self.body, Body::None | Body::Stream(_));
        if elsewhere || (body.is_empty() && self.body_optional) {
            return Ok(());
        }
        if body.is_empty() {
            return Err(json::malformed("it is empty"));
        }
        let request = &self.shapes.request;
        match self.body {
            Body::None | Body::Stream(_) => Ok(()),
            Body::Raw(position) => {
                put_bytes(out, request.fields[position].number, body);
                Ok(())
            }
            Body::Message(position) => {
                let field = &request.fields[position];
                let Kind::Message(shape) = &field.kind else {
                    return Ok(());
                };
                put_nested(out, field.number, |out| json::encode(shape, &[], body, out))
            }
            Body::Whole => {
                let headers = self.request_headers.iter().map(|(_, position)| position);
                let taken: Vec<usize> = self.vars.iter().chain(headers).copied().collect();
                json::encode(request, &taken, body, out)
            }
        }
    }

    fn unknown_parameter(&self, name: &str) -> Error {
        let fields = &self.shapes.request.fields;
        let mut known: Vec<&str> = self
            .query
            .names
            .values()
            .map(|position| fields[*position].json.as_str())
            .collect();
        known.sort_unstable();
        known.dedup();
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`? Allowed: {}", known.join(", ")),
            None if known.is_empty() => "this route takes no query parameters".to_owned(),
            None => format!("Allowed: {}", known.join(", ")),
        };
        Error::request(format!(
            "Query parameter `{name}` is not known here; {hint}"
        ))
        .with("parameter", name)
        .with("hint", hint)
    }
}

/// Writes one value that came as text; `name` is what the client called it.
fn put(out: &mut Vec<u8>, field: &Field, text: &str, name: &str) -> Result<()> {
    scalar::put_text(out, field, text).map_err(|unfit| {
        let Unfit { must_be, .. } = unfit;
        Error::request(format!("Parameter `{name}` must be {must_be}"))
            .with("parameter", name)
            .with("hint", must_be)
    })
}

/// The error for a single-valued parameter with several values.
fn conflict(field: &Field, name: &str, message: String) -> Error {
    let error = match field.name.as_str() {
        // A filter either applies or fails, and says so in its own word (docs/reference/objectql.md §2, §11).
        "where" => Error::request(message).with("reason", "INVALID_FILTER"),
        _ => Error::request(message),
    };
    error.with("parameter", name)
}

/// A header's text; several lines of one name count as a comma list (RFC 9110 §5.3).
fn header_text<'h>(
    headers: &'h HeaderMap,
    name: &http::HeaderName,
) -> Result<Option<Cow<'h, str>>> {
    let mut all: Option<Cow<'h, str>> = None;
    for value in headers.get_all(name) {
        let text = str::from_utf8(value.as_bytes()).map_err(|_| undecodable(name.as_str()))?;
        match &mut all {
            None => all = Some(text.into()),
            Some(all) => {
                all.to_mut().push_str(", ");
                all.to_mut().push_str(text);
            }
        }
    }
    Ok(all)
}

/// Percent-decodes once; `None` for what is no UTF-8 or holds a NUL. In a query a plus is a blank.
pub(crate) fn decoded(text: &str, plus_is_blank: bool) -> Option<Cow<'_, str>> {
    let text = if plus_is_blank && text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    let decoded = if text.contains('%') {
        let decoded = percent_decode_str(&text).decode_utf8().ok()?;
        Cow::Owned(decoded.into_owned())
    } else {
        text
    };
    (!decoded.contains('\0')).then_some(decoded)
}

fn undecodable(name: &str) -> Error {
    Error::request(format!(
        "Parameter `{name}` is not valid text: UTF-8 without NUL is needed"
    ))
    .with("parameter", name)
}

/// JSON is UTF-8 (RFC 8259 §8.1); a client that says otherwise would be misread.
fn charset_is_utf8(content_type: &str) -> bool {
    content_type.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
    })
}
