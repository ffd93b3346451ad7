//! What the document says of the API as a whole: how one signs in, how failures look, and the
//! paths that are the gateway's own.

use http::Method;
use mesh::{
    openapi::{Fragment, reference},
    resolver::{SECURE_PREFIX, SESSION_COOKIE},
};
use serde_json::{Map, Value, json};

use super::Settings;

/// Component names with a dot cannot be those of objects.
const DISCOVERY: &str = "gateway.Discovery";
const VERSION: &str = "gateway.Version";

pub(super) fn info() -> Value {
    json!({
        "title": "objectmesh API",
        "version": "v1",
        "description": "Everything that you may call: this document holds the objects, fields and \
            operations that your rights reach, and nothing else.\n\n\
            Sign in with `POST /api/v1/auth/sign-in/email`; the answer sets a cookie and holds a \
            token, to be sent as `Authorization: Bearer <token>`. Programs use an API key in \
            `x-api-key`.\n\n\
            Every failure has the body of the schema `Error`; the header `X-Request-Id` names the \
            request in the logs.",
    })
}

/// Any one of the ways to sign in.
pub(super) fn security() -> Value {
    json!([{"cookieAuth": []}, {"bearerAuth": []}, {"apiKeyAuth": []}])
}

pub(super) fn security_schemes(settings: Settings) -> Value {
    let prefix = if settings.secure { SECURE_PREFIX } else { "" };
    json!({
        "cookieAuth": {
            "type": "apiKey", "in": "cookie", "name": format!("{prefix}{SESSION_COOKIE}"),
            "description": "The session cookie that signing in sets. Changes also need an `Origin` \
                that is trusted.",
        },
        "bearerAuth": {
            "type": "http", "scheme": "bearer",
            "description": "The session token that signing in answers, or an API key.",
        },
        "apiKeyAuth": {
            "type": "apiKey", "in": "header", "name": "x-api-key",
            "description": "An API key of `POST /api/v1/keys`.",
        },
    })
}

/// The failures that operations refer to.
pub(super) fn responses() -> Value {
    let failures = [
        (
            "400",
            "The request is not understood: `details` names the parameter or fields.",
            "VALIDATION_ERROR",
        ),
        (
            "401",
            "Nobody is signed in, or the credential is not good.",
            "UNAUTHENTICATED",
        ),
        ("403", "The rights do not reach this.", "PERMISSION_DENIED"),
        (
            "404",
            "There is no such thing, or it may not be seen.",
            "NOT_FOUND",
        ),
        (
            "409",
            "It contradicts what is there: another version, a value taken, a record referred to.",
            "CONCURRENT_UPDATE",
        ),
        (
            "429",
            "Too many requests; `Retry-After` says when to come back.",
            "RATE_LIMITED",
        ),
        (
            "500",
            "It is our fault; the log has more under `X-Request-Id`.",
            "INTERNAL",
        ),
        (
            "default",
            "Any other failure, in the same form.",
            "SERVICE_UNAVAILABLE",
        ),
    ];
    let responses = failures.map(|(status, text, code)| {
        let example = json!({"error": {"code": code, "message": text, "details": {}}});
        let content = json!({"schema": reference("Error"), "example": example});
        let mut response = json!({
            "description": text,
            "headers": {"X-Request-Id": {"schema": {"type": "string"}}},
            "content": {"application/json": content},
        });
        let header = match status {
            "401" => Some(("WWW-Authenticate", "string")),
            "429" => Some(("Retry-After", "integer")),
            _ => None,
        };
        if let Some((name, kind)) = header {
            response["headers"][name] = json!({"schema": {"type": kind}});
        }
        (status.to_owned(), response)
    });
    Value::Object(Map::from_iter(responses))
}

/// The gateway's own paths and schemas.
pub(super) fn fragment(settings: Settings) -> Fragment {
    let mut fragment = Fragment::default();
    let tags = [
        ("discovery", "What this runtime serves."),
        (
            "health",
            "For orchestrators: whether the process runs and can do its work.",
        ),
    ];
    for (tag, text) in tags {
        fragment.tags.insert(tag.to_owned(), text.to_owned());
    }
    let discovery = reference(DISCOVERY);
    let wrapped = json!({
        "type": "object",
        "properties": {"success": {"type": "boolean"}, "data": discovery.clone()},
        "required": ["success", "data"],
    });
    let summary = "Tells what this runtime serves";
    for (path, id, schema) in [
        ("/api/v1", "discover", discovery.clone()),
        ("/api/v1/discovery", "discover2", discovery),
        ("/.well-known/objectstack", "discover3", wrapped),
    ] {
        let access = if settings.public_discovery {
            Access::Public
        } else {
            Access::Session
        };
        fragment.add(
            path,
            &Method::GET,
            get(("discovery", id, summary), schema, access),
        );
    }
    let document = json!({"type": "object", "description": "An OpenAPI 3.0.3 document."});
    let summary = "Describes the API as OpenAPI 3.0, as far as the caller may see it";
    let mut operation = get(
        ("discovery", "getOpenApi", summary),
        document,
        Access::Session,
    );
    let known = json!([{
        "name": "If-None-Match", "in": "header", "schema": {"type": "string"},
        "description": "Entity tags that the caller has; when one fits the answer is 304.",
    }]);
    operation.insert("parameters".to_owned(), known);
    operation["responses"]["200"]["headers"] = json!({"ETag": {"schema": {"type": "string"}}});
    operation["responses"]["304"] = json!({"description": "What the caller has is still so."});
    fragment.add("/api/v1/openapi.json", &Method::GET, operation);

    let versions = json!({
        "type": "object",
        "properties": {"versions": {"type": "array", "items": reference(VERSION)}},
        "required": ["versions"],
    });
    let operation = get(
        ("discovery", "listVersions", "Lists the versions of the API"),
        versions,
        Access::Public,
    );
    fragment.add("/api", &Method::GET, operation);
    for (path, id, summary, word) in [
        ("/health", "getHealth", "Tells that the process runs", "ok"),
        (
            "/ready",
            "getReadiness",
            "Tells whether requests can be answered",
            "ready",
        ),
    ] {
        let schema = json!({
            "type": "object",
            "properties": {"status": {"type": "string", "enum": [word]}, "degraded": {
                "type": "array", "items": {"type": "string"},
                "description": "What is missing, of that without which some requests are answered.",
            }},
            "required": ["status"],
        });
        let operation = get(("health", id, summary), schema, Access::Public);
        fragment.add(path, &Method::GET, operation);
    }
    fragment.schemas.insert("Error".to_owned(), error());
    fragment.schemas.insert(VERSION.to_owned(), version());
    fragment.schemas.insert(DISCOVERY.to_owned(), discovered());
    fragment
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Public,
    Session,
}

fn get(
    (tag, id, summary): (&str, &str, &str),
    schema: Value,
    access: Access,
) -> Map<String, Value> {
    let failure = |status: &str| json!({"$ref": format!("#/components/responses/{status}")});
    let mut responses = json!({
        "200": {"description": "Success.", "content": {"application/json": {"schema": schema}}},
    });
    let failures: &[&str] = match access {
        Access::Public => &["default"],
        Access::Session => &["401", "429", "500", "default"],
    };
    for status in failures {
        responses[status] = failure(status);
    }
    let mut operation = Map::new();
    operation.insert("tags".to_owned(), json!([tag]));
    operation.insert("summary".to_owned(), json!(summary));
    operation.insert("operationId".to_owned(), json!(id));
    operation.insert("responses".to_owned(), responses);
    if access == Access::Public {
        operation.insert("security".to_owned(), json!([]));
    }
    operation
}

/// The one form of every failure.
fn error() -> Value {
    let code = "What kind of failure, for programs: for example `VALIDATION_ERROR`, `NOT_FOUND`.";
    json!({
        "type": "object",
        "description": "A failure.",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "string", "description": code},
                    "message": {"type": "string", "description": "What is wrong, for people."},
                    "details": {
                        "type": "object",
                        "additionalProperties": true,
                        "description": "The values that the message names; `reason` is a finer code, \
                            `fields` what is wrong with each field.",
                    },
                },
                "required": ["code", "message", "details"],
                "additionalProperties": false,
            },
            "code": {"type": "string", "description": "The code again, on `/api/v1/auth/*` only."},
            "message": {"type": "string", "description": "The message again, on `/api/v1/auth/*` only."},
        },
        "required": ["error"],
        "additionalProperties": false,
    })
}

fn version() -> Value {
    let day = json!({"type": "string", "nullable": true});
    json!({
        "type": "object",
        "description": "A version of the API.",
        "properties": {
            "version": {"type": "string"},
            "status": {"type": "string"},
            "deprecatedAt": day,
            "sunsetAt": day,
            "url": {"type": "string"},
        },
        "required": ["version", "status"],
    })
}

fn discovered() -> Value {
    let text = || json!({"type": "string"});
    let free = || json!({"type": "object", "additionalProperties": true});
    json!({
        "type": "object",
        "description": "What this runtime serves.",
        "properties": {
            "name": text(),
            "apiName": text(),
            "version": text(),
            "runtimeVersion": text(),
            "environment": text(),
            "routes": {
                "type": "object", "additionalProperties": text(),
                "description": "Where each family of routes begins.",
            },
            "endpoints": {
                "type": "array",
                "description": "Every route.",
                "items": {
                    "type": "object",
                    "properties": {
                        "method": text(), "path": text(), "summary": text(),
                        "auth": {"type": "string", "enum": ["session", "public"]},
                        "permission": text(),
                        "tags": {"type": "array", "items": text()},
                        "implemented": {
                            "type": "boolean", "description": "False while it is not built yet.",
                        },
                    },
                    "required": ["method", "path", "summary", "auth", "tags"],
                },
            },
            "services": {
                "type": "object",
                "description": "How what is behind each family is right now.",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "enabled": {"type": "boolean"}, "status": text(), "route": text(),
                        "provider": text(), "message": text(),
                    },
                    "required": ["enabled", "status", "route", "provider"],
                },
            },
            "capabilities": free(),
            "scoping": free(),
            "versions": {"type": "array", "items": reference(VERSION)},
            "deprecation": {
                "type": "object", "nullable": true,
                "properties": {"horizon": {"type": "string", "nullable": true}},
            },
            "schemaDiscovery": free(),
            "locale": free(),
        },
        "required": ["name", "apiName", "version", "routes", "endpoints", "services"],
    })
}
