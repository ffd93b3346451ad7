//! The signing keys in use: read from the database, renewed while the node runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mesh::{Error, Result, clock, identity::Identity};
use time::Duration;

use crate::{
    domain::{
        key::{KeyId, KeySet, Minted},
        token::Secrets,
    },
    store::Store,
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
            store.add_key_id(next_id(0)).await?;
            ids = read(&store).await?;
        }
        let keys = KeySet::derive(&ids, &secrets)
            .ok_or_else(|| anyhow::anyhow!("there is no signing key"))?;
        let keys = ArcSwap::from_pointee(keys);
        Ok(Self {
            store,
            secrets,
            rotate_after,
            keys,
        })
    }

    /// Signs an identity token.
    pub(super) fn mint(&self, identity: Identity) -> Result<Minted> {
        self.keys.load().mint(identity)
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
            self.store.add_key_id(next_id(newest.0)).await?;
            ids = read(&self.store).await?;
        }
        let keys = KeySet::derive(&ids, &self.secrets)
            .ok_or_else(|| Error::internal(anyhow::anyhow!("there is no signing key")))?;
        let keys = Arc::new(keys);
        self.keys.store(keys.clone());
        Ok(keys)
    }
}

async fn read(store: &Store) -> Result<Vec<KeyId>> {
    store.key_ids(clock::now() - RETIRED_FOR).await
}

fn next_id(generation: i64) -> KeyId {
    KeyId {
        id: mesh::id::new(),
        generation: generation + 1,
        created_at: clock::now(),
    }
}
