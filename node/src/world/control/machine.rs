//! The world's agreed state as the control group applies it.

use crate::raft::{self, AgreedState, Applied, RunningGroup};
use sojourn_core::control::{ControlCommand, ControlState};

/// This node's replica of the control group.
pub(super) type Group = RunningGroup<raft::Agreed<ControlState>>;

impl AgreedState for ControlState {
    type Command = ControlCommand;

    fn apply(&mut self, command: ControlCommand) -> Applied {
        Applied::Control(Box::new(Self::apply(self, command)))
    }
}
