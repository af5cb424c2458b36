//! The slots that a region wants to move between its shards, and how far that is.
//!
//! Which shard serves a slot is decided by the shards' own logs (see [`crate::slots`]); what is agreed here is what is wanted,
//! and afterwards who serves. Moves are carried out one after the other, in the order of their numbers.

#[cfg(test)]
mod tests;

use super::{RegionOutcome, RegionRefusal, RegionState};
use crate::{
    ids::{ShardId, Slot, SlotTable},
    placement::GroupName,
    slots::SlotMove,
};
use std::collections::{BTreeMap, BTreeSet};

/// Moves that wait at a time: each is a range of slots.
pub const SLOT_MOVES_MAX: usize = 256;

/// The moves of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotMoves {
    /// The last number that was given out.
    pub last: u64,
    /// How often the slot table has changed.
    pub changes: u64,
    /// By number.
    pub wanted: BTreeMap<u64, WantedMove>,
}

/// Slots on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedMove {
    /// Who serves them.
    pub from: ShardId,
    /// Who shall.
    pub to: ShardId,
    /// How many there were.
    pub slots: u16,
    /// Those for which something is left to be done.
    pub left: BTreeSet<Slot>,
    /// Whether what has not arrived yet shall stay.
    pub given_up: bool,
}

impl WantedMove {
    /// The move of each of its slots.
    pub fn of(&self, number: u64) -> SlotMove {
        SlotMove { number, from: self.from, to: self.to }
    }
}

impl SlotMoves {
    /// The move that is carried out now.
    pub fn current(&self) -> Option<(u64, &WantedMove)> {
        self.wanted.first_key_value().map(|(number, wanted)| (*number, wanted))
    }
}

impl RegionState {
    pub(super) fn move_slots(
        &mut self,
        (from, to): (ShardId, ShardId),
        (first, last): (Slot, Slot),
    ) -> Result<RegionOutcome, RegionRefusal> {
        if self.slot_moves.wanted.len() >= SLOT_MOVES_MAX {
            return Err(RegionRefusal::SlotMovesWait);
        }
        for shard in [from, to] {
            if !self.placement.contains_key(&GroupName::Shard(shard)) {
                return Err(RegionRefusal::UnknownShard(shard));
            }
        }
        let slots: BTreeSet<Slot> = (first.number()..=last.number()).filter_map(Slot::new).collect();
        if from == to || slots.is_empty() {
            return Err(RegionRefusal::NoSlots);
        }
        for &slot in &slots {
            let shard = self.slots.shard(slot);
            if shard != from {
                return Err(RegionRefusal::SlotElsewhere { slot: slot.number(), shard });
            }
            if self.slot_moves.wanted.values().any(|wanted| wanted.left.contains(&slot)) {
                return Err(RegionRefusal::SlotMoves { slot: slot.number() });
            }
        }
        let on_their_way = self.slot_moves.wanted.values().filter(|wanted| wanted.from == from);
        let leaving = slots.len() + on_their_way.map(|wanted| wanted.left.len()).sum::<usize>();
        let held = self.slots.shards().iter().filter(|shard| **shard == from).count();
        // What is told to all shards goes to those that have slots.
        if leaving >= held {
            return Err(RegionRefusal::LastSlots(from));
        }
        self.slot_moves.last += 1;
        let wanted = WantedMove { from, to, slots: slots.len() as u16, left: slots, given_up: false };
        self.slot_moves.wanted.insert(self.slot_moves.last, wanted);
        Ok(RegionOutcome::SlotMove(self.slot_moves.last))
    }

    /// Notes that slots are served where they were to go.
    pub(super) fn serve_slots(&mut self, number: u64, slots: &BTreeSet<Slot>) {
        let Some(wanted) = self.slot_moves.wanted.get(&number) else { return };
        let came: BTreeSet<Slot> =
            wanted.left.intersection(slots).copied().filter(|slot| self.slots.shard(*slot) == wanted.from).collect();
        if !came.is_empty() {
            self.slots = self.slots.with(&came, wanted.to);
            self.slot_moves.changes += 1;
        }
    }

    /// Notes that nothing is left to be done for slots by this move. Those that were to go and stayed go by another one.
    pub(super) fn close_slots(&mut self, number: u64, slots: &BTreeSet<Slot>) {
        let Some(wanted) = self.slot_moves.wanted.get_mut(&number) else { return };
        let (table, from) = (&self.slots, wanted.from);
        let (closed, left): (BTreeSet<Slot>, _) = wanted.left.iter().partition(|slot| slots.contains(slot));
        wanted.left = left;
        let stayed: BTreeSet<Slot> = closed.into_iter().filter(|slot| table.shard(*slot) == from).collect();
        let again = WantedMove { slots: stayed.len() as u16, left: stayed, ..wanted.clone() };
        if wanted.left.is_empty() {
            self.slot_moves.wanted.remove(&number);
        }
        if !again.left.is_empty() && !again.given_up {
            self.slot_moves.last += 1;
            self.slot_moves.wanted.insert(self.slot_moves.last, again);
        }
    }

    pub(super) fn give_slots_up(&mut self, number: u64) -> Result<RegionOutcome, RegionRefusal> {
        let wanted = self.slot_moves.wanted.get_mut(&number).ok_or(RegionRefusal::UnknownSlotMove(number))?;
        wanted.given_up = true;
        Ok(RegionOutcome::Done)
    }
}

impl SlotTable {
    /// The table with these slots at another shard.
    fn with(&self, slots: &BTreeSet<Slot>, shard: ShardId) -> Self {
        let mut shards = self.shards().to_vec();
        slots.iter().for_each(|slot| shards[usize::from(slot.number())] = shard);
        Self::from_shards(shards).unwrap_or_else(|| self.clone())
    }
}
