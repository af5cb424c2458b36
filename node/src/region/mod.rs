//! One region as its gateways and its operators see it.

pub mod admin;
pub mod backend;
mod calls;
mod door;
mod expiry;
mod forward;
mod founding;
mod machine;
mod node;
pub mod quota;
mod requests;
mod serve;
mod shards;
pub mod status;
#[cfg(test)]
mod tests;

pub use node::{NodeOptions, RegionNode};
