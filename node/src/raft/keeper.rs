//! Keeps a group's machine and its engine together: loads the one from the other, writes behind what entries changed, and
//! knows up to where the log may go.
//!
//! One write to the engine is everything that changed up to one applied index, that index, and the membership. So what is
//! in the engine is always the state at one index, whatever happened while it was written.

use super::{
    file::SnapshotReader,
    machine::{Loading, Machine},
    outgoing::Outgoing,
    pace::Pace,
    simulated::halt,
    snapshot::{Snapshot, SnapshotFile},
    types::{Applied, LogEntry, LogId, StoredMembership, Types, malformed},
};
use crate::{
    engine::{Engine, blocking},
    env::Env,
    log::{GroupId, GroupLog, Log},
};
use openraft::{
    EntryPayload,
    alias::{SnapshotMetaOf, SnapshotOf},
};
use parking_lot::Mutex;
use sojourn_core::NodeId;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// The row that says which index the others are of.
pub const POSITION_KEY: &[u8] = &[0];

/// Bounds of what the engine may be behind.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Bytes of changes after which they are written.
    pub unsaved_bytes_max: u64,
    /// Entries after which they are written: a restart applies at most about so many again.
    pub unsaved_entries_max: u64,
    /// The longest that a change waits.
    pub unsaved_age_max: Duration,
}

/// How often a write that found no room on the disk is tried again.
pub(super) const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// While the engine is this many times behind its bound, applying waits for it.
const BEHIND_TIMES_MAX: u64 = 8;

#[derive(Clone, Default)]
pub(super) struct Position {
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
}

impl Position {
    fn meta(&self) -> SnapshotMetaOf<Types> {
        SnapshotMetaOf::<Types> { last_log_id: self.applied, last_membership: self.membership.clone() }
    }

    pub fn index(&self) -> u64 {
        self.applied.map_or(0, |id| id.index)
    }
}

impl From<&SnapshotMetaOf<Types>> for Position {
    fn from(meta: &SnapshotMetaOf<Types>) -> Self {
        Self { applied: meta.last_log_id, membership: meta.last_membership.clone() }
    }
}

/// See the room's first lines.
pub(super) struct Keeper<M> {
    env: Env,
    engine: Arc<dyn Engine>,
    group: GroupId,
    log: GroupLog,
    options: KeeperOptions,
    machine: Arc<M>,
    outgoing: Arc<Outgoing>,
    node: NodeId,
    /// Is told who votes.
    pub pace: Arc<Pace>,
    // The machine changes only together with its position, under this lock.
    position: Mutex<Position>,
    durable: Mutex<Position>,
    /// Held while the engine's rows of this group change.
    writing: tokio::sync::Mutex<()>,
    /// Due to write.
    pub wake: Arc<Notify>,
    /// A write has ended, well or not.
    written: Notify,
    failing: std::sync::atomic::AtomicBool,
}

/// What a keeper is made of.
pub(super) struct KeeperParts {
    pub node: NodeId,
    pub env: Env,
    pub engine: Arc<dyn Engine>,
    pub group: GroupId,
    pub log: Log,
    pub snapshots: PathBuf,
    pub options: KeeperOptions,
}

impl<M: Machine> Keeper<M> {
    /// Loads what the engine has of the group into `machine`.
    pub async fn open(parts: KeeperParts, machine: Arc<M>) -> io::Result<Self> {
        let KeeperParts { node, env, engine, group, log, snapshots, options } = parts;
        let (from, mut loading) = (engine.clone(), machine.loading());
        let work = async move {
            let view = from.view(group)?;
            let mut position = Position::default();
            view.scan(&[], M::Loading::KEY_END, &mut |key, value| {
                if key == POSITION_KEY {
                    position = Position::from(&decode_position(value)?);
                    return Ok(());
                }
                loading.take(key, value)
            })?;
            Ok((position, loading.complete()))
        };
        let (position, loading) = blocking(&env, "engine-load", work).await?;
        machine.adopt(position.index(), loading, Box::pin(std::future::ready(Ok(())))).await?;
        let outgoing = Outgoing::open(env.clone(), engine.clone(), group, log.group(group), snapshots)?;
        let pace = Arc::new(Pace::default());
        pace.learn(node.0, group, &position.membership);
        Ok(Self {
            env,
            engine,
            group,
            log: log.group(group),
            options,
            machine,
            outgoing: Arc::new(outgoing),
            node,
            pace,
            position: Mutex::new(position.clone()),
            durable: Mutex::new(position),
            writing: tokio::sync::Mutex::default(),
            wake: Arc::default(),
            written: Notify::new(),
            failing: false.into(),
        })
    }

    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }

    /// Whose machine.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The longest that a change waits.
    pub fn age_max(&self) -> Duration {
        self.options.unsaved_age_max
    }

    /// What was applied.
    pub fn applied(&self) -> Position {
        self.position.lock().clone()
    }

    /// The last entry that was applied.
    pub fn applied_id(&self) -> Option<LogId> {
        self.position.lock().applied
    }

    pub async fn apply(&self, entry: LogEntry) -> io::Result<Applied> {
        self.let_engine_catch_up().await;
        let index = entry.log_id.index;
        let mut read = match entry.payload {
            EntryPayload::Normal(proposal) => {
                let unreadable = |error: &io::Error| {
                    halt(&format!("cannot read the committed entry {index} of group {}: {error}", self.group));
                };
                self.machine.read(&proposal).inspect_err(unreadable)?
            }
            EntryPayload::Blank => return Ok(self.advance(entry.log_id, None)),
            EntryPayload::Membership(membership) => {
                let membership = StoredMembership::new(Some(entry.log_id), membership);
                return Ok(self.advance(entry.log_id, Some(membership)));
            }
        };
        loop {
            self.machine.warm(&read).await?;
            let mut position = self.position.lock();
            match self.machine.apply(index, read) {
                Ok(applied) => {
                    position.applied = Some(entry.log_id);
                    return Ok(applied);
                }
                Err(unapplied) => read = unapplied,
            }
        }
    }

    fn advance(&self, id: LogId, membership: Option<StoredMembership>) -> Applied {
        let mut position = self.position.lock();
        self.machine.pass(id.index);
        position.applied = Some(id);
        if let Some(membership) = membership {
            self.pace.learn(self.node.0, self.group, &membership);
            position.membership = membership;
        }
        Applied::Nothing
    }

    /// So that changes cannot pile up in memory without end. A full disk is not waited for: reads go on meanwhile, and the
    /// log refuses writes when it has no room.
    async fn let_engine_catch_up(&self) {
        let bound = self.options.unsaved_bytes_max.saturating_mul(BEHIND_TIMES_MAX);
        while self.machine.unsaved_bytes() > bound && !self.failing.load(std::sync::atomic::Ordering::Relaxed) {
            let written = self.written.notified();
            self.wake.notify_one();
            written.await;
        }
    }

    /// Wakes whoever writes if enough has changed.
    pub fn wake_if_due(&self) {
        let behind = self.position.lock().index().saturating_sub(self.durable.lock().index());
        let due = behind >= self.options.unsaved_entries_max
            || self.machine.unsaved_bytes() >= self.options.unsaved_bytes_max;
        if due {
            self.wake.notify_one();
        }
    }

    /// Removes all that the engine has of the group, which has stopped; nothing is written any more.
    pub async fn erase(&self) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        *self.position.lock() = Position::default();
        *self.durable.lock() = Position::default();
        let (engine, group) = (self.engine.clone(), self.group);
        blocking(&self.env, "engine-erase", async move { engine.replace(group)?.commit().await }).await
    }

    /// Writes what has changed. Returns whether the log may go up to a later index now.
    pub async fn save(&self) -> io::Result<bool> {
        let _writing = self.writing.lock().await;
        let (position, unsaved) = {
            let position = self.position.lock();
            if position.applied == self.durable.lock().applied {
                return Ok(false);
            }
            (position.clone(), self.machine.take_unsaved())
        };
        let (engine, group, meta) = (self.engine.clone(), self.group, position.meta());
        let apart = self.env.plants.applied_apart_from_data;
        let saved = blocking(&self.env, "engine-write", async move {
            let mut rows = unsaved.rows();
            let position = (POSITION_KEY.to_vec(), Some(encode_position(&meta)?));
            if apart {
                engine.write(group, vec![position]).await?;
            } else {
                rows.push(position);
            }
            engine.write(group, rows).await
        });
        let saved = saved.await;
        self.machine.settle(saved.is_ok());
        self.failing.store(saved.is_err(), std::sync::atomic::Ordering::Relaxed);
        if saved.is_ok() {
            *self.durable.lock() = position;
        }
        self.written.notify_waiters();
        self.outgoing.sweep().await?;
        saved.map(|()| true)
    }

    /// Whether the log is kept although the engine has it, so that a replica that is being sent a snapshot finds what
    /// follows it. Only while the log has room to grow.
    pub fn holds_log(&self) -> bool {
        self.outgoing.is_sending() && !self.log.is_out_of_space()
    }

    /// Up to where the log may go: what the engine has.
    pub fn checkpoint(&self) -> SnapshotOf<Types, Snapshot> {
        let position = if self.purges_ahead() { self.applied() } else { self.durable.lock().clone() };
        self.promise(position.meta())
    }

    /// The last index that could go if no entry were kept for late followers, if any can. Groups share the log's segments:
    /// one that is idle must not keep the others' alive.
    pub fn purgeable(&self) -> Option<u64> {
        let durable = if self.purges_ahead() { self.applied().index() } else { self.durable.lock().index() };
        let first = self.log.state().first_index?;
        (first <= durable && !self.holds_log()).then_some(durable)
    }

    /// The planted bug: the log goes before the engine has what was in it.
    pub fn purges_ahead(&self) -> bool {
        self.env.plants.purge_ahead_of_engine
    }

    /// A snapshot to send: the file that is there already, or one that is made of what the engine has.
    pub fn snapshot(&self) -> Option<SnapshotOf<Types, Snapshot>> {
        let meta = self.outgoing.pinned().unwrap_or_else(|| self.durable.lock().meta());
        meta.last_log_id.is_some().then(|| self.promise(meta))
    }

    fn promise(&self, meta: SnapshotMetaOf<Types>) -> SnapshotOf<Types, Snapshot> {
        SnapshotOf::<Types, Snapshot> { meta, snapshot: Snapshot::Promised(self.outgoing.clone()) }
    }

    /// Fails the node.
    pub fn fail(&self, doing: &'static str, error: &io::Error) {
        self.log.fail(doing, error);
    }

    /// Replaces machine and engine by a snapshot that has arrived.
    pub async fn install(&self, meta: &SnapshotMetaOf<Types>, snapshot: Snapshot) -> io::Result<()> {
        let Snapshot::Arrived(file) = snapshot else { return Err(malformed("a snapshot that never arrived")) };
        let installed = self.install_file(meta, &file).await;
        blocking(&self.env, "snapshot-remove", async move { file.remove() }).await?;
        installed
    }

    async fn install_file(&self, meta: &SnapshotMetaOf<Types>, file: &SnapshotFile) -> io::Result<()> {
        let (engine, group, mut loading, source) =
            (self.engine.clone(), self.group, self.machine.loading(), file.clone());
        let _writing = self.writing.lock().await;
        let read = blocking(&self.env, "engine-install", async move {
            let mut rows = SnapshotReader::open(&source)?;
            let meta = rows.meta().clone();
            let mut replacement = engine.replace(group)?;
            replacement.put(POSITION_KEY, &encode_position(&meta)?)?;
            rows.each(&mut |key, value| {
                replacement.put(key, value)?;
                if key < M::Loading::KEY_END { loading.take(key, value) } else { Ok(()) }
            })?;
            Ok((meta, replacement, loading.complete()))
        });
        let (written, replacement, loading) = read.await?;
        if written.last_log_id != meta.last_log_id {
            return Err(malformed("a snapshot of another position than its sender says"));
        }
        let commit = blocking(&self.env, "engine-commit", replacement.commit());
        self.machine.adopt(Position::from(meta).index(), loading, Box::pin(commit)).await?;
        self.pace.learn(self.node.0, self.group, &meta.last_membership);
        *self.position.lock() = Position::from(meta);
        *self.durable.lock() = Position::from(meta);
        Ok(())
    }
}

const POSITION_VERSION: u8 = 1;

fn encode_position(meta: &SnapshotMetaOf<Types>) -> io::Result<Vec<u8>> {
    postcard::to_extend(meta, vec![POSITION_VERSION]).map_err(io::Error::other)
}

fn decode_position(bytes: &[u8]) -> io::Result<SnapshotMetaOf<Types>> {
    match bytes.split_first() {
        Some((&POSITION_VERSION, rest)) => postcard::from_bytes(rest).map_err(io::Error::other),
        Some(_) | None => Err(malformed("a checkpoint of another format")),
    }
}

/// The position that a view's rows are of.
pub(super) fn position_of(view: &dyn crate::engine::View) -> io::Result<SnapshotMetaOf<Types>> {
    let mut found = None;
    view.scan(POSITION_KEY, &[POSITION_KEY[0] + 1], &mut |_, value| {
        found = Some(decode_position(value)?);
        Ok(())
    })?;
    found.ok_or_else(|| malformed("a checkpoint without a position"))
}
