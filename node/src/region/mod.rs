//! One region as its gateways and its operators see it.

pub mod abroad;
pub mod acks;
pub mod admin;
mod arrivals;
mod astray;
pub mod backend;
mod balance;
mod calls;
pub mod copies;
pub mod counsel;
mod door;
mod draining;
pub mod entrance;
mod expiry;
mod forward;
mod founding;
mod heard;
pub mod held;
mod holding;
pub mod identity;
mod leaders;
pub mod led;
mod load;
mod machine;
mod members;
pub mod moves;
mod namespaces;
mod node;
mod pace;
pub mod quota;
pub mod rebalance;
mod requests;
mod serve;
mod settled;
mod shards;
mod slots;
mod space;
pub mod standing;
pub mod status;
pub mod sweep;
#[cfg(test)]
pub(crate) mod tests;
pub mod travel;
mod uses;

pub use node::{Ended, NodeOptions, RegionNode};
