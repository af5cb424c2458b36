//! Seams that lie on purpose: what a machine may do to a node, decided by a seed.

#[cfg(test)]
mod clock;
mod disk;
mod sectors;

#[cfg(test)]
pub use clock::{Hands, Virtual};
pub use disk::{SimulatedDisk, SimulatedDiskCounts, SyncDelay};
