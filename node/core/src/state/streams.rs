//! Following the shards of other regions, and knowing which sessions they order.

use super::{Event, State, turn::Turn};
use crate::{
    command::{Op, Outcome},
    feed::{FeedBounds, FeedCursor},
    ids::{Key, RegionId, Slot, Stamp},
    merge::merge,
    session::{Body, Fields, Kind, Life, Record},
    stream::{Absorbed, CopyPage, Copying, Piece, Progress, Source, Span},
};
use std::{collections::BTreeSet, ops::Bound, sync::Arc};

impl State {
    /// Whether this region orders the session's writes.
    pub fn orders(&self, record: &Record) -> bool {
        record.home == self.region
    }

    /// The other region that orders a session which the operation would change, tombstones included: as long as one stands,
    /// one region decides whether the id lives again.
    pub fn elsewhere(&self, key: &Key, op: &Op) -> Option<RegionId> {
        // What is done for whole namespaces is done in every region.
        let everywhere = matches!(op, Op::Revoke { .. } | Op::Clear { .. } | Op::Absorb { .. });
        if everywhere || self.followed.is_empty() {
            return None;
        }
        let mut keys = vec![key];
        op.push_keys(&mut keys);
        keys.into_iter().find_map(|key| self.home_elsewhere(key))
    }

    /// The other region that orders the session under `key`, as far as this shard knows.
    pub fn home_elsewhere(&self, key: &Key) -> Option<RegionId> {
        self.records.get(key).filter(|record| !self.orders(record)).map(|record| record.home)
    }

    /// How far this shard has followed a source.
    pub fn progress(&self, source: Source) -> Progress {
        self.followed.get(&source).cloned().unwrap_or_default()
    }

    /// A page of a copy of what this region orders, in the order of keys, within `bounds`. Fields that are on disk only come
    /// as such.
    pub fn copy_page(&self, span: &Span, bounds: FeedBounds) -> CopyPage {
        let FeedBounds { entries_max, bytes_max } = bounds;
        let Span { after, until, slots } = span;
        let mut page = CopyPage { records: Vec::new(), elsewhere: Vec::new(), until: until.clone() };
        let (mut last, mut bytes) = (None, 0);
        let here = self.records(after.as_ref()).take_while(|(key, _)| until.as_ref().is_none_or(|until| *key <= until));
        for (key, record) in here.filter(|(key, _)| covers(slots, key)) {
            if page.records.len() + page.elsewhere.len() == entries_max || bytes >= bytes_max {
                page.until = last;
                break;
            }
            last = Some(key.clone());
            if self.orders(record) {
                bytes += record.body_bytes();
                page.records.push((key.clone(), record.clone()));
            } else {
                page.elsewhere.push(key.clone());
            }
        }
        page
    }

    /// The key of the `count`-th record after `after` that `region` orders, if there are so many: how far a page may reach so
    /// that an entry which takes it in does not take long.
    pub fn copy_reach(&self, region: RegionId, after: Option<&Key>, count: usize) -> Option<Key> {
        let theirs = self.records(after).filter(|(_, record)| record.home == region);
        theirs.map(|(key, _)| key).nth(count).cloned()
    }
}

/// Whether a slot of `slots` is that of the key.
fn covers(slots: &[(Slot, Slot)], key: &Key) -> bool {
    slots.iter().any(|(first, last)| (*first..=*last).contains(&key.slot()))
}

impl Turn<'_> {
    pub(super) fn absorb(&mut self, absorbed: Absorbed) -> Outcome {
        let Absorbed { source, as_of, piece } = absorbed;
        let known = self.state.progress(source);
        let (progress, changed) = match piece {
            Piece::Changes { after, next, records } => {
                if known.cursor != Some(after) || known.copying.is_some() {
                    return Outcome::Nothing;
                }
                (Progress { cursor: Some(next), as_of, copying: None }, self.take_in(records))
            }
            Piece::Page { begin, span, records, elsewhere } => {
                let follows = known.copying == Some(Copying { begin, after: span.after.clone() });
                if !follows && span.after.is_some() {
                    return Outcome::Nothing;
                }
                let there = records.iter().map(|(key, _)| key).chain(&elsewhere).cloned().collect();
                let changed = self.drop_unknown(source.region, &span, &there) + self.take_in(records);
                (after_page(known.cursor, as_of, begin, span.until), changed)
            }
        };
        self.state.followed.insert(source, progress);
        Outcome::Count(changed)
    }

    /// Merges records of another region into those of this one; says how many are other than before.
    fn take_in(&mut self, records: Vec<(Key, Record)>) -> i64 {
        records.into_iter().map(|(key, record)| i64::from(self.take_in_one(&key, record))).sum()
    }

    fn take_in_one(&mut self, key: &Key, record: Record) -> bool {
        // Its tombstone may have been collected since: nothing lives past its absolute deadline.
        if record.life == Life::Live && record.absolute_deadline <= self.stamp {
            return false;
        }
        let Some(known) = self.state.records.get(key) else {
            let event = told_as(&record);
            self.place(key, record, event);
            return true;
        };
        if is_touch(known, &record) {
            // Not by merging: which replica has the fields in memory must decide nothing.
            let written = known.written.max(record.written);
            let idle_deadline = known.idle_deadline.max(record.idle_deadline);
            let later = (written, idle_deadline) != (known.written, known.idle_deadline);
            if later {
                let touched = Record { written, idle_deadline, ..(**known).clone() };
                self.place(key, touched, Event::Touched);
            }
            return later;
        }
        let merged = merge(known, &record).record;
        let changed = merged != **known;
        if changed {
            let event = told_as(&merged);
            self.place(key, merged, event);
        }
        changed
    }

    /// Forgets what a region ordered and does not know any more: it ended there, and the tombstone is gone.
    fn drop_unknown(&mut self, region: RegionId, span: &Span, there: &BTreeSet<Key>) -> i64 {
        let Span { after, until, slots } = span;
        if after.is_some() && after == until {
            return 0;
        }
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let to = until.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let here = self.state.records.range::<Key, _>((from, to));
        let gone = here.filter(|(key, record)| record.home == region && covers(slots, key) && !there.contains(*key));
        let gone: Vec<(Key, Arc<Record>)> = gone.map(|(key, record)| (key.clone(), record.clone())).collect();
        for (key, record) in &gone {
            if record.life == Life::Live {
                // Those who watch hear of an end.
                self.place(key, ended(record, self.stamp), Event::Expired);
            }
            self.state.forget(key);
        }
        gone.len() as i64
    }
}

/// Whether two copies differ by their use at most.
fn is_touch(known: &Record, record: &Record) -> bool {
    let both_live = known.life == Life::Live && record.life == Life::Live;
    both_live && (known.incarnation, known.version) == (record.incarnation, record.version)
}

/// How those who watch here are told of a change that was made elsewhere.
fn told_as(record: &Record) -> Event {
    match (record.life, record.kind) {
        (Life::Dead { expired: true, .. }, _) => Event::Expired,
        (Life::Dead { expired: false, .. }, _) => Event::Del,
        (Life::Live, Kind::String) => Event::Set,
        (Life::Live, Kind::Hash) => Event::Changed("hset"),
        (Life::Live, Kind::Set) => Event::Changed("sadd"),
        (Life::Live, Kind::SortedSet) => Event::Changed("zadd"),
    }
}

/// How far a source has been followed once a page of a copy is in.
fn after_page(cursor: Option<FeedCursor>, as_of: Stamp, begin: FeedCursor, until: Option<Key>) -> Progress {
    match until {
        Some(after) => Progress { cursor, as_of, copying: Some(Copying { begin, after: Some(after) }) },
        None => Progress { cursor: Some(begin), as_of, copying: None },
    }
}

/// The record of a session that has ended nobody knows when.
fn ended(record: &Record, stamp: Stamp) -> Record {
    let life = Life::Dead { at: stamp, collect_at: stamp, expired: true };
    Record { life, owner: None, ..record.with_body(Body::Hot(Fields::new())) }
}
