//! Records over gRPC: all of it is the kernel's.

pub mod grpc;
