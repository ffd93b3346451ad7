//! What OpenAPI says of this service: its contract, as it stands; it holds no metadata yet.

use mesh::openapi::Contract;

/// The routes of this service.
///
/// # Errors
/// When an option of the contract is wrong.
pub fn contract() -> anyhow::Result<Contract> {
    Contract::of("objectmesh.ai.")
}
