//! Everything of a shard but its records: the way out and in for snapshots.

use super::{
    Answers, Belongings, Lacking, Moves, Right, State, answers::Memory, index::Index, slots::Slots, warmth::Warmth,
};
use crate::{
    ids::{Key, NamespaceId, RegionId, Slot, Stamp},
    session::Record,
    slots::Hold,
    stream::{Progress, Source},
    tombstones::Swept,
};
use std::{collections::BTreeMap, sync::Arc};

/// What a snapshot says beside the records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meta {
    /// The region.
    pub region: RegionId,
    /// For which homes it acts, and what it has promised of others.
    pub rights: BTreeMap<RegionId, Right>,
    /// The version of the failover mode that it writes by.
    pub adopted: Option<u64>,
    /// Which tombstones are known everywhere.
    pub swept: Swept,
    /// The stamp of the entry that said so.
    pub swept_at: Stamp,
    /// The last stamp.
    pub last_stamp: Stamp,
    /// The last version sequence of each slot.
    pub sequences: BTreeMap<Slot, u64>,
    /// Revocation epochs.
    pub revocations: BTreeMap<NamespaceId, BTreeMap<Box<[u8]>, u64>>,
    /// What was answered.
    pub answers: Answers,
    /// Sessions between this shard and others.
    pub moves: Moves,
    /// How far other regions' shards were followed.
    pub followed: BTreeMap<Source, Progress>,
    /// Slots whose copies of a region's sessions are not known to be as far as its shards were followed.
    pub unfollowed: BTreeMap<RegionId, Lacking>,
    /// What it has to do with slots that were ever moved.
    pub holds: BTreeMap<Slot, Hold>,
    /// What belongs to slots that are kept aside.
    pub belongings: BTreeMap<Slot, Belongings>,
}

impl State {
    /// Everything but the records.
    pub fn meta(&self) -> Meta {
        Meta {
            region: self.region,
            rights: self.rights.clone(),
            adopted: self.adopted,
            swept: self.swept,
            swept_at: self.swept_at,
            last_stamp: self.last_stamp,
            sequences: self.sequences.clone(),
            revocations: self.revocations.clone(),
            answers: self.answers.known().clone(),
            moves: self.moves.clone(),
            followed: self.followed.clone(),
            unfollowed: self.unfollowed.clone(),
            holds: self.slots.holds.clone(),
            belongings: self.slots.belongings.clone(),
        }
    }

    /// The state that [`State::meta`] and [`State::records`] came from.
    pub fn restore(meta: Meta, records: impl IntoIterator<Item = (Key, Record)>) -> Self {
        let Meta {
            region,
            rights,
            adopted,
            swept,
            swept_at,
            last_stamp,
            sequences,
            revocations,
            answers,
            moves,
            followed,
            unfollowed,
            holds,
            belongings,
        } = meta;
        let mut records: BTreeMap<Key, Arc<Record>> =
            records.into_iter().map(|(key, record)| (key, Arc::new(record))).collect();
        let warmth = Warmth::of(records.values());
        let slots = Slots::restore(holds, belongings, &mut records);
        let index = Index::of(&records);
        let answers = Memory::of(answers);
        let (leftovers, collected, unsaved, plants) = Default::default();
        let mut state = Self {
            region,
            rights,
            adopted,
            swept,
            swept_at,
            last_stamp,
            records,
            sequences,
            revocations,
            leftovers,
            answers,
            moves,
            followed,
            unfollowed,
            slots,
            index,
            collected,
            unsaved,
            warmth,
            plants,
        };
        state.leftovers = state.find_leftovers();
        state
    }
}
