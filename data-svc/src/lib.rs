//! data-svc
