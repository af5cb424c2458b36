//! The region's agreed state as the system group applies it.

use crate::raft::{self, AgreedState, Applied};
use sojourn_core::region::{RegionCommand, RegionState};

pub use raft::encode_change as encode;

/// What the region agrees on; every change is told to who watches.
pub type Agreed = raft::Agreed<RegionState>;

impl AgreedState for RegionState {
    type Command = RegionCommand;

    fn apply(&mut self, command: RegionCommand) -> Applied {
        Applied::Region(Box::new(Self::apply(self, command)))
    }
}
