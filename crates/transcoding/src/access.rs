//! Who may call each RPC and how long it may take: the options `access` and `rest`, read once. Routes,
//! guards and the OpenAPI document go by the same entries, so that none can promise what another refuses.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use prost_reflect::DescriptorPool;
use proto::annotations::v1::{Access, RateClass, Rest, access::Rule};

/// Deadline of an RPC whose `rest` option states none.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// How long a stream lives at most, in either direction (docs/reference/discovery.md §4).
pub const STREAM_LIFE_MAX: Duration = Duration::from_secs(30 * 60);

/// Who may call one RPC, and how long it may take.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The `access` option.
    pub rule: Rule,
    /// The API key scope that opens it; empty = none does.
    pub scope: String,
    /// The longest a call may take.
    pub deadline: Duration,
    /// False while nothing stands behind the RPC.
    pub implemented: bool,
    /// Whether it is served under any load: what has to stay reachable, and the mesh's own calls,
    /// without which a call that has its place could not go on.
    pub never_shed: bool,
    /// Whether it answers a stream, whose place is taken until it ends.
    pub streams: bool,
    /// Whether its request streams: then `deadline` is for silence of the service alone, and the whole may
    /// take [`STREAM_LIFE_MAX`].
    pub uploads: bool,
}

/// Reads the entry of every RPC of a contract: `/package.Service/Method` → [`Entry`].
///
/// # Errors
/// When an RPC states no `access`: its process must not start.
pub fn table(pool: &DescriptorPool) -> anyhow::Result<HashMap<String, Entry>> {
    let access = pool
        .get_extension_by_name("objectmesh.annotations.v1.access")
        .context("the protos declare no `access` option")?;
    let rest = pool
        .get_extension_by_name("objectmesh.annotations.v1.rest")
        .context("the protos declare no `rest` option")?;
    let mut table = HashMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let options = method.options();
            let stated: Access = options
                .get_extension(&access)
                .as_message()
                .context("`access` is a message")?
                .transcode_to()?;
            let rest: Rest = options
                .get_extension(&rest)
                .as_message()
                .context("`rest` is a message")?
                .transcode_to()?;
            let rule = stated
                .rule
                .with_context(|| format!("{path} states no access option"))?;
            let deadline = match rest.deadline_ms {
                0 => DEADLINE_DEFAULT,
                ms => Duration::from_millis(ms.into()),
            };
            let scope = stated.scope;
            let never_shed =
                matches!(rule, Rule::Internal(_)) || rest.rate_class() == RateClass::Exempt;
            table.insert(
                path,
                Entry {
                    rule,
                    scope,
                    deadline,
                    implemented: !rest.not_implemented,
                    never_shed,
                    streams: method.is_server_streaming(),
                    uploads: method.is_client_streaming(),
                },
            );
        }
    }
    Ok(table)
}
