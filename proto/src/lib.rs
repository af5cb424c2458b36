//! What Sojourn says on the wire and writes to disk.

pub mod sessions;
pub mod wire;

/// Calls between the nodes of a region.
pub mod peers {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("sojourn.peers.v1");
}
