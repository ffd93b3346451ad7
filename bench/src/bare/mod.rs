//! The bare program that the mesh is measured against: what one would write by hand for the same
//! table. An axum edge that checks one token calls a tonic service over TCP, which runs one
//! statement of sqlx and answers the row as JSON. No rights, no metadata, no audit, no outbox, no
//! checks of a body, no limits, no logs, no metrics.

pub(crate) mod edge;
pub(crate) mod service;

/// The contract between the two.
mod contract {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes,
        reason = "generated"
    )]
    tonic::include_proto!("bare.v1");
}
