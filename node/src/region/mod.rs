//! One region as its gateways see it.

pub mod backend;
mod calls;
mod machine;
mod node;
mod requests;

pub use node::{NodeOptions, RegionNode};
