//! auth-svc
