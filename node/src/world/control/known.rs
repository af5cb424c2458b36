//! The latest state that this node knows. It lies on the disk too, so that a node that restarts while it is cut off goes on
//! with what it knew; the version decides which of two is later, whoever told it.

use super::Inner;
use crate::{
    engine::blocking,
    env::{self, Env, News},
};
use parking_lot::Mutex;
use sojourn_core::{RegionId, control::ControlState};
use sojourn_proto::wire::{FORMAT_VERSION, Wire, decode_all};
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::Notify;

/// What is told: nothing before there is something.
pub(super) type Latest = Option<Arc<ControlState>>;

/// How often a node that hears nothing new looks whether it is gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest file that is read: far more than regions and namespaces come to.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// See the room.
pub(super) struct Known {
    here: RegionId,
    /// Whatever was heard.
    heard: Arc<Heard>,
    /// The same from when on this region is in it: before, nothing in it is about this region.
    told: News<Latest>,
}

/// What was heard, and who waits for more: a queue of its own, as tokio's watch channel wakes those who wait in an order that no
/// seed reaches.
#[derive(Default)]
pub(super) struct Heard {
    latest: Mutex<Latest>,
    changed: Notify,
}

impl Heard {
    /// Takes over a state that is later than what was heard; the version that was.
    fn replace_earlier(&self, state: &Arc<ControlState>) -> u64 {
        let mut latest = self.latest.lock();
        let version = latest.as_ref().map_or(0, |known| known.version);
        if state.version > version {
            *latest = Some(state.clone());
        }
        version
    }

    /// Completes with the state once it is of a later version than `seen`.
    pub async fn later_than(&self, seen: u64) -> Arc<ControlState> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let latest = self.latest.lock().clone();
            if let Some(state) = latest.filter(|state| state.version > seen) {
                return state;
            }
            changed.await;
        }
    }
}

impl Known {
    /// Nothing, of a world in which this node is of region `here`.
    pub fn new(here: RegionId) -> Self {
        Self { here, heard: Arc::default(), told: News::new(None) }
    }

    /// Whatever was heard.
    pub fn latest(&self) -> Latest {
        self.heard.latest.lock().clone()
    }

    /// The version of it, 0 for none.
    pub fn version(&self) -> u64 {
        self.heard.latest.lock().as_ref().map_or(0, |state| state.version)
    }

    /// For who waits for more.
    pub fn heard(&self) -> Arc<Heard> {
        self.heard.clone()
    }

    /// Told of what concerns this region.
    pub fn watch(&self) -> env::Heard<Latest> {
        self.told.subscribe()
    }

    /// Takes over what was heard, if it is later than what is known; `mark` tells this region from another of its number.
    pub fn learn(&self, state: Arc<ControlState>, mark: Option<u128>) {
        if state.world != 0 && state.version > self.heard.replace_earlier(&state) {
            self.heard.changed.notify_waiters();
        }
        self.tell(mark);
    }

    /// Tells what is known, once this region is in it.
    pub fn tell(&self, mark: Option<u128>) {
        let Some(state) = self.latest() else { return };
        let joined = state.regions.get(&self.here).is_some_and(|region| Some(region.mark) == mark);
        self.told.send_if_modified(|told| {
            let changes = joined && told.as_ref().is_none_or(|told| told.version < state.version);
            if changes {
                *told = Some(state);
            }
            changes
        });
    }
}

/// Reads what the node knew of `world` before it stopped; nothing if the file is missing or says nothing of use.
pub(super) async fn recall(env: &Env, file: PathBuf, world: u128) -> Latest {
    let (disk, path) = (env.disk.clone(), file.clone());
    let bytes = match blocking(env, "control-recall", async move { disk.read(&path, FILE_BYTES_MAX) }).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot read what this node knew of the world; asking anew");
            return None;
        }
    };
    let state = decode(&bytes);
    if state.is_none() {
        tracing::warn!(file = %file.display(), "what this node knew of the world is damaged; asking anew");
    }
    state.filter(|state| state.world == world).map(Arc::new)
}

/// Writes down what is heard, until the node is gone. What it began with, version `kept`, is there already.
pub(super) async fn run_keeping(control: Weak<Inner>, env: Env, file: PathBuf, mut kept: u64) {
    while let Some(heard) = control.upgrade().filter(|inner| !inner.is_stopping()).map(|inner| inner.known.heard()) {
        let Ok(state) = tokio::time::timeout(LOOK_EVERY, heard.later_than(kept)).await else { continue };
        if let Err(error) = keep(&env, file.clone(), encode(&state)).await {
            // It is there for the rare node that restarts while it is cut off, and the next change is written again.
            tracing::warn!(file = %file.display(), %error, "cannot write down what this node knows of the world");
        }
        kept = state.version;
    }
}

async fn keep(env: &Env, path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
    let disk = env.disk.clone();
    blocking(env, "control-keep", async move {
        let draft = path.with_extension("draft");
        let file = disk.open(&draft, true)?;
        file.set_length(0)?;
        file.write_at(0, &bytes)?;
        file.sync().await?;
        disk.rename(&draft, &path)?;
        path.parent().map_or(Ok(()), |directory| disk.sync_directory(directory))
    })
    .await
}

/// `crc32c u32 | version u8 | state`.
fn encode(state: &ControlState) -> Vec<u8> {
    let mut body = vec![FORMAT_VERSION];
    state.put(&mut body);
    [&crc32c::crc32c(&body).to_le_bytes()[..], &body].concat()
}

fn decode(bytes: &[u8]) -> Option<ControlState> {
    let (checksum, body) = bytes.split_first_chunk()?;
    let whole = u32::from_le_bytes(*checksum) == crc32c::crc32c(body);
    match body.split_first()? {
        (&FORMAT_VERSION, state) if whole => decode_all(state).ok(),
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::control::ControlCommand;

    fn state() -> ControlState {
        let mut state = ControlState::default();
        state.apply(ControlCommand::Found { world: 7 });
        state
    }

    fn joined(mut state: ControlState, mark: u128) -> ControlState {
        let (name, entrances) = ("eu".to_owned(), std::collections::BTreeSet::new());
        state.apply(ControlCommand::Join { region: RegionId(1), mark, name, entrances, place: None, voter: None });
        state
    }

    #[test]
    fn the_later_version_is_known_and_told_once_this_region_is_in_it() {
        let known = Known::new(RegionId(1));
        let founded = state();
        known.learn(Arc::new(ControlState::default()), Some(9));
        assert_eq!(known.latest(), None, "a world that nobody has founded");
        known.learn(Arc::new(founded.clone()), Some(9));
        assert_eq!((known.version(), known.watch().borrow().clone()), (1, None));
        known.learn(Arc::new(joined(founded.clone(), 8)), Some(9));
        assert_eq!((known.version(), known.watch().borrow().clone()), (2, None), "another region under its number");
        let ours = Arc::new(joined(joined(founded.clone(), 9), 9));
        known.learn(ours.clone(), Some(9));
        known.learn(Arc::new(founded), Some(9));
        assert_eq!((known.version(), known.watch().borrow().clone()), (3, Some(ours)), "the earlier one came later");
    }

    #[test]
    fn what_is_kept_reads_back_and_damage_is_noticed() {
        let bytes = encode(&state());
        assert_eq!(decode(&bytes), Some(state()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
