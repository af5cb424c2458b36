//! What a region has to do about changes of hands, by what the world agrees on and what its shards have logged.
//!
//! A plan, no memory: whatever is logged or agreed on already is not in it, so whoever coordinates next goes on where the last
//! one stopped, and doing a thing twice changes nothing.

use crate::region::standing::Standing;
use sojourn_core::{
    RegionId, ShardId,
    control::{ControlState, Phase, Region},
    state::Right,
};
use std::collections::{BTreeMap, BTreeSet};

/// One thing to do. Those of one home are done one after the other, each of them by a plan of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Log the mode of failover in all shards, then say so.
    Adopt { mode_version: u64 },
    /// Log in all shards that nothing counts any more that is written for the home under an earlier epoch.
    Promise { home: RegionId, epoch: u32, holders: BTreeSet<RegionId> },
    /// Say how far this region holds what was written.
    Report { home: RegionId, epoch: u32 },
    /// Take in what the furthest hold, then say that this region is ready to act.
    CatchUp { home: RegionId, epoch: u32 },
    /// Log in all shards that this region acts.
    Assume { home: RegionId, epoch: u32 },
    /// Take in from who acts what is missing here of what was written before.
    Level { home: RegionId, epoch: u32, acting: RegionId },
    /// Take in what a region holds that was not heard when this one began to act, then say so.
    Absorb { home: RegionId, epoch: u32, from: RegionId },
    /// Say that this region is back.
    Return { epoch: u32 },
    /// Have those who act settle what this region wrote for a home, its own or one that it acted for, after the cut, and say so.
    Settle { home: RegionId, acting: RegionId },
    /// Take in from who acts what became of that, and what was written since, then say that this region may take over again.
    Reconcile { epoch: u32, acting: RegionId },
}

impl Duty {
    /// Whether it takes as long as there are many sessions, or as another region needs to come back.
    pub fn takes_long(&self) -> bool {
        match self {
            Self::CatchUp { .. }
            | Self::Level { .. }
            | Self::Absorb { .. }
            | Self::Settle { .. }
            | Self::Reconcile { .. } => true,
            Self::Adopt { .. }
            | Self::Promise { .. }
            | Self::Report { .. }
            | Self::Assume { .. }
            | Self::Return { .. } => false,
        }
    }
}

/// All that has to be done now.
pub(super) fn plan(world: &ControlState, here: RegionId, shards: &BTreeMap<ShardId, Standing>) -> Vec<Duty> {
    if shards.is_empty() || !world.regions.contains_key(&here) {
        return Vec::new();
    }
    let mut of_homes: Vec<Duty> = world.regions.values().filter_map(|home| next(home, here, shards)).collect();
    if world.regions.values().any(|home| home.is_unsettled(here)) {
        // What is here to be settled must not be overwritten by what others hold of another home.
        of_homes.retain(|duty| !matches!(duty, Duty::Level { .. }));
    }
    if of_homes.iter().any(|duty| matches!(duty, Duty::Level { .. })) {
        // An id of its own may be that of another home's session by now.
        of_homes.retain(|duty| !matches!(duty, Duty::CatchUp { home, .. } if *home == here));
    }
    // Leases are granted for the epochs of the world: first all shards write under those. A region that is away holds up nothing.
    let is_away = |duty: &Duty| matches!(duty, Duty::Absorb { .. });
    let adoption = if of_homes.iter().all(is_away) { adoption(world, here, shards) } else { None };
    of_homes.into_iter().chain(adoption).collect()
}

fn adoption(world: &ControlState, here: RegionId, shards: &BTreeMap<ShardId, Standing>) -> Option<Duty> {
    let mode_version = world.failover.mode_version;
    let logged = shards.values().all(|shard| shard.adopted == Some(mode_version));
    let told = world.regions.get(&here)?.adopted == Some(mode_version);
    // A world that has never had another mode needs nothing logged.
    (mode_version > 0 && !(logged && told)).then_some(Duty::Adopt { mode_version })
}

fn next(home: &Region, here: RegionId, shards: &BTreeMap<ShardId, Standing>) -> Option<Duty> {
    let Region { id, epoch, .. } = *home;
    let all = |holds: &dyn Fn(&Right) -> bool| {
        shards.values().all(|shard| holds(shard.rights.get(&id).unwrap_or(&Right::default())))
    };
    let has_promised = all(&|right| right.epoch >= epoch);
    let acts = all(&|right| right.acts && right.epoch == epoch);
    let acted = !all(&|right| !right.acts);
    let lacks = !all(&|right| right.acts || right.missing_since.is_none());
    let promise = |holders| Some(Duty::Promise { home: id, epoch, holders });
    match &home.phase {
        Phase::Fenced(handover) | Phase::Gathering(handover) => {
            // While somebody may still write, only who acted answers: the others would shut out what is on its way to them.
            let is_asked = matches!(home.phase, Phase::Gathering(_)) || handover.holders.contains(&here);
            match handover.reports.contains_key(&here) {
                _ if !is_asked => None,
                _ if !has_promised => promise(handover.holders.clone()),
                false => Some(Duty::Report { home: id, epoch }),
                true => None,
            }
        }
        Phase::CatchingUp { handover, .. } if !has_promised => promise(handover.holders.clone()),
        Phase::CatchingUp { successors, ready, .. } => {
            let is_named = successors.regions().contains(&here);
            (is_named && !ready.contains(&here)).then_some(Duty::CatchUp { home: id, epoch })
        }
        Phase::Serving | Phase::Open(_) | Phase::Returning(_) if home.holders().contains(&here) => {
            if !acts {
                return Some(Duty::Assume { home: id, epoch });
            }
            home.unheard.first().map(|from| Duty::Absorb { home: id, epoch, from: *from })
        }
        // It acted when it was lost, and the home has taken over again meanwhile: as long as it believes to act it follows nobody. Or
        // whoever acts asks for what this region holds once that does not grow any more.
        Phase::Serving if !has_promised && (acted || home.unheard.contains(&here) || home.is_unsettled(here)) => {
            promise(BTreeSet::new())
        }
        // A region that has not heard of its first epoch yet has shut out nobody.
        Phase::Serving if !has_promised => None,
        Phase::Open(_) | Phase::Returning(_) if !has_promised => promise(BTreeSet::new()),
        Phase::Open(_) if id == here => Some(Duty::Return { epoch }),
        Phase::Returning(_) if id == here => {
            let acting = home.holders().first().copied()?;
            match home.orphans {
                _ if !home.diverged => None,
                None => Some(Duty::Settle { home: id, acting }),
                Some(_) => Some(Duty::Reconcile { epoch, acting }),
            }
        }
        _ if home.is_unsettled(here) => {
            let acting = home.holders().first().copied()?;
            Some(Duty::Settle { home: id, acting })
        }
        Phase::Serving | Phase::Open(_) | Phase::Returning(_) => {
            let acting = home.holders().first().copied()?;
            lacks.then_some(Duty::Level { home: id, epoch, acting })
        }
    }
}
