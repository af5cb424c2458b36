//! The endpoint for Redis clients.

mod crowds;
mod frames;
mod listening;
mod namespaces;
mod proxied;
mod random;
mod same;
