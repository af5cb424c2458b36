//! Seams that lie on purpose: what a machine may do to a node, decided by a seed.

mod disk;
mod sectors;

pub use disk::{SimulatedDisk, SimulatedDiskCounts, SyncDelay};
