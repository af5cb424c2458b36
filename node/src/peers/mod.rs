//! How the nodes of a region talk: one ordered stream of frames per pair, direction and lane, requests and answers on top.
//!
//! Everything between nodes (Raft, forwarded writes and reads, messages) is a small [`Rpc`] call. Calls that are ready
//! together share a frame, so that a busy node pays for a write to the socket once, not once a call. [`Network`] is a seam:
//! real over TCP, simulated in the simulation.

mod abroad;
mod frame;
mod greeting;
mod link;
mod proxy;
mod roster;
mod rpc;
mod secure;
mod server;
pub mod simulated;
mod throttle;

pub use abroad::{AbroadIdentity, AbroadRoster, AbroadStranger, Traffic};
pub use greeting::{FRAME_FORMAT, Identity};
pub use link::{AbroadNetwork, TcpEnquiry, TcpNetwork};
pub use proxy::WayOut;
pub(crate) use proxy::read_head;
pub use roster::{Roster, Stranger};
pub use rpc::{CallError, Reply, Rpc, RpcOptions, Service};
pub use secure::Calling;
pub use server::PeersServer;
pub use throttle::Throttle;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sojourn_core::{NodeId, region::RegionState};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Which stream of a pair of nodes: bulk data must not hold up heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

    /// Answers a question of a node that may be no member yet; `None` while nobody is there to.
    fn asked(&self, _question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }
}

/// Carries frames between nodes: ordered, at most once, no promise to arrive.
pub trait Network: Send + Sync + 'static {
    /// Opens the way to `peer` (found through what the region knows of its address) and returns where to put frames. While
    /// the peer cannot be reached frames are dropped and [`Inbound::Lost`] is told. Dropping the sender closes the way.
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes>;

    /// Asks `peer` as a stranger would: it answers whoever asks, also nodes whose frames it no longer takes.
    fn ask(&self, peer: NodeId, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>>;

    /// Takes note of where the members are and who may call.
    fn learn(&self, _region: &RegionState) {}
}

/// Asks nodes whose number is not known, by address: how a node finds the region that it wants to enter.
pub trait Enquiry: Send + Sync + 'static {
    /// Asks the node at `address`, a peers address.
    fn ask(&self, address: String, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>>;
}

/// A node did not answer a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no answer from {address}: {reason}")]
pub struct NoAnswer {
    /// Where it should be.
    pub address: String,
    /// What went wrong.
    pub reason: String,
}
