//! When the control leader calls a region lost, and the steps that follow by themselves.
//!
//! A plan, no actions: from the agreed state and what the leader has seen by its own boot clock follows the next command, if
//! any. A new leader has seen nothing yet, so its waits begin with its lead. A region is called lost only when its lease must
//! be over: it has stopped acknowledging by then, so fencing it takes nothing from anybody, and the wait for the old lease is
//! done as soon as the fence is.

use crate::{
    control::{Cause, ControlCommand, ControlState, Handover, Phase, Region, Step, Successors},
    ids::{RegionId, Stamp},
    lease::{Grants, assumed_ms},
};
use std::collections::BTreeMap;

/// What the control leader has seen. Times are of its boot clock, in ms.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Now.
    pub now_ms: u64,
    /// Now, by the wall clock.
    pub wall: Stamp,
    /// The leases that it granted, and since when it leads.
    pub grants: Grants,
    /// When each region last answered.
    pub heard_ms: BTreeMap<RegionId, u64>,
    /// When it last saw each region join, adopt leases or change its phase, as a leader or not; since when it has been looking,
    /// where it saw none.
    pub changed_ms: BTreeMap<RegionId, u64>,
    /// When it last saw each home change hands, as a leader or not; none where it never did.
    pub passed_ms: BTreeMap<RegionId, u64>,
}

/// How patient a control leader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A region that has answered within this time is there.
    pub silence_ms_max: u64,
    /// After its home has changed hands a region is left alone for so long, so that a flapping one is not passed to and fro.
    pub hold_down_ms: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { silence_ms_max: 2_000, hold_down_ms: 30_000 }
    }
}

impl Observed {
    fn since_change_ms(&self, region: RegionId) -> u64 {
        let looks_since_ms = self.grants.since_ms();
        self.now_ms.saturating_sub(self.changed_ms.get(&region).copied().unwrap_or(looks_since_ms))
    }

    fn since_passed_ms(&self, home: RegionId) -> u64 {
        self.passed_ms.get(&home).map_or(u64::MAX, |passed_ms| self.now_ms.saturating_sub(*passed_ms))
    }

    fn is_there(&self, region: RegionId, patience: &Patience) -> bool {
        let heard_ms = self.heard_ms.get(&region);
        heard_ms.is_some_and(|heard_ms| self.now_ms.saturating_sub(*heard_ms) <= patience.silence_ms_max)
    }

    /// Whether a region may still write for anybody. If it has not answered, a session that was on its way to it may have
    /// arrived there, so nobody else may act for the session yet.
    fn may_write(&self, state: &ControlState, region: &Region, patience: &Patience) -> bool {
        if !state.is_leased(region.id) {
            return self.is_there(region.id, patience);
        }
        let mut acts_for = state.regions.values().filter(|home| home.holders().contains(&region.id));
        acts_for.any(|home| self.grants.quiet_ms(home.id, region.id, self.now_ms) < assumed_ms(home.lease_ms_max))
    }

    /// For how long none of those who may still act for a home was granted a lease.
    fn quiet_ms(&self, home: RegionId, handover: &Handover) -> u64 {
        let holders = handover.unreleased().filter(|holder| !handover.given_up.contains(holder));
        holders.map(|holder| self.grants.quiet_ms(home, holder, self.now_ms)).min().unwrap_or(u64::MAX)
    }
}

/// The next command that follows by itself, if any. Handovers that are under way come before new ones.
pub fn plan(state: &ControlState, observed: &Observed, patience: &Patience) -> Option<ControlCommand> {
    let mut steps = state.regions.values().filter_map(|home| Some((home, plan_step(state, home, observed, patience)?)));
    if let Some((home, step)) = steps.next() {
        return Some(ControlCommand::Handover { home: home.id, epoch: home.epoch, step });
    }
    let lost = state.regions.values().find(|region| is_lost(state, region, observed, patience))?;
    Some(ControlCommand::Fence { region: lost.id, cause: Cause::Lost, at: observed.wall })
}

fn is_lost(state: &ControlState, region: &Region, observed: &Observed, patience: &Patience) -> bool {
    // Its shards renew a lease for each home that it acts for: one that is renewed shows that it lives.
    let acts_for = state.regions.values().filter(|home| home.holders().contains(&region.id));
    let lapsed =
        |home: &Region| observed.grants.quiet_ms(home.id, region.id, observed.now_ms) >= assumed_ms(home.lease_ms_max);
    let there = state.regions.keys().filter(|other| **other != region.id && observed.is_there(**other, patience));
    acts_for.clone().next().is_some()
        && acts_for.clone().all(lapsed)
        && state.is_automatic(region.id)
        && 2 * there.count() > state.regions.len()
        // One that came, or that begins to write under leases, has asked for none yet.
        && observed.since_change_ms(region.id) >= assumed_ms(region.lease_ms_max)
        && observed.since_passed_ms(region.id) >= patience.hold_down_ms
}

fn plan_step(state: &ControlState, home: &Region, observed: &Observed, patience: &Patience) -> Option<Step> {
    match &home.phase {
        Phase::Serving | Phase::Open(_) | Phase::Returning(_) | Phase::CatchingUp { .. } => None,
        Phase::Fenced(handover) => {
            let gone = |holder| handover.given_up.contains(&holder) || state.is_leased(holder);
            let quiet_ms = observed.quiet_ms(home.id, handover);
            let over = quiet_ms >= assumed_ms(home.lease_ms_max);
            (over && handover.unreleased().all(gone)).then_some(Step::Waited { quiet_ms })
        }
        Phase::Gathering(handover) => {
            let answered = |region: &RegionId| handover.reports.contains_key(region);
            let waited_ms = observed.since_change_ms(home.id);
            if handover.cause == Cause::Failback && !home.diverged {
                if answered(&home.id) {
                    return Some(Step::Name { successors: Successors::one(home.id) });
                }
                // It was about to take over. While it cannot, those who acted go on without it, but not at once.
                if waited_ms < patience.silence_ms_max {
                    return None;
                }
            }
            let enough = handover.cause != Cause::Lost || 2 * handover.reports.len() > state.regions.len();
            let mut silent = state.regions.values().filter(|region| !answered(&region.id));
            if !enough || silent.any(|region| observed.may_write(state, region, patience)) {
                return None;
            }
            // Where all who acted are called lost at once, one of them has to begin: it has answered, so it is back.
            let itself = (!home.diverged && answered(&home.id)).then_some(home.id);
            heir(state, home, handover).or(itself).map(|heir| Step::Name { successors: Successors::one(heir) })
        }
    }
}

/// Who should act for `home`, of the others who answered: whom it prefers, else the nearest, those that are drained or have to settle
/// something last.
pub fn heir(state: &ControlState, home: &Region, handover: &Handover) -> Option<RegionId> {
    let able = state.regions.values().filter(|other| {
        other.id != home.id && other.phase == Phase::Serving && handover.reports.contains_key(&other.id)
    });
    let rank = |other: &Region| {
        let preferred = home.heirs.iter().position(|heir| *heir == other.id).unwrap_or(usize::MAX);
        let away_km = home.place.zip(other.place).map_or(u32::MAX, |(one, two)| one.distance_km(two));
        // What it wrote for the home when it was lost would be settled with nobody.
        (home.is_unsettled(other.id), other.draining, preferred, away_km, other.id)
    };
    able.min_by_key(|other| rank(other)).map(|other| other.id)
}

#[cfg(test)]
mod tests;
