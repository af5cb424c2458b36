//! How the nodes of a region talk: one ordered stream of frames per pair, direction and lane, requests and answers on top.
//!
//! Everything between nodes (Raft, forwarded writes and reads, messages) is a small [`Rpc`] call. Calls that are ready
//! together share a frame, so that a busy node pays for a write to the socket once, not once a call. [`Network`] is a seam:
//! real over gRPC streams, simulated in the simulation.

mod frame;
mod link;
mod rpc;
pub mod simulated;

pub use link::{AddressBook, FRAME_FORMAT, GrpcNetwork, Identity, PeersService};
pub use rpc::{CallError, Reply, Rpc, RpcOptions, Service};

use bytes::Bytes;
use sojourn_core::NodeId;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Which stream of a pair of nodes: bulk data must not hold up heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Raft entries, votes, forwarded requests.
    Fast,
    /// Snapshots.
    Bulk,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fast, Self::Bulk];
}

/// Frames that wait for the network per peer and lane; the next frame collects what comes meanwhile.
pub const FRAMES_IN_FLIGHT_MAX: usize = 4;

/// One frame on its way, or the end of the connection that carried frames so far.
#[derive(Clone, Debug)]
pub enum Inbound {
    /// Bytes from a peer, in order.
    Frame {
        /// Who sent them.
        from: NodeId,
        /// How they came.
        lane: Lane,
        /// The frame.
        bytes: Bytes,
    },
    /// The connection to `to` broke: frames given to it may be lost and calls under way will not be answered.
    Lost {
        /// The peer.
        to: NodeId,
        /// Which stream.
        lane: Lane,
    },
}

/// Takes what arrives; called in order per peer and lane, must not block.
pub trait Receiver: Send + Sync + 'static {
    /// Handles one arrival.
    fn receive(&self, inbound: Inbound);
}

/// Carries frames between nodes: ordered, at most once, no promise to arrive.
pub trait Network: Send + Sync + 'static {
    /// Opens the way to `peer` (found through what the region knows of its address) and returns where to put frames. While
    /// the peer cannot be reached frames are dropped and [`Inbound::Lost`] is told. Dropping the sender closes the way.
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes>;
}
