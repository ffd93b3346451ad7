//! Where the replicas of a peer are: addresses written out, or names looked up now and then, so
//! that a Kubernetes headless service is as many replicas as it has pods.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context as _;
use http::uri::{Authority, Scheme};
use tokio::sync::watch;

use super::{Reach, endpoint::Endpoint};
use crate::tasks::Tasks;

/// Longest wait for a name server.
const LOOKUP_MAX: Duration = Duration::from_secs(3);
/// Pause after no replica was found.
const LOOKUP_RETRY: Duration = Duration::from_millis(250);

/// One entry of the list of URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `host:port`, as requests name it.
    pub(super) authority: Authority,
    host: String,
    port: u16,
}

impl Target {
    /// Reads a comma list of URLs.
    pub(super) fn parse_list(urls: &str) -> anyhow::Result<Vec<Self>> {
        let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        let targets: Vec<Self> = urls.map(Self::parse).collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(!targets.is_empty(), "no URL is given");
        Ok(targets)
    }

    fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = url
            .parse()
            .with_context(|| format!("`{url}` is no URL like http://host:port"))?;
        anyhow::ensure!(
            uri.scheme() == Some(&Scheme::HTTP) && matches!(uri.path(), "" | "/"),
            "`{url}` is no URL like http://host:port"
        );
        let authority = uri.authority().cloned();
        let authority = authority.with_context(|| format!("`{url}` names no host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority,
            host,
            port,
        })
    }

    /// The address, when it is written out.
    fn literal(&self) -> Option<SocketAddr> {
        let address: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(address, self.port))
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = self.literal() {
            return Ok(vec![address]);
        }
        let looked_up = tokio::net::lookup_host((self.host.as_str(), self.port));
        match tokio::time::timeout(LOOKUP_MAX, looked_up).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(format!("{}: {error}", self.host)),
            Err(_) => Err(format!("{}: the name server does not answer", self.host)),
        }
    }
}

/// What is known of a peer's replicas.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) replicas: Arc<[Arc<Endpoint>]>,
    /// Why there are none.
    pub(super) problem: Option<Arc<str>>,
}

/// A peer: its replicas, kept up to date.
pub(super) struct Peer {
    targets: Vec<Target>,
    reach: Reach,
    tasks: Tasks,
    known: watch::Sender<Known>,
}

impl Peer {
    /// A peer at these targets; where names are to be looked up, a task does that until the peer
    /// is dropped.
    pub(super) fn start(targets: Vec<Target>, reach: &Reach, tasks: &Tasks) -> Arc<Self> {
        let peer = Arc::new(Self {
            targets,
            reach: reach.clone(),
            tasks: tasks.clone(),
            known: watch::Sender::default(),
        });
        let literals = peer.targets.iter().map(Target::literal);
        match literals.collect::<Option<Vec<_>>>() {
            Some(addresses) => {
                peer.replace(peer.targets.iter().zip(addresses), None);
            }
            None => tasks.spawn(keep_up(Arc::downgrade(&peer), tasks.clone())),
        }
        peer
    }

    /// The replicas now.
    pub(super) fn known(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// The replicas now, without waiting for any.
    pub(super) fn replicas(&self) -> Arc<[Arc<Endpoint>]> {
        self.known.borrow().replicas.clone()
    }

    async fn look_up(&self) {
        let before = self.replicas();
        let mut found = Vec::new();
        let mut problem = None;
        for target in &self.targets {
            match target.look_up().await {
                Ok(addresses) => found.extend(addresses.into_iter().map(|at| (target, at))),
                Err(what) => {
                    // Better the replicas of a moment ago than none.
                    let kept = before.iter().filter(|old| old.belongs_to(target));
                    found.extend(kept.map(|old| (target, old.address)));
                    problem = Some(what);
                }
            }
        }
        if let Some(problem) = &problem {
            tracing::warn!(problem, "a peer's name cannot be looked up");
        }
        self.replace(found.into_iter(), problem);
    }

    /// Keeps the replicas that are still there, with their connections, and adds the new ones.
    fn replace<'t>(
        &self,
        found: impl Iterator<Item = (&'t Target, SocketAddr)>,
        problem: Option<String>,
    ) {
        let before = self.replicas();
        let mut replicas: Vec<Arc<Endpoint>> = Vec::new();
        for (target, address) in found {
            if replicas.iter().any(|known| known.address == address) {
                continue;
            }
            let known = before.iter().find(|old| old.address == address);
            replicas.push(known.map_or_else(
                || Endpoint::new(target, address, &self.reach, &self.tasks),
                Arc::clone,
            ));
        }
        if replicas.len() != before.len()
            || replicas
                .iter()
                .zip(&*before)
                .any(|(a, b)| !Arc::ptr_eq(a, b))
        {
            tracing::debug!(
                peer.host = self.targets.first().map(|target| &*target.host),
                peer.replicas = replicas.len(),
                "the replicas of a peer changed"
            );
        }
        self.known.send_replace(Known {
            replicas: replicas.into(),
            problem: problem.map(Into::into),
        });
    }
}

async fn keep_up(peer: Weak<Peer>, tasks: Tasks) {
    let stop = tasks.stop_token();
    loop {
        let Some(peer) = peer.upgrade() else { return };
        let looked_up = peer.look_up();
        if stop.run_until_cancelled(looked_up).await.is_none() {
            return;
        }
        let pause = if peer.replicas().is_empty() {
            LOOKUP_RETRY
        } else {
            // Not all processes in the same moment.
            peer.reach
                .resolve_interval
                .mul_f64(rand::random_range(0.8..=1.2))
        };
        // A peer that nobody uses any more is not kept by this task.
        drop(peer);
        let pause = tokio::time::sleep(pause);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_comma_list_of_hosts_and_ports() {
        let targets = Target::parse_list("http://10.0.0.1:7402, http://[::1]:9/").unwrap();
        let addresses: Vec<_> = targets.iter().filter_map(Target::literal).collect();
        assert_eq!(
            addresses,
            ["10.0.0.1:7402", "[::1]:9"].map(|at| at.parse().unwrap())
        );
        let named = Target::parse_list("http://data-svc").unwrap();
        assert_eq!((named[0].literal(), named[0].port), (None, 80));
        for wrong in [
            "",
            " , ",
            "data:7402",
            "https://x",
            "http://x/path",
            "http://",
        ] {
            assert!(Target::parse_list(wrong).is_err(), "{wrong}");
        }
    }
}
