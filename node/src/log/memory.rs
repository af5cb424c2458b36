//! What the log keeps in memory of each group: where its entries are, the recent ones themselves, the hard state.

use super::format::{Kind, Record};
use bytes::Bytes;
use std::collections::VecDeque;

/// Where an entry's record is. Twelve bytes, because there is one for each entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Sequence of the segment; zero while the entry waits to be written, and then the rest is its ticket.
    segment: u32,
    offset: u32,
    payload_bytes: u32,
}

/// What a slot stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Accepted under this ticket, not yet durable.
    Waiting(u64),
    /// In the segment of that sequence, at that offset, with that many bytes of payload.
    Written { segment: u64, offset: u64, payload_bytes: u64 },
    /// In a segment that is not there: only between the start and the end of recovery.
    Missing,
}

const MISSING: Slot = Slot { segment: u32::MAX, offset: 0, payload_bytes: 0 };

impl Slot {
    fn waiting(ticket: u64) -> Self {
        Self { segment: 0, offset: (ticket >> 32) as u32, payload_bytes: ticket as u32 }
    }

    /// Options bound segment sequences and sizes to 32 bits.
    fn written(segment: u64, offset: u64, payload_bytes: u64) -> Self {
        Self { segment: segment as u32, offset: offset as u32, payload_bytes: payload_bytes as u32 }
    }

    pub fn place(self) -> Place {
        match self.segment {
            0 => Place::Waiting(u64::from(self.offset) << 32 | u64::from(self.payload_bytes)),
            u32::MAX => Place::Missing,
            segment => Place::Written {
                segment: u64::from(segment),
                offset: u64::from(self.offset),
                payload_bytes: u64::from(self.payload_bytes),
            },
        }
    }
}

/// One group as its callers see it: ahead of the disk by what is queued.
#[derive(Default)]
pub(super) struct Group {
    /// Index of the first slot.
    first: u64,
    slots: VecDeque<Slot>,
    /// The bytes of the most recent entries, up to the last one.
    cached: VecDeque<Bytes>,
    cached_bytes: usize,
    pub purged: Option<(u64, Bytes)>,
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
}

impl Group {
    /// First and last index, if there are entries.
    pub fn range(&self) -> Option<(u64, u64)> {
        (!self.slots.is_empty()).then(|| (self.first, self.first + self.slots.len() as u64 - 1))
    }

    /// The only index that the next entry may have; `None` before the first entry, when any will do.
    pub fn next_index(&self) -> Option<u64> {
        self.range().map(|(_, last)| last + 1).or(self.purged.as_ref().map(|(index, _)| index + 1))
    }

    /// Takes an entry that waits to be written. Returns how many bytes the cache grew.
    pub fn push_waiting(&mut self, index: u64, ticket: u64, bytes: Bytes) -> usize {
        self.push_slot(index, Slot::waiting(ticket));
        let cost = cache_cost(&bytes);
        self.cached.push_back(bytes);
        self.cached_bytes += cost;
        cost
    }

    pub fn push_written(&mut self, index: u64, segment: u64, offset: u64, payload_bytes: u64) {
        self.push_slot(index, Slot::written(segment, offset, payload_bytes));
    }

    pub fn push_missing(&mut self, index: u64) {
        self.push_slot(index, MISSING);
    }

    fn push_slot(&mut self, index: u64, slot: Slot) {
        if self.slots.is_empty() {
            self.first = index;
        }
        self.slots.push_back(slot);
    }

    /// The slot of an entry that is there.
    pub fn slot(&self, index: u64) -> Option<Slot> {
        let position = index.checked_sub(self.first)?;
        self.slots.get(usize::try_from(position).ok()?).copied()
    }

    /// Index of the first entry whose segment was not found.
    pub fn first_missing(&self) -> Option<u64> {
        self.slots.iter().position(|slot| *slot == MISSING).map(|position| self.first + position as u64)
    }

    /// The entry's bytes, if it is recent.
    pub fn cached(&self, index: u64) -> Option<&Bytes> {
        let position = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.cached.get(position.checked_sub(self.slots.len() - self.cached.len())?)
    }

    pub fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Notes where a waiting entry was written, unless it has been truncated or purged since.
    pub fn place(&mut self, index: u64, ticket: u64, segment: u64, offset: u64, payload_bytes: u64) {
        let Some(position) = index.checked_sub(self.first).and_then(|position| usize::try_from(position).ok()) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(position)
            && *slot == Slot::waiting(ticket)
        {
            *slot = Slot::written(segment, offset, payload_bytes);
        }
    }

    /// Drops entries above `index`, all if `None`. Returns how many bytes the cache shrank.
    pub fn truncate_after(&mut self, index: Option<u64>) -> usize {
        let keep = index.map_or(0, |index| (index + 1).saturating_sub(self.first));
        let mut freed = 0;
        while self.slots.len() as u64 > keep {
            self.slots.pop_back();
            freed += self.cached.pop_back().as_ref().map_or(0, cache_cost);
        }
        self.cached_bytes -= freed;
        freed
    }

    /// Drops entries up to `index`. Returns how many bytes the cache shrank.
    pub fn purge(&mut self, index: u64, id: Bytes) -> usize {
        let mut freed = 0;
        while !self.slots.is_empty() && self.first <= index {
            if self.cached.len() == self.slots.len() {
                freed += self.cached.pop_front().as_ref().map_or(0, cache_cost);
            }
            self.slots.pop_front();
            self.first += 1;
        }
        // An index of millions of entries gives its memory back once a checkpoint has covered them.
        if self.slots.capacity() > 4 * self.slots.len().max(1024) {
            self.slots.shrink_to(2 * self.slots.len());
        }
        self.cached_bytes -= freed;
        self.purged = Some((index, id));
        freed
    }

    /// Forgets the bytes of the oldest written entries until `wanted` bytes are freed. Returns how many were.
    pub fn evict(&mut self, wanted: usize) -> usize {
        let mut freed = 0;
        while freed < wanted && !self.cached.is_empty() {
            let slot = self.slots[self.slots.len() - self.cached.len()];
            if matches!(slot.place(), Place::Waiting(_)) {
                break;
            }
            freed += self.cached.pop_front().as_ref().map_or(0, cache_cost);
        }
        self.cached_bytes -= freed;
        freed
    }
}

fn cache_cost(bytes: &Bytes) -> usize {
    const OVERHEAD: usize = 64;
    bytes.len() + OVERHEAD
}

/// One group as the frames written so far leave it, which is what a new segment repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub range: Option<(u64, u64)>,
    pub purged: Option<(u64, Bytes)>,
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
}

impl Written {
    pub fn of(group: &Group) -> Self {
        Self {
            range: group.range(),
            purged: group.purged.clone(),
            vote: group.vote.clone(),
            committed: group.committed.clone(),
        }
    }

    /// Follows one record; `Remove` and `State` are the caller's.
    pub fn apply(&mut self, record: &Record) {
        match record.kind {
            Kind::Entry => self.range = Some((self.range.map_or(record.index, |(first, _)| first), record.index)),
            Kind::Vote => self.vote = Some(record.payload.clone()),
            Kind::Committed => self.committed = Some(record.payload.clone()),
            Kind::TruncateAfter => {
                self.range = self.range.filter(|(first, _)| *first <= record.index);
                self.range = self.range.map(|(first, last)| (first, last.min(record.index)));
            }
            Kind::TruncateAll => self.range = None,
            Kind::Purge => {
                self.range = self.range.filter(|(_, last)| *last > record.index);
                self.range = self.range.map(|(first, last)| (first.max(record.index + 1), last));
                self.purged = Some((record.index, record.payload.clone()));
            }
            Kind::Remove | Kind::State => {}
        }
    }

    /// The payload of a `State` record.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64);
        put_optional(&mut bytes, self.range.map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()].concat()));
        put_optional(&mut bytes, self.purged.as_ref().map(|(index, id)| [&index.to_le_bytes()[..], id].concat()));
        put_optional(&mut bytes, self.vote.as_deref().map(<[u8]>::to_vec));
        put_optional(&mut bytes, self.committed.as_deref().map(<[u8]>::to_vec));
        bytes.into()
    }

    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let range = match take_optional(&mut bytes)? {
            None => None,
            Some(range) => Some((u64_of(range.get(..8)?)?, u64_of(range.get(8..)?)?)),
        };
        let purged = match take_optional(&mut bytes)? {
            None => None,
            Some(purged) => Some((u64_of(purged.get(..8)?)?, Bytes::copy_from_slice(purged.get(8..)?))),
        };
        let vote = take_optional(&mut bytes)?.map(Bytes::copy_from_slice);
        let committed = take_optional(&mut bytes)?.map(Bytes::copy_from_slice);
        bytes.is_empty().then_some(Self { range, purged, vote, committed })
    }
}

/// A length one too high, so that zero says "absent"; then the value.
fn put_optional(bytes: &mut Vec<u8>, value: Option<Vec<u8>>) {
    match value {
        None => bytes.extend_from_slice(&0u32.to_le_bytes()),
        Some(value) => {
            bytes.extend_from_slice(&(value.len() as u32 + 1).to_le_bytes());
            bytes.extend_from_slice(&value);
        }
    }
}

fn take_optional<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let Some(length) = u32::from_le_bytes(*length).checked_sub(1) else {
        *bytes = rest;
        return Some(None);
    };
    let (value, rest) = rest.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(Some(value))
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
