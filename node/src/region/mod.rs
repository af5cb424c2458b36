//! One region as its gateways see it.

pub mod backend;
