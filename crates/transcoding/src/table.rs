//! The table: which route a method and path lead to.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use http::{HeaderMap, HeaderName, Method, StatusCode, uri::PathAndQuery};
use proto::annotations::v1::{Expand, RateClass};

use crate::{
    access::Entry, challenge::Challenge, deprecation::Deprecated, event_stream::Form, frame::Frame,
    shape::Shape, template::Template, upload::RawBody,
};

/// The header by which a client makes a change repeatable.
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// All routes that the descriptors state.
#[derive(Debug)]
pub struct Table {
    pub(crate) routes: Vec<Route>,
    /// One router a method, so that the others tell what a path allows.
    pub(crate) routers: Vec<(Method, matchit::Router<usize>)>,
    /// The same routes as the profiles of the contract have them, with their paths and bodies.
    pub(crate) profiles: BTreeMap<String, Table>,
}

/// One method and path, and the RPC behind it.
#[derive(Debug)]
pub struct Route {
    /// HTTP method.
    pub method: Method,
    /// Path with variables in braces: `/api/v1/data/{object}`.
    pub pattern: Arc<str>,
    /// gRPC path: `/package.Service/Method`.
    pub rpc: PathAndQuery,
    /// Proto package of the service.
    pub package: String,
    /// Who may call it and how long it may take; what the service's own guard goes by.
    pub entry: Entry,
    /// Status of success, unless a response field says otherwise.
    pub status: StatusCode,
    /// Further statuses of success, with the same body.
    pub further_statuses: Vec<StatusCode>,
    /// Largest request body in bytes.
    pub body_limit: usize,
    /// Whether the reply may set cookies.
    pub cookies: bool,
    /// Which rate limit counts it; never unspecified.
    pub rate_class: RateClass,
    /// Whether it changes nothing, so that a repeated call does no harm.
    pub safe: bool,
    /// What the RPC does, in one sentence without a full stop.
    pub summary: String,
    /// What it is repeated over in OpenAPI.
    pub expand: Expand,
    /// Set when clients should turn elsewhere.
    pub deprecated: Option<Deprecated>,
    /// How the reply streams, where it does.
    pub stream: Option<Arc<Form>>,
    /// How the body of a request streams, where it does.
    pub upload: Option<RawBody>,
    /// What a 401 says of the way in.
    pub challenge: Option<Challenge>,
    /// The body that a profile wants instead of the message's own.
    pub(crate) frame: Option<Frame>,
    /// The paths among its own that belong to more literal routes of other methods.
    pub(crate) shadowed_by: Vec<Literals>,
    pub(crate) shapes: Shapes,
    pub(crate) vars: Vec<usize>,
    pub(crate) query: Query,
    pub(crate) request_headers: Vec<(HeaderName, usize)>,
    pub(crate) body: Body,
    pub(crate) body_optional: bool,
    pub(crate) empty: bool,
    pub(crate) status_field: Option<Vec<u32>>,
    pub(crate) response_body: Option<usize>,
    pub(crate) response_headers: Vec<(HeaderName, Template)>,
}

/// Values of variables, by position, that make a path another route's.
type Literals = Vec<(usize, String)>;

/// Where `other` says in literals what `pattern` takes as variables, and is alike otherwise; `None`
/// where it is not, or says nothing more.
fn literals_for(pattern: &str, other: &str) -> Option<Literals> {
    let mut literals = Vec::new();
    let mut variables = 0;
    let mut theirs = other.split('/');
    for own in pattern.split('/') {
        let their = theirs.next()?;
        match (own.starts_with('{'), their.starts_with('{')) {
            (true, false) => literals.push((variables, their.to_owned())),
            (true, true) => {}
            (false, false) if own == their => {}
            (false, _) => return None,
        }
        variables += usize::from(own.starts_with('{'));
    }
    (theirs.next().is_none() && !literals.is_empty()).then_some(literals)
}

/// Request and response of an RPC.
#[derive(Debug)]
pub(crate) struct Shapes {
    pub(crate) request: Arc<Shape>,
    pub(crate) response: Arc<Shape>,
}

/// What query parameters fill.
#[derive(Debug, Default)]
pub(crate) struct Query {
    /// Every name, aliases too, to its field.
    pub(crate) names: HashMap<String, usize>,
    /// The number of the field that takes all others.
    pub(crate) remaining: Option<u32>,
}

/// What the HTTP body fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing: a body is not read.
    None,
    /// All fields that path and headers do not fill.
    Whole,
    /// This field, whose content is JSON text and stays as it is.
    Raw(usize),
    /// This message field.
    Message(usize),
    /// This field, piece by piece, as it arrives.
    Stream(usize),
}

/// Where a method and path lead.
#[derive(Debug)]
pub enum Match<'t, 'p> {
    /// To this route, with the path's variables.
    Found(&'t Route, Vars<'p>),
    /// The path exists, for these methods only.
    MethodNotAllowed(Vec<Method>),
    /// Nowhere.
    NotFound,
}

/// The values of a path's variables in the order of the pattern, still percent-encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vars<'p>(pub(crate) Vec<&'p str>);

impl<'p> Vars<'p> {
    /// Those values.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = &'p str>) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Table {
    /// All routes, in the order in which the descriptors state them.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The routes under the prefix of a profile; `None` when the contract has no such profile.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<&Self> {
        self.profiles.get(name)
    }

    /// The names of the contract's profiles, in order.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// Finds the route. HEAD goes where GET does, a trailing slash is ignored, and literal
    /// segments win over variables.
    #[must_use]
    pub fn find<'p>(&self, method: &Method, path: &'p str) -> Match<'_, 'p> {
        let path = trimmed(path);
        let wanted = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let router = self.routers.iter().find(|(method, _)| method == wanted);
        if let Some((route, vars)) = router.and_then(|(_, router)| self.at(router, path)) {
            return Match::Found(route, vars);
        }
        let allowed = self.allowed(path);
        if allowed.is_empty() {
            Match::NotFound
        } else {
            Match::MethodNotAllowed(allowed)
        }
    }

    /// The route of one method at a path, unless the path is another one's.
    fn at<'p>(&self, router: &matchit::Router<usize>, path: &'p str) -> Option<(&Route, Vars<'p>)> {
        let found = router.at(path).ok()?;
        let route = &self.routes[*found.value];
        let vars = Vars(found.params.iter().map(|(_, value)| value).collect());
        let taken = |literals: &Literals| literals.iter().all(|(at, text)| vars.0[*at] == text);
        (!route.shadowed_by.iter().any(taken)).then_some((route, vars))
    }

    /// Notes which paths of each route are those of a route of another method, which says in
    /// literals what this one takes as variables: `/{object}/query` is no record of that id.
    pub(crate) fn note_shadows(&mut self) {
        let shadows: Vec<Vec<Literals>> = self
            .routes
            .iter()
            .map(|route| {
                let others = self
                    .routes
                    .iter()
                    .filter(|other| other.method != route.method);
                let mut found: Vec<Literals> = others
                    .filter_map(|other| literals_for(&route.pattern, &other.pattern))
                    .collect();
                found.sort();
                found.dedup();
                found
            })
            .collect();
        for (route, shadows) in self.routes.iter_mut().zip(shadows) {
            route.shadowed_by = shadows;
        }
    }

    /// The methods that a path takes; none when it does not exist.
    #[must_use]
    pub fn allowed(&self, path: &str) -> Vec<Method> {
        let path = trimmed(path);
        let mut allowed = Vec::new();
        for (method, router) in &self.routers {
            if self.at(router, path).is_some() {
                allowed.push(method.clone());
                if method == Method::GET {
                    allowed.push(Method::HEAD);
                }
            }
        }
        allowed
    }
}

/// The first segment of a path after the version: the family of a route, and its tag. Outside of the
/// version it is the first segment of all: `.well-known`.
#[must_use]
pub fn family(path: &str) -> &str {
    let rest = path.strip_prefix("/api/v1/").unwrap_or(path);
    let rest = rest.trim_start_matches('/');
    rest.split('/').next().unwrap_or_default()
}

fn trimmed(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => shorter,
        _ => path,
    }
}

impl Route {
    /// Whether a call with these headers may run twice without harm: it changes nothing, or its
    /// service keeps the first answer under the key that came along.
    #[must_use]
    pub fn is_repeatable(&self, headers: &HeaderMap) -> bool {
        let bound = |name: &HeaderName| self.request_headers.iter().any(|(own, _)| own == name);
        let key = headers.get(&IDEMPOTENCY_KEY);
        self.safe || (key.is_some_and(|key| !key.is_empty()) && bound(&IDEMPOTENCY_KEY))
    }

    /// Whether a profile has a body of its own for it.
    #[must_use]
    pub fn is_framed(&self) -> bool {
        self.frame.is_some()
    }

    /// Whether a request's body is read at all.
    #[must_use]
    pub fn takes_body(&self) -> bool {
        self.body != Body::None
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, expected: &str) {
        let table = Table::from_descriptors().unwrap();
        let got = match table.find(&method, path) {
            Match::Found(route, vars) => format!("{} {}", route.pattern, vars.0.join(" ")),
            Match::MethodNotAllowed(allowed) => format!("{allowed:?}"),
            Match::NotFound => "nothing".to_owned(),
        };
        assert_eq!(got.trim(), expected, "{method} {path}");
    }

    #[test]
    fn literal_segments_win_and_slashes_do_not_count() {
        check(Method::GET, "/api/v1/meta/types", "/api/v1/meta/types");
        check(
            Method::GET,
            "/api/v1/meta/typesx",
            "/api/v1/meta/{type} typesx",
        );
        check(
            Method::GET,
            "/api/v1/meta/types/a",
            "/api/v1/meta/{type}/{name} types a",
        );
        check(
            Method::HEAD,
            "/api/v1/data/lead/",
            "/api/v1/data/{object} lead",
        );
        // Decoding comes later: an escaped slash does not split a segment.
        check(
            Method::GET,
            "/api/v1/data/a%2Fb",
            "/api/v1/data/{object} a%2Fb",
        );
    }

    #[test]
    fn a_literal_segment_is_no_id_whatever_the_method() {
        check(
            Method::POST,
            "/api/v1/data/lead/query",
            "/api/v1/data/{object}/query lead",
        );
        for method in [Method::GET, Method::HEAD, Method::PATCH, Method::DELETE] {
            check(method, "/api/v1/data/lead/query/", "[POST]");
        }
        check(
            Method::GET,
            "/api/v1/data/query/query2",
            "/api/v1/data/{object}/{id} query query2",
        );
    }

    #[test]
    fn other_paths_and_methods_lead_nowhere() {
        check(Method::GET, "/api/v1/data//lead", "nothing");
        check(Method::GET, "/api/v1/data/lead/r1/x", "nothing");
        check(Method::GET, "/", "nothing");
        check(Method::GET, "", "nothing");
        check(
            Method::POST,
            "/api/v1/data/lead/r1",
            "[GET, HEAD, PUT, PATCH, DELETE]",
        );
    }
}
