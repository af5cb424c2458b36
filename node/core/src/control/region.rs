//! One region as the world knows it.

use super::Successors;
use crate::{
    ids::{NodeId, RegionId, ShardId, Slot, Stamp},
    orphans::Tally,
    routing::Coordinates,
};
use std::collections::{BTreeMap, BTreeSet};

/// A region of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its number, never used again.
    pub id: RegionId,
    /// Its name, such as `na`.
    pub name: String,
    /// Drawn when it was founded.
    pub mark: u128,
    /// Where its nodes can be met.
    pub entrances: BTreeSet<String>,
    /// Where on the globe it is.
    pub place: Option<Coordinates>,
    /// Who should act for it if it is lost, first choice first.
    pub heirs: Vec<RegionId>,
    /// The node that votes for it in the control group.
    pub voter: Option<NodeId>,
    /// Whether homes are being moved away from it.
    pub draining: bool,
    /// The version of the failover mode that all its shards have logged.
    pub adopted: Option<u64>,
    /// The epoch under which its home is written.
    pub epoch: u32,
    /// The longest lease that may have been granted for its home under this epoch, in ms; 0 if none was.
    pub lease_ms_max: u64,
    /// Who acts for its home.
    pub phase: Phase,
    /// Whether it was fenced and has not come back: it cannot be counted on.
    pub away: bool,
    /// Whether others have acted for it since it last did, and it has not settled what became of its own writes.
    pub diverged: bool,
    /// Regions that were not heard when the right to act changed hands: writes that waited for other regions may be known
    /// only there.
    pub unheard: BTreeSet<RegionId>,
    /// What may be missing of each shard that wrote for the home since it last served.
    pub cut: BTreeMap<(RegionId, ShardId), Gap>,
    /// What became of its orphaned writes when it last returned; none before it has settled them with those who act.
    pub orphans: Option<Tally>,
    /// Others that acted for it and were lost, and what became of what they had written for it last; none before they have settled
    /// that.
    pub strays: BTreeMap<RegionId, Option<Tally>>,
}

/// Who acts for a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The region itself.
    Serving,
    /// Nobody; those who did may not know it yet, and their leases may still run.
    Fenced(Handover),
    /// Nobody; no earlier lease runs any more, and regions say how far they hold what was written.
    Gathering(Handover),
    /// Nobody yet; those who are named take in what the furthest hold.
    CatchingUp {
        /// What led here.
        handover: Handover,
        /// Who is named.
        successors: Successors,
        /// Those of them that have taken in everything.
        ready: BTreeSet<RegionId>,
    },
    /// Others.
    Open(Successors),
    /// Others still; the region itself is back and settles what became of its writes.
    Returning(Successors),
}

/// Why the right to act changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The region did not renew its leases.
    Lost,
    /// A person said so; with `force`, that it is down or may be parted from, lease or no lease.
    Operator {
        /// Whether what it may still write is given up.
        force: bool,
    },
    /// The home takes over again.
    Failback,
}

/// The right to act on its way from some regions to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Why.
    pub cause: Cause,
    /// The wall clock of whoever proposed it.
    pub since: Stamp,
    /// Who acted until now.
    pub holders: BTreeSet<RegionId>,
    /// Those of them who have said that they do not any more.
    pub released: BTreeSet<RegionId>,
    /// Those of them whom a person gave up.
    pub given_up: BTreeSet<RegionId>,
    /// Who answered, and how far it is.
    pub reports: BTreeMap<RegionId, Report>,
}

/// How far a region holds what shards told, by their region and number. All shards of the world, not only of those who acted:
/// a write that waited for another region may be older than who acted last, and known only by way of who acted before.
pub type Report = BTreeMap<(RegionId, ShardId), Reach>;

/// A place in the changes of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The stamp of the last entry that is held. Stamps of a shard ascend, whatever feed its indexes are of.
    pub stamp: Stamp,
    /// The index of that entry; 0 where some of what was told up to there may be missing for all that the stamp says, in slots that
    /// came by a move.
    pub index: u64,
    /// The highest index that was heard of.
    pub head: u64,
}

/// What may be missing of the changes of one shard, and who holds the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Who holds most.
    pub at: RegionId,
    /// The index up to which nothing is missing; 0 where only the stamp says.
    pub index: u64,
    /// The stamp of that entry.
    pub stamp: Stamp,
    /// How many entries are known to be missing.
    pub entries: u64,
    /// From how long a time entries may be missing, in ms.
    pub ms: u64,
}

impl Region {
    /// Who orders writes to its sessions in `slot`.
    pub fn acting(&self, slot: Slot) -> Option<RegionId> {
        match &self.phase {
            Phase::Serving => Some(self.id),
            Phase::Fenced(_) | Phase::Gathering(_) | Phase::CatchingUp { .. } => None,
            Phase::Open(successors) | Phase::Returning(successors) => Some(successors.of(slot)),
        }
    }

    /// All who act for it.
    pub fn holders(&self) -> BTreeSet<RegionId> {
        match &self.phase {
            Phase::Serving => BTreeSet::from([self.id]),
            Phase::Fenced(_) | Phase::Gathering(_) | Phase::CatchingUp { .. } => BTreeSet::new(),
            Phase::Open(successors) | Phase::Returning(successors) => successors.regions(),
        }
    }

    /// Whether it is being decided who acts for it, and `region` has not said how far it is.
    pub fn awaits(&self, region: RegionId) -> bool {
        match &self.phase {
            Phase::Gathering(handover) | Phase::CatchingUp { handover, .. } => !handover.reports.contains_key(&region),
            Phase::Serving | Phase::Fenced(_) | Phase::Open(_) | Phase::Returning(_) => false,
        }
    }

    /// Whether it acts for itself, is there, and nothing that anybody wrote for it is unsettled.
    pub fn is_at_rest(&self) -> bool {
        let is_settled = !self.diverged && self.strays.values().all(Option::is_some);
        self.phase == Phase::Serving && !self.away && is_settled
    }

    /// Whether a region wrote for this home, others have acted since without having heard all of it, and it is not settled yet what
    /// becomes of that.
    pub fn is_unsettled(&self, by: RegionId) -> bool {
        if by == self.id { self.diverged } else { self.strays.get(&by) == Some(&None) }
    }

    /// Whether a region may take in what `teller` says of this home, for which it acts under `epoch`: it has settled what it wrote
    /// itself. Not so where this is not known to be as it was when the teller began to act, or later.
    pub fn may_take_in(&self, by: RegionId, teller: RegionId, epoch: u32) -> bool {
        let is_known = self.epoch > epoch || (self.epoch == epoch && self.holders().contains(&teller));
        is_known && !self.is_unsettled(by)
    }

    /// Its handover, while there is one.
    pub fn handover(&self) -> Option<&Handover> {
        match &self.phase {
            Phase::Fenced(handover) | Phase::Gathering(handover) | Phase::CatchingUp { handover, .. } => Some(handover),
            Phase::Serving | Phase::Open(_) | Phase::Returning(_) => None,
        }
    }
}

impl Handover {
    /// Who acted and may do so still, as far as they themselves have said.
    pub fn unreleased(&self) -> impl Iterator<Item = RegionId> {
        self.holders.difference(&self.released).copied()
    }

    /// The regions of `world` where a write may be known that nobody who answered has heard of. None if all who acted have
    /// answered; else a write that was acknowledged by so many more regions than are left here is held by one that answered.
    pub fn unheard(&self, world: impl Iterator<Item = RegionId>) -> BTreeSet<RegionId> {
        let silent: BTreeSet<RegionId> =
            self.holders.iter().copied().filter(|holder| !self.reports.contains_key(holder)).collect();
        if silent.is_empty() {
            return BTreeSet::new();
        }
        // The one who wrote it does not count among those who were waited for, unless there were several.
        let writer = silent.first().filter(|_| silent.len() == 1);
        world.filter(|region| Some(region) != writer && !self.reports.contains_key(region)).collect()
    }

    /// How far those who answered are together, by shard, and who is. Those who are named take in all of it.
    pub fn furthest(&self) -> BTreeMap<(RegionId, ShardId), (RegionId, Reach)> {
        let mut furthest: BTreeMap<(RegionId, ShardId), (RegionId, Reach)> = BTreeMap::new();
        for (at, report) in &self.reports {
            for (shard, reach) in report {
                let (best, most) = furthest.entry(*shard).or_insert((*at, *reach));
                let head = most.head.max(reach.head).max(reach.index);
                if (reach.stamp, reach.index) > (most.stamp, most.index) {
                    (*best, *most) = (*at, *reach);
                }
                most.head = head;
            }
        }
        furthest
    }

    /// What may be missing of those who acted, by shard, and who holds the rest.
    pub fn gaps(&self) -> BTreeMap<(RegionId, ShardId), Gap> {
        let acted = self.furthest().into_iter().filter(|((region, _), _)| self.holders.contains(region));
        let gap = |(shard, (at, Reach { stamp, index, head })): ((RegionId, ShardId), (RegionId, Reach))| {
            let whole = self.reports.contains_key(&shard.0);
            let known = if index == 0 && stamp > 0 { 0 } else { head.saturating_sub(index) };
            let (entries, ms) = if whole { (0, 0) } else { (known, self.since.saturating_sub(stamp)) };
            (shard, Gap { at, index, stamp, entries, ms })
        };
        acted.map(gap).collect()
    }
}
