//! What the rest of a node asks of the control group, whoever keeps it.

use crate::env::Heard;
use futures::future::BoxFuture;
use sojourn_core::{
    RegionId,
    control::{ControlCommand, ControlOutcome, ControlRefusal, ControlState, Grant},
};
use std::sync::Arc;

/// What the world agrees on, as a node reaches it.
pub trait Agreement: Send + Sync + 'static {
    /// The latest state that this node knows; changes wake. None before the control group was founded or was heard.
    fn watch(&self) -> Heard<Option<Arc<ControlState>>>;

    /// Has a change agreed on, by whichever region leads the control group. Retried inside for a few seconds, so what was done
    /// at the first try may be refused at the second: whoever must know looks at the state.
    ///
    /// A change that is refused is [`NotAgreed::Refused`], never an outcome.
    fn propose(&self, command: ControlCommand) -> BoxFuture<'static, Result<ControlOutcome, NotAgreed>>;

    /// Asks the control leader, confirmed by a quorum, for what this region needs to write for `home` under `epoch`, knowing
    /// version `seen`. The asker notes CLOCK_BOOTTIME before it asks; [`sojourn_core::lease::Lease::renewed`] does the rest.
    fn renew(&self, home: RegionId, epoch: u32, seen: u64) -> BoxFuture<'static, Result<Grant, NotAgreed>>;
}

/// Why the world has not agreed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAgreed {
    /// It says no, and why.
    #[error(transparent)]
    Refused(ControlRefusal),
    /// Nobody was found who leads the control group. A change may be made all the same, if it was on its way to a leader.
    #[error("no leader of the control group answers: more than half of the regions must be up and reach each other")]
    NoLeader,
    /// There is nothing to ask.
    #[error(
        "the regions of this world have not all met yet, so nothing is agreed on: `world.regions` says whom to start"
    )]
    NotFounded,
}
