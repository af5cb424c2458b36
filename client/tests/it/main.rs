//! The client crate against regions of three nodes, in this process and as processes of their own.

mod bounds;
mod calls;
mod failover;
mod many;
mod namespaces;
mod raw;
mod region;
mod shifts;
mod tokens;
mod travel;
mod watching;
mod world;
