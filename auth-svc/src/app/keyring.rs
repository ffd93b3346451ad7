//! The signing keys in use: read from the database, renewed while the node runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh::{
    Error, Result, clock,
    identity::{Identity, Purpose},
};
use time::{Duration, OffsetDateTime};

use crate::{
    domain::{
        identity::service_identity,
        key::{KeyId, KeySet, Minted},
        token::Secrets,
    },
    store::{self, Store},
};

/// How long a retired key still verifies: longer than a token lives, and than a replica takes to
/// notice that there is a newer key.
const RETIRED_FOR: Duration = Duration::hours(1);

/// The signing keys in use.
pub(super) struct Keyring {
    store: Store,
    secrets: Secrets,
    rotate_after: Duration,
    keys: ArcSwap<KeySet>,
}

impl Keyring {
    /// Reads the keys; makes the first one.
    pub(super) async fn open(
        store: Store,
        secrets: Secrets,
        rotate_after: Duration,
    ) -> anyhow::Result<Self> {
        let mut ids = read(&store).await?;
        if ids.is_empty() {
            store::keys::add_key_id(&store, next_id(0)).await?;
            ids = read(&store).await?;
        }
        let keys = KeySet::derive(&ids, &secrets, clock::now())
            .ok_or_else(|| anyhow::anyhow!("there is no signing key"))?;
        let keys = ArcSwap::from_pointee(keys);
        Ok(Self {
            store,
            secrets,
            rotate_after,
            keys,
        })
    }

    /// Signs an identity token that ends by `end`; `position` is that of the feed of revocations
    /// before session and rights were read.
    pub(super) fn mint(
        &self,
        identity: Identity,
        position: i64,
        end: Option<OffsetDateTime>,
    ) -> Result<Minted> {
        self.keys.load().mint(identity, position, end)
    }

    /// Signs a token of a service.
    pub(super) fn mint_for_service(&self, service: &str, purpose: Purpose) -> Result<Minted> {
        self.mint(service_identity(service, purpose), 0, None)
    }

    /// Reads the keys again and makes a new one when it is time.
    pub(super) async fn refresh(&self) -> Result<Arc<KeySet>> {
        let mut ids = read(&self.store).await?;
        let newest = ids
            .first()
            .map_or((0, None), |id| (id.generation, Some(id.created_at)));
        if newest
            .1
            .is_none_or(|made| clock::now() - made >= self.rotate_after)
        {
            store::keys::add_key_id(&self.store, next_id(newest.0)).await?;
            ids = read(&self.store).await?;
        }
        let keys = KeySet::derive(&ids, &self.secrets, clock::now())
            .ok_or_else(|| Error::internal(anyhow::anyhow!("there is no signing key")))?;
        let keys = Arc::new(keys);
        self.keys.store(keys.clone());
        Ok(keys)
    }
}

async fn read(store: &Store) -> Result<Vec<KeyId>> {
    store::keys::key_ids(store, clock::now() - RETIRED_FOR).await
}

fn next_id(generation: i64) -> KeyId {
    KeyId {
        id: mesh::id::new(),
        generation: generation + 1,
        created_at: clock::now(),
    }
}
