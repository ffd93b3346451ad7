//! The one algorithm of identity tokens: EdDSA with Ed25519 (RFC 8037). `jsonwebtoken` writes, reads and
//! checks the tokens; the curve is ed25519-dalek's. jsonwebtoken's own providers would bring RSA and three
//! further curves that no token of ours may be signed with.

use std::sync::Once;

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error as JwtError, ErrorKind},
    signature::{self, Signer, Verifier},
};

use super::{Claims, TOKEN_TYPE};
use crate::{Error, Result};

/// Signs identity tokens.
pub struct TokenSigner {
    kid: String,
    key: EncodingKey,
}

impl TokenSigner {
    /// A signer with the private key of these 32 bytes (RFC 8032 §5.1.5), known by that id.
    #[must_use]
    pub fn new(kid: impl Into<String>, seed: &[u8; 32]) -> Self {
        install();
        Self {
            kid: kid.into(),
            // Nobody but `sign` below reads it, so it needs no DER around it.
            key: EncodingKey::from_ed_der(seed),
        }
    }

    /// The id by which verifiers find the public key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The token of these claims.
    ///
    /// # Errors
    /// INTERNAL when they cannot be written.
    pub fn sign(&self, claims: &Claims) -> Result<String> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.key).map_err(Error::internal)
    }
}

/// Makes `jsonwebtoken` use what is below. Where another provider was installed before, it does as well.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    INSTALLED.call_once(|| {
        let _other_was_first = PROVIDER.install_default();
    });
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, JwtError> {
    only_ed(*algorithm, key.family())?;
    let seed = <&[u8; 32]>::try_from(key.as_bytes());
    let seed = seed.map_err(|_| ErrorKind::InvalidEddsaKey)?;
    Ok(Box::new(Ed25519(SigningKey::from_bytes(seed))))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    only_ed(*algorithm, key.family())?;
    let key = <&[u8; 32]>::try_from(key.try_get_as_bytes()?);
    let key = VerifyingKey::from_bytes(key.map_err(|_| ErrorKind::InvalidEddsaKey)?);
    Ok(Box::new(Ed25519(
        key.map_err(|_| ErrorKind::InvalidEddsaKey)?,
    )))
}

fn only_ed(algorithm: Algorithm, family: AlgorithmFamily) -> Result<(), JwtError> {
    match (algorithm, family) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => Ok(()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// A key, as the traits of `jsonwebtoken` want it.
struct Ed25519<K>(K);

impl Signer<Vec<u8>> for Ed25519<SigningKey> {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

impl JwtSigner for Ed25519<SigningKey> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

impl Verifier<Vec<u8>> for Ed25519<VerifyingKey> {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let refused = |_| signature::Error::new();
        let signature = Signature::from_slice(signature).map_err(refused)?;
        self.0.verify(message, &signature).map_err(refused)
    }
}

impl JwtVerifier for Ed25519<VerifyingKey> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}
