//! The log of one group, as its Raft core sees it.

use super::{
    Done, GroupId, Handle, LogFailure, Shared,
    error::Refused,
    format::{Kind, RECORD_HEADER_BYTES, decode_record},
    memory::{Group, Place},
    state::State,
};
use crate::env::DiskFile;
use bytes::Bytes;
use std::{io, ops::Range, sync::Arc};

/// One entry: its index and opaque bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the group's log; each is one more than the one before.
    pub index: u64,
    /// The encoded entry, at most half a segment.
    pub bytes: Bytes,
}

/// What a group has in the log, operations that are not yet durable included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Index of the oldest entry, if there are any.
    pub first_index: Option<u64>,
    /// Index of the newest entry, if there are any; after a purge of everything, see `purged`.
    pub last_index: Option<u64>,
    /// The highest purged index and the opaque id that came with it.
    pub purged: Option<(u64, Bytes)>,
    /// The last vote.
    pub vote: Option<Bytes>,
    /// The last committed value; it may be older than the one saved last before a crash.
    pub committed: Option<Bytes>,
}

/// One group's part of the log; cheap to clone.
///
/// Every operation is visible to reads when it returns, and is durable when its `done` is called with `Ok`. Operations
/// of one group become durable in order. `done` gets an error of kind
/// - `StorageFull`: no room in reserved space. Nothing changed; it works again when there is room.
/// - `WouldBlock`: the queue is full. Nothing changed; it works again when earlier operations are durable.
/// - `InvalidInput`, `NotFound`: the operation contradicts the log's state. Nothing changed.
/// - `BrokenPipe`: the log is closed.
/// - any other: the log failed, and so will everything later.
#[derive(Clone)]
pub struct GroupLog {
    handle: Arc<Handle>,
    group: GroupId,
}

impl GroupLog {
    pub(super) fn new(handle: Arc<Handle>, group: GroupId) -> Self {
        Self { handle, group }
    }

    /// Which group this is.
    pub fn id(&self) -> GroupId {
        self.group
    }

    /// What the group has in the log; all `None` for one that is not known.
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

    /// The last vote, durable or about to be.
    pub fn vote(&self) -> Option<Bytes> {
        self.shared().state.lock().groups.get(&self.group)?.vote.clone()
    }

    /// Appends entries that follow the last one, or, in an empty log, what was purged.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) {
        if entries.is_empty() {
            return done(Ok(()));
        }
        let options = &self.shared().options;
        self.queue(done, |state, done| match state.check_append(self.group, &entries, options) {
            Ok(()) => {
                state.take_append(self.group, entries, options, done);
                Ok(())
            }
            Err(error) => Err((error, done)),
        });
    }

    /// Saves a vote, of at most [`super::STATE_VALUE_BYTES_MAX`] bytes.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        let options = &self.shared().options;
        self.queue(done, |state, done| match state.save_vote(self.group, vote, options) {
            Ok(queue) => {
                queue.push(done);
                Ok(())
            }
            Err(error) => Err((error, done)),
        });
    }

    /// Saves how far the group has committed. It is written with whatever is written next, at the latest on close.
    pub fn save_committed(&self, committed: Bytes) {
        let shared = self.shared();
        let mut state = shared.state.lock();
        state.queue_owed_purges(&shared.options);
        state.save_committed(self.group, committed, &shared.options);
    }

    /// Drops the entries above `index`, all if `None`.
    pub fn truncate_after(&self, index: Option<u64>, done: Done) {
        let options = &self.shared().options;
        self.queue(done, |state, done| match state.truncate_after(self.group, index, options) {
            Ok(queue) => {
                queue.push(done);
                Ok(())
            }
            Err(error) => Err((error, done)),
        });
    }

    /// Drops the entries up to `upto_index`, also those not there yet: the next entry is the one after it. Their
    /// segments are recycled when the record of this is durable. An index below an earlier one changes nothing.
    ///
    /// `purged_id` has at most [`super::STATE_VALUE_BYTES_MAX`] bytes.
    pub fn purge(&self, upto_index: u64, purged_id: Bytes) {
        let shared = self.shared();
        shared.state.lock().purge(self.group, upto_index, purged_id, &shared.options);
        shared.writer_wake.notify_one();
    }

    /// Whether the log has reached its cap or the disk is full.
    pub fn is_out_of_space(&self) -> bool {
        self.shared().counts.space_refused.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Fails the whole log, and with it the node: something that the log relies on, beside it, went wrong. `doing` is a
    /// verb.
    pub fn fail(&self, doing: &'static str, error: &io::Error) {
        let shared = self.shared();
        shared.poison(LogFailure::new(doing, &shared.options.directory, error));
    }

    /// Forgets the group; its id may be used again.
    pub fn remove(&self, done: Done) {
        let options = &self.shared().options;
        self.queue(done, |state, done| match state.remove(self.group, options) {
            Ok(queue) => {
                queue.push(done);
                Ok(())
            }
            Err(error) => Err((error, done)),
        });
    }

    /// Entries from `from` on, below `to_exclusive` and the end of the log; as many as `bytes_max` allow, but one if
    /// there is any. Blocks on the disk for entries that are not in the cache.
    ///
    /// # Errors
    /// `NotFound` if `from` was purged or lies before the first entry, `InvalidData` if the disk does not return what
    /// was written, and whatever the disk says.
    pub fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let pieces = self.locate(from, to_exclusive, bytes_max)?;
        let mut entries = Vec::with_capacity(pieces.len());
        let mut rest = &pieces[..];
        while let Some((index, piece)) = rest.first() {
            match piece {
                Piece::Cached(bytes) => {
                    entries.push(LogEntry { index: *index, bytes: bytes.clone() });
                    rest = &rest[1..];
                }
                Piece::OnDisk { file, .. } => {
                    let run = run_length(rest);
                    self.read_run(file, &rest[..run], &mut entries)?;
                    rest = &rest[run..];
                }
            }
        }
        Ok(entries)
    }

    fn locate(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<(u64, Piece)>> {
        let state = self.shared().state.lock();
        let Some(group) = state.groups.get(&self.group) else { return Ok(Vec::new()) };
        let to = to_exclusive.min(group.next_index().unwrap_or(0));
        let mut pieces = Vec::new();
        let mut left = bytes_max as u64;
        for index in from..to {
            let Some(piece) = piece(&state, group, index) else { return Err(Refused::Purged.as_io()) };
            if !pieces.is_empty() && piece.bytes() > left {
                break;
            }
            left = left.saturating_sub(piece.bytes());
            pieces.push((index, piece));
        }
        Ok(pieces)
    }

    /// Reads entries that lie close to each other in one segment at once.
    fn read_run(&self, file: &Arc<dyn DiskFile>, run: &[(u64, Piece)], entries: &mut Vec<LogEntry>) -> io::Result<()> {
        let (Some(first), Some(last)) =
            (run.first().and_then(|(_, p)| p.span()), run.last().and_then(|(_, p)| p.span()))
        else {
            return Ok(());
        };
        let mut buffer = vec![0; usize::try_from(last.end - first.start).map_err(io::Error::other)?];
        file.read_at(first.start, &mut buffer)?;
        let buffer = Bytes::from(buffer);
        for (index, piece) in run {
            let Some(span) = piece.span() else { continue };
            let record = &buffer[(span.start - first.start) as usize..(span.end - first.start) as usize];
            let intact = decode_record(record)
                .is_ok_and(|record| record.group == self.group && record.index == *index && record.kind == Kind::Entry);
            if !intact {
                let what = format!(
                    "log: entry {index} of group {} is damaged on the disk; stop this node, delete its data directory and let it join again under a new identity",
                    self.group
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            entries.push(LogEntry { index: *index, bytes: buffer.slice_ref(&record[RECORD_HEADER_BYTES as usize..]) });
        }
        Ok(())
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Hands `done` to the operation, or tells it why not once the lock is released.
    fn queue(&self, done: Done, operation: impl FnOnce(&mut State, Done) -> Result<(), (io::Error, Done)>) {
        let shared = self.shared();
        let refused = {
            let mut state = shared.state.lock();
            // Nothing overtakes a purge that waits for room: what a purge needs is less than anything else needs.
            state.queue_owed_purges(&shared.options);
            operation(&mut state, done)
        };
        match refused {
            Ok(()) => shared.writer_wake.notify_one(),
            Err((error, done)) => done(Err(error)),
        }
    }
}

/// One entry found: in memory, or where on the disk.
enum Piece {
    Cached(Bytes),
    OnDisk { file: Arc<dyn DiskFile>, segment: u64, offset: u64, payload_bytes: u64 },
}

impl Piece {
    fn bytes(&self) -> u64 {
        match self {
            Self::Cached(bytes) => bytes.len() as u64,
            Self::OnDisk { payload_bytes, .. } => *payload_bytes,
        }
    }

    /// The record's bytes in its segment.
    fn span(&self) -> Option<Range<u64>> {
        match self {
            Self::Cached(_) => None,
            Self::OnDisk { offset, payload_bytes, .. } => Some(*offset..*offset + RECORD_HEADER_BYTES + *payload_bytes),
        }
    }
}

fn piece(state: &State, group: &Group, index: u64) -> Option<Piece> {
    if let Some(bytes) = group.cached(index) {
        return Some(Piece::Cached(bytes.clone()));
    }
    match group.slot(index)?.place() {
        Place::Written { segment, offset, payload_bytes } => {
            let file = state.segments.get(&segment)?.file.clone();
            Some(Piece::OnDisk { file, segment, offset, payload_bytes })
        }
        Place::Waiting(_) | Place::Missing => None,
    }
}

/// How many of the first pieces are worth one read: same segment, ascending, without large gaps.
fn run_length(pieces: &[(u64, Piece)]) -> usize {
    const GAP_BYTES_MAX: u64 = 64 << 10;
    const RUN_BYTES_MAX: u64 = 1 << 20;
    let mut length = 1;
    let Some((_, Piece::OnDisk { segment: first, offset: start, .. })) = pieces.first() else { return length };
    for pair in pieces.windows(2) {
        let (Some(before), (_, Piece::OnDisk { segment, offset, payload_bytes, .. })) = (pair[0].1.span(), &pair[1])
        else {
            break;
        };
        let close = (before.end..before.end + GAP_BYTES_MAX).contains(offset);
        if segment != first || !close || offset + payload_bytes - start > RUN_BYTES_MAX {
            break;
        }
        length += 1;
    }
    length
}
