//! Tests of a whole region: three nodes with real logs on loopback ports, spoken to as applications do.
//!
//! Where it can be had, a `redis-server` says what the right answer is. Under `CI=true` a missing one is a failure.

#![allow(clippy::print_stderr)]

mod ack;
mod control;
mod dev;
mod geo;
mod handover;
mod process;
mod redis;
mod refuse;
mod region;
mod resp;
mod wan;
mod wire;
mod world;
