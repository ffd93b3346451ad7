//! What requests need, made once.

use std::{collections::HashMap, sync::Arc};

use http::{Method, uri::PathAndQuery};
use mesh::{resolver::Resolver, revision::Seen};
use transcoding::{Match, Table};

use crate::{
    Config, address::Networks, concurrency::ConcurrencyLimit, discovery::Discovery, limits::Limits,
    openapi::Documents, origin::Origins, own_paths, probes::Probes, upstream::Upstream,
};

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
        match self.table.find(method, path) {
            Match::Found(route, _) => route.pattern.clone(),
            // Names that clients choose would grow the metrics without end.
            Match::MethodNotAllowed(_) | Match::NotFound => "unmatched".into(),
        }
    }

    /// What a path takes.
    pub(crate) fn allowed(&self, path: &str) -> Vec<Method> {
        if own_paths::is_own(path) {
            return vec![Method::GET, Method::HEAD];
        }
        self.table.allowed(path)
    }
}
