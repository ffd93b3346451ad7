//! The keys that sign identity tokens: derived from a secret and a key id, so that replicas agree
//! and a dump of the database signs nothing.
//!
//! Invariant: the key id on the wire names both the stored id and the secret, so that two secrets
//! (during a change of secrets) never give two keys of one name.

use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use mesh::{
    Result,
    identity::{Claims, Identity, TokenSigner},
};
use sha2::Sha256;
use time::{Duration, OffsetDateTime};

use super::token::Secrets;

/// How long a new key verifies before it signs: every replica of auth-svc reads the keys, and every
/// node fetches them, more than once in this time.
pub(crate) const PUBLISHED_FOR: Duration = Duration::minutes(2);

/// A stored key id. The key itself is stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyId {
    /// The id (ULID).
    pub id: String,
    /// Rises by one with each new id; unique.
    pub generation: i64,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// One signing key.
pub(crate) struct Key {
    /// Its id on the wire.
    pub kid: String,
    /// The public half, 32 bytes.
    pub public: [u8; 32],
    private: TokenSigner,
}

/// The keys in use.
pub(crate) struct KeySet {
    /// Signs.
    current: Key,
    /// Verify only: older ids, further secrets.
    others: Vec<Key>,
}

/// A token, signed.
#[derive(Clone, Debug)]
pub(crate) struct Minted {
    /// The JWT.
    pub token: String,
    /// When it ends, milliseconds since 1970.
    pub expires_at_ms: i64,
}

impl KeySet {
    /// The keys of these ids under these secrets. With the first secret signs the newest id that
    /// has been published for [`PUBLISHED_FOR`]; where none has, the oldest, which nobody can know
    /// another one beside. `None` without an id or without a secret.
    #[must_use]
    pub(crate) fn derive(ids: &[KeyId], secrets: &Secrets, now: OffsetDateTime) -> Option<Self> {
        let mut ids: Vec<&KeyId> = ids.iter().collect();
        ids.sort_by_key(|id| std::cmp::Reverse(id.generation));
        let known = |id: &&KeyId| now - id.created_at >= PUBLISHED_FOR;
        let signing = ids.iter().position(known);
        let signing = signing.unwrap_or(ids.len().checked_sub(1)?);
        ids[..=signing].rotate_right(1);
        let mut keys = ids.iter().flat_map(|id| {
            secrets
                .iter()
                .filter_map(|secret| derive_key(secret, &id.id))
        });
        let current = keys.next()?;
        Some(Self {
            current,
            others: keys.collect(),
        })
    }

    /// Every key, the signing one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// Signs a token for an identity, good from now on for at most a minute, and not after `end`.
    /// `position` is that of the feed of revocations before the identity was read.
    ///
    /// # Errors
    /// INTERNAL when the claims cannot be written.
    pub(crate) fn mint(
        &self,
        identity: Identity,
        position: i64,
        end: Option<OffsetDateTime>,
    ) -> Result<Minted> {
        let mut claims = Claims::new(identity);
        claims.rev = position;
        if let Some(end) = end {
            claims.exp = claims.exp.min(end.unix_timestamp());
        }
        Ok(Minted {
            token: self.current.private.sign(&claims)?,
            expires_at_ms: claims.exp.saturating_mul(1000),
        })
    }
}

fn derive_key(secret: &[u8], id: &str) -> Option<Key> {
    let hkdf = Hkdf::<Sha256>::new(None, secret);
    let mut seed = [0; 32];
    hkdf.expand(
        format!("objectmesh identity token key {id}").as_bytes(),
        &mut seed,
    )
    .ok()?;
    let mut name = [0; 4];
    hkdf.expand(
        format!("objectmesh identity token key name {id}").as_bytes(),
        &mut name,
    )
    .ok()?;
    let kid = format!("{id}-{:08x}", u32::from_be_bytes(name));
    Some(Key {
        public: SigningKey::from_bytes(&seed).verifying_key().to_bytes(),
        private: TokenSigner::new(&*kid, &seed),
        kid,
    })
}

#[cfg(test)]
mod tests {
    use mesh::identity::{Purpose, Verifier};

    use super::*;
    use crate::domain::identity::service_identity;

    fn id(generation: i64) -> KeyId {
        KeyId {
            id: format!("k{generation}"),
            generation,
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn verifies(verifier: &KeySet, signer: &KeySet) -> bool {
        let check = Verifier::default();
        let keys = verifier
            .iter()
            .map(|key| (key.kid.clone(), key.public.to_vec()));
        check.set_keys(keys).unwrap();
        let minted = signer
            .mint(service_identity("data-svc", Purpose::Seed), 0, None)
            .unwrap();
        check.verify(&minted.token).is_ok()
    }

    #[test]
    fn replicas_with_the_same_secret_and_ids_agree() {
        let now = OffsetDateTime::UNIX_EPOCH + PUBLISHED_FOR;
        let set = || KeySet::derive(&[id(1), id(2)], &Secrets::of("secret"), now).unwrap();
        assert!(verifies(&set(), &set()));
        assert!(set().current.kid.starts_with("k2-"));
        assert!(KeySet::derive(&[], &Secrets::of("secret"), now).is_none());
    }

    #[test]
    fn a_new_key_verifies_at_once_and_signs_when_everybody_can_know_it() {
        let made = |generation, seconds| KeyId {
            created_at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds),
            ..id(generation)
        };
        let ids = [made(1, 0), made(2, 1000), made(3, 1010)];
        let signer = |now| {
            let now = OffsetDateTime::UNIX_EPOCH + Duration::seconds(now);
            let set = KeySet::derive(&ids, &Secrets::of("secret"), now).unwrap();
            assert_eq!(set.iter().count(), 3);
            set.current.kid[..2].to_owned()
        };
        // The very first key has no other beside it.
        assert_eq!(signer(0), "k1");
        assert_eq!(signer(1119), "k1");
        assert_eq!(signer(1120), "k2");
        assert_eq!(signer(1130), "k3");
    }

    #[test]
    fn during_a_change_of_secrets_each_side_verifies_what_it_may() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let set = |secrets| KeySet::derive(&[id(1)], &Secrets::of(secrets), now).unwrap();
        let (old, both, new) = (set("old"), set("new,old"), set("new"));
        assert!(verifies(&both, &old) && verifies(&both, &new) && verifies(&new, &both));
        assert!(!verifies(&new, &old) && !verifies(&old, &both));
    }
}
