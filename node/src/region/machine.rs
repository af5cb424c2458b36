//! The region's agreed state as the system group applies it.

use crate::{
    engine::Row,
    raft::{Applied, Loading, Machine, Proposal, Unsaved, malformed},
};
use futures::future::BoxFuture;
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

/// The one row of the region's state in the engine.
const STATE_KEY: &[u8] = &[1];

impl Machine for Agreed {
    type Entry = RegionCommand;
    type Loading = LoadingRegion;

    fn read(&self, proposal: &Proposal) -> io::Result<RegionCommand> {
        decode(&proposal.0)
    }

    fn apply(&self, _index: u64, command: RegionCommand) -> Result<Applied, RegionCommand> {
        let mut outcome = None;
        self.state.send_modify(|state| outcome = Some(Arc::make_mut(state).apply(command)));
        Ok(outcome.map_or(Applied::Nothing, |outcome| Applied::Region(Box::new(outcome))))
    }

    fn unsaved_bytes(&self) -> u64 {
        // Small and rare: written when old enough.
        0
    }

    fn take_unsaved(&self) -> Box<dyn Unsaved> {
        Box::new(UnsavedRegion(self.now()))
    }

    fn settle(&self, _saved: bool) {}

    fn loading(&self) -> LoadingRegion {
        LoadingRegion::default()
    }

    async fn adopt(&self, loaded: LoadingRegion, commit: BoxFuture<'_, io::Result<()>>) -> io::Result<()> {
        commit.await?;
        if let Some(state) = loaded.0 {
            self.state.send_replace(Arc::new(state));
        }
        Ok(())
    }
}

struct UnsavedRegion(Arc<RegionState>);

impl Unsaved for UnsavedRegion {
    fn rows(&self) -> Vec<Row> {
        let mut bytes = vec![FORMAT_VERSION];
        RegionState::put(&self.0, &mut bytes);
        vec![(STATE_KEY.to_vec(), Some(bytes))]
    }
}

/// The region's state on its way from the engine.
#[derive(Default)]
pub struct LoadingRegion(Option<RegionState>);

impl Loading for LoadingRegion {
    const KEY_END: &'static [u8] = &[2];

    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key == STATE_KEY {
            self.0 = Some(decode(value)?);
        }
        Ok(())
    }
}
