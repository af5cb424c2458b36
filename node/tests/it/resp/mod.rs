//! The endpoint for Redis clients.

mod crowds;
mod frames;
mod listening;
mod namespaces;
mod random;
mod same;
