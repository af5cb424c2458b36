//! openraft's state machine over anything that applies proposals.
//!
//! Entries are applied in memory and acknowledged from the log alone; a keeper gives the engine what changed, behind.
//! At a restart the machine is what the engine has, and the rest of the log is applied again.

use super::{
    keeper::{Keeper, Position},
    simulated,
    snapshot::Snapshot,
    types::{Applied, Proposal, StoredMembership, Types},
};
use crate::engine::Row;
use futures::{Stream, StreamExt, future::BoxFuture};
use openraft::{
    OptionalSend, RaftSnapshotBuilder,
    alias::{LogIdOf, SnapshotMetaOf, SnapshotOf},
    storage::{EntryResponder, RaftStateMachine},
};
use std::{future::Future, io, sync::Arc};

/// State that entries are applied to. Applying is deterministic and does not wait.
pub trait Machine: Send + Sync + 'static {
    /// A proposal that was read.
    type Entry: Send + Sync + 'static;
    /// A state on its way from an engine's rows.
    type Loading: Loading;

    /// Reads a proposal.
    ///
    /// # Errors
    /// Bytes of another version; the node then stops, for skipping an entry would make this replica differ from the others.
    fn read(&self, proposal: &Proposal) -> io::Result<Self::Entry>;

    /// Fetches what the entry needs and memory does not hold.
    ///
    /// # Errors
    /// Whatever the engine says; the entry cannot be applied then.
    fn warm(&self, _entry: &Self::Entry) -> impl Future<Output = io::Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Applies the entry at `index`, or gives it back if something that it needs is not in memory (any more).
    ///
    /// # Errors
    /// The entry, unapplied: warm and try again.
    fn apply(&self, index: u64, entry: Self::Entry) -> Result<Applied, Self::Entry>;

    /// Passes the entry at `index`, which is Raft's own.
    fn pass(&self, _index: u64) {}

    /// About how many bytes the engine does not have yet.
    fn unsaved_bytes(&self) -> u64;

    /// What changed since the last call, as of now. Cheap: called between two entries.
    fn take_unsaved(&self) -> Box<dyn Unsaved>;

    /// Whether the engine now has what was taken last.
    fn settle(&self, saved: bool);

    /// An empty state, to be filled from an engine's rows.
    fn loading(&self) -> Self::Loading;

    /// Takes over what was loaded, the state after the entry at `index` (0 for none), once `commit`, which makes the engine hold
    /// it, has completed; nothing of the engine is read meanwhile.
    ///
    /// # Errors
    /// What `commit` says; the state is then as before.
    fn adopt(
        &self,
        index: u64,
        loaded: <Self::Loading as Loading>::Loaded,
        commit: BoxFuture<'_, io::Result<()>>,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

/// Changes of a machine, to be written as rows later.
pub trait Unsaved: Send {
    /// The rows. Keys begin with a byte above 0: the row with the key `[0]` says which position the others are of.
    fn rows(&self) -> Vec<Row>;
}

/// A state that is filled from rows in the order of keys.
pub trait Loading: Send + 'static {
    /// Rows below this key are needed; those from it on stay in the engine.
    const KEY_END: &'static [u8];
    /// What the rows make; [`Machine::adopt`] takes it over at once.
    type Loaded: Send;

    /// Takes a row.
    ///
    /// # Errors
    /// Bytes of another version.
    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()>;

    /// Makes a state of the rows, once all are here; takes long where there are many.
    fn complete(self) -> Self::Loaded;
}

/// A machine as openraft drives it.
pub struct Adapter<M: Machine> {
    keeper: Arc<Keeper<M>>,
}

impl<M: Machine> Adapter<M> {
    /// Drives the machine that `keeper` keeps.
    pub(super) fn new(keeper: Arc<Keeper<M>>) -> Self {
        Self { keeper }
    }
}

impl<M: Machine> RaftStateMachine<Types> for Adapter<M> {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Types>>, StoredMembership), io::Error> {
        let Position { applied, membership } = self.keeper.applied();
        simulated::restored(self.keeper.group(), applied.map(|id| id.index));
        Ok((applied, membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            simulated::applied(self.keeper.group(), &entry);
            let applied = self.keeper.apply(entry).await?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        self.keeper.wake_if_due();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        if !force && self.keeper.holds_log() {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder(self.keeper.checkpoint())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, snapshot: Snapshot) -> Result<(), io::Error> {
        self.keeper.install(meta, snapshot).await?;
        simulated::restored(self.keeper.group(), meta.last_log_id.map(|id| id.index));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Snapshot>>, io::Error> {
        Ok(self.keeper.snapshot())
    }
}

/// Names the position that the engine has; there is nothing to build before a replica asks for it.
pub struct Builder(SnapshotOf<Types, Snapshot>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Snapshot>, io::Error> {
        Ok(SnapshotOf::<Types, Snapshot> { meta: self.0.meta.clone(), snapshot: self.0.snapshot.clone() })
    }
}
