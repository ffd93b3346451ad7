//! The contract: generated messages, clients and servers, and the descriptors with our options.
//!
//! Invariant: everything here follows from the `.proto` files; nothing is written by hand but the
//! way to the descriptors.

#![expect(
    clippy::allow_attributes,
    reason = "tonic writes them into the code it generates"
)]

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// The descriptor set of all protos, with our options in it; what reflection serves.
pub static FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The descriptors of all protos.
///
/// # Panics
/// Never in a built program: the bytes are written by the build of this crate.
#[must_use]
pub fn descriptor_pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        #[expect(
            clippy::expect_used,
            reason = "the bytes come from this crate's own build"
        )]
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the built descriptor set decodes")
    });
    &POOL
}

/// Options on RPCs, fields and enum values.
pub mod annotations {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("objectmesh.annotations.v1");
    }
}

/// Models, chat, conversations, pending actions.
pub mod ai {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("objectmesh.ai.v1");
    }
}

/// Actions, flows, approvals, mail, report schedules.
pub mod flow {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("objectmesh.flow.v1");
    }
}

/// Sign-in, sessions, users, identity tokens.
pub mod auth {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("objectmesh.auth.v1");
    }
}

/// Records, metadata, principals.
pub mod data {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("objectmesh.data.v1");
    }
}

/// The HTTP mapping of RPCs (AIP-127).
pub mod google {
    /// `google.api`.
    pub mod api {
        tonic::include_proto!("google.api");
    }
}

/// The catalogue of errors.
pub mod errors {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("objectmesh.errors.v1");
        include!(concat!(env!("OUT_DIR"), "/error_codes.rs"));

        impl ErrorReason {
            /// The name on the wire and in REST: `NOT_FOUND`.
            #[must_use]
            pub fn as_wire(self) -> &'static str {
                self.as_str_name().trim_start_matches("ERROR_REASON_")
            }

            /// The reason of that name on the wire.
            #[must_use]
            pub fn from_wire(name: &str) -> Option<Self> {
                Self::from_str_name(&format!("ERROR_REASON_{name}"))
            }
        }
    }
}

/// What every service of the mesh serves.
pub mod mesh {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("objectmesh.mesh.v1");
    }
}
