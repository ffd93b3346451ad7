//! What OpenAPI says of this service: its contract, as it stands, since it serves no metadata.

use mesh::openapi::Contract;

/// The routes of this service.
///
/// # Errors
/// When an option of the contract is wrong.
pub fn contract() -> anyhow::Result<Contract> {
    Contract::of("objectmesh.auth.")
}
