//! A small state that a group agrees on: whole in memory, one row in the engine, and every change told to who watches.

use super::{Applied, Loading, Machine, Proposal, Unsaved, malformed};
use crate::engine::Row;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sojourn_proto::wire::{FORMAT_VERSION, Wire, decode_all};
use std::{io, sync::Arc};
use tokio::sync::Notify;

/// A state that groups can agree on.
pub trait AgreedState: Wire + Clone + Default + Send + Sync + 'static {
    /// A change of it.
    type Command: Wire + Send + Sync + 'static;

    /// Makes a change, the same on every replica.
    fn apply(&mut self, command: Self::Command) -> Applied;
}

/// What a group agrees on.
#[derive(Default)]
pub struct Agreed<S> {
    told: Arc<Told<S>>,
}

/// As tokio's watch channel, which wakes those who wait in an order that no seed reaches; the simulation needs one order.
#[derive(Default)]
struct Told<S> {
    state: Mutex<Version<S>>,
    changed: Notify,
}

#[derive(Default)]
struct Version<S> {
    number: u64,
    state: Arc<S>,
}

/// Sees every change, or the last of several.
pub struct Watcher<S> {
    told: Arc<Told<S>>,
    seen: u64,
}

impl<S: AgreedState> Agreed<S> {
    /// The state as this node has applied it.
    pub fn now(&self) -> Arc<S> {
        self.told.state.lock().state.clone()
    }

    /// Told at every change from now on.
    pub fn watch(&self) -> Watcher<S> {
        Watcher { seen: self.told.state.lock().number, told: self.told.clone() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Arc<S>) -> T) -> T {
        let changed = {
            let mut version = self.told.state.lock();
            version.number += 1;
            change(&mut version.state)
        };
        self.told.changed.notify_waiters();
        changed
    }
}

impl<S: AgreedState> Watcher<S> {
    /// The state now; the next change is one of it.
    pub fn latest(&mut self) -> Arc<S> {
        let version = self.told.state.lock();
        self.seen = version.number;
        version.state.clone()
    }

    /// Completes when the state has changed since this watcher was made or told last.
    pub async fn changed(&mut self) {
        self.wait_for_version(|version, seen| version.number != seen).await;
    }

    /// Completes when the state is as `holds` wants it.
    pub async fn wait_for(&mut self, holds: impl Fn(&S) -> bool) -> Arc<S> {
        self.wait_for_version(|version, _| holds(&version.state)).await
    }

    async fn wait_for_version(&mut self, holds: impl Fn(&Version<S>, u64) -> bool) -> Arc<S> {
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
pub fn encode_change<C: Wire>(command: &C) -> Proposal {
    let mut out = vec![FORMAT_VERSION];
    command.put(&mut out);
    Proposal(out.into())
}

fn decode<T: Wire>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, rest)) => decode_all(rest).map_err(|error| malformed(&error.to_string())),
        Some((version, _)) => Err(malformed(&format!("agreed state of format {version}"))),
        None => Err(malformed("an empty entry")),
    }
}

/// The one row of the state in the engine.
const STATE_KEY: &[u8] = &[1];

impl<S: AgreedState> Machine for Agreed<S> {
    type Entry = S::Command;
    type Loading = LoadingState<S>;

    fn read(&self, proposal: &Proposal) -> io::Result<S::Command> {
        decode(&proposal.0)
    }

    fn apply(&self, _index: u64, command: S::Command) -> Result<Applied, S::Command> {
        Ok(self.change(|state| Arc::make_mut(state).apply(command)))
    }

    fn unsaved_bytes(&self) -> u64 {
        // Small and rare: written when old enough.
        0
    }

    fn take_unsaved(&self) -> Box<dyn Unsaved> {
        Box::new(UnsavedState(self.now()))
    }

    fn settle(&self, _saved: bool) {}

    fn loading(&self) -> LoadingState<S> {
        LoadingState(None)
    }

    async fn adopt(&self, _index: u64, loaded: Option<S>, commit: BoxFuture<'_, io::Result<()>>) -> io::Result<()> {
        commit.await?;
        if let Some(state) = loaded {
            self.change(|now| *now = Arc::new(state));
        }
        Ok(())
    }
}

struct UnsavedState<S>(Arc<S>);

impl<S: AgreedState> Unsaved for UnsavedState<S> {
    fn rows(&self) -> Vec<Row> {
        let mut bytes = vec![FORMAT_VERSION];
        S::put(&self.0, &mut bytes);
        vec![(STATE_KEY.to_vec(), Some(bytes))]
    }
}

/// The state on its way from the engine.
pub struct LoadingState<S>(Option<S>);

impl<S: AgreedState> Loading for LoadingState<S> {
    const KEY_END: &'static [u8] = &[2];
    type Loaded = Option<S>;

    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key == STATE_KEY {
            self.0 = Some(decode(value)?);
        }
        Ok(())
    }

    fn complete(self) -> Option<S> {
        self.0
    }
}
