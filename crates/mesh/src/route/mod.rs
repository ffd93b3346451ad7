//! The route table and transcoding.
