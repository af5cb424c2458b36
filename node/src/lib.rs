//! A Sojourn node: sessions replicated by Raft, spoken to in Redis's protocol, gRPC and HTTP.
//!
//! `ARCHITECTURE.md` has the map of the rooms below.

pub mod api;
pub mod cli;
pub mod config;
pub mod engine;
pub mod env;
pub mod gateway;
pub mod log;
pub mod notation;
pub mod peers;
pub mod raft;
pub mod region;
pub mod run;
pub mod security;
pub mod shard;
pub mod telemetry;
pub mod wan;
pub mod world;
