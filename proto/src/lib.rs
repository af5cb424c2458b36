//! What Sojourn says on the wire and writes to disk.

pub mod sessions;
pub mod wire;
