//! data-svc as far as auth-svc knows it: resolves principals from a list, and remembers who asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use mesh::{
    Ctx, Error, Link, Node,
    error::Reason,
    guard::Guard,
    identity::{Identity, Purpose},
    openapi::{Contract, Describe, Fragment},
    resolver::{Resolver, Tier},
    tasks::Tasks,
};
use proto::data::v1::{
    Change, ListChangedPrincipalsRequest, ListChangedPrincipalsResponse, RemovePrincipalRequest,
    RemovePrincipalResponse, ResolvePrincipalRequest, ResolvePrincipalResponse,
    WatchChangesRequest, WatchChangesResponse,
    change_service_server::{ChangeService, ChangeServiceServer},
    principal_service_server::{PrincipalService, PrincipalServiceServer},
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, service::Routes};

/// A fake of data-svc. Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct FakeData(Arc<Mutex<State>>);

pub(crate) struct State {
    /// System permissions by user id; the platform's owner is an administrator by itself.
    pub rights: HashMap<String, Vec<String>>,
    /// Every request so far, with the identity of the caller.
    pub resolved: Vec<(ResolvePrincipalRequest, Identity)>,
    /// Ids of users that were removed.
    pub removed: Vec<String>,
    /// When set, answers wait for a permit.
    pub gate: Option<Arc<Semaphore>>,
    /// When set, every call fails.
    pub broken: bool,
    /// What changed, at the positions from 1.
    pub changes: Vec<Change>,
    /// Changes up to here are gone.
    pub forgotten: i64,
    /// Revisions of the metadata so far, each with whose rights it changed.
    pub revisions: Vec<ListChangedPrincipalsResponse>,
    /// False for a data-svc of the version before.
    pub tells_whose_rights_changed: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            rights: HashMap::new(),
            resolved: Vec::new(),
            removed: Vec::new(),
            gate: None,
            broken: false,
            changes: Vec::new(),
            forgotten: 0,
            revisions: Vec::new(),
            tells_whose_rights_changed: true,
        }
    }
}

impl FakeData {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Gives a user system permissions.
    pub(crate) fn grant(&self, user_id: &str, permissions: &[&str]) {
        let permissions = permissions.iter().map(|&key| key.to_owned()).collect();
        self.state().rights.insert(user_id.to_owned(), permissions);
    }

    /// Tells of a changed record, given as JSON.
    pub(crate) fn change(&self, object: &str, after: &str) {
        let mut state = self.state();
        let position = state.forgotten + i64::try_from(state.changes.len()).unwrap() + 1;
        state.changes.push(Change {
            position,
            object: object.to_owned(),
            after: after.to_owned().into(),
            ..Change::default()
        });
    }

    /// Makes a revision of the metadata that changes the rights of those users.
    pub(crate) fn revise(&self, user_ids: &[&str]) {
        self.revise_with(false, user_ids);
    }

    /// Makes a revision of the metadata that may change anybody's rights.
    pub(crate) fn revise_for_everybody(&self) {
        self.revise_with(true, &[]);
    }

    fn revise_with(&self, everybody: bool, user_ids: &[&str]) {
        let mut state = self.state();
        let revision = latest(&state) + 1;
        state.revisions.push(ListChangedPrincipalsResponse {
            revision,
            everybody,
            user_ids: user_ids.iter().map(|&id| id.to_owned()).collect(),
        });
    }

    fn revision(&self) -> u64 {
        latest(&self.state())
    }

    /// The node, which verifies callers at auth-svc.
    pub(crate) async fn node(&self, auth: Link) -> Node {
        let guard =
            Guard::new("data-svc", Resolver::new(Tier::Service, auth, None), false).unwrap();
        let routes = Routes::default()
            .add_service(PrincipalServiceServer::new(self.clone()))
            .add_service(ChangeServiceServer::new(self.clone()));
        let contract = Contract::of("objectmesh.data.").unwrap();
        let described = Described {
            data: self.clone(),
            contract,
        };
        Node::new(
            "data-svc",
            routes,
            guard,
            Tasks::default(),
            Arc::new(described),
        )
        .await
        .unwrap()
    }
}

/// What the fake says of itself: the last revision made.
struct Described {
    data: FakeData,
    contract: Contract,
}

impl Describe for Described {
    fn revision(&self) -> u64 {
        self.data.revision()
    }

    fn fragment<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, mesh::Result<(u64, Fragment)>> {
        Describe::fragment(&self.contract, ctx)
    }
}

#[tonic::async_trait]
impl PrincipalService for FakeData {
    async fn resolve_principal(
        &self,
        request: Request<ResolvePrincipalRequest>,
    ) -> Result<Response<ResolvePrincipalResponse>, Status> {
        let identity = Ctx::of(&request)?.identity()?.clone();
        let asked = request.into_inner();
        let gate = self.state().gate.clone();
        if let Some(gate) = gate {
            let _open = gate.acquire().await.unwrap();
        }
        let mut state = self.state();
        if state.broken {
            // An answer about our own credential must not look like one about the user's.
            return Err(Error::unauthenticated("broken").into());
        }
        let user_id = asked.profile.as_ref().unwrap().id.clone();
        let mut answer = ResolvePrincipalResponse {
            organization_id: asked.active_organization_id.clone(),
            positions: vec!["support".into(), "agent".into()],
            permission_sets: vec!["member_default".into()],
            system_permissions: state.rights.get(&user_id).cloned().unwrap_or_default(),
        };
        if asked.platform_owner {
            answer.permission_sets.push("admin_full_access".into());
        }
        state.resolved.push((asked, identity));
        Ok(Response::new(answer))
    }

    async fn remove_principal(
        &self,
        request: Request<RemovePrincipalRequest>,
    ) -> Result<Response<RemovePrincipalResponse>, Status> {
        self.state().removed.push(request.into_inner().user_id);
        Ok(Response::new(RemovePrincipalResponse {}))
    }

    async fn list_changed_principals(
        &self,
        request: Request<ListChangedPrincipalsRequest>,
    ) -> Result<Response<ListChangedPrincipalsResponse>, Status> {
        let identity = Ctx::of(&request)?.identity()?.clone();
        assert!(identity.is_service_for(Purpose::FollowChanges));
        let after = request.into_inner().after_revision;
        let state = self.state();
        if !state.tells_whose_rights_changed {
            return Err(Status::unimplemented("there is no such method"));
        }
        let mut answer = ListChangedPrincipalsResponse {
            revision: latest(&state),
            ..Default::default()
        };
        for made in state.revisions.iter().filter(|made| made.revision > after) {
            answer.everybody |= made.everybody;
            answer.user_ids.extend(made.user_ids.iter().cloned());
        }
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl ChangeService for FakeData {
    type WatchChangesStream = BoxStream<'static, Result<WatchChangesResponse, Status>>;

    async fn watch_changes(
        &self,
        request: Request<WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        let identity = Ctx::of(&request)?.identity()?.clone();
        assert!(identity.is_service_for(Purpose::FollowChanges));
        let asked = request.into_inner();
        let (head, forgotten) = {
            let state = self.state();
            let count = i64::try_from(state.changes.len()).unwrap();
            (state.forgotten + count, state.forgotten)
        };
        if !asked.from_now && (asked.after_position < forgotten || asked.after_position > head) {
            let gone = Error::new(Reason::PositionGone, "The position is gone");
            return Err(gone.with("position", head).into());
        }
        let after = if asked.from_now {
            head
        } else {
            asked.after_position
        };
        let told = futures::stream::unfold((self.clone(), after, true), next_change);
        Ok(Response::new(told.boxed()))
    }
}

fn latest(state: &State) -> u64 {
    state.revisions.last().map_or(0, |made| made.revision)
}

async fn next_change(
    (data, after, first): (FakeData, i64, bool),
) -> Option<(Result<WatchChangesResponse, Status>, (FakeData, i64, bool))> {
    loop {
        let (changes, position) = {
            let state = data.state();
            let changes = state.changes.iter();
            let changes: Vec<_> = changes.filter(|c| c.position > after).cloned().collect();
            let position = changes.last().map_or(after, |change| change.position);
            (changes, position)
        };
        if first || !changes.is_empty() {
            let told = WatchChangesResponse { changes, position };
            return Some((Ok(told), (data, position, false)));
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
