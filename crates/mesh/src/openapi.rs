//! What a service says of itself, as one caller may see it (docs/reference/discovery.md).
//!
//! Invariant: whether a caller may see a route is asked of the guard, so that the document cannot
//! promise what the guard refuses.

use std::sync::LazyLock;

use futures::{FutureExt as _, future::BoxFuture};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use transcoding::openapi::{Fragment, Operation, reference};

use crate::{Ctx, Result, guard, identity::Identity};

/// What a service says of itself.
pub trait Describe: Send + Sync + 'static {
    /// Revision of the metadata that it serves; 0 when it serves none.
    fn revision(&self) -> u64;

    /// Its fragment, as the caller may see it, and the revision that it was made of.
    ///
    /// # Errors
    /// UNAUTHENTICATED without a caller.
    fn fragment<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Result<(u64, Fragment)>>;
}

/// The routes of one service, of which a caller sees those that the guard would let through.
#[derive(Debug)]
pub struct Contract(transcoding::openapi::Contract);

impl Contract {
    /// Compiles the routes of the proto packages that begin so: `objectmesh.data.`. Routes that are
    /// not built yet are left out.
    ///
    /// # Errors
    /// Names what is wrong in the contract's options.
    pub fn of(packages: &str) -> anyhow::Result<Self> {
        transcoding::openapi::Contract::of(packages).map(Self)
    }

    /// The routes, in the contract's order.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        self.0.operations()
    }

    /// The routes that the caller may call.
    pub fn open_to<'c>(&'c self, caller: &'c Identity) -> impl Iterator<Item = &'c Operation> {
        let open = |operation: &&Operation| guard::admit(&operation.entry, caller).is_ok();
        self.0.operations().iter().filter(open)
    }

    /// The fragment that the caller may see, as far as the contract tells it.
    #[must_use]
    pub fn fragment(&self, caller: &Identity) -> Fragment {
        self.0.fragment(|entry| guard::admit(entry, caller).is_ok())
    }

    /// A component schema of the contract.
    #[must_use]
    pub fn schema(&self, name: &str) -> Option<&Value> {
        self.0.schema(name)
    }

    /// Adds those of the contract's schemas that the fragment refers to.
    pub fn complete(&self, fragment: &mut Fragment) {
        self.0.complete(fragment);
    }
}

impl Describe for Contract {
    fn revision(&self) -> u64 {
        0
    }

    fn fragment<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Result<(u64, Fragment)>> {
        let caller = ctx.identity();
        let fragment = caller.map(|caller| (0, Contract::fragment(self, caller)));
        std::future::ready(fragment).boxed()
    }
}

/// The key of all that decides what a fragment shows, but for the registry: the caller's rights,
/// never who they are, and the contract of this build.
#[must_use]
pub fn rights_key(identity: &Identity) -> String {
    let rights = json!([
        identity.kind,
        identity.purpose,
        identity.permission_sets,
        identity.positions,
        identity.system_permissions,
        identity.scopes,
    ]);
    static CONTRACT: LazyLock<[u8; 32]> =
        LazyLock::new(|| Sha256::digest(proto::FILE_DESCRIPTOR_SET).into());
    let mut hash = Sha256::new();
    hash.update(*CONTRACT);
    hash.update(rights.to_string());
    hash.finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ADMIN_PERMISSION_SET, Kind};

    fn admin() -> Identity {
        Identity {
            permission_sets: vec![ADMIN_PERMISSION_SET.to_owned()],
            ..Identity::nobody(Kind::User)
        }
    }

    #[test]
    fn nothing_is_shown_that_the_guard_refuses() {
        let contract = Contract::of("objectmesh.auth.").unwrap();
        let all = contract.fragment(&admin());
        let some = contract.fragment(&Identity::nobody(Kind::User));
        let path = "/api/v1/auth/admin/create-user";
        let create = &all.paths[path]["post"];
        assert_eq!(create["x-permission"], "manage_users");
        assert!(
            create["description"]
                .as_str()
                .unwrap()
                .contains("`manage_users`")
        );
        assert!(!some.paths.contains_key(path));
        let schema = "objectmesh.auth.v1.CreateUserRequest";
        assert!(all.schemas.contains_key(schema) && !some.schemas.contains_key(schema));
        assert_eq!(
            some.paths["/api/v1/auth/sign-in/email"]["post"]["security"],
            json!([])
        );
        let scoped = Identity {
            scopes: Some(vec!["data:read".to_owned()]),
            ..admin()
        };
        let data = Contract::of("objectmesh.data.").unwrap().fragment(&scoped);
        assert!(data.paths["/api/v1/data/{object}"].contains_key("get"));
        assert!(!data.paths["/api/v1/data/{object}"].contains_key("post"));
    }

    #[test]
    fn the_key_tells_rights_apart_and_not_people() {
        let ann = Identity {
            subject: "ann".to_owned(),
            permission_sets: vec!["agent".to_owned()],
            ..Identity::nobody(Kind::User)
        };
        let bob = Identity {
            subject: "bob".to_owned(),
            email: "bob@example.com".to_owned(),
            session_id: Some("s".to_owned()),
            ..ann.clone()
        };
        assert_eq!(rights_key(&ann), rights_key(&bob));
        let narrowed = Identity {
            scopes: Some(Vec::new()),
            ..ann.clone()
        };
        let admin = Identity {
            permission_sets: vec!["admin_full_access".to_owned()],
            ..ann.clone()
        };
        assert_ne!(rights_key(&ann), rights_key(&narrowed));
        assert_ne!(rights_key(&ann), rights_key(&admin));
    }
}
