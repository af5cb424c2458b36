//! What the leader of the control group does: it founds the world, sees to who votes, and plans what follows by itself.

use super::{Inner, calls::Figures, machine::Group};
use crate::{
    peers::AbroadRoster,
    raft::{Applied, GroupFigures, encode_change, spawn},
    region::backend::Backend,
};
use sojourn_core::{
    NodeId, RegionId,
    control::{ControlCommand, ControlOutcome, ControlState},
    failover::{Observed, Patience, plan},
    lease::{Grants, assumed_ms},
    placement::{Step, plan_step},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

/// How often a leader looks whether something has to follow.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a change that the leader proposes may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a change of who votes may take before it is looked at anew.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// A region that has answered within this time is there: they are asked every two seconds.
const SILENCE_MS_MAX: u64 = 3_000;

/// A region whose home changed hands is left alone for so many leases.
const HOLD_DOWN_LEASES: u64 = 3;

/// What a leader remembers of one term.
pub(super) struct Led {
    term: u64,
    pub grants: Grants,
    /// Whether it is known until when earlier leaders may have granted leases.
    is_counted: bool,
}

/// What is remembered of `term`, which a new leader begins with at `now_ms`: whatever others granted before, they granted
/// before it was elected.
pub(super) fn led_in(led: &mut Option<Led>, term: u64, now_ms: u64) -> &mut Led {
    let kept = led.take().filter(|led| led.term == term);
    led.insert(kept.unwrap_or_else(|| Led { term, grants: Grants::new(now_ms), is_counted: false }))
}

/// Leads when this node has to, until it is gone.
pub(super) async fn run_lead(control: Weak<Inner>) {
    while let Some(inner) = control.upgrade().filter(|inner| !inner.is_stopping()) {
        inner.lead().await;
        drop(inner);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Inner {
    async fn lead(self: &Arc<Self>) {
        let Some(group) = self.group() else { return };
        let Some(term) = group.leading_term() else { return };
        let now_ms = self.now_ms();
        led_in(&mut self.led.lock(), term, self.leads_since_ms(now_ms));
        // The state before the grants: see `Inner::grant`.
        let state = group.machine().now();
        if state.world == 0 {
            return self.found_world(&group).await;
        }
        self.see_to_voters(&group, &state);
        self.count_back(&group, &state, term).await;
        let observed = self.observed(&group, &state, term, now_ms);
        let lease_ms = state.failover.lease_ms;
        let hold_down_ms = HOLD_DOWN_LEASES.saturating_mul(lease_ms);
        let patience = Patience { silence_ms_max: SILENCE_MS_MAX, hold_down_ms };
        if let Some(command) = plan(&state, &observed, &patience) {
            self.have_done(&group, command).await;
        }
    }

    /// The first entries of a world. The founding comes last, so that a leader that fell between is followed by one that begins
    /// anew.
    async fn found_world(&self, group: &Group) {
        let (mode, lease_ms) = (self.options.failover, self.options.lease_ms);
        let world = self.node.region().world;
        for command in [ControlCommand::SetFailover { mode, lease_ms }, ControlCommand::Found { world }] {
            // Without the first, the world would be founded with another policy than was asked for.
            if !self.have_done(group, command).await {
                return;
            }
        }
    }

    /// Whether the change was made.
    async fn have_done(&self, group: &Group, command: ControlCommand) -> bool {
        let text = format!("{command:?}");
        let proposed = group.propose(encode_change(&command));
        match tokio::time::timeout(CHANGE_TIMEOUT, proposed).await {
            Ok(Ok(Some(Applied::Control(outcome)))) => match *outcome {
                ControlOutcome::Refused(refusal) => {
                    tracing::debug!(change = text, %refusal, "a change of the world that followed was refused");
                    false
                }
                ControlOutcome::Done | ControlOutcome::Region(_) | ControlOutcome::Namespace(_) => {
                    tracing::info!(change = text, "changed what the world agrees on");
                    true
                }
            },
            // Planned again, here or elsewhere.
            Ok(_) | Err(_) => {
                tracing::debug!(change = text, "a change of the world was not agreed on in time");
                false
            }
        }
    }

    /// Brings the voters to those that the regions have named, step by step.
    fn see_to_voters(self: &Arc<Self>, group: &Arc<Group>, state: &ControlState) {
        let figures = group.figures();
        let wanted = wanted_voters(state, &figures.voters);
        let Some(step) = GroupFigures::view(&figures).and_then(|view| plan_step(&view, &wanted, &BTreeSet::new()))
        else {
            return;
        };
        if self.changing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (inner, group) = (self.clone(), group.clone());
        drop(spawn(async move {
            inner.take_step(&group, step).await;
            inner.changing.store(false, Ordering::Relaxed);
        }));
    }

    async fn take_step(&self, group: &Group, step: Step) {
        let text = format!("{step:?}");
        match tokio::time::timeout(STEP_TIMEOUT, group.change(step)).await {
            Ok(Ok(())) => tracing::info!(step = text, "changed who is in the control group"),
            Ok(Err(error)) => tracing::debug!(step = text, %error, "a change of the control group waits"),
            Err(_) => tracing::warn!(step = text, "a change of the control group takes long; looking again"),
        }
    }

    /// Finds out once in each term until when earlier leaders may have granted leases: at the latest until this one was elected,
    /// but those who voted for it know better.
    ///
    /// That holds for the present voters. Who was confirmed by others was before those were replaced one by one, which this
    /// node has seen.
    async fn count_back(&self, group: &Group, state: &ControlState, term: u64) {
        let lease_ms_max = state.regions.values().map(|home| home.lease_ms_max).max().unwrap_or_default();
        let (now_ms, over_ms) = (self.now_ms(), assumed_ms(lease_ms_max));
        let leads_long = |led: &Led| led.is_counted || now_ms.saturating_sub(led.grants.since_ms()) >= over_ms;
        let is_known = self.led.lock().as_ref().is_none_or(leads_long);
        if is_known || now_ms.saturating_sub(self.seen.lock().voters_ms) < over_ms {
            return;
        }
        let Some(quiet) = group.unrivalled().await else { return };
        let quiet_ms = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
        let before_ms = self.now_ms().saturating_sub(quiet_ms);
        if let Some(led) = self.led.lock().as_mut().filter(|led| led.term == term) {
            led.grants.counting_from(before_ms);
            led.is_counted = true;
        }
    }

    fn observed(&self, group: &Group, state: &ControlState, term: u64, now_ms: u64) -> Observed {
        let heard_ms = self.heard_ms(group, state, now_ms);
        let (changed_ms, passed_ms) = {
            let mut seen = self.seen.lock();
            seen.note(state, &group.figures().voters, now_ms);
            (seen.changed_ms.clone(), seen.passed_ms.clone())
        };
        let grants = led_in(&mut self.led.lock(), term, self.leads_since_ms(now_ms)).grants.clone();
        Observed { now_ms: self.now_ms(), wall: self.node.now_ms(), grants, heard_ms, changed_ms, passed_ms }
    }

    /// Since when a leader that begins at `now_ms` knows of all leases; the planted bug: since ever.
    pub(super) fn leads_since_ms(&self, now_ms: u64) -> u64 {
        if self.node.env().plants.skips_old_lease { 0 } else { now_ms }
    }

    /// When each region was heard last: its voter by the group, any node of it by what it asked or answered.
    fn heard_ms(&self, group: &Group, state: &ControlState, now_ms: u64) -> BTreeMap<RegionId, u64> {
        let (figures, contacts) = (group.figures(), self.contacts.upgrade());
        let asked_ms = self.asked_ms.lock().clone();
        let heard = |region: &RegionId| {
            if *region == self.here {
                return Some(now_ms);
            }
            let voters =
                figures.followers.iter().filter(|(voter, _)| AbroadRoster::region_of(**voter) == Some(*region));
            let voted = voters.filter_map(|(_, voter)| Some(now_ms.saturating_sub(voter.silent_ms?))).max();
            let answered = contacts.as_ref().and_then(|contacts| contacts.heard(*region));
            let answered = answered.map(|at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
            voted.max(answered).max(asked_ms.get(region).copied())
        };
        state.regions.keys().filter_map(|region| Some((*region, heard(region)?))).collect()
    }

    /// How the group is, as this leader of it sees it.
    pub(super) fn figures_of(&self, group: &Group) -> Figures {
        let (figures, now_ms) = (group.figures(), self.now_ms());
        let heard = self.heard_ms(group, &group.machine().now(), now_ms).into_iter();
        let silent_ms = heard.map(|(region, at_ms)| (region, now_ms.saturating_sub(at_ms))).collect();
        let GroupFigures { node, term, voters, learners, .. } = figures;
        Figures { leader: node, term, voters, learners, silent_ms }
    }
}

/// Who should vote: for each region whom it has named, and whoever votes for one that has not joined yet.
fn wanted_voters(state: &ControlState, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let named = state.regions.values().filter_map(|region| Some((region.id, region.voter?)));
    let named: BTreeMap<RegionId, NodeId> = named.collect();
    let unnamed = voters
        .iter()
        .copied()
        .filter(|voter| AbroadRoster::region_of(*voter).is_some_and(|region| !named.contains_key(&region)));
    unnamed.chain(named.iter().map(|(region, voter)| AbroadRoster::number(*region, *voter))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_named_another_voter_is_voted_for_by_that_one_alone() {
        let mut state = ControlState::default();
        state.apply(ControlCommand::Found { world: 7 });
        let number = |region, node| AbroadRoster::number(RegionId(region), NodeId(node));
        let founders: BTreeSet<NodeId> = [number(0, 1), number(1, 1), number(2, 1)].into();
        assert_eq!(wanted_voters(&state, &founders), founders, "nobody has joined yet");
        let join = |region: u16, node| ControlCommand::Join {
            region: RegionId(region),
            mark: u128::from(region),
            name: format!("r{region}"),
            entrances: BTreeSet::new(),
            place: None,
            voter: Some(NodeId(node)),
        };
        state.apply(join(1, 2));
        state.apply(join(3, 5));
        let wanted = [number(0, 1), number(1, 2), number(2, 1), number(3, 5)].into();
        assert_eq!(wanted_voters(&state, &founders), wanted);
    }

    #[test]
    fn a_leader_begins_each_term_with_nothing_granted() {
        let mut led = None;
        led_in(&mut led, 3, 100).grants.note(RegionId(0), RegionId(0), 150);
        assert_eq!(led_in(&mut led, 3, 200).grants.quiet_ms(RegionId(0), RegionId(0), 200), 50);
        assert_eq!(led_in(&mut led, 4, 300).grants.since_ms(), 300);
        assert_eq!(led_in(&mut led, 4, 300).grants.quiet_ms(RegionId(0), RegionId(0), 310), 10);
    }
}
