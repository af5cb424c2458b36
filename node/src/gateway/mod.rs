//! Protocols: each handler decodes, calls the region, encodes. Nothing is decided here.

pub mod grpc;
pub mod http;
pub mod resp;
