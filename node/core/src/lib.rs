//! The pure heart of Sojourn: session records and their laws.
//!
//! Nothing here does IO, reads a clock, draws a random number or logs: time, randomness and policy are arguments. What is
//! replicated lives in ordered maps, so the same state and the same input always give the same output. One function
//! changes sessions: `State::apply`.

pub mod advisor;
pub mod clock;
pub mod command;
pub mod control;
pub mod digest;
pub mod draining;
pub mod expiry;
pub mod failover;
pub mod feed;
mod fields;
pub mod glob;
pub mod ids;
pub mod lease;
pub mod merge;
pub mod mint;
pub mod orphans;
mod outcome;
pub mod placement;
pub mod policy;
pub mod query;
pub mod rebalancing;
pub mod region;
pub mod routing;
pub mod session;
pub mod slot_set;
pub mod slots;
pub mod state;
pub mod stream;
pub mod token;
pub mod tombstones;
pub mod touch;
pub mod travel;

pub use command::{Command, Condition, Expiry, Op, Outcome, Refusal, Request, Rules};
pub use ids::{Key, KeyError, NamespaceId, NodeId, RegionId, ShardId, Slot, SlotTable, Stamp};
pub use query::{Answer, Projection, Query, View};
pub use session::{Body, Fields, Incarnation, Kind, Life, Owner, Record, Used, Version};
pub use slot_set::SlotSet;
pub use state::{Effect, Event, Plants, State};
pub use token::Token;
