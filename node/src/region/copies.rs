//! When a copy of a session that another region orders answers for it.
//!
//! A shard's leader knows how fresh its copies are, by its own clock, and what this region had done elsewhere since. Without
//! that a client would not see what it has written itself.

use crate::env::{Clock, Plants};
use parking_lot::Mutex;
use sojourn_core::{Key, RegionId, Slot, feed::FeedCursor, stream::Source};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How old a copy may be that answers.
pub const STALE_MAX: Duration = Duration::from_secs(1);

/// A region that was not heard of for so long is taken for lost: a session that nobody else knows is not there then.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Sessions elsewhere whose copies one leader waits for; beyond that it waits for all copies.
const TOUCHED_MAX: usize = 65_536;

/// How far a shard's copies of a region's sessions are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The region.
    pub region: RegionId,
    /// All that was committed there before so long is here.
    pub age: Duration,
    /// Entries of its shards' logs that are known of and not here.
    pub entries: u64,
}

/// What a shard's leader knows of its copies, as long as it leads.
pub struct Copies {
    term: u64,
    clock: Arc<dyn Clock>,
    began: Duration,
    known: Mutex<Known>,
    plants: Plants,
}

/// What is known of one source.
#[derive(Default)]
struct Heard {
    /// It speaks for these.
    slots: Vec<(Slot, Slot)>,
    /// And for these homes.
    homes: BTreeSet<RegionId>,
    /// A time on this node's boot clock: all that it had committed then is here.
    at: Duration,
}

#[derive(Default)]
struct Known {
    /// By source.
    heard: BTreeMap<Source, Heard>,
    /// By source: everything up to here is in this shard's log.
    taken: BTreeMap<Source, FeedCursor>,
    /// By source: entries of its log that it has told of and that are not here.
    behind: BTreeMap<Source, u64>,
    /// Where a session was written or found, and when, by what is known since its source was heard last.
    touched: BTreeMap<Key, (RegionId, Duration)>,
    /// The same by time, with what was overwritten meanwhile.
    order: VecDeque<(Duration, Key)>,
    /// No copy from before this answers for any session: of some it is not known what became of them elsewhere.
    floor: Duration,
    /// The entry from which on the shard has served the same slots.
    turned: Option<u64>,
}

impl Copies {
    /// Those of a leader in `term` that has heard nobody yet.
    pub fn new(term: u64, clock: Arc<dyn Clock>) -> Self {
        let began = clock.boot();
        Self { term, clock, began, known: Mutex::default(), plants: Plants::default() }
    }

    /// The same with the simulation's bugs.
    #[must_use]
    pub fn plant(self, plants: Plants) -> Self {
        Self { plants, ..self }
    }

    /// The term that they are known in.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// All that `source` had committed at `at`, on this node's boot clock, is here; it speaks for these slots, and acts for these
    /// homes.
    pub fn hear(&self, source: Source, slots: &[(Slot, Slot)], homes: BTreeSet<RegionId>, at: Duration) {
        let mut known = self.known.lock();
        let heard = known.heard.entry(source).or_default();
        heard.at = at.max(heard.at);
        heard.homes = homes;
        if heard.slots != slots {
            heard.slots = slots.to_vec();
        }
        known.forget_heard(self.clock.boot().saturating_sub(LOST_AFTER), self.began);
    }

    /// Everything that a source told up to `cursor` is in this shard's log.
    pub fn hold(&self, source: Source, cursor: FeedCursor) {
        self.known.lock().taken.insert(source, cursor);
    }

    /// Up to where everything is in this shard's log, by source: of those that are followed now.
    pub fn taken(&self) -> BTreeMap<Source, FeedCursor> {
        self.known.lock().taken.clone()
    }

    /// The shard serves other slots since the entry at `index` than before: what was done elsewhere in those that have come since is known
    /// where they come from, so all copies wait until they are heard of again.
    pub(super) fn turn(&self, index: u64) {
        let mut known = self.known.lock();
        if known.turned.replace(index).is_some_and(|known| known != index) {
            known.floor = self.clock.boot();
        }
    }

    /// So many entries of a source's log are not here yet.
    pub fn fall_behind(&self, source: Source, entries: u64) {
        self.known.lock().behind.insert(source, entries);
    }

    /// How far the copies of each region are behind; those that were heard of.
    pub fn lags(&self) -> Vec<Lag> {
        let (known, now) = (self.known.lock(), self.clock.boot());
        let mut lags: BTreeMap<RegionId, Lag> = BTreeMap::new();
        for (source, Heard { at: heard, .. }) in &known.heard {
            let region = source.region;
            let lag = lags.entry(region).or_insert(Lag { region, age: Duration::ZERO, entries: 0 });
            lag.age = lag.age.max(now.saturating_sub(*heard));
            lag.entries += known.behind.get(source).copied().unwrap_or(0);
        }
        lags.into_values().collect()
    }

    /// A source is not followed any more.
    pub fn lose(&self, source: Source) {
        let mut known = self.known.lock();
        known.heard.remove(&source);
        known.behind.remove(&source);
        known.taken.remove(&source);
    }

    /// The session was found in another region just now, or may have been written there for a client of this one.
    pub(super) fn touch(&self, key: &Key, home: RegionId) {
        let now = self.clock.boot();
        let mut known = self.known.lock();
        known.touched.insert(key.clone(), (home, now));
        known.order.push_back((now, key.clone()));
        if known.order.len() > TOUCHED_MAX {
            known.floor = now;
            known.touched.clear();
            known.order.clear();
        }
    }

    /// Where the session was found lately, if its copy has not come yet.
    pub(super) fn found(&self, key: &Key) -> Option<RegionId> {
        self.known.lock().touched.get(key).map(|(home, _)| *home)
    }

    /// Whether what is here of `key`, be it nothing, answers for `home`.
    pub(super) fn answers_for(&self, home: RegionId, key: &Key) -> bool {
        let known = self.known.lock();
        let heard = known.heard_of(home, key.slot());
        // What is here may be of a session that had the id before: another region has ordered the one that was written.
        let is_told = known.touched.get(key).is_none_or(|(by, at)| {
            let told = known.heard_of(*by, key.slot());
            heard > Some(*at) && told > Some(*at)
        });
        heard.is_some_and(|heard| self.is_fresh(heard) && heard > known.floor) && is_told
    }

    /// Whether a region acted for a home when it was heard last: a copy that it vouches for is of a session that it orders.
    pub(super) fn acts_for(&self, region: RegionId, home: RegionId, slot: Slot) -> bool {
        self.known.lock().speaking(region, slot).is_some_and(|heard| heard.homes.contains(&home))
    }

    /// How old what is here of a region may be; none if it is too old to answer.
    pub(super) fn age(&self, home: RegionId, slot: Slot) -> Option<Duration> {
        let heard = self.known.lock().heard_of(home, slot)?;
        self.is_fresh(heard).then(|| self.clock.boot().saturating_sub(heard))
    }

    /// Whether what was heard then may answer still.
    fn is_fresh(&self, heard: Duration) -> bool {
        heard + STALE_MAX >= self.clock.boot() || self.plants.stale_copies_answer
    }

    /// Whether a region was not heard of for so long that it cannot be waited for.
    pub(super) fn has_lost(&self, home: RegionId, slot: Slot) -> bool {
        let heard = self.known.lock().heard_of(home, slot).unwrap_or(self.began);
        heard + LOST_AFTER < self.clock.boot()
    }
}

impl Known {
    fn heard_of(&self, region: RegionId, slot: Slot) -> Option<Duration> {
        self.speaking(region, slot).map(|heard| heard.at)
    }

    /// What is known of the source that speaks for a slot in a region.
    fn speaking(&self, region: RegionId, slot: Slot) -> Option<&Heard> {
        let mut theirs = self.heard.iter().filter(|(source, _)| source.region == region).map(|(_, heard)| heard);
        theirs.find(|heard| heard.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot)))
    }

    /// Forgets what every source has been heard after, and so has the one that it was written at, unless that one was last heard before
    /// `lost`: by default it was when this leader `began`.
    fn forget_heard(&mut self, lost: Duration, began: Duration) {
        let Some(all) = self.heard.values().map(|heard| heard.at).min() else { return };
        while let Some((at, key)) = self.order.front().filter(|(at, _)| *at < all) {
            if let Some((by, touched)) = self.touched.get(key).filter(|(_, touched)| touched == at) {
                let told = self.heard_of(*by, key.slot());
                if told <= Some(*touched) && told.unwrap_or(began) >= lost {
                    return;
                }
                self.touched.remove(key);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::Hands;
    use sojourn_core::{NamespaceId, ShardId, ids::SLOTS};

    const EU: RegionId = RegionId(1);

    fn key(number: u32) -> Key {
        Key::new(NamespaceId(0), &number.to_le_bytes()).expect("an id")
    }

    fn heard(copies: &Copies, at_ms: u64) {
        let slots = [(Slot::new(0).expect("a slot"), Slot::new(SLOTS - 1).expect("a slot"))];
        copies.hear(Source { region: EU, shard: ShardId(0) }, &slots, [EU].into(), Duration::from_millis(at_ms));
    }

    #[test]
    fn a_copy_answers_while_it_is_fresh_and_later_than_what_was_written_elsewhere() {
        let hands = Arc::new(Hands::default());
        let copies = Copies::new(1, hands.clone());
        let pass = |to_ms| hands.set_boot_ms(to_ms);
        assert!(!copies.answers_for(EU, &key(1)), "not heard yet");
        pass(5_000);
        heard(&copies, 4_900);
        assert!(copies.answers_for(EU, &key(1)));
        copies.touch(&key(1), EU);
        assert!(!copies.answers_for(EU, &key(1)) && copies.answers_for(EU, &key(2)));
        assert_eq!((copies.found(&key(1)), copies.found(&key(2))), (Some(EU), None));
        assert_eq!([EU, RegionId(2)].map(|home| copies.acts_for(EU, home, key(1).slot())), [true, false]);
        pass(5_200);
        heard(&copies, 5_000);
        assert!(!copies.answers_for(EU, &key(1)), "asked in the same moment, perhaps before");
        heard(&copies, 5_100);
        assert!(copies.answers_for(EU, &key(1)));
        assert_eq!(copies.found(&key(1)), None, "the copy is here by now");
        assert_eq!(copies.age(EU, key(1).slot()), Some(Duration::from_millis(100)));
        pass(6_101);
        assert!(!copies.answers_for(EU, &key(1)), "too old");
        assert_eq!(copies.age(EU, key(1).slot()), None);
        assert!(!copies.has_lost(EU, key(1).slot()));
        pass(15_101);
        assert!(copies.has_lost(EU, key(1).slot()));
    }

    #[test]
    fn a_copy_of_one_region_does_not_answer_for_what_was_written_at_another_until_that_was_heard() {
        const AP: RegionId = RegionId(2);
        let hands = Arc::new(Hands::default());
        let copies = Copies::new(1, hands.clone());
        let all = [(Slot::new(0).expect("a slot"), Slot::new(SLOTS - 1).expect("a slot"))];
        let hear_ap = |at_ms| {
            copies.hear(Source { region: AP, shard: ShardId(0) }, &all, [AP].into(), Duration::from_millis(at_ms));
        };
        hands.set_boot_ms(5_000);
        copies.touch(&key(1), AP);
        hands.set_boot_ms(5_300);
        heard(&copies, 5_200);
        assert!(!copies.answers_for(EU, &key(1)) && copies.answers_for(EU, &key(2)));
        assert_eq!(copies.found(&key(1)), Some(AP), "it was not heard at all");
        hear_ap(4_900);
        assert!(!copies.answers_for(EU, &key(1)), "heard of before that");
        hear_ap(5_100);
        assert!(copies.answers_for(EU, &key(1)));
        assert_eq!(copies.found(&key(1)), None);

        copies.touch(&key(1), AP);
        hands.set_boot_ms(16_000);
        heard(&copies, 15_900);
        assert_eq!(copies.found(&key(1)), Some(AP), "one that is silent keeps back what is heard of all");
        copies.lose(Source { region: AP, shard: ShardId(0) });
        heard(&copies, 15_950);
        assert!(copies.answers_for(EU, &key(1)), "nobody waits for one that is lost");
    }

    #[test]
    fn slots_that_come_by_a_move_make_all_copies_wait() {
        let hands = Arc::new(Hands::default());
        let copies = Copies::new(1, hands.clone());
        hands.set_boot_ms(5_000);
        copies.turn(7);
        heard(&copies, 4_999);
        copies.turn(7);
        assert!(copies.answers_for(EU, &key(1)));
        copies.turn(9);
        assert!(!copies.answers_for(EU, &key(1)), "whoever served it may have written elsewhere");
        heard(&copies, 5_001);
        assert!(copies.answers_for(EU, &key(1)));
    }

    #[test]
    fn copies_are_as_old_as_the_source_that_was_heard_longest_ago() {
        let hands = Arc::new(Hands::default());
        let copies = Copies::new(1, hands.clone());
        assert_eq!(copies.lags(), []);
        hands.set_boot_ms(5_000);
        heard(&copies, 4_900);
        let other = Source { region: EU, shard: ShardId(1) };
        copies.hear(other, &[], BTreeSet::new(), Duration::from_millis(4_700));
        copies.fall_behind(other, 3);
        copies.fall_behind(Source { region: EU, shard: ShardId(0) }, 4);
        let lag = |age_ms, entries| Lag { region: EU, age: Duration::from_millis(age_ms), entries };
        assert_eq!(copies.lags(), [lag(300, 7)]);
        copies.lose(other);
        assert_eq!(copies.lags(), [lag(100, 4)]);
    }

    #[test]
    fn more_writes_than_are_remembered_make_all_copies_wait() {
        let hands = Arc::new(Hands::default());
        let copies = Copies::new(1, hands.clone());
        hands.set_boot_ms(5_000);
        heard(&copies, 4_999);
        (0..=u32::try_from(TOUCHED_MAX).expect("small")).for_each(|number| copies.touch(&key(number), EU));
        assert!(!copies.answers_for(EU, &key(u32::MAX)));
        heard(&copies, 5_001);
        assert!(copies.answers_for(EU, &key(u32::MAX)));
    }
}
