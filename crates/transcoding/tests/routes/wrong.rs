//! Options that are wrong keep a process from starting, and the message names the RPC and what is wrong.

use transcoding::Table;

use crate::contract;

const ACCESS: &str = "option (objectmesh.annotations.v1.access) = {authenticated: true};";
const MESSAGES: &str = "message Ask { string name = 1; bytes content = 2 \
    [(objectmesh.annotations.v1.field) = {raw_body: true}]; } \
    message Get { string name = 1; } \
    message Answer { string id = 1; repeated string ids = 2; bytes json = 3 \
    [(objectmesh.annotations.v1.field) = {raw_json: true}]; Inner inner = 4; } \
    message Inner { string id = 1; }";

/// Checks that an RPC of that signature, `google.api.http` and `rest` is refused for that reason.
fn check(signature: &str, http: &str, rest: &str, problem: &str) {
    check_with(signature, http, rest, MESSAGES, problem);
}

fn check_with(signature: &str, http: &str, rest: &str, messages: &str, problem: &str) {
    let rpc = format!(
        "rpc Try{signature} {{ option (google.api.http) = {{{http}}}; \
         option (objectmesh.annotations.v1.rest) = {{{rest}}}; {ACCESS} }}"
    );
    let error = Table::from_pool(&contract::of(&rpc, messages)).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains(problem), "{error}\nlacks: {problem}");
    let named = error.contains("/objectmesh.data.test.v1.TestService/Try");
    assert!(named || error.contains("profile"), "{error}");
}

const GET: &str = r#"get: "/api/v1/x/{name}""#;
const EVENTS: &str = "(Get) returns (stream Answer)";
const CALL: &str = "(Get) returns (Answer)";
const PUT: &str = r#"put: "/api/v1/x/{name}" body: "content""#;

#[test]
fn lines_of_events_are_single_fields_that_print_as_text() {
    for (option, problem) in [
        (r#"id_field: "none""#, "has no field `none`"),
        (r#"id_field: "ids""#, "`ids` cannot be a line of an event"),
        (r#"id_field: "json""#, "`json` cannot be a line of an event"),
        (r#"event_field: "inner""#, "event_field: `inner` cannot be"),
        (r#"event_field: "inner.id""#, "has no field `inner.id`"),
    ] {
        check(EVENTS, GET, &format!("event_stream: {{{option}}}"), problem);
    }
    for option in [
        r#"id_field: "data""#,
        r#"event_field: "data""#,
        "retry_ms: 1",
    ] {
        let rest = format!("event_stream: {{{option}}}");
        let body = "(Get) returns (stream google.api.HttpBody)";
        check(
            body,
            GET,
            &rest,
            "google.api.HttpBody is written by its service",
        );
    }
    check(
        CALL,
        GET,
        "event_stream: {retry_ms: 1}",
        "`event_stream` is for streams",
    );
}

#[test]
fn a_raw_body_is_the_body_of_a_request_that_streams() {
    let upload = "(stream Ask) returns (Answer)";
    let problem = "the route's body is the raw_body field";
    check(upload, r#"put: "/api/v1/x/{name}" body: "*""#, "", problem);
    check(upload, r#"put: "/api/v1/x/{name}""#, "", problem);
    check(
        "(Ask) returns (Answer)",
        PUT,
        "",
        "raw_body is for requests that stream",
    );
    let plain = "a request that streams takes a raw_body field";
    check(
        "(stream Get) returns (Answer)",
        r#"put: "/api/v1/x/{name}""#,
        "",
        plain,
    );
    check(
        "(stream Ask) returns (stream Answer)",
        PUT,
        "",
        "has one reply",
    );
    check("(Get) returns (Ask)", GET, "", "raw_body is for requests");
    check(
        "(Get) returns (google.api.HttpBody)",
        GET,
        "",
        "is for replies that stream",
    );
    let field = |kind: &str, option: &str| {
        format!(
            "message Ask {{ string name = 1; {kind} content = 2 \
             [(objectmesh.annotations.v1.field) = {{raw_body: true {option}}}]; }} \
             message Answer {{}}"
        )
    };
    for (kind, option) in [
        ("string", ""),
        ("repeated bytes", ""),
        ("bytes", "hidden: true"),
    ] {
        let messages = field(kind, option);
        check_with(
            upload,
            PUT,
            "",
            &messages,
            "raw_body is for one field of bytes",
        );
    }
    let nested = "message Ask { string name = 1; Part part = 2; } message Answer {} \
        message Part { bytes content = 1 [(objectmesh.annotations.v1.field) = {raw_body: true}]; }";
    let http = r#"put: "/api/v1/x/{name}" body: "part""#;
    let problem = "raw_body stands in the request itself";
    check_with("(Ask) returns (Answer)", http, "", nested, problem);
}

#[test]
fn frames_are_json_over_fields_that_are_there() {
    for (frame, problem) in [
        (r#"profile: "a" body: "{none}""#, "has no field `none`"),
        (r#"profile: "a" body: "{\"a\":{id}""#, "is no JSON"),
        (r#"profile: "a" body: "{id}{id}""#, "is no JSON"),
        (
            r#"profile: "a" body: "{\"a\":\"{id}\"}""#,
            "stands in a string",
        ),
        (r#"profile: "a" body: "{ids.id}""#, "`ids` holds no fields"),
        (
            r#"profile: "a" body: "{json.id}""#,
            "`json` holds no fields",
        ),
        (r#"profile: "a""#, "a frame has paths or a body"),
        (r#"profile: "A b" body: "{id}""#, "no name of a profile"),
        (r#"profile: "a" paths: "/api/v1/y""#, "no method and path"),
        (
            r#"profile: "a" paths: "HEAD /api/v1/y""#,
            "none of the five",
        ),
        (
            r#"profile: "a" paths: "GET /api/v1/y/{none}""#,
            "has no field `none`",
        ),
        (
            r#"profile: "a" paths: "GET /api/v1/x/{name}""#,
            "is there twice",
        ),
        (r#"profile: "a" paths: "GET /compat/y""#, "under /compat"),
    ] {
        check(CALL, GET, &format!("frames: {{{frame}}}"), problem);
    }
    let twice = r#"frames: {profile: "a" body: "{id}"} frames: {profile: "a" body: "{ids}"}"#;
    check(CALL, GET, twice, "two frames of a profile");
    let frame = r#"frames: {profile: "a" body: "{id}"}"#;
    let problem = "a frame is for a reply of one message that has a body";
    check(EVENTS, GET, frame, problem);
    check(CALL, GET, &format!("empty: true {frame}"), problem);
}

#[test]
fn challenges_and_paths_are_plain() {
    check(
        CALL,
        GET,
        r#"challenge: "a=\"{url}\"""#,
        "may hold {public_url} only",
    );
    check(
        CALL,
        GET,
        r#"challenge: "Bearer a=1""#,
        "follows after `Bearer`",
    );
    check(CALL, r#"get: "/compat/{name}""#, "", "under /compat");
}
