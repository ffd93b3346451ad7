//! From descriptors to the table. Runs once, at start; whatever an option gets wrong stops here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MethodDescriptor};
use proto::{
    annotations::v1::{Rest, access::Rule},
    google::api::{HttpRule, http_rule::Pattern},
};

use crate::{
    access::{self, Entry},
    plan,
    shape::Shapes as Maker,
    table::{Route, Table},
};

impl Table {
    /// Reads the table from the descriptors of this product's contract.
    ///
    /// # Errors
    /// As [`from_pool`](Self::from_pool).
    pub fn from_descriptors() -> anyhow::Result<Self> {
        Self::from_pool(proto::descriptor_pool())
    }

    /// Reads the table from the descriptors of a contract, and beside it the same table for each of its
    /// profiles.
    ///
    /// # Errors
    /// Names the RPC whose options are missing, contradict each other or name what is not there.
    pub fn from_pool(pool: &DescriptorPool) -> anyhow::Result<Self> {
        let option = |name: &str| {
            pool.get_extension_by_name(name)
                .with_context(|| format!("the protos declare no `{name}` option"))
        };
        let rest = option("objectmesh.annotations.v1.rest")?;
        let http = option("google.api.http")?;
        let mut access = access::table(pool)?;
        let mut maker = Maker::new(option("objectmesh.annotations.v1.field")?);

        let mut rpcs = Vec::new();
        for method in pool
            .services()
            .flat_map(|s| s.methods().collect::<Vec<_>>())
        {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let entry = access.remove(&path);
            if !method.options().has_extension(&http) {
                continue;
            }
            rpcs.push(Rpc {
                entry: entry.context("every RPC states its access")?,
                rule: typed(&method, &http)?,
                rest: typed(&method, &rest)?,
                method,
                path,
            });
        }
        let mut table = Self::of_profile(&rpcs, None, &mut maker)?;
        let frames = rpcs.iter().flat_map(|rpc| &rpc.rest.frames);
        let profiles: BTreeSet<&str> = frames.map(|frame| frame.profile.as_str()).collect();
        for name in profiles {
            let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            ensure!(
                name.starts_with(|first: char| first.is_ascii_lowercase())
                    && name.bytes().all(is_name),
                "`{name}` is no name of a profile"
            );
            let profile = Self::of_profile(&rpcs, Some(name), &mut maker)?;
            table.profiles.insert(name.to_owned(), profile);
        }
        Ok(table)
    }

    fn of_profile(rpcs: &[Rpc], profile: Option<&str>, maker: &mut Maker) -> anyhow::Result<Self> {
        let mut table = Self {
            routes: Vec::new(),
            routers: Vec::new(),
            profiles: BTreeMap::new(),
        };
        for rpc in rpcs {
            table
                .add_rpc(rpc, profile, maker)
                .with_context(|| rpc.path.clone())?;
        }
        let order = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        // So that `Allow` reads the same everywhere.
        let rank = |method: &Method| order.iter().position(|other| other == method);
        table.routers.sort_by_key(|(method, _)| rank(method));
        table.note_shadows();
        Ok(table)
    }

    fn add_rpc(
        &mut self,
        rpc: &Rpc,
        profile: Option<&str>,
        maker: &mut Maker,
    ) -> anyhow::Result<()> {
        ensure!(
            !matches!(rpc.entry.rule, Rule::Internal(_)),
            "an internal RPC has no route"
        );
        let frames = || {
            let frames = rpc.rest.frames.iter();
            frames.filter(|frame| Some(frame.profile.as_str()) == profile)
        };
        let mut own = frames().filter(|frame| frame.paths.is_empty());
        let body = own.next().map_or("", |frame| frame.body.as_str());
        ensure!(
            own.next().is_none(),
            "two frames of a profile are for the same paths"
        );
        for binding in std::iter::once(&rpc.rule).chain(&rpc.rule.additional_bindings) {
            let route = plan::route(rpc, binding, body, maker)
                .with_context(|| format!("{:?}", binding.pattern))?;
            self.insert(route)?;
        }
        for frame in frames() {
            ensure!(
                !frame.body.is_empty() || !frame.paths.is_empty(),
                "a frame has paths or a body"
            );
            for path in &frame.paths {
                let binding = further(&rpc.rule, path)?;
                let route = plan::route(rpc, &binding, &frame.body, maker);
                self.insert(route.with_context(|| path.clone())?)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, route: Route) -> anyhow::Result<()> {
        let position = match self.routers.iter().position(|(m, _)| *m == route.method) {
            Some(position) => position,
            None => {
                self.routers
                    .push((route.method.clone(), matchit::Router::new()));
                self.routers.len() - 1
            }
        };
        self.routers[position]
            .1
            .insert(route.pattern.to_string(), self.routes.len())
            .with_context(|| format!("{route} is there twice"))?;
        self.routes.push(route);
        Ok(())
    }
}

/// An RPC with a route, and its options.
pub(crate) struct Rpc {
    pub(crate) method: MethodDescriptor,
    /// `/package.Service/Method`.
    path: String,
    rule: HttpRule,
    pub(crate) rest: Rest,
    pub(crate) entry: Entry,
}

/// The rule of a further path: as the RPC's own, but for method and path.
fn further(rule: &HttpRule, path: &str) -> anyhow::Result<HttpRule> {
    let (method, path) = path
        .split_once(' ')
        .with_context(|| format!("`{path}` is no method and path"))?;
    let path = path.to_owned();
    let pattern = match method {
        "GET" => Pattern::Get(path),
        "PUT" => Pattern::Put(path),
        "POST" => Pattern::Post(path),
        "DELETE" => Pattern::Delete(path),
        "PATCH" => Pattern::Patch(path),
        _ => bail!("`{method}` is none of the five usual methods"),
    };
    let body = match pattern {
        Pattern::Get(_) | Pattern::Delete(_) => String::new(),
        _ => rule.body.clone(),
    };
    Ok(HttpRule {
        body,
        pattern: Some(pattern),
        response_body: rule.response_body.clone(),
        ..HttpRule::default()
    })
}

fn typed<T: prost::Message + Default>(
    method: &MethodDescriptor,
    option: &ExtensionDescriptor,
) -> anyhow::Result<T> {
    let options: DynamicMessage = method.options();
    let value = options.get_extension(option);
    let message = value.as_message().context("the option is a message")?;
    Ok(message.transcode_to()?)
}
