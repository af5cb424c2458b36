//! How the right to act for a home goes from some regions to others.
//!
//! `Serving → Fenced → Gathering → CatchingUp → Open → Returning → (the same once more) → Serving`. A fence draws the epoch
//! and leaves nobody with the right; it goes to somebody only at the end, when
//!
//! 1. nobody writes under an earlier epoch: each who acted has said so, or its lease has been waited out, or a person gave it
//!    up ([`Handover::unreleased`], [`ControlState::step`] on [`Step::Waited`]);
//! 2. those who answered have promised to take in nothing more that was written under an earlier epoch. That is what makes
//!    their answers a quorum against writes that wait for other regions, leases or not, and keeps a session that travels from
//!    arriving where nobody looked; so none counts that came before the first was met;
//! 3. those who are named hold all that any of those who answered held, of whatever region ([`Handover::furthest`]).
//!
//! A failback is the same with the home as the only one named. It waits until the home's own orphaned writes are settled:
//! else they would live on as if they had been written now.

use super::{Cause, ControlOutcome, ControlRefusal, ControlState, Handover, Phase, Region, Report, Step, Successors};
use crate::{
    ids::{RegionId, Stamp},
    lease::assumed_ms,
    orphans::Tally,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a region that is fenced means for one home.
enum Blow {
    /// Nothing.
    None,
    /// Nobody may act until it is decided who; needs a new epoch.
    Unseat,
    /// The home has left again while others act for it.
    LeaveAgain,
    /// One less to count on, under the epoch that was drawn.
    Forget,
}

impl ControlState {
    pub(super) fn fence(&mut self, lost: RegionId, cause: Cause, at: Stamp) -> Result<ControlOutcome, ControlRefusal> {
        self.region(lost)?;
        if cause == Cause::Failback || (cause == Cause::Lost && !self.is_automatic(lost)) {
            return Err(ControlRefusal::NotAutomatic(lost));
        }
        let blows: Vec<(RegionId, Blow)> =
            self.regions.values().map(|home| (home.id, home.blow(lost, cause))).collect();
        let unseated = blows.iter().filter(|(_, blow)| matches!(blow, Blow::Unseat)).count();
        if blows.iter().all(|(_, blow)| matches!(blow, Blow::None)) {
            return Err(ControlRefusal::Phase(lost));
        }
        if u32::try_from(unseated).ok().and_then(|count| self.last_epoch.checked_add(count)).is_none() {
            return Err(ControlRefusal::EpochsExhausted);
        }
        for (home, blow) in blows {
            match blow {
                Blow::None => {}
                Blow::Unseat => self.unseat(home, cause, at)?,
                Blow::LeaveAgain => self.region_mut(home)?.leave_again(),
                Blow::Forget => self.region_mut(home)?.forget(lost),
            }
            if cause == (Cause::Operator { force: true }) {
                self.region_mut(home)?.give_up(lost);
            }
        }
        self.region_mut(lost)?.away = true;
        Ok(ControlOutcome::Done)
    }

    pub(super) fn fail_back(&mut self, home: RegionId, at: Stamp) -> Result<ControlOutcome, ControlRefusal> {
        let region = self.region(home)?;
        if !matches!(region.phase, Phase::Returning(_)) {
            return Err(ControlRefusal::Phase(home));
        }
        if region.diverged {
            return Err(ControlRefusal::NotReconciled(home));
        }
        self.unseat(home, Cause::Failback, at)?;
        Ok(ControlOutcome::Done)
    }

    /// Leaves a home to nobody, under a new epoch.
    fn unseat(&mut self, home: RegionId, cause: Cause, since: Stamp) -> Result<(), ControlRefusal> {
        let epoch = self.draw()?;
        self.last_change_of_hands = self.version + 1;
        let region = self.region_mut(home)?;
        let handover = Handover {
            cause,
            since,
            holders: region.holders(),
            released: BTreeSet::new(),
            given_up: BTreeSet::new(),
            reports: BTreeMap::new(),
        };
        region.epoch = epoch;
        region.phase = Phase::Fenced(handover);
        if cause != Cause::Failback {
            // Who settled anything with those who acted until now does so with those who are next.
            region.orphans = None;
        }
        Ok(())
    }

    /// One step of a handover. Repeating one that has been taken is harmless or refused.
    pub(super) fn step(&mut self, home: RegionId, epoch: u32, step: Step) -> Result<ControlOutcome, ControlRefusal> {
        let region = self.region(home)?;
        if region.epoch != epoch {
            return Err(ControlRefusal::NotActing { home, epoch: region.epoch });
        }
        match step {
            Step::Waited { quiet_ms } => self.waited(home, quiet_ms)?,
            Step::Report { region, report } => {
                self.region(region)?;
                self.region_mut(home)?.report(region, report)?;
            }
            Step::Name { successors } => self.name(home, successors)?,
            Step::Ready { region } => self.ready(home, region)?,
            Step::Absorbed { from } => {
                let region = self.region_mut(home)?;
                if region.handover().is_some() || !region.unheard.remove(&from) {
                    return Err(ControlRefusal::Phase(home));
                }
            }
            Step::GoOn => {
                let region = self.region_mut(home)?;
                if region.handover().is_some() {
                    return Err(ControlRefusal::Phase(home));
                }
                region.unheard.clear();
            }
            Step::Return => self.region_mut(home)?.come_back()?,
            Step::Settled { by, orphans } => self.region_mut(home)?.settled(by, orphans)?,
            Step::Reconciled => self.region_mut(home)?.reconcile()?,
        }
        Ok(ControlOutcome::Done)
    }

    /// Nobody writes under an earlier epoch any more.
    fn waited(&mut self, home: RegionId, quiet_ms: u64) -> Result<(), ControlRefusal> {
        let region = self.region(home)?;
        let Phase::Fenced(handover) = &region.phase else { return Err(ControlRefusal::Phase(home)) };
        let over = quiet_ms >= assumed_ms(region.lease_ms_max);
        let gone = |holder| handover.given_up.contains(&holder) || (over && self.is_leased(holder));
        if !handover.unreleased().all(gone) {
            return Err(ControlRefusal::MayStillWrite(home));
        }
        self.region_mut(home)?.gather();
        Ok(())
    }

    fn name(&mut self, home: RegionId, successors: Successors) -> Result<(), ControlRefusal> {
        let region = self.region(home)?;
        let Phase::Gathering(handover) = &region.phase else { return Err(ControlRefusal::Phase(home)) };
        let (answered, regions) = (handover.reports.len() as u64, self.regions.len() as u64);
        if handover.cause == Cause::Lost && 2 * answered <= regions {
            return Err(ControlRefusal::NoQuorum { answered, regions });
        }
        let named = successors.regions();
        for heir in &named {
            let able = if *heir == home {
                !region.diverged && named.len() == 1
            } else {
                self.region(*heir)?.phase == Phase::Serving
            };
            if !able || !handover.reports.contains_key(heir) {
                return Err(ControlRefusal::NotAble(*heir));
            }
        }
        let handover = handover.clone();
        self.region_mut(home)?.phase = Phase::CatchingUp { handover, successors, ready: BTreeSet::new() };
        Ok(())
    }

    fn ready(&mut self, home: RegionId, who: RegionId) -> Result<(), ControlRefusal> {
        let (lease_ms, world) = (self.failover.granted_ms(), self.regions.keys().copied().collect::<Vec<_>>());
        let region = self.region_mut(home)?;
        let Phase::CatchingUp { handover, successors, ready } = &mut region.phase else {
            return Err(ControlRefusal::Phase(home));
        };
        let named = successors.regions();
        if !named.contains(&who) {
            return Err(ControlRefusal::NotAble(who));
        }
        ready.insert(who);
        if *ready == named {
            let (handover, successors) = (handover.clone(), successors.clone());
            region.lease_ms_max = lease_ms;
            region.unheard.extend(handover.unheard(world.into_iter()));
            region.cut.extend(handover.gaps());
            region.leave_strays(&handover, &successors);
            region.open(successors);
            self.last_change_of_hands = self.version + 1;
        }
        Ok(())
    }
}

impl Region {
    fn blow(&self, lost: RegionId, cause: Cause) -> Blow {
        match &self.phase {
            Phase::Serving if self.id == lost => Blow::Unseat,
            Phase::Serving => Blow::None,
            Phase::Open(successors) | Phase::Returning(successors) if successors.regions().contains(&lost) => {
                Blow::Unseat
            }
            Phase::Open(_) => Blow::None,
            Phase::Returning(_) if self.id == lost => Blow::LeaveAgain,
            Phase::Returning(_) => Blow::None,
            Phase::Fenced(handover) | Phase::Gathering(handover) | Phase::CatchingUp { handover, .. } => {
                let force = cause == (Cause::Operator { force: true });
                let counted_on = handover.reports.contains_key(&lost);
                let waited_for = force && handover.unreleased().any(|holder| holder == lost);
                if counted_on || waited_for { Blow::Forget } else { Blow::None }
            }
        }
    }

    fn leave_again(&mut self) {
        if let Phase::Returning(successors) = &self.phase {
            self.phase = Phase::Open(successors.clone());
        }
    }

    /// Counts no more on what `lost` holds. What it promised stands.
    fn forget(&mut self, lost: RegionId) {
        match &mut self.phase {
            Phase::Fenced(handover) | Phase::Gathering(handover) => {
                handover.reports.remove(&lost);
            }
            Phase::CatchingUp { handover, .. } => {
                handover.reports.remove(&lost);
                self.phase = Phase::Gathering(handover.clone());
            }
            Phase::Serving | Phase::Open(_) | Phase::Returning(_) => {}
        }
    }

    fn give_up(&mut self, lost: RegionId) {
        if let Phase::Fenced(handover) = &mut self.phase
            && handover.holders.contains(&lost)
        {
            handover.given_up.insert(lost);
        }
    }

    fn gather(&mut self) {
        if let Phase::Fenced(handover) = &self.phase {
            self.phase = Phase::Gathering(handover.clone());
        }
    }

    fn report(&mut self, region: RegionId, report: Report) -> Result<(), ControlRefusal> {
        match &mut self.phase {
            Phase::Fenced(handover) if handover.holders.contains(&region) => {
                handover.released.insert(region);
                handover.reports.insert(region, report);
                if handover.released == handover.holders {
                    self.gather();
                }
                Ok(())
            }
            Phase::Gathering(handover) => {
                if handover.holders.contains(&region) {
                    handover.released.insert(region);
                }
                handover.reports.insert(region, report);
                Ok(())
            }
            // Before nobody writes any more, an answer would not hold what is still to be written.
            Phase::Fenced(_) | Phase::Serving | Phase::CatchingUp { .. } | Phase::Open(_) | Phase::Returning(_) => {
                Err(ControlRefusal::Phase(self.id))
            }
        }
    }

    /// Those who are named act, from now on.
    fn open(&mut self, successors: Successors) {
        if successors == Successors::one(self.id) {
            self.phase = Phase::Serving;
            self.away = false;
            self.forget_cuts();
        } else {
            self.phase = Phase::Open(successors);
            self.diverged = true;
        }
    }

    /// Others who acted and have not said how far they were may have written what nobody else has. Who acts again has it.
    fn leave_strays(&mut self, handover: &Handover, successors: &Successors) {
        let silent = handover.holders.iter().filter(|holder| !handover.reports.contains_key(holder));
        let home = self.id;
        self.strays.extend(silent.filter(|holder| **holder != home).map(|holder| (*holder, None)));
        let acting = successors.regions();
        self.strays.retain(|stray, _| !acting.contains(stray));
    }

    fn settled(&mut self, by: RegionId, orphans: Tally) -> Result<(), ControlRefusal> {
        if self.handover().is_some() || !self.is_unsettled(by) {
            return Err(ControlRefusal::Phase(self.id));
        }
        if by == self.id {
            // What was settled once is not there to be counted again.
            self.orphans.get_or_insert(orphans);
            return Ok(());
        }
        self.strays.insert(by, Some(orphans));
        if self.phase == Phase::Serving {
            self.forget_cuts();
        }
        Ok(())
    }

    /// A home that acts itself has nothing to say of cuts, but to those who have to settle what they wrote after them.
    fn forget_cuts(&mut self) {
        let strays = &self.strays;
        self.cut.retain(|(region, _), _| strays.get(region) == Some(&None));
    }

    fn come_back(&mut self) -> Result<(), ControlRefusal> {
        match &self.phase {
            Phase::Open(successors) => {
                self.phase = Phase::Returning(successors.clone());
                self.away = false;
                Ok(())
            }
            Phase::Returning(_) => Ok(()),
            Phase::Serving | Phase::Fenced(_) | Phase::Gathering(_) | Phase::CatchingUp { .. } => {
                Err(ControlRefusal::Phase(self.id))
            }
        }
    }

    fn reconcile(&mut self) -> Result<(), ControlRefusal> {
        if !matches!(self.phase, Phase::Returning(_)) || self.orphans.is_none() {
            return Err(ControlRefusal::Phase(self.id));
        }
        self.diverged = false;
        Ok(())
    }
}
