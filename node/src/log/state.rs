//! What the log knows under its lock: groups, queue, segments, and how much room is left.

use super::{
    Done, GroupId, LogFailure, LogOptions, STATE_VALUE_BYTES_MAX,
    error::Refused,
    format::{
        ALIGNMENT, FRAME_HEADER_BYTES, Kind, RECORD_HEADER_BYTES, Record, SEGMENT_HEADER_BYTES, SegmentHeader, align,
    },
    memory::{Group, Written},
};
use crate::env::DiskFile;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
};

/// A `State` record: its header, four values with their lengths, the range and the purged index.
const STATE_RECORD_BYTES_MAX: u64 = RECORD_HEADER_BYTES + 3 * STATE_VALUE_BYTES_MAX as u64 + 64;

/// One file of the log.
pub(super) struct Segment {
    pub header: SegmentHeader,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    /// The highest index of each group that has entries here.
    pub highest: BTreeMap<GroupId, u64>,
}

/// One record on its way to the disk.
pub(super) struct Item {
    pub record: Record,
    /// Which waiting slot an entry fills.
    pub ticket: u64,
    /// Room set aside for it, in bytes.
    pub charge: u64,
    pub done: Option<Done>,
}

/// What one write and one sync make durable.
pub(super) struct Batch {
    pub segment: SegmentHeader,
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub offset: u64,
    pub sequence: u64,
    /// The hard state of all groups, if this batch opens a segment.
    pub states: Vec<Record>,
    pub items: Vec<Item>,
}

pub(super) enum Plan {
    Nothing,
    Batch(Box<Batch>),
    /// An accepted record has no room, which acceptance rules out.
    Stuck,
}

#[derive(Default)]
pub(super) struct State {
    pub groups: BTreeMap<GroupId, Group>,
    pub written: BTreeMap<GroupId, Written>,
    pub durable_purged: BTreeMap<GroupId, u64>,
    queue: VecDeque<Item>,
    /// Position of the queue's front since the log was opened.
    queue_base: u64,
    pub queue_bytes: u64,
    queue_charge: u64,
    queue_largest: u64,
    /// Queued records that somebody waits for; the others ride along.
    urgent: usize,
    removes: u64,
    /// Where a queued committed value may still be overwritten.
    committed_at: BTreeMap<GroupId, u64>,
    /// Groups whose purge found no room yet.
    pub owed_purges: BTreeSet<GroupId>,
    next_ticket: u64,
    pub cached_bytes: usize,
    /// Segments with frames, the current one included.
    pub segments: BTreeMap<u64, Segment>,
    pub current: u64,
    pub offset: u64,
    /// Segments ready to be written into, in order.
    pub ahead: VecDeque<Segment>,
    /// Segments nobody needs, for the steward to recycle, oldest first.
    pub retired: VecDeque<Segment>,
    pub next_batch: u64,
    pub failure: Option<LogFailure>,
    pub closing: bool,
}

impl State {
    pub fn usable(&self) -> io::Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.as_io()),
            None if self.closing => Err(Refused::Closed.as_io()),
            None => Ok(()),
        }
    }

    pub fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Bytes of reserved space that nothing accepted so far needs, if no record is larger than `largest_bytes`.
    ///
    /// Whoever takes up to this much, counted with [`frame_overhead`], is certain to be written.
    pub fn room(&self, largest_bytes: u64) -> u64 {
        let groups = self.groups.len() as u64 + self.removes + 1;
        let largest = align(FRAME_HEADER_BYTES + largest_bytes.max(self.queue_largest));
        let lost = SEGMENT_HEADER_BYTES + groups * STATE_RECORD_BYTES_MAX + FRAME_COST_BYTES + largest;
        let ahead: u64 = self.ahead.iter().map(|segment| segment.header.capacity_bytes.saturating_sub(lost)).sum();
        (self.tail_bytes() + ahead).saturating_sub(self.queue_charge)
    }

    fn tail_bytes(&self) -> u64 {
        self.segments.get(&self.current).map_or(0, |current| current.header.capacity_bytes - self.offset)
    }

    /// Queues a record whose room was checked.
    pub fn push(&mut self, record: Record, ticket: u64, overhead: u64, done: Option<Done>) {
        let bytes = record.encoded_bytes();
        let charge = bytes + overhead;
        self.committed_at.remove(&record.group);
        self.urgent += usize::from(record.kind != Kind::Committed);
        self.removes += u64::from(record.kind == Kind::Remove);
        self.queue_bytes += bytes;
        self.queue_charge += charge;
        self.queue_largest = self.queue_largest.max(bytes);
        self.queue.push_back(Item { record, ticket, charge, done });
    }

    /// Replaces the queued committed value of a group, if nothing of the group was queued after it.
    pub fn replace_committed(&mut self, record: &Record) -> bool {
        let queued = self.committed_at.get(&record.group).and_then(|at| at.checked_sub(self.queue_base));
        let Some(item) = queued.and_then(|at| self.queue.get_mut(usize::try_from(at).ok()?)) else { return false };
        let (old, new) = (item.record.encoded_bytes(), record.encoded_bytes());
        item.record = record.clone();
        item.charge = item.charge - old + new;
        self.queue_charge = self.queue_charge - old + new;
        self.queue_bytes = self.queue_bytes - old + new;
        true
    }

    pub fn note_committed(&mut self, group: GroupId) {
        self.committed_at.insert(group, self.queue_base + self.queue.len() as u64 - 1);
    }

    /// Empties the queue; what is returned has to be told.
    pub fn take_waiting(&mut self) -> Vec<Done> {
        self.queue_base += self.queue.len() as u64;
        self.queue.drain(..).filter_map(|item| item.done).collect()
    }

    /// Takes as much of the queue as fits one frame, and moves to the next segment where the first record needs it.
    pub fn plan(&mut self, batch_bytes_max: u64) -> Plan {
        let Some(first) = self.queue.front().filter(|_| self.urgent > 0 || self.closing) else { return Plan::Nothing };
        let mut states = Vec::new();
        if FRAME_HEADER_BYTES + first.record.encoded_bytes() > self.tail_bytes() {
            let Some(next) = self.ahead.pop_front() else { return Plan::Stuck };
            self.current = next.header.sequence;
            self.offset = SEGMENT_HEADER_BYTES;
            self.segments.insert(self.current, next);
            states = self.written.iter().map(|(group, written)| state_record(*group, written)).collect();
        }
        let states_bytes: u64 = states.iter().map(Record::encoded_bytes).sum();
        let Some((items, items_bytes)) = self.take_items(states_bytes, batch_bytes_max) else { return Plan::Stuck };
        let Some(segment) = self.segments.get(&self.current) else { return Plan::Stuck };
        let batch = Batch {
            segment: segment.header,
            path: segment.path.clone(),
            file: segment.file.clone(),
            offset: self.offset,
            sequence: self.next_batch,
            states,
            items,
        };
        self.offset += align(FRAME_HEADER_BYTES + states_bytes + items_bytes);
        self.next_batch += 1;
        Plan::Batch(Box::new(batch))
    }

    fn take_items(&mut self, states_bytes: u64, batch_bytes_max: u64) -> Option<(Vec<Item>, u64)> {
        let tail_bytes = self.tail_bytes().checked_sub(FRAME_HEADER_BYTES + states_bytes)?;
        let mut items = Vec::new();
        let mut taken_bytes = 0;
        while let Some(item) = self.queue.front() {
            let bytes = item.record.encoded_bytes();
            if taken_bytes + bytes > tail_bytes || (taken_bytes > 0 && taken_bytes + bytes > batch_bytes_max) {
                break;
            }
            let item = self.queue.pop_front()?;
            taken_bytes += bytes;
            self.account_taken(&item);
            items.push(item);
        }
        (!items.is_empty()).then_some((items, taken_bytes))
    }

    fn account_taken(&mut self, item: &Item) {
        self.queue_base += 1;
        self.queue_bytes -= item.record.encoded_bytes();
        self.queue_charge -= item.charge;
        self.urgent -= usize::from(item.record.kind != Kind::Committed);
        if self.queue.is_empty() {
            self.queue_largest = 0;
        }
        if item.record.kind == Kind::Remove {
            self.removes -= 1;
            self.written.remove(&item.record.group);
        } else {
            self.written.entry(item.record.group).or_default().apply(&item.record);
        }
    }

    /// Notes that a batch is durable. Returns whom to tell, in order, and whether a segment was retired.
    pub fn finish(&mut self, batch: Batch, cache_bytes_max: usize) -> (Vec<Done>, bool) {
        let mut offset =
            batch.offset + FRAME_HEADER_BYTES + batch.states.iter().map(Record::encoded_bytes).sum::<u64>();
        let mut waiting = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            self.finish_record(batch.segment.sequence, offset, &item);
            offset += item.record.encoded_bytes();
            waiting.extend(item.done);
        }
        self.evict(cache_bytes_max);
        (waiting, self.retire())
    }

    fn finish_record(&mut self, segment: u64, offset: u64, item: &Item) {
        let record = &item.record;
        match record.kind {
            Kind::Entry => {
                if let Some(group) = self.groups.get_mut(&record.group) {
                    group.place(record.index, item.ticket, segment, offset, record.payload.len() as u64);
                }
                if let Some(segment) = self.segments.get_mut(&segment) {
                    segment.note_entry(record.group, record.index);
                }
            }
            Kind::Purge => {
                self.durable_purged.insert(record.group, record.index);
            }
            Kind::Remove => {
                self.durable_purged.remove(&record.group);
                self.segments.values_mut().for_each(|segment| segment.forget_group(record.group));
            }
            Kind::Vote | Kind::Committed | Kind::TruncateAfter | Kind::TruncateAll | Kind::State => {}
        }
    }

    /// Sets aside the oldest segments for as long as nothing in them is needed; the current one always stays.
    pub fn retire(&mut self) -> bool {
        let before = self.retired.len();
        while let Some(oldest) = self.segments.first_entry() {
            let needed = oldest
                .get()
                .highest
                .iter()
                .any(|(group, highest)| self.durable_purged.get(group).is_none_or(|purged| purged < highest));
            if needed || *oldest.key() == self.current {
                break;
            }
            self.retired.push_back(oldest.remove());
        }
        self.retired.len() > before
    }

    /// The group with the most cached bytes gives up its oldest, until all groups together are within the bound.
    fn evict(&mut self, cache_bytes_max: usize) {
        while self.cached_bytes > cache_bytes_max {
            let wanted = self.cached_bytes - cache_bytes_max + cache_bytes_max / 16;
            let Some(largest) = self.groups.values_mut().max_by_key(|group| group.cached_bytes()) else { break };
            let freed = largest.evict(wanted);
            self.cached_bytes -= freed;
            if freed == 0 {
                break;
            }
        }
    }
}

impl Segment {
    /// Truncation may lower an index, but the file is needed for as long as its highest one is not purged.
    pub fn note_entry(&mut self, group: GroupId, index: u64) {
        let highest = self.highest.entry(group).or_insert(index);
        *highest = index.max(*highest);
    }

    /// A removed group holds no segment back.
    pub fn forget_group(&mut self, group: GroupId) {
        self.highest.remove(&group);
    }
}

fn state_record(group: GroupId, written: &Written) -> Record {
    Record { group, kind: Kind::State, index: 0, payload: written.encode() }
}

/// Header and padding of a frame, at most.
const FRAME_COST_BYTES: u64 = ALIGNMENT + FRAME_HEADER_BYTES;

/// Bytes that frames around an operation of `bytes` may cost at most: the one it ends in, and those that lie wholly
/// inside it because a batch is bounded, of which any two neighbours together exceed the bound. Frames that end with
/// their segment are accounted for by [`State::room`].
pub(super) fn frame_overhead(bytes: u64, options: &LogOptions) -> u64 {
    FRAME_COST_BYTES * (1 + 2 * bytes / options.batch_bytes_max as u64)
}
