//! The region's agreed state as the system group applies it.

use crate::raft::{Applied, Frozen, Machine, Proposal, malformed};
use sojourn_core::region::{RegionCommand, RegionState};
use sojourn_proto::wire::{FORMAT_VERSION, Wire, decode_all};
use std::{io, sync::Arc};
use tokio::sync::watch;

/// What the region agrees on; every change is told to who watches.
pub struct Agreed {
    state: watch::Sender<Arc<RegionState>>,
}

impl Default for Agreed {
    fn default() -> Self {
        Self { state: watch::Sender::new(Arc::new(RegionState::default())) }
    }
}

impl Agreed {
    /// The state as this node has applied it.
    pub fn now(&self) -> Arc<RegionState> {
        self.state.borrow().clone()
    }

    /// Told at every change.
    pub fn watch(&self) -> watch::Receiver<Arc<RegionState>> {
        self.state.subscribe()
    }
}

/// The bytes of a change: `version u8 | command`.
pub fn encode(command: &RegionCommand) -> Proposal {
    let mut out = vec![FORMAT_VERSION];
    command.put(&mut out);
    Proposal(out.into())
}

fn decode<T: Wire>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, rest)) => decode_all(rest).map_err(|error| malformed(&error.to_string())),
        Some((version, _)) => Err(malformed(&format!("region state of format {version}"))),
        None => Err(malformed("an empty entry")),
    }
}

impl Machine for Agreed {
    fn apply(&self, index: u64, proposal: &Proposal) -> Applied {
        let command: RegionCommand = match decode(&proposal.0) {
            Ok(command) => command,
            Err(error) => {
                // Skipping it would make this replica differ from the others.
                tracing::error!(%error, index, "cannot read a committed change of the region; stopping");
                std::process::abort();
            }
        };
        let mut outcome = None;
        self.state.send_modify(|state| outcome = Some(Arc::make_mut(state).apply(command)));
        outcome.map_or(Applied::Nothing, |outcome| Applied::Region(Box::new(outcome)))
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(FrozenRegion(self.now()))
    }

    fn restore(&self, source: &mut dyn io::Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        let state = decode(&bytes)?;
        self.state.send_replace(Arc::new(state));
        Ok(())
    }
}

struct FrozenRegion(Arc<RegionState>);

impl Frozen for FrozenRegion {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut bytes = vec![FORMAT_VERSION];
        RegionState::put(&self.0, &mut bytes);
        out.write_all(&bytes)
    }
}
