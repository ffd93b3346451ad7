//! The plan of one route: which field a variable, parameter, header or body fills, how the reply prints,
//! and that its options fit together.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use http::{HeaderName, Method, StatusCode};
use prost_reflect::{
    Kind as Reflected, MessageDescriptor, MethodDescriptor,
    prost_types::method_options::IdempotencyLevel,
};
use proto::{
    annotations::v1::{Header, RateClass, Rest, access::Rule},
    google::api::{HttpRule, http_rule::Pattern},
};

use crate::{
    access::Entry,
    build::Rpc,
    challenge::Challenge,
    comments::{self, Comments},
    deprecation::Deprecated,
    event_stream::{Form, HTTP_BODY},
    frame::Frame,
    shape::{Kind, Shape, Shapes as Maker},
    table::{Body, Query, Route, Shapes},
    template::Template,
    upload::RawBody,
};

/// Largest request body where the `rest` option states none (docs/reference/discovery.md §4).
const BODY_LIMIT_DEFAULT: usize = 10 * 1024 * 1024;
const QUERY_PARAMETER: &str = "objectmesh.annotations.v1.QueryParameter";

/// The route of an RPC at one of its methods and paths; `frame` is the body that a profile wants, or empty.
///
/// # Errors
/// When an option names what is not there, or contradicts another one.
pub(crate) fn route(
    rpc: &Rpc,
    binding: &HttpRule,
    frame: &str,
    maker: &mut Maker,
) -> anyhow::Result<Route> {
    let (rest, entry) = (&rpc.rest, rpc.entry.clone());
    let rpc = &rpc.method;
    let (method, pattern) = match &binding.pattern {
        Some(Pattern::Get(path)) => (Method::GET, path),
        Some(Pattern::Put(path)) => (Method::PUT, path),
        Some(Pattern::Post(path)) => (Method::POST, path),
        Some(Pattern::Delete(path)) => (Method::DELETE, path),
        Some(Pattern::Patch(path)) => (Method::PATCH, path),
        Some(Pattern::Custom(_)) | None => bail!("one of the five usual methods is needed"),
    };
    let request = maker.of(&rpc.input())?;
    let response = maker.of(&rpc.output())?;

    let var_names = variables(pattern)?;
    let vars = var_names
        .iter()
        .map(|name| field(&request, name))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for var in &vars {
        let var = &request.fields[*var];
        ensure!(
            !var.repeated && !matches!(var.kind, Kind::Message(_)),
            "`{}` cannot stand in a path",
            var.name
        );
    }
    let request_headers = rest
        .request_headers
        .iter()
        .map(|header| Ok((name(header)?, field(&request, &header.value)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let body = body(&request, &binding.body)?;
    check_streaming(rpc, &entry, (&request, body), &response)?;
    ensure!(
        body == Body::None || !matches!(method, Method::GET | Method::DELETE),
        "{method} takes no body"
    );
    let mut taken = vars.clone();
    taken.extend(request_headers.iter().map(|(_, field)| field));
    if let Body::Raw(field) | Body::Message(field) | Body::Stream(field) = body {
        taken.push(field);
    }
    let query = query(&rpc.input(), &request, body, &taken, &rest.remaining_query)?;

    let response_headers = rest
        .response_headers
        .iter()
        .map(|header| {
            let url = header.name == "location";
            let value = &header.value;
            let template = Template::parse(value, header.format(), url, &var_names, &response)?;
            Ok((name(header)?, template))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let status_field = match rest.status_field.as_str() {
        "" => None,
        path => {
            let (numbers, field) = response.path(path).context("status_field names no field")?;
            ensure!(
                matches!(field.kind, Kind::Int32),
                "status_field is an int32"
            );
            Some(numbers)
        }
    };
    let package = rpc.parent_service().package_name().to_owned();
    ensure!(
        !rest.cookies || package.starts_with("objectmesh.auth."),
        "only auth-svc sets cookies"
    );
    let status = match rest.status {
        0 if rest.empty => StatusCode::NO_CONTENT,
        0 => StatusCode::OK,
        status => StatusCode::from_u16(u16::try_from(status)?)?,
    };
    let further = rest.further_statuses.iter();
    let further = further.map(|status| Ok(StatusCode::from_u16(u16::try_from(*status)?)?));
    let safe = method == Method::GET || has_no_side_effects(rpc);
    // A stream that answers nothing but a refusal needs no form.
    let stream = match entry.implemented {
        true => Form::of(rpc, &response, rest.event_stream.as_ref())?.map(Arc::new),
        false => None,
    };
    let upload = match body {
        Body::Stream(field) => Some(RawBody::new(request.fields[field].number)),
        Body::None | Body::Whole | Body::Raw(_) | Body::Message(_) => None,
    };
    let fields = vars.iter().map(|var| &request.fields[*var]);
    let named: Vec<_> = var_names.iter().map(String::as_str).zip(fields).collect();
    let frame = Frame::parse(frame, &named, &response)?;
    ensure!(
        frame.is_none() || (!rest.empty && !rpc.is_server_streaming()),
        "a frame is for a reply of one message that has a body"
    );
    Ok(Route {
        upload,
        frame,
        challenge: Challenge::parse(&rest.challenge)?,
        rate_class: rate_class(rest, safe, &entry.rule, &package),
        safe,
        stream,
        method,
        pattern: pattern.as_str().into(),
        rpc: format!("/{}/{}", rpc.parent_service().full_name(), rpc.name()).parse()?,
        package,
        entry,
        status,
        further_statuses: further.collect::<anyhow::Result<_>>()?,
        body_limit: match rest.body_limit {
            0 => BODY_LIMIT_DEFAULT,
            limit => usize::try_from(limit)?,
        },
        cookies: rest.cookies,
        summary: summary(rpc),
        shadowed_by: Vec::new(),
        expand: rest.expand(),
        deprecated: rest.deprecation.as_ref().map(Deprecated::of).transpose()?,
        vars,
        query,
        request_headers,
        body,
        body_optional: rest.body_optional,
        empty: rest.empty,
        status_field,
        response_body: match binding.response_body.as_str() {
            "" => None,
            path => Some(field(&response, path)?),
        },
        response_headers,
        shapes: Shapes { request, response },
    })
}

/// Checks that what streams can be told from what does not.
fn check_streaming(
    rpc: &MethodDescriptor,
    entry: &Entry,
    (request, body): (&Shape, Body),
    response: &Shape,
) -> anyhow::Result<()> {
    let streams = matches!(body, Body::Stream(_));
    let mut pieces = request.fields.iter().enumerate();
    let stray = pieces.any(|(at, field)| field.raw_body && body != Body::Stream(at));
    ensure!(!stray, "the route's body is the raw_body field");
    ensure!(
        !response.fields.iter().any(|field| field.raw_body),
        "raw_body is for requests; a reply streams as {HTTP_BODY}"
    );
    ensure!(
        !streams || rpc.is_client_streaming(),
        "raw_body is for requests that stream"
    );
    // What answers nothing but a refusal may take shape later.
    if !entry.implemented {
        return Ok(());
    }
    ensure!(
        streams || !rpc.is_client_streaming(),
        "a request that streams takes a raw_body field as its body"
    );
    ensure!(
        !rpc.is_client_streaming() || !rpc.is_server_streaming(),
        "a request that streams has one reply"
    );
    ensure!(
        rpc.is_server_streaming() || response.name != HTTP_BODY,
        "{HTTP_BODY} is for replies that stream"
    );
    Ok(())
}

/// Whether the RPC says of itself that it changes nothing.
fn has_no_side_effects(rpc: &MethodDescriptor) -> bool {
    let options = rpc.method_descriptor_proto().options.as_ref();
    let level = options.map(|options| options.idempotency_level());
    level == Some(IdempotencyLevel::NoSideEffects)
}

/// The one place that decides which rate limit counts a route, where the RPC does not say it.
fn rate_class(rest: &Rest, safe: bool, rule: &Rule, package: &str) -> RateClass {
    let public = matches!(rule, Rule::Public(_));
    match rest.rate_class() {
        RateClass::Unspecified if safe => RateClass::Reads,
        RateClass::Unspecified if public && package.starts_with("objectmesh.auth.") => {
            RateClass::Auth
        }
        RateClass::Unspecified => RateClass::Writes,
        stated => stated,
    }
}

/// The names in a path's braces. Wider patterns of google.api.http (`{name=**}`, `:verb`) are not
/// used here, so they are refused.
fn variables(pattern: &str) -> anyhow::Result<Vec<String>> {
    ensure!(
        pattern.starts_with('/') && !pattern.ends_with('/') && !pattern.contains(':'),
        "`{pattern}` is no plain path"
    );
    ensure!(
        !pattern.starts_with("/compat/"),
        "what lies under /compat is a profile's"
    );
    let mut names = Vec::new();
    for segment in pattern.split('/') {
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some(name) => names.push(name.to_owned()),
            None => ensure!(
                !segment.contains(['{', '}', '*']),
                "`{segment}` is no plain path segment"
            ),
        }
    }
    Ok(names)
}

fn field(shape: &Shape, name: &str) -> anyhow::Result<usize> {
    shape
        .named(name)
        .with_context(|| format!("{} has no field `{name}`", shape.name))
}

fn name(header: &Header) -> anyhow::Result<HeaderName> {
    Ok(HeaderName::from_lowercase(header.name.as_bytes())?)
}

fn body(request: &Arc<Shape>, name: &str) -> anyhow::Result<Body> {
    Ok(match name {
        "" => Body::None,
        "*" => Body::Whole,
        name => {
            let position = field(request, name)?;
            match &request.fields[position] {
                field if field.repeated => bail!("`{name}` is a list; a body is one thing"),
                field => match field.kind {
                    Kind::Json => Body::Raw(position),
                    Kind::Bytes if field.raw_body => Body::Stream(position),
                    Kind::Message(_) => Body::Message(position),
                    _ => bail!("`{name}` is neither raw JSON nor a message"),
                },
            }
        }
    })
}

fn query(
    message: &MessageDescriptor,
    request: &Shape,
    body: Body,
    taken: &[usize],
    remaining: &str,
) -> anyhow::Result<Query> {
    let remaining = match remaining {
        "" => None,
        name => {
            let field = message
                .get_field_by_name(name)
                .filter(|field| field.is_list())
                .filter(|field| matches!(field.kind(), Reflected::Message(m) if m.full_name() == QUERY_PARAMETER))
                .with_context(|| format!("`{name}` is no list of query parameters"))?;
            Some(field.number())
        }
    };
    let mut names = HashMap::new();
    for (position, field) in request.fields.iter().enumerate() {
        let free = body != Body::Whole && !field.hidden && !taken.contains(&position);
        if !free || matches!(field.kind, Kind::Message(_)) {
            continue;
        }
        let own = [&field.json, &field.name];
        for name in own.into_iter().chain(&field.aliases) {
            let before = names.insert(name.clone(), position);
            ensure!(
                before.is_none_or(|before| before == position),
                "query parameter `{name}` means two fields"
            );
        }
    }
    Ok(Query { names, remaining })
}

/// The first sentence of the RPC's comment, without its full stop.
fn summary(rpc: &MethodDescriptor) -> String {
    let comment = Comments::of(&rpc.parent_file()).at(rpc.path());
    comments::summary(&comment).to_owned()
}
