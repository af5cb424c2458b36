//! One group's handle on the log.

use super::{
    Done, GroupId, Handle, Shared,
    format::{RECORD_HEADER_BYTES, decode_record},
    memory::Place,
};
use crate::env::DiskFile;
use bytes::Bytes;
use std::{io, sync::Arc};

/// One entry: its index and its opaque bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Consecutive within a group.
    pub index: u64,
    /// Whatever the owner wrote.
    pub bytes: Bytes,
}

/// What a group has in the log, operations that are accepted and not yet durable included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The first entry that is there.
    pub first_index: Option<u64>,
    /// The last one.
    pub last_index: Option<u64>,
    /// The last purged index and what came with the purge.
    pub purged: Option<(u64, Bytes)>,
    /// The last saved vote.
    pub vote: Option<Bytes>,
    /// The last saved committed value.
    pub committed: Option<Bytes>,
}

/// The log of one group; cheap to clone.
#[derive(Clone)]
pub struct GroupLog {
    handle: Arc<Handle>,
    group: GroupId,
}

impl GroupLog {
    pub(super) fn new(handle: Arc<Handle>, group: GroupId) -> Self {
        Self { handle, group }
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// What the group has.
    pub fn state(&self) -> GroupState {
        let state = self.shared().state.lock();
        let Some(group) = state.groups.get(&self.group) else { return GroupState::default() };
        GroupState {
            first_index: group.range().map(|(first, _)| first),
            last_index: group.range().map(|(_, last)| last),
            purged: group.purged.clone(),
            vote: group.vote.clone(),
            committed: group.committed.clone(),
        }
    }

    /// Appends entries that follow the last one; readable when this returns, durable when `done` is called with `Ok`.
    /// Refused as a whole, without harm, with `StorageFull` if there is no room.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) {
        if entries.is_empty() {
            return done(Ok(()));
        }
        let shared = self.shared();
        let mut state = shared.state.lock();
        match state.check_append(self.group, &entries, &shared.options) {
            Ok(()) => {
                state.take_append(self.group, entries, &shared.options, done);
                drop(state);
                shared.writer_wake.notify_one();
            }
            Err(error) => {
                drop(state);
                done(Err(error));
            }
        }
    }

    /// Saves a vote; durable when `done` is called with `Ok`, in order with appends.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        let shared = self.shared();
        let mut state = shared.state.lock();
        match state.save_vote(self.group, vote, &shared.options) {
            Ok(queue) => queue.push(done),
            Err(error) => {
                drop(state);
                return done(Err(error));
            }
        }
        drop(state);
        shared.writer_wake.notify_one();
    }

    /// Saves what is known to be committed: a hint that becomes durable with whatever is written next.
    pub fn save_committed(&self, committed: Bytes) {
        let shared = self.shared();
        shared.state.lock().save_committed(self.group, committed, &shared.options);
    }

    /// Drops the entries above `index`, all if `None`; durable when `done` is called with `Ok`, in order with appends.
    pub fn truncate_after(&self, index: Option<u64>, done: Done) {
        let shared = self.shared();
        let mut state = shared.state.lock();
        match state.truncate_after(self.group, index, &shared.options) {
            Ok(queue) => queue.push(done),
            Err(error) => {
                drop(state);
                return done(Err(error));
            }
        }
        drop(state);
        shared.writer_wake.notify_one();
    }

    /// Drops the entries up to `index`, which the owner no longer needs. Their segments are given up once the record of the
    /// purge is durable. `purged_id` comes back in [`GroupState::purged`].
    pub fn purge(&self, index: u64, purged_id: Bytes) {
        let shared = self.shared();
        shared.state.lock().purge(self.group, index, purged_id, &shared.options);
        shared.writer_wake.notify_one();
    }

    /// Forgets the group and all it has; durable when `done` is called with `Ok`.
    pub fn remove(&self, done: Done) {
        let shared = self.shared();
        let mut state = shared.state.lock();
        match state.remove(self.group, &shared.options) {
            Ok(queue) => queue.push(done),
            Err(error) => {
                drop(state);
                return done(Err(error));
            }
        }
        drop(state);
        shared.writer_wake.notify_one();
    }

    /// Entries from `from` to below `to_exclusive`, up to `bytes_max` of them but at least one; none if there are none from
    /// `from` on.
    ///
    /// # Errors
    /// `NotFound` for entries that were purged, `InvalidData` for a record that is not what was written.
    pub fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let sources = self.locate(from, to_exclusive, bytes_max)?;
        let mut entries = Vec::with_capacity(sources.len());
        for (index, source) in sources {
            let bytes = match source {
                Source::Memory(bytes) => bytes,
                Source::Disk { file, offset, payload_bytes } => self.fetch(&*file, offset, index, payload_bytes)?,
            };
            entries.push(LogEntry { index, bytes });
        }
        Ok(entries)
    }

    fn locate(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<(u64, Source)>> {
        let state = self.shared().state.lock();
        let Some(group) = state.groups.get(&self.group) else { return Ok(Vec::new()) };
        let Some((first, last)) = group.range() else { return Ok(Vec::new()) };
        if from < first && from < to_exclusive {
            let text = format!("log: entry {from} of group {} was purged; the first is {first}", self.group);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let (mut sources, mut taken_bytes) = (Vec::new(), 0);
        for index in from..to_exclusive.min(last + 1) {
            let source = match (group.cached(index), group.slot(index).map(|slot| slot.place())) {
                (Some(bytes), _) => Source::Memory(bytes.clone()),
                (None, Some(Place::Written { segment, offset, payload_bytes })) => {
                    let file = state.segments.get(&segment).map(|segment| segment.file.clone());
                    let file = file.ok_or_else(|| lost(self.group, index))?;
                    Source::Disk { file, offset, payload_bytes }
                }
                (None, _) => return Err(lost(self.group, index)),
            };
            taken_bytes += source.bytes();
            if taken_bytes > bytes_max && !sources.is_empty() {
                break;
            }
            sources.push((index, source));
        }
        Ok(sources)
    }

    fn fetch(&self, file: &dyn DiskFile, offset: u64, index: u64, payload_bytes: u64) -> io::Result<Bytes> {
        let length = usize::try_from(RECORD_HEADER_BYTES + payload_bytes).map_err(io::Error::other)?;
        let mut buffer = vec![0; length];
        let read = file.read_at(offset, &mut buffer)?;
        let record = decode_record(&buffer[..read]).map_err(|_| lost(self.group, index))?;
        if record.group != self.group || record.index != index {
            return Err(lost(self.group, index));
        }
        Ok(Bytes::from(buffer).slice(RECORD_HEADER_BYTES as usize..))
    }
}

enum Source {
    Memory(Bytes),
    Disk { file: Arc<dyn DiskFile>, offset: u64, payload_bytes: u64 },
}

impl Source {
    fn bytes(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Disk { payload_bytes, .. } => usize::try_from(*payload_bytes).unwrap_or(usize::MAX / 2),
        }
    }
}

fn lost(group: GroupId, index: u64) -> io::Error {
    let text =
        format!("log: entry {index} of group {group} is not what was written; the disk is failing, replace the node");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
