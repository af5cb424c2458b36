//! One shard of the region on this node: its sessions, its proposer, its reads.
//!
//! Writes wait in the proposer until they share an entry with what waits beside them; reads wait until one question to a
//! quorum answers for all that came before it.

mod batch;
mod chores;
mod cold;
mod feed;
mod leases;
mod machine;
mod planted;
mod proposer;
mod reads;
mod rows;
mod touches;

pub use batch::{Bundle, decode as decode_entry};
pub use chores::expire;
pub use leases::{Claim, Leases};
pub use machine::Sessions;
pub use proposer::{NotProposed, Proposer, ProposerOptions};
pub use reads::Reads;
pub use rows::LoadingSessions;
pub use touches::Intervals;
