//! The region's agreed state as the system group applies it.

use crate::{
    engine::Row,
    raft::{Applied, Loading, Machine, Proposal, Unsaved, malformed},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sojourn_core::region::{RegionCommand, RegionState};
use sojourn_proto::wire::{FORMAT_VERSION, Wire, decode_all};
use std::{io, sync::Arc};
use tokio::sync::Notify;

/// What the region agrees on; every change is told to who watches.
#[derive(Default)]
pub struct Agreed {
    told: Arc<Told>,
}

/// As tokio's watch channel, which wakes those who wait in an order that no seed reaches; the simulation needs one order.
#[derive(Default)]
struct Told {
    state: Mutex<Version>,
    changed: Notify,
}

#[derive(Default)]
struct Version {
    number: u64,
    state: Arc<RegionState>,
}

/// Sees every change, or the last of several.
pub struct Watcher {
    told: Arc<Told>,
    seen: u64,
}

impl Agreed {
    /// The state as this node has applied it.
    pub fn now(&self) -> Arc<RegionState> {
        self.told.state.lock().state.clone()
    }

    /// Told at every change from now on.
    pub fn watch(&self) -> Watcher {
        Watcher { seen: self.told.state.lock().number, told: self.told.clone() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Arc<RegionState>) -> T) -> T {
        let changed = {
            let mut version = self.told.state.lock();
            version.number += 1;
            change(&mut version.state)
        };
        self.told.changed.notify_waiters();
        changed
    }
}

impl Watcher {
    /// The state now; the next change is one of it.
    pub fn latest(&mut self) -> Arc<RegionState> {
        let version = self.told.state.lock();
        self.seen = version.number;
        version.state.clone()
    }

    /// Completes when the state has changed since this watcher was made or told last.
    pub async fn changed(&mut self) {
        self.wait_for_version(|version, seen| version.number != seen).await;
    }

    /// Completes when the state is as `holds` wants it.
    pub async fn wait_for(&mut self, holds: impl Fn(&RegionState) -> bool) -> Arc<RegionState> {
        self.wait_for_version(|version, _| holds(&version.state)).await
    }

    async fn wait_for_version(&mut self, holds: impl Fn(&Version, u64) -> bool) -> Arc<RegionState> {
        loop {
            let changed = self.told.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let version = self.told.state.lock();
                if holds(&version, self.seen) {
                    self.seen = version.number;
                    return version.state.clone();
                }
            }
            changed.await;
        }
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
        let outcome = self.change(|state| Arc::make_mut(state).apply(command));
        Ok(Applied::Region(Box::new(outcome)))
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

    async fn adopt(&self, _index: u64, loaded: LoadingRegion, commit: BoxFuture<'_, io::Result<()>>) -> io::Result<()> {
        commit.await?;
        if let Some(state) = loaded.0 {
            self.change(|now| *now = Arc::new(state));
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
