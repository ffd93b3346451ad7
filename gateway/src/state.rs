//! What requests need, made once.

use std::{collections::HashMap, sync::Arc};

use http::{Method, uri::PathAndQuery};
use mesh::{resolver::Resolver, revision::Seen, tasks::Tasks};
use transcoding::{Match, Table};

use crate::{
    Config, address::Networks, concurrency::ConcurrencyLimit, discovery::Discovery, limits::Limits,
    openapi::Documents, origin::Origins, own_paths, probes::Probes, upstream::Upstream,
};

/// What lies below is a profile's, named by the next segment.
const COMPAT: &str = "/compat/";

/// Everything a request needs.
pub(crate) struct AppState {
    pub(crate) table: Table,
    /// The peer behind each RPC.
    pub(crate) upstreams: HashMap<PathAndQuery, Arc<Upstream>>,
    /// The peer that exchanges credentials.
    pub(crate) auth: Arc<Upstream>,
    pub(crate) resolver: Resolver,
    pub(crate) limits: Limits,
    pub(crate) concurrency: ConcurrencyLimit,
    pub(crate) origins: Origins,
    pub(crate) proxies: Networks,
    pub(crate) discovery: Discovery,
    pub(crate) documents: Documents,
    pub(crate) probes: Probes,
    /// The newest metadata seen in an answer: who changed it sees it in the next request, whichever
    /// replica answers.
    pub(crate) revision: Seen,
    /// For what goes on after an answer.
    pub(crate) tasks: Tasks,
    pub(crate) config: Config,
}

impl AppState {
    /// Where a request leads, as metrics and traces name it.
    pub(crate) fn label(&self, method: &Method, path: &str) -> Arc<str> {
        if own_paths::is_own(path) {
            return match path.trim_end_matches('/') {
                "" => "/".into(),
                path => path.into(),
            };
        }
        let found = self.locate(path);
        match found.map(|(table, path)| table.find(method, path)) {
            Some(Match::Found(route, _)) => route.pattern.clone(),
            // Names that clients choose would grow the metrics without end.
            Some(Match::MethodNotAllowed(_) | Match::NotFound) | None => "unmatched".into(),
        }
    }

    /// The table that a path is looked up in, and what of it is looked up there: the contract's own, or
    /// that of a profile under its prefix. `None` under a prefix that leads nowhere here.
    pub(crate) fn locate<'p>(&self, path: &'p str) -> Option<(&Table, &'p str)> {
        let Some(rest) = path.strip_prefix(COMPAT) else {
            return Some((&self.table, path));
        };
        let (name, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let enabled = self.config.compat.iter().any(|enabled| enabled == name);
        let profile = enabled.then(|| self.table.profile(name)).flatten()?;
        Some((profile, rest))
    }

    /// What a path takes.
    pub(crate) fn allowed(&self, path: &str) -> Vec<Method> {
        if own_paths::is_own(path) {
            return vec![Method::GET, Method::HEAD];
        }
        let found = self.locate(path);
        found.map_or_else(Vec::new, |(table, path)| table.allowed(path))
    }
}
