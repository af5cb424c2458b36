//! The endpoint for Redis clients: RESP2 and RESP3, pipelined and inline.
//!
//! A key is a session id within the connection's namespace. A *string* is a session with the single field `""`, a *hash* one
//! with named fields; sets and sorted sets are sessions too. A request goes through these rooms:
//!
//! - [`codec`] finds it in the connection's bytes, [`call`] finds its command in the [`table`] and refuses what can be refused;
//! - a handler of [`commands`] decodes it into a [`plan`]: reads or writes, and how to tell their results;
//! - [`batch`] sends the plans of pipelined commands to the region together, and [`reply`] writes what came back.
//!
//! Nothing is decided here but what the protocol says: sessions are changed by the core alone.

pub mod args;
pub mod batch;
pub mod call;
pub mod clients;
pub mod codec;
pub mod commands;
mod connection;
mod edge;
pub mod error;
pub mod events;
mod exec;
mod figures;
pub mod hub;
mod json;
mod monitor;
pub mod plan;
mod proxied;
mod pushes;
pub mod rdb;
pub mod reply;
mod server;
pub mod session;
pub mod stats;
pub mod table;

use crate::region::quota;
pub use connection::REPLY_BYTES_MAX;
pub use server::{Permissions, RespOptions, Server, serve};
