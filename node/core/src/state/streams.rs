//! Following the shards of other regions, and knowing which sessions they order.

use super::{Believed, Conflict, Event, State, journal::Side, rights::Teller, turn::Turn};
use crate::{
    command::{Op, Outcome, Refusal},
    digest::is_alike,
    feed::FeedBounds,
    ids::{Key, NamespaceId, RegionId, Slot, Stamp, position},
    merge::merge,
    session::{Body, Fields, Kind, Life, Record},
    slot_set::SlotSet,
    stream::{Absorbed, CopyPage, Piece, Progress, Span},
    tombstones::is_admissible,
    travel::left_too_late,
};
use std::{collections::BTreeSet, ops::Bound, sync::Arc};

impl State {
    /// Whether this shard orders the session's writes: whether it acts for its home.
    pub fn orders(&self, record: &Record) -> bool {
        self.acts_for(record.home).is_some()
    }

    /// Why this shard may not carry an operation out: because another one orders a session that it would change, tombstones
    /// included (as long as one stands, one region decides whether the id lives again), or would order one that it makes.
    pub fn elsewhere(&self, key: &Key, op: &Op) -> Option<Refusal> {
        if concerns_no_session(op) || self.is_alone() {
            return None;
        }
        let mut keys = vec![key];
        op.push_keys(&mut keys);
        keys.into_iter().find_map(|key| self.not_ordered(key))
    }

    /// Whether there is nobody else who could order anything.
    pub(super) fn is_alone(&self) -> bool {
        self.followed.is_empty() && self.rights.len() == 1 && self.acts_for(self.region).is_some()
    }

    fn not_ordered(&self, key: &Key) -> Option<Refusal> {
        let home = self.records.get(key).map_or(self.region, |record| record.home);
        match self.acts_for(home) {
            Some(_) => None,
            None if home == self.region => Some(Refusal::Fenced { home, epoch: self.promised(home) }),
            None => Some(Refusal::Elsewhere { home }),
        }
    }

    /// The home of the session under `key`, if this shard does not act for it, as far as it knows.
    pub fn home_elsewhere(&self, key: &Key) -> Option<RegionId> {
        self.records.get(key).filter(|record| !self.orders(record)).map(|record| record.home)
    }

    /// Why a piece would be refused, if it came now: worth asking before it is logged.
    pub fn bars(&self, absorbed: &Absorbed) -> Option<Refusal> {
        let Absorbed { source, believed, piece, .. } = absorbed;
        let teller = Teller { region: source.region, believed };
        match piece {
            Piece::Changes { records, .. } | Piece::Page { records, .. } => {
                self.check(self.last_stamp, records, teller).err()
            }
            Piece::Held { home, epoch, .. } => {
                let promised = self.promised(*home);
                (*epoch != promised).then_some(Refusal::Fenced { home: *home, epoch: promised })
            }
            Piece::Bounded { .. } => None,
        }
    }

    /// Whether nothing that these records would change is kept out.
    fn check(&self, now: Stamp, records: &[(Key, Record)], teller: Teller<'_>) -> Result<(), Refusal> {
        let barred = |(key, record): &(Key, Record)| {
            let known = self.records.get(key);
            let refusal = self.bar(teller, known.map(|known| &**known), record)?;
            self.taken_in(now, key, record).map(|_| refusal)
        };
        records.iter().find_map(barred).map_or(Ok(()), Err)
    }

    /// What a record of another region makes of that which is here, and how those who watch are told; `None` if it stays.
    fn taken_in(&self, now: Stamp, key: &Key, record: &Record) -> Option<(Record, Event)> {
        let known = self.records.get(key);
        if !is_admissible(record, known.map(|known| &**known), now) {
            return None;
        }
        let Some(known) = known else { return Some((record.clone(), told_as(record))) };
        if self.has_stayed(known, record) {
            return None;
        }
        if is_touch(known, record) {
            if known.home == record.home && !is_alike(known, record) {
                // A version names one body: the copy here is damaged.
                return Some((record.clone(), told_as(record)));
            }
            // Not by merging: which replica has the fields in memory must decide nothing.
            let written = known.written.max(record.written);
            let idle_deadline = known.idle_deadline.max(record.idle_deadline);
            let later = (written, idle_deadline) != (known.written, known.idle_deadline);
            return later.then(|| (Record { written, idle_deadline, ..(**known).clone() }, Event::Touched));
        }
        let merged = merge(known, record).record;
        let event = told_as(&merged);
        (merged != **known).then_some((merged, event))
    }

    /// Whether a session that is told to have left a home has stayed: whoever acts for the home after the one that gave it
    /// away did not hear of it in time. Whoever took it in gives it up.
    fn has_stayed(&self, known: &Record, record: &Record) -> bool {
        let epoch = self.acts_for(known.home);
        epoch.is_some_and(|epoch| left_too_late(known, record, epoch))
    }

    /// A page of a copy of what this shard orders, has ordered or may have given away, in the order of keys, within `bounds`. Fields that are
    /// on disk only come as such.
    pub fn copy_page(&self, span: &Span, bounds: FeedBounds) -> CopyPage {
        let FeedBounds { entries_max, bytes_max } = bounds;
        let homes = self.acts();
        let mut page = CopyPage { homes, records: Vec::new(), elsewhere: Vec::new(), until: span.until.clone() };
        let (mut last, mut bytes) = (None, 0);
        for (key, record) in self.in_span(span) {
            if page.records.len() + page.elsewhere.len() == entries_max || bytes >= bytes_max {
                page.until = last;
                break;
            }
            last = Some(key.clone());
            // Whoever has travelled may not have been heard of where it is at home: the change that said so may be gone. And whoever has
            // this page counts as one who has all that this shard ever logged, so it tells what it wrote while it acted, too.
            if self.orders(record) || record.version.home_epoch > 0 || self.may_have_written(record) {
                bytes += record.body_bytes();
                page.records.push((key.clone(), record.clone()));
            } else {
                page.elsewhere.push(key.clone());
            }
        }
        page
    }

    /// The homes of which others say what there is: those whose sessions nobody orders under a later epoch than they.
    pub(super) fn spoken_for(&self, homes: &Believed, replaces: bool) -> BTreeSet<RegionId> {
        let free = |home: RegionId| self.acts_for(home).is_none() && (home != self.region || replaces);
        homes.keys().copied().filter(|home| free(*home) && self.believes(homes, *home)).collect()
    }

    /// The records of a span; those outside of its slots are not walked.
    fn in_span<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
        let Span { after, until, slots } = span;
        slots.iter().flat_map(move |(first, last)| {
            let lowest = Key::lowest(position(*first, NamespaceId(0), 0));
            let from = match after {
                Some(after) if *after >= lowest => Bound::Excluded(after.clone()),
                _ => Bound::Included(lowest),
            };
            let is_within = move |key: &Key| key.slot() <= *last && until.as_ref().is_none_or(|until| key <= until);
            self.records.range((from, Bound::Unbounded)).take_while(move |(key, _)| is_within(key))
        })
    }

    /// The key of the `count`-th record of a span that another region orders, if there are so many: how far a page may
    /// reach so that an entry which takes it in does not take long.
    pub fn copy_reach(&self, span: &Span, count: usize) -> Option<Key> {
        let theirs = self.in_span(span).filter(|(_, record)| !self.orders(record));
        theirs.map(|(key, _)| key).nth(count).cloned()
    }
}

/// Whether the key of an operation only says which shard is meant: what is done for whole namespaces is done in every region and
/// shard, the rest concerns the shard.
pub(super) fn concerns_no_session(op: &Op) -> bool {
    matches!(
        op,
        Op::Revoke { .. }
            | Op::Clear { .. }
            | Op::Absorb { .. }
            | Op::Promise { .. }
            | Op::Assume { .. }
            | Op::CaughtUp { .. }
            | Op::Adopt { .. }
            | Op::Settle { .. }
            | Op::Swept { .. }
            | Op::Slot { .. }
            | Op::TakeSlots { .. }
    )
}

/// Whether a slot of `slots` is that of the key.
pub(super) fn covers(slots: &[(Slot, Slot)], key: &Key) -> bool {
    slots.iter().any(|(first, last)| (*first..=*last).contains(&key.slot()))
}

impl Turn<'_> {
    pub(super) fn absorb(&mut self, absorbed: Absorbed) -> Result<Outcome, Refusal> {
        let Absorbed { source, as_of, believed, piece } = absorbed;
        let known = self.state.progress(source);
        let teller = Teller { region: source.region, believed: &believed };
        let (progress, changed) = match piece {
            Piece::Changes { after, next, records, turned } => {
                let is_next = known.cursor == Some(after) && known.copying.is_none();
                let in_order = is_next || self.state.plants.pieces_in_any_order;
                // Slots that are not served here any more are told to whoever serves them.
                if !in_order || !self.state.follows(source, records.iter().map(|(key, _)| key)) {
                    return Ok(Outcome::Nothing);
                }
                let (as_of, held) = (known.as_of.max(as_of), known.held.max(as_of));
                let changed = self.take_in(records, teller)?;
                let turned = if self.state.plants.turned_slots_stand { SlotSet::default() } else { turned };
                self.state.leave_out(source, &turned);
                let slots = known.slots.without(&turned);
                (Progress { cursor: Some(next), slots, as_of, held, copying: None }, changed)
            }
            Piece::Page { asked, begin, span, homes, replaces, records, elsewhere } => {
                // A page that is late, as one whose reader was stopped for a while: who leads by now asks by itself.
                let is_served = span.slots.iter().all(|(first, last)| self.state.serves_all(*first, *last));
                if self.state.may_predate_a_sweep(asked) || !is_served {
                    return Ok(Outcome::Nothing);
                }
                let Some(copying) = self.state.copy_of(source, begin, &span, as_of) else {
                    return Ok(Outcome::Nothing);
                };
                self.state.check(self.stamp, &records, teller)?;
                let theirs = Theirs { homes: self.state.spoken_for(&homes, replaces), replaces };
                let there = records.iter().map(|(key, _)| key).chain(&elsewhere).cloned().collect();
                let changed = self.drop_unknown(&theirs, &span, &there) + self.take_copies(&theirs, records);
                (self.state.after_page(source, as_of, copying), changed)
            }
            Piece::Bounded { slots } => (self.state.bounded(source, &slots), 0),
            Piece::Held { asked, .. } if self.state.may_predate_a_sweep(asked) => return Ok(Outcome::Nothing),
            Piece::Held { records, .. } if records.iter().any(|(key, _)| !self.state.serves(key.slot())) => {
                return Ok(Outcome::Nothing);
            }
            Piece::Held { asked: _, home, epoch, records } => {
                return self.take_in_held(source.region, (home, epoch), believed.clone(), records);
            }
        };
        self.state.followed.insert(source, progress);
        Ok(Outcome::Count(changed))
    }

    /// Merges records of another region into those of this one; says how many are other than before.
    fn take_in(&mut self, records: Vec<(Key, Record)>, teller: Teller<'_>) -> Result<i64, Refusal> {
        self.state.check(self.stamp, &records, teller)?;
        Ok(records.into_iter().map(|(key, record)| i64::from(self.take_in_one(&key, record))).sum())
    }

    pub(super) fn take_in_one(&mut self, key: &Key, mut record: Record) -> bool {
        if self.state.plants.fences_by_term_alone {
            record.version.epoch = record.version.epoch.max(self.state.promised(record.home));
        }
        self.note_loser(key, &record);
        let taken = self.state.taken_in(self.stamp, key, &record);
        let changes = taken.is_some();
        if let Some((record, event)) = taken {
            self.place(key, record, event);
        }
        changes
    }

    /// Where two regions created one id at once, the one that orders the later session notes the earlier one.
    fn note_loser(&mut self, key: &Key, record: &Record) {
        let Some(winner) = self.state.records.get(key) else { return };
        // What one region ordered came one after the other.
        let lost = record.incarnation < winner.incarnation && record.home != winner.home;
        if lost && record.is_live(self.stamp) && self.state.orders(winner) {
            // The winner's fields are where they are.
            let theirs = Side { fields: None, ..Side::of(winner) };
            let (home, mine) = (winner.home, Side::of(record));
            let conflict =
                Conflict { key: key.clone(), home: record.home, epoch: 0, at: self.stamp, mine, theirs: Some(theirs) };
            self.journal(home, &conflict);
        }
    }

    /// Takes in the records of a page.
    fn take_copies(&mut self, theirs: &Theirs, records: Vec<(Key, Record)>) -> i64 {
        let mut changed = 0;
        for (key, record) in records {
            let gives_way = |known: &&Arc<Record>| theirs.replaces && theirs.homes.contains(&known.home);
            changed += i64::from(match self.state.records.get(&key).filter(gives_way) {
                Some(known) if is_same(known, &record) => false,
                Some(_) => {
                    let event = told_as(&record);
                    self.place(&key, record, event);
                    true
                }
                None => self.take_in_one(&key, record),
            });
        }
        changed
    }

    /// Forgets what whoever acts for its home does not know any more: it ended there, and the tombstone is gone.
    fn drop_unknown(&mut self, theirs: &Theirs, span: &Span, there: &BTreeSet<Key>) -> i64 {
        let planted = Span { slots: span.slots.clone(), ..Span::all_after(None) };
        let span = if self.state.plants.page_drops_beyond_its_span { &planted } else { span };
        let unknown = |key: &Key, record: &Record| theirs.homes.contains(&record.home) && !there.contains(key);
        let gone = self.state.in_span(span).filter(|(key, record)| unknown(key, record));
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

/// Which homes a page speaks for, and whether what is here of them gives way.
struct Theirs {
    homes: BTreeSet<RegionId>,
    replaces: bool,
}

/// Whether two copies are the same but for where their fields are.
fn is_same(known: &Record, record: &Record) -> bool {
    let of = |record: &Record| {
        let Record { incarnation, version, home, life, written, idle_deadline, .. } = *record;
        (incarnation, version, home, life, written, idle_deadline)
    };
    of(known) == of(record)
}

/// Whether two copies differ by their use at most.
fn is_touch(known: &Record, record: &Record) -> bool {
    let both_live = known.life == Life::Live && record.life == Life::Live;
    both_live && (known.incarnation, known.version) == (record.incarnation, record.version)
}

/// How those who watch here are told of a change that was made elsewhere.
pub(super) fn told_as(record: &Record) -> Event {
    match (record.life, record.kind) {
        (Life::Dead { expired: true, .. }, _) => Event::Expired,
        (Life::Dead { expired: false, .. }, _) => Event::Del,
        (Life::Live, Kind::String) => Event::Set,
        (Life::Live, Kind::Hash) => Event::Changed("hset"),
        (Life::Live, Kind::Set) => Event::Changed("sadd"),
        (Life::Live, Kind::SortedSet) => Event::Changed("zadd"),
    }
}

/// The record of a session that has ended nobody knows when.
fn ended(record: &Record, stamp: Stamp) -> Record {
    let life = Life::Dead { at: stamp, collect_at: stamp, expired: true };
    Record { life, owner: None, ..record.with_body(Body::Hot(Fields::new())) }
}
