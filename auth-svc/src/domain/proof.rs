//! How a service proves that it belongs to the mesh: an HMAC under the mesh secret, over what it
//! asks for and when.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How far `at_ms` may lie from now, in milliseconds: clocks differ a little, old proofs are stale.
const AGE_MAX_MS: u64 = 30_000;
/// Every service of the mesh.
const SERVICES: [&str; 5] = ["gateway", "data-svc", "auth-svc", "flow-svc", "ai-svc"];

/// A claim to be a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'c> {
    /// Name of the service.
    pub service: &'c str,
    /// Why it acts.
    pub reason: &'c str,
    /// When the proof was made, milliseconds since 1970.
    pub at_ms: i64,
}

impl Claim<'_> {
    /// The proof of this claim: hex HMAC-SHA256 over the lines `service`, `reason`, `at_ms`.
    /// `None` without a secret.
    #[cfg(test)]
    pub(crate) fn prove(&self, mesh_secret: &str) -> Option<String> {
        let tag = self.mac(mesh_secret)?.finalize().into_bytes();
        Some(tag.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether the proof holds: a known service, made just now, under the mesh secret. Nothing
    /// holds where there is no mesh secret.
    #[must_use]
    pub(crate) fn holds(&self, mesh_secret: &str, proof: &str, now_ms: i64) -> bool {
        let Some(mac) = self.mac(mesh_secret) else {
            return false;
        };
        // Compared before anything else is told apart, in constant time.
        let fits = from_hex(proof).is_some_and(|tag| mac.verify_slice(&tag).is_ok());
        fits && SERVICES.contains(&self.service) && now_ms.abs_diff(self.at_ms) <= AGE_MAX_MS
    }

    fn mac(&self, mesh_secret: &str) -> Option<Hmac<Sha256>> {
        if mesh_secret.is_empty() {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(mesh_secret.as_bytes()).ok()?;
        mac.update(format!("{}\n{}\n{}", self.service, self.reason, self.at_ms).as_bytes());
        Some(mac)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32)
        .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_proof_of_a_known_service_under_the_secret_holds() {
        let claim = Claim {
            service: "data-svc",
            reason: "seed",
            at_ms: 1_000_000,
        };
        let proof = claim.prove("hush").unwrap();
        assert!(claim.holds("hush", &proof, 1_000_000));
        assert!(claim.holds("hush", &proof, 1_030_000) && claim.holds("hush", &proof, 970_000));
        assert!(!claim.holds("hush", &proof, 1_030_001) && !claim.holds("hush", &proof, 969_999));
        assert!(!claim.holds("other", &proof, 1_000_000));
        assert!(!claim.holds("", &proof, 1_000_000));
        assert!(
            !Claim {
                reason: "resolve_principal",
                ..claim
            }
            .holds("hush", &proof, 1_000_000)
        );
        assert!(
            !Claim {
                at_ms: 1_000_001,
                ..claim
            }
            .holds("hush", &proof, 1_000_000)
        );
        for bad in ["", "zz", &proof[1..], &"é".repeat(32)] {
            assert!(!claim.holds("hush", bad, 1_000_000), "{bad}");
        }
        let stranger = Claim {
            service: "evil-svc",
            ..claim
        };
        assert!(!stranger.holds("hush", &stranger.prove("hush").unwrap(), 1_000_000));
        assert_eq!(claim.prove(""), None);
    }
}
