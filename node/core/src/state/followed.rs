//! How far this shard has followed those of other regions, and for which slots that stands.
//!
//! A cursor stands for the slots for which its source spoke all along. Slots move between shards on both sides. One that the source has
//! let go is told up to there, and left out from then on ([`Piece::Bounded`](crate::stream::Piece::Bounded)); one that it has taken in is
//! copied before anything later is told. One that came to this shard by a move is as far as the shard was that it came from. Until
//! what is behind was copied from whoever speaks for it by now, this shard holds no more of that region than what is there for certain.

use super::State;
use crate::{
    feed::FeedCursor,
    ids::{Key, RegionId, ShardId, Slot, SlotTable, Stamp},
    slot_set::SlotSet,
    slots::Hold,
    stream::{Copying, Progress, Source, Span},
};
use std::collections::BTreeMap;

/// Slots whose copies of a region's sessions may be behind what was followed of its shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Those.
    pub slots: SlotSet,
    /// What the region logged up to this stamp is in them all the same.
    pub held: Stamp,
}

impl State {
    /// How far this shard has followed a source.
    pub fn progress(&self, source: Source) -> Progress {
        self.followed.get(&source).cloned().unwrap_or_default()
    }

    /// How far this shard has followed each source.
    pub fn followed(&self) -> &BTreeMap<Source, Progress> {
        &self.followed
    }

    /// Regions of whose sessions this shard may lack what their shards told that it follows, in slots that came by a move, and up to
    /// which stamp it holds all the same what they logged.
    pub fn lags_behind(&self) -> impl Iterator<Item = (RegionId, Stamp)> {
        self.unfollowed.iter().map(|(region, lacking)| (*region, lacking.held))
    }

    /// Up to which stamp everything is here that the shards of a region logged, as far as this one shares slots with them.
    pub(super) fn held_of(&self, region: RegionId) -> Stamp {
        // One that was never copied from holds everything back, one that shares no slots any more nothing.
        let theirs = self.followed.iter().filter(|(source, _)| source.region == region);
        let theirs = theirs.filter(|(_, progress)| progress.shares_slots());
        let lacking = self.unfollowed.get(&region).map(|lacking| lacking.held);
        theirs.map(|(_, progress)| progress.held).chain(lacking).min().unwrap_or(0)
    }

    /// The same of all regions that are followed.
    pub(super) fn held_of_all(&self) -> BTreeMap<RegionId, Stamp> {
        self.followed.keys().map(|source| (source.region, self.held_of(source.region))).collect()
    }

    /// The slots that this shard serves, where the region's table is `table`, now or at any time before: the table decides where nobody
    /// has moved anything.
    pub fn served(&self, table: &SlotTable, shard: ShardId) -> SlotSet {
        let served = SlotSet::of_shard(table, shard);
        let holds = self.slots.holds.iter();
        let (here, elsewhere): (Vec<_>, Vec<_>) = holds.partition(|(_, hold)| hold.serves());
        let set = |holds: Vec<(&Slot, &Hold)>| SlotSet::of_slots(holds.into_iter().map(|(slot, _)| *slot));
        served.without(&set(elsewhere)).joined(&set(here))
    }

    /// A slot is served no more: no cursor stands for it.
    pub(super) fn unfollow(&mut self, slot: Slot) {
        let gone = SlotSet::of_slots([slot]);
        for progress in self.followed.values_mut() {
            if progress.slots.contains(slot) {
                progress.slots = progress.slots.without(&gone);
            }
            if let Some(copying) = progress.copying.as_mut().filter(|copying| copying.slots.contains(slot)) {
                copying.slots = copying.slots.without(&gone);
            }
        }
        self.follow_again(&gone, None);
    }

    /// A slot is served from now on. What other regions changed in it since it was frozen may be missing: whoever froze it held theirs up to
    /// these stamps.
    pub(super) fn lag_behind(&mut self, slot: Slot, held: &BTreeMap<RegionId, Stamp>) {
        for region in self.held_of_all().into_keys() {
            self.lack(region, &SlotSet::of_slots([slot]), held.get(&region).copied().unwrap_or(0));
        }
    }

    fn lack(&mut self, region: RegionId, slots: &SlotSet, held: Stamp) {
        let lacking = self.unfollowed.entry(region).or_insert(Lacking { slots: SlotSet::default(), held });
        lacking.slots = lacking.slots.joined(slots);
        lacking.held = lacking.held.min(held);
    }

    /// Nothing is missing in these slots of what a region told, or all did.
    fn follow_again(&mut self, slots: &SlotSet, region: Option<RegionId>) {
        self.unfollowed.retain(|of, lacking| {
            if region.is_none_or(|region| region == *of) {
                lacking.slots = lacking.slots.without(slots);
            }
            !lacking.slots.is_empty()
        });
    }

    /// The copy that a page goes on with, or begins: its stamp, and the slots of which all its pages spoke. None if the page is of no
    /// copy that could be taken now.
    pub(super) fn copy_of(&self, source: Source, begin: FeedCursor, span: &Span, as_of: Stamp) -> Option<Copying> {
        let known = self.followed.get(&source);
        let (cursor, copying) = (known.and_then(|known| known.cursor), known.and_then(|known| known.copying.as_ref()));
        let goes_back = cursor.is_some_and(|cursor| cursor.feed == begin.feed && begin.index < cursor.index);
        let after = span.until.clone();
        match copying {
            Some(copying) if copying.begin == begin && copying.after == span.after => {
                Some(Copying { begin, after, held: copying.held, slots: copying.slots.common(&span.slots) })
            }
            _other if span.after.is_none() && !goes_back || self.plants.pieces_in_any_order => {
                Some(Copying { begin, after, held: as_of, slots: span.slots.clone() })
            }
            _other => None,
        }
    }

    /// How far a source has been followed once the pages of `copying` are in, up to the last that came.
    pub(super) fn after_page(&mut self, source: Source, as_of: Stamp, copying: Copying) -> Progress {
        let known = self.progress(source);
        if copying.after.is_some() {
            return Progress { as_of, copying: Some(copying), ..known };
        }
        let Copying { begin, after: _, held, slots } = copying;
        let slots = if known.cursor == Some(begin) {
            known.slots.joined(&slots)
        } else {
            // What it told last of others was skipped.
            self.leave_out(source, &known.slots.without(&slots));
            slots
        };
        self.follow_again(&slots, Some(source.region));
        Progress { cursor: Some(begin), slots, as_of, held: held.max(known.held), copying: None }
    }

    /// How far a source has been followed that speaks for `slots` only from its cursor on.
    pub(super) fn bounded(&mut self, source: Source, slots: &SlotSet) -> Progress {
        let known = self.progress(source);
        self.leave_out(source, &known.slots.without(slots));
        Progress { slots: known.slots.common(slots), copying: None, ..known }
    }

    /// A region's shard does not speak for these slots any more, or anew. Which one does may not be known yet, unless what it says is
    /// here already.
    pub(super) fn leave_out(&mut self, source: Source, slots: &SlotSet) {
        if slots.is_empty() {
            return;
        }
        let others = self.followed.iter().filter(|(other, _)| other.region == source.region && **other != source);
        let left = others.fold(slots.clone(), |left, (_, progress)| left.without(&progress.slots));
        // Nor what has gone to another of this region's shards meanwhile.
        let gone = self.slots.holds.iter().filter(|(_, hold)| !hold.serves());
        let left = left.without(&SlotSet::of_slots(gone.map(|(slot, _)| *slot)));
        if !left.is_empty() {
            let held = self.held_of(source.region);
            self.lack(source.region, &left, held);
        }
    }

    /// Whether a cursor of `source` stands for all these keys.
    pub(super) fn follows<'a>(&self, source: Source, mut keys: impl Iterator<Item = &'a Key>) -> bool {
        let slots = self.followed.get(&source).map(|progress| &progress.slots);
        keys.all(|key| slots.is_some_and(|slots| slots.contains(key.slot())))
    }
}
