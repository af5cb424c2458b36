//! Protocols: each handler decodes, calls the region, encodes. Nothing is decided here.

mod connections;
pub mod grpc;
pub mod http;
pub mod resp;
pub mod shares;
