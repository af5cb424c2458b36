//! What the administration speaks in JSON, on both sides: handlers encode it, the command line decodes it.
//!
//! Names are stable; new ones may come. Times are milliseconds since the Unix epoch, durations end in `_ms`, sizes in
//! `_bytes`. Ids and values that are no printable text are written as [`crate::notation::escape`] does.

mod cluster;
mod conflict;
mod control;
mod namespace;
mod rebalance;
mod region;
mod session;
mod slots;

pub use cluster::{AddMember, Added, Addresses, Drain, Group, Log, Member, Remove, Replica, Status, Transfer};
pub use conflict::{Conflict, Conflicts, ListConflicts, Side};
pub use control::{
    Acts, ControlGroup, Cut, DrainRegion, DrainWhatIf, Draining, FailBack, FailOver, Goes, LossPolicy, Orphans,
    RegionStatus, Regions, Stays, Stray, Voter,
};
pub use namespace::{Change, Create, Created, Namespace, Namespaces};
pub use rebalance::{Advice, Coming, Lead, Move, Rebalance, SetRebalancing, WhatIf};
pub use region::{Candidate, Degrees, GeoDatabase, Route, RouteOf};
pub use session::{
    Counted, Destroyed, Find, Found, List, MoveSession, MovedSession, Page, Place, Session, SetTtl, Which,
};
pub use slots::{MoveSlots, ShardSlots, SlotMove, SlotsPlan, SlotsWanted, StopSlots};

use serde::{Deserialize, Serialize};

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What happened.
    pub error: String,
    /// What to do about it; empty where `error` says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

/// An answer without news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Always true.
    pub done: bool,
}
