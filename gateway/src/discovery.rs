//! Discovery: what this runtime serves, told from the route table so that it cannot drift
//! (docs/reference/discovery.md §1).

use std::collections::BTreeSet;

use axum::response::Response;
use http::StatusCode;
use proto::annotations::v1::access::Rule;
use serde_json::{Map, Value, json};
use transcoding::{Route, Table, family};

use crate::{probes::Status, response::json_response};

/// The document, but for how the services are right now.
pub(crate) struct Discovery {
    base: Map<String, Value>,
    /// Families of routes and the service behind each: `data` → `data-svc`.
    families: Vec<Family>,
}

struct Family {
    name: String,
    path: String,
    service: &'static str,
    /// False while none of its routes has anything behind it.
    implemented: bool,
}

impl Discovery {
    pub(crate) fn new(table: &Table, environment: &str, public: bool) -> Self {
        let families = families(table);
        let mut routes: Map<String, Value> = families
            .iter()
            .filter(|family| family.implemented)
            .map(|family| (family.name.clone(), json!(family.path)))
            .collect();
        routes.insert("discovery".to_owned(), json!("/api/v1/discovery"));
        let auth = if public { "public" } else { "session" };
        let own = [
            ("/api/v1", "Tells what this runtime serves", auth),
            ("/api/v1/discovery", "Tells what this runtime serves", auth),
            (
                "/api/v1/openapi.json",
                "Describes the API as OpenAPI 3.0, as far as the caller may see it",
                "session",
            ),
        ];
        let own = own.map(|(path, summary, auth)| {
            json!({
                "method": "GET", "path": path, "summary": summary, "auth": auth,
                "tags": ["discovery"],
            })
        });
        let endpoints: Vec<Value> = own
            .into_iter()
            .chain(table.routes().iter().map(endpoint))
            .collect();
        let has = |pattern: &str| {
            let routes = table.routes().iter();
            let enabled = routes
                .into_iter()
                .any(|route| route.entry.implemented && route.pattern.contains(pattern));
            json!({"enabled": enabled})
        };
        let document = json!({
            "name": "objectmesh",
            "apiName": "objectmesh API",
            "version": "v1",
            "runtimeVersion": env!("CARGO_PKG_VERSION"),
            "environment": environment,
            "routes": routes,
            "endpoints": endpoints,
            "services": {},
            "capabilities": {
                "search": has("/api/v1/search"),
                "automation": has("/api/v1/flows/"),
                "cron": {"enabled": false},
                "export": has("/export"),
                "comments": {"enabled": false},
                "chunkedUpload": {"enabled": false},
                "transactionalBatch": has("/batch"),
            },
            "scoping": {"enabled": false, "resolution": "auto", "scoped": false},
            "versions": [version()],
            "deprecation": deprecation(table),
            "schemaDiscovery": {"openapi": "/api/v1/openapi.json"},
            "locale": {"default": "en-US", "supported": ["en-US"], "timezone": "UTC"},
        });
        let Value::Object(base) = document else {
            unreachable!("a map was just written")
        };
        Self { base, families }
    }

    /// The document with the services as they are; `wrapped` as `/.well-known` has it.
    pub(crate) fn document(&self, statuses: &[(&'static str, Status)], wrapped: bool) -> Response {
        let mut services = Map::new();
        for family in &self.families {
            let status = statuses.iter().find(|(name, _)| *name == family.service);
            let status = status.map_or(Status::Unavailable, |(_, status)| *status);
            let word = match (family.implemented, status) {
                (false, Status::Available) => "stub",
                _ => status.as_str(),
            };
            let mut service = json!({
                "enabled": family.implemented,
                "status": word,
                "route": family.path,
                "provider": family.service,
            });
            if status != Status::Available {
                service["message"] =
                    json!(format!("{} does not answer as it should", family.service));
            }
            services.insert(family.name.clone(), service);
        }
        let mut document = self.base.clone();
        document.insert("services".to_owned(), Value::Object(services));
        let document = Value::Object(document);
        let body = if wrapped {
            json!({"success": true, "data": document})
        } else {
            document
        };
        json_response(StatusCode::OK, body.to_string())
    }

    /// The versions of the API.
    pub(crate) fn versions(&self) -> Response {
        let mut version = version();
        version["url"] = json!("/api/v1");
        json_response(StatusCode::OK, json!({"versions": [version]}).to_string())
    }
}

fn version() -> Value {
    json!({"version": "v1", "status": "stable", "deprecatedAt": null, "sunsetAt": null})
}

/// When the first of the routes on their way out may be gone; null while there is none.
fn deprecation(table: &Table) -> Value {
    let deprecated = || {
        table
            .routes()
            .iter()
            .filter_map(|route| route.deprecated.as_ref())
    };
    // Dates as text sort by time.
    let horizon = deprecated().filter_map(|one| one.sunset.as_deref()).min();
    match deprecated().next() {
        None => Value::Null,
        Some(_) => json!({"horizon": horizon}),
    }
}

/// `/api/v1/<segment>` of every route, once each.
fn families(table: &Table) -> Vec<Family> {
    let mut seen = BTreeSet::new();
    let mut families = Vec::new();
    let versioned = table.routes().iter();
    for route in versioned.filter(|route| route.pattern.starts_with("/api/v1/")) {
        let segment = family(&route.pattern);
        if !seen.insert(segment.to_owned()) {
            continue;
        }
        let prefix = format!("/api/v1/{segment}");
        let implemented = table.routes().iter().any(|route| {
            let rest = route.pattern.strip_prefix(&prefix);
            route.entry.implemented
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        families.push(Family {
            // The reference's clients look for this name.
            name: if segment == "meta" {
                "metadata"
            } else {
                segment
            }
            .to_owned(),
            path: format!("/api/v1/{segment}"),
            service: match route.package.split('.').nth(1) {
                Some("auth") => "auth-svc",
                Some("flow") => "flow-svc",
                Some("ai") => "ai-svc",
                _ => "data-svc",
            },
            implemented,
        });
    }
    families
}

fn endpoint(route: &Route) -> Value {
    let path = route.pattern.replace('{', ":").replace('}', "");
    let mut endpoint = json!({
        "method": route.method.as_str(),
        "path": path,
        "summary": route.summary,
        "auth": "session",
        "tags": [family(&route.pattern)],
    });
    if !route.entry.implemented {
        endpoint["implemented"] = json!(false);
    }
    if let Some(deprecated) = &route.deprecated {
        endpoint["deprecated"] = json!({
            "since": deprecated.since,
            "sunset": deprecated.sunset,
            "successor": deprecated.successor,
        });
    }
    match &route.entry.rule {
        Rule::Public(_) => endpoint["auth"] = json!("public"),
        Rule::Permission(key) => endpoint["permission"] = json!(key),
        Rule::Authenticated(_) | Rule::Internal(_) => {}
    }
    endpoint
}
