//! The only room that knows openraft: its types, its log storage, its network, its groups.
//!
//! What comes out are [`RunningGroup`]s: propose bytes, have them applied on a quorum, read what was acknowledged.

mod agreed;
mod change;
mod confirm;
mod figures;
mod file;
mod group;
mod inbox;
mod incoming;
mod keeper;
mod lead;
mod log_store;
mod machine;
mod network;
mod outgoing;
mod pace;
mod runtime;
mod simulated;
mod snapshot;
mod support;
#[cfg(test)]
mod tests;
mod types;
mod watch;

pub use agreed::{Agreed, AgreedState, LoadingState, Watcher, encode_change};
pub use change::NotChanged;
pub use figures::{FollowerFigures, GroupFigures, Role};
pub use group::{Group, GroupOptions, GroupParts, RunningGroup};
pub use inbox::Inbox;
pub use incoming::Incoming;
pub use keeper::KeeperOptions;
pub use lead::NotTransferred;
pub use machine::{Adapter, Builder, Loading, Machine, Unsaved};
pub use outgoing::{Outgoing, Sending};
pub use runtime::Runtime;
pub use simulated::{Life, Observer, halt, simulate, simulated_u64, spawn};
pub use snapshot::{PIECE_BYTES, PieceHead, Snapshot, SnapshotFile};
pub use types::{
    Applied, LogEntry, LogId, Proposal, StoredMembership, Types, Vote, decode_entry, encode_entry, malformed,
    payload_bytes,
};
