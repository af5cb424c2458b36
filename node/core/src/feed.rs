//! The latest changes of a shard in the order of its log, for whoever follows: "what changed after this entry?"
//!
//! A feed carries what entries did, records with their versions, never what they were asked to do: who follows need not
//! decide anything again. It is bounded in bytes; who asks for what it no longer has is told so and begins with a copy of the
//! shard. Replicas that applied the same entries answer alike, so a follower may go on at another one. After a restart a feed
//! reaches back as far as the log was read again.

use crate::{
    ids::{Key, Slot, Stamp},
    slot_set::SlotSet,
    state::Effect,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which feed an index is of: drawn anew when the indexes of a shard begin anew, so that a cursor from before then is not
/// taken for a place in the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedId(pub u64);

impl FeedId {
    /// That of a feed whose replica does not know yet which one it is: no cursor is one of it.
    pub const UNNAMED: Self = Self(0);
}

/// How far somebody has followed a feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedCursor {
    /// Which feed.
    pub feed: FeedId,
    /// The index of the last entry that was followed; 0 for none.
    pub index: u64,
}

/// How much one answer may hold; one entry it may hold in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedBounds {
    /// Entries, or records of a copy.
    pub entries_max: usize,
    /// What they take, in bytes.
    pub bytes_max: u64,
}

/// The changes of one entry of the log.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The entry's index.
    pub index: u64,
    /// Its stamp: what it did may have been written elsewhere, by another clock.
    pub stamp: Stamp,
    /// What it did, in order; never nothing.
    pub effects: Vec<Effect>,
}

/// What a feed answers.
#[derive(Clone, Debug)]
pub enum Followed {
    /// The entries after the cursor that changed something, whole ones, oldest first; none if nothing changed since.
    Changes {
        /// The entries.
        entries: Vec<Changed>,
        /// Where to go on.
        next: FeedCursor,
    },
    /// The feed does not reach back to the cursor: begin with a copy of the shard.
    CursorTooOld,
}

/// See the room.
#[derive(Debug)]
pub struct Feed {
    id: FeedId,
    bytes_max: u64,
    bytes: u64,
    entries: VecDeque<(u64, Changed)>,
    /// Everything after this index is here, up to `last`.
    after: u64,
    last: u64,
    /// Up to here the shard may have served other slots than since then.
    turned: u64,
    /// Slots that it has let go or taken in, with the last entry that did so; those of entries that are here.
    turns: BTreeMap<Slot, u64>,
}

/// What an effect takes beside the session's fields.
const EFFECT_OVERHEAD_BYTES: u64 = 256;

impl Feed {
    /// The feed of a shard without entries; it keeps at most `bytes_max` bytes, or the last entry if that is larger.
    pub fn new(id: FeedId, bytes_max: u64) -> Self {
        Self { id, bytes_max, bytes: 0, entries: VecDeque::new(), after: 0, last: 0, turned: 0, turns: BTreeMap::new() }
    }

    /// Says which feed it is.
    pub fn name(&mut self, id: FeedId) {
        self.id = id;
    }

    /// Adds what the entry at `index` with this stamp did. Indexes ascend; those in between changed nothing.
    pub fn push(&mut self, index: u64, stamp: Stamp, effects: Vec<Effect>) {
        self.last = index;
        if effects.is_empty() {
            return;
        }
        let bytes = effects.iter().map(bytes_of).sum();
        self.bytes += bytes;
        self.entries.push_back((bytes, Changed { index, stamp, effects }));
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            let Some((bytes, oldest)) = self.entries.pop_front() else { return };
            self.bytes -= bytes;
            self.after = oldest.index;
        }
    }

    /// The shard lets these slots go with this entry, which may be about to come, or takes them in. Nobody is told what lies before and
    /// behind it at once.
    pub fn turn(&mut self, index: u64, slots: impl IntoIterator<Item = Slot>) {
        self.turned = index;
        self.turns.extend(slots.into_iter().map(|slot| (slot, index)));
    }

    /// The slots that the shard let go or took in after one entry and up to another.
    pub fn turns(&self, after: u64, until: u64) -> SlotSet {
        if self.turned <= after {
            return SlotSet::default();
        }
        let within = self.turns.iter().filter(|(_, index)| (after + 1..=until).contains(index));
        SlotSet::of_slots(within.map(|(slot, _)| *slot))
    }

    /// The index of the last entry that changed which slots the shard serves, or a later one; 0 for none.
    pub fn turned(&self) -> u64 {
        self.turned
    }

    /// The sessions that entries after this one changed, by what is told of them; `None` where the feed does not know.
    pub fn changed_after(&self, index: u64) -> Option<BTreeSet<Key>> {
        if !(self.after..=self.last).contains(&index) {
            return None;
        }
        let begin = self.entries.partition_point(|(_, entry)| entry.index <= index);
        let effects = self.entries.range(begin..).flat_map(|(_, entry)| &entry.effects);
        Some(effects.map(|effect| effect.key.clone()).collect())
    }

    /// Forgets everything: the shard's state is now that after the entry at `index`, and what led to it is not known here.
    pub fn skip(&mut self, index: u64) {
        *self = Self { after: index, last: index, turned: index, ..Self::new(self.id, self.bytes_max) };
    }

    /// The cursor of somebody who has seen everything so far.
    pub fn end(&self) -> FeedCursor {
        FeedCursor { feed: self.id, index: self.last }
    }

    /// What changed after `cursor`, within `bounds`.
    pub fn follow(&self, cursor: FeedCursor, bounds: FeedBounds) -> Followed {
        let FeedBounds { entries_max, bytes_max } = bounds;
        if cursor.feed != self.id || self.id == FeedId::UNNAMED || cursor.index < self.after {
            return Followed::CursorTooOld;
        }
        let begin = self.entries.partition_point(|(_, entry)| entry.index <= cursor.index);
        let last = if cursor.index < self.turned { self.turned.min(self.last) } else { self.last };
        let (mut entries, mut bytes): (Vec<Changed>, u64) = (Vec::new(), 0);
        for (more, entry) in self.entries.range(begin..).take_while(|(_, entry)| entry.index <= last) {
            if !entries.is_empty() && (bytes + more > bytes_max || entries.len() >= entries_max) {
                let index = entries.last().map_or(cursor.index, |entry| entry.index);
                return Followed::Changes { entries, next: FeedCursor { feed: self.id, index } };
            }
            bytes += more;
            entries.push(entry.clone());
        }
        // Somebody who followed a replica that is ahead of this one stays where he is.
        let index = last.max(cursor.index);
        Followed::Changes { entries, next: FeedCursor { feed: self.id, index } }
    }
}

fn bytes_of(effect: &Effect) -> u64 {
    EFFECT_OVERHEAD_BYTES + effect.key.id().len() as u64 + effect.record.body_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Condition, Expiry, NamespaceId, Op, RegionId, Request, State, policy::Policy};

    const FEED: FeedId = FeedId(7);

    /// The effects of setting a value of so many bytes.
    fn effects(state: &mut State, bytes: usize) -> Vec<Effect> {
        let op = Op::Set {
            value: vec![b'x'; bytes].into(),
            expiry: Expiry::Default,
            condition: Condition::Always,
            get: false,
            owner: None,
        };
        let key = Key::new(NamespaceId(0), b"s").expect("an id");
        let rules = Policy::default().rules(false);
        let mut effects = Vec::new();
        state.apply(1, Command { request: Request::default(), key, rules, touched: None, op }, &mut effects);
        effects
    }

    /// A feed of entries 11 to 20, of which the even ones changed something.
    fn feed(bytes_max: u64) -> Feed {
        let (mut feed, mut state) = (Feed::new(FEED, bytes_max), State::new(RegionId(0), 1));
        feed.skip(10);
        for index in 11..=20 {
            let effects = if index % 2 == 0 { effects(&mut state, 1_000) } else { Vec::new() };
            feed.push(index, index, effects);
        }
        feed
    }

    #[test]
    fn what_changed_after_an_entry_is_known_as_far_as_the_feed_reaches_back() {
        let feed = feed(3_000);
        let reaches = |index| feed.changed_after(index).map(|keys| keys.len());
        assert_eq!([9, 13, 15].map(reaches), [None, None, None], "what went out of the feed is not known");
        assert_eq!([16, 19, 20].map(reaches), [Some(1), Some(1), Some(0)], "one session was set again and again");
        assert_eq!(reaches(21), None, "nor is what never came");
    }

    fn follow(feed: &Feed, index: u64, bytes_max: u64) -> Option<(Vec<u64>, u64)> {
        match feed.follow(FeedCursor { feed: FEED, index }, FeedBounds { entries_max: 5, bytes_max }) {
            Followed::Changes { entries, next } => {
                Some((entries.iter().map(|entry| entry.index).collect(), next.index))
            }
            Followed::CursorTooOld => None,
        }
    }

    #[test]
    fn tells_what_changed_after_a_cursor_page_by_page() {
        let feed = feed(1 << 20);
        assert_eq!(follow(&feed, 10, 1 << 20), Some((vec![12, 14, 16, 18, 20], 20)));
        assert_eq!(follow(&feed, 14, 3_000), Some((vec![16, 18], 18)));
        assert_eq!(follow(&feed, 18, 1), Some((vec![20], 20)), "at least one");
        assert_eq!(follow(&feed, 20, 1), Some((vec![], 20)));
        assert_eq!(follow(&feed, 25, 1), Some((vec![], 25)), "another replica is ahead");
        assert_eq!(feed.end(), FeedCursor { feed: FEED, index: 20 });
        let two = feed.follow(FeedCursor { feed: FEED, index: 10 }, FeedBounds { entries_max: 2, bytes_max: 1 << 20 });
        assert!(matches!(two, Followed::Changes { entries, next } if entries.len() == 2 && next.index == 14));
    }

    #[test]
    fn says_so_when_a_cursor_is_too_old_or_of_another_feed() {
        assert_eq!(follow(&feed(1 << 20), 9, 1), None, "entry 10 may have changed something");
        let small = feed(3_000);
        assert_eq!(follow(&small, 16, 1 << 20), Some((vec![18, 20], 20)));
        assert_eq!(follow(&small, 15, 1 << 20), None);
        let other = FeedCursor { feed: FeedId(8), index: 20 };
        let bounds = FeedBounds { entries_max: 1, bytes_max: 1 };
        assert!(matches!(small.follow(other, bounds), Followed::CursorTooOld));
        let unnamed = Feed::new(FeedId::UNNAMED, 1);
        assert!(matches!(unnamed.follow(unnamed.end(), bounds), Followed::CursorTooOld));
        let mut skipped = feed(1 << 20);
        skipped.skip(30);
        assert_eq!(follow(&skipped, 20, 1), None);
        assert_eq!(
            follow(&skipped, skipped.end().index, 1),
            Some((vec![], 30)),
            "who begins here need not begin again"
        );
    }

    #[test]
    fn nobody_is_told_of_both_sides_of_a_turn_at_once() {
        let mut feed = feed(1 << 20);
        let slot = |number| Slot::new(number).expect("a slot");
        feed.turn(17, [slot(5), slot(7)]);
        feed.turn(20, [slot(5)]);
        feed.push(21, 21, Vec::new());
        feed.push(22, 22, effects(&mut State::new(RegionId(0), 1), 10));
        assert_eq!(feed.turned(), 20);
        assert_eq!(feed.turns(16, 19), SlotSet::of_slots([slot(7)]), "the other one turned again");
        assert_eq!(feed.turns(16, 20), SlotSet::of_slots([slot(5), slot(7)]));
        assert_eq!(feed.turns(20, 22), SlotSet::default());
        assert_eq!(follow(&feed, 14, 1 << 20), Some((vec![16, 18, 20], 20)));
        assert_eq!(follow(&feed, 20, 1 << 20), Some((vec![22], 22)));
        feed.skip(30);
        assert_eq!(feed.turned(), 30, "what came before is not known");
    }

    #[test]
    fn an_entry_larger_than_the_feed_is_kept_until_the_next() {
        let feed = feed(10);
        assert_eq!(follow(&feed, 18, 1), Some((vec![20], 20)));
        assert_eq!(follow(&feed, 17, 1), None);
    }
}
