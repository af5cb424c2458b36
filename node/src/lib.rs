//! A Sojourn node: sessions replicated by Raft, spoken to in Redis's protocol, gRPC and HTTP.
//!
//! `ARCHITECTURE.md` has the map of the rooms below.

pub mod env;
pub mod log;
