//! Taking operations in: each is refused as a whole, or visible at once and certain to have room on the disk.

use super::{
    Done, GroupId, LogEntry, LogOptions, STATE_VALUE_BYTES_MAX,
    error::Refused,
    format::{Kind, RECORD_HEADER_BYTES, Record},
    state::{State, frame_overhead},
};
use bytes::Bytes;
use std::io;

impl State {
    /// Refuses entries that do not follow the last one, or for which there is no room.
    pub fn check_append(&self, group: GroupId, entries: &[LogEntry], options: &LogOptions) -> io::Result<()> {
        self.usable()?;
        let (mut total, mut largest) = (0, 0);
        for entry in entries {
            let bytes = RECORD_HEADER_BYTES + entry.bytes.len() as u64;
            total += bytes;
            largest = bytes.max(largest);
        }
        let next = self.groups.get(&group).and_then(|group| group.next_index()).or(entries.first().map(|e| e.index));
        let expected = (next.unwrap_or(0)..).zip(entries);
        let refused = if expected.into_iter().any(|(index, entry)| index != entry.index) {
            Refused::Hole
        } else if largest > options.segment_bytes / 2 {
            Refused::TooLarge
        } else if self.room(largest) < total + frame_overhead(total, options) + options.reserve_bytes() {
            Refused::NoRoom
        } else if self.queue_bytes > 0 && self.queue_bytes + total > options.queue_bytes_max as u64 {
            Refused::QueueFull
        } else {
            return Ok(());
        };
        Err(refused.as_io())
    }

    /// Takes entries that [`State::check_append`] let pass.
    pub fn take_append(&mut self, group: GroupId, entries: Vec<LogEntry>, options: &LogOptions, done: Done) {
        let total = entries.iter().map(|entry| RECORD_HEADER_BYTES + entry.bytes.len() as u64).sum();
        let overhead = frame_overhead(total, options);
        let mut done = Some(done);
        let last = entries.len();
        for (position, LogEntry { index, bytes }) in (1..).zip(entries) {
            let ticket = self.ticket();
            self.cached_bytes += self.groups.entry(group).or_default().push_waiting(index, ticket, bytes.clone());
            let record = Record { group, kind: Kind::Entry, index, payload: bytes };
            let (overhead, done) = if position == last { (overhead, done.take()) } else { (0, None) };
            self.push(record, ticket, overhead, done);
        }
    }

    /// Refuses a small record that would leave less than `floor_bytes` of room.
    fn check_small(&self, bytes: usize, floor_bytes: u64, options: &LogOptions) -> io::Result<u64> {
        self.usable()?;
        if bytes > STATE_VALUE_BYTES_MAX {
            return Err(Refused::StateTooLarge.as_io());
        }
        let total = RECORD_HEADER_BYTES + bytes as u64;
        let overhead = frame_overhead(total, options);
        if self.room(total) < total + overhead + floor_bytes {
            return Err(Refused::NoRoom.as_io());
        }
        Ok(overhead)
    }

    pub fn save_vote(&mut self, group: GroupId, vote: Bytes, options: &LogOptions) -> io::Result<Queue<'_>> {
        let overhead = self.check_small(vote.len(), options.reserve_bytes() / 2, options)?;
        self.groups.entry(group).or_default().vote = Some(vote.clone());
        Ok(Queue { state: self, record: Record { group, kind: Kind::Vote, index: 0, payload: vote }, overhead })
    }

    /// A committed value is a hint: without room, or on a failed log, it stays in memory only.
    pub fn save_committed(&mut self, group: GroupId, committed: Bytes, options: &LogOptions) {
        self.groups.entry(group).or_default().committed = Some(committed.clone());
        let record = Record { group, kind: Kind::Committed, index: 0, payload: committed };
        if record.payload.len() <= STATE_VALUE_BYTES_MAX && self.replace_committed(&record) {
            return;
        }
        if let Ok(overhead) = self.check_small(record.payload.len(), options.reserve_bytes(), options) {
            self.push(record, 0, overhead, None);
            self.note_committed(group);
        }
    }

    pub fn truncate_after(&mut self, id: GroupId, index: Option<u64>, options: &LogOptions) -> io::Result<Queue<'_>> {
        let overhead = self.check_small(0, options.reserve_bytes() / 2, options)?;
        let group = self.groups.entry(id).or_default();
        if let (Some(index), Some((purged, _))) = (index, &group.purged)
            && index < *purged
        {
            return Err(Refused::Purged.as_io());
        }
        self.cached_bytes -= group.truncate_after(index);
        let kind = if index.is_some() { Kind::TruncateAfter } else { Kind::TruncateAll };
        let record = Record { group: id, kind, index: index.unwrap_or(0), payload: Bytes::new() };
        Ok(Queue { state: self, record, overhead })
    }

    pub fn remove(&mut self, group: GroupId, options: &LogOptions) -> io::Result<Queue<'_>> {
        let overhead = self.check_small(0, options.reserve_bytes() / 2, options)?;
        if let Some(removed) = self.groups.remove(&group) {
            self.cached_bytes -= removed.cached_bytes();
        }
        self.owed_purges.remove(&group);
        Ok(Queue {
            state: self,
            record: Record { group, kind: Kind::Remove, index: 0, payload: Bytes::new() },
            overhead,
        })
    }

    pub fn purge(&mut self, id: GroupId, index: u64, purged_id: Bytes, options: &LogOptions) {
        let group = self.groups.entry(id).or_default();
        if group.purged.as_ref().is_some_and(|(purged, _)| index <= *purged) {
            return;
        }
        self.cached_bytes -= group.purge(index, purged_id);
        self.owed_purges.insert(id);
        self.queue_owed_purges(options);
    }

    /// A purge may use the last of the room, for it is what makes room; what finds none waits here.
    pub fn queue_owed_purges(&mut self, options: &LogOptions) {
        for id in std::mem::take(&mut self.owed_purges) {
            let Some((index, payload)) = self.groups.get(&id).and_then(|group| group.purged.clone()) else { continue };
            match self.check_small(payload.len(), 0, options) {
                Ok(overhead) => self.push(Record { group: id, kind: Kind::Purge, index, payload }, 0, overhead, None),
                Err(_) => drop(self.owed_purges.insert(id)),
            }
        }
    }
}

/// An accepted record, to be queued with whom to tell.
pub(super) struct Queue<'a> {
    state: &'a mut State,
    record: Record,
    overhead: u64,
}

impl Queue<'_> {
    pub fn push(self, done: Done) {
        self.state.push(self.record, 0, self.overhead, Some(done));
    }
}
