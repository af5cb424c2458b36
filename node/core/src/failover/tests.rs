//! When the leader acts by itself and when it must not; `world` plays whole regions against the rules.

mod histories;
mod world;

use super::*;
use crate::{
    control::{ControlOutcome, FailoverMode, Report},
    routing::Coordinates,
};
use std::collections::BTreeSet;

const NA: RegionId = RegionId(0);
const EU: RegionId = RegionId(1);
const APAC: RegionId = RegionId(2);
const LEASE_MS: u64 = 10_000;

fn automatic(regions: u16, lease_ms: u64) -> ControlState {
    let mut state = ControlState::default();
    state.apply(ControlCommand::Found { world: 7 });
    let places = [(40_713, -74_006), (51_507, -128), (1_352, 103_820), (50_110, 8_682), (-33_869, 151_209)];
    for (number, (latitude, longitude)) in (0..regions).zip(places) {
        state.apply(ControlCommand::Join {
            region: RegionId(number),
            mark: u128::from(number),
            name: format!("r{number}"),
            entrances: BTreeSet::new(),
            place: Coordinates::new(latitude, longitude),
            voter: None,
        });
    }
    state.apply(ControlCommand::SetFailover { mode: FailoverMode::Automatic, lease_ms });
    for region in (0..regions).map(RegionId) {
        let outcome = state.apply(ControlCommand::Adopt { region, mode_version: 1 });
        assert_eq!(outcome, ControlOutcome::Done);
    }
    state
}

/// A leader since 0 who has just heard all regions but those in `silent`, whose leases it granted last at 50 000.
fn observed(state: &ControlState, silent: &[RegionId], now_ms: u64) -> Observed {
    let mut grants = Grants::new(0);
    let mut heard_ms = BTreeMap::new();
    for region in state.regions.keys() {
        let at_ms = if silent.contains(region) { 50_000 } else { now_ms };
        grants.note(*region, *region, at_ms);
        heard_ms.insert(*region, at_ms);
    }
    let (changed_ms, passed_ms) = (BTreeMap::new(), BTreeMap::new());
    Observed { now_ms, wall: 1_000_000, grants, heard_ms, changed_ms, passed_ms }
}

fn next(state: &ControlState, observed: &Observed) -> Option<ControlCommand> {
    plan(state, observed, &Patience::default())
}

fn over_ms() -> u64 {
    50_000 + assumed_ms(LEASE_MS)
}

#[test]
fn a_region_is_lost_when_its_lease_must_be_over_and_not_before() {
    let state = automatic(3, LEASE_MS);
    assert_eq!(next(&state, &observed(&state, &[], 60_000)), None);
    assert_eq!(next(&state, &observed(&state, &[NA], over_ms() - 1)), None);
    let fence = ControlCommand::Fence { region: NA, cause: Cause::Lost, at: 1_000_000 };
    assert_eq!(next(&state, &observed(&state, &[NA], over_ms())), Some(fence));
}

#[test]
fn nothing_is_done_by_a_leader_that_hears_too_few_or_has_led_too_short() {
    let state = automatic(3, LEASE_MS);
    assert_eq!(next(&state, &observed(&state, &[NA, APAC], over_ms())), None, "it may be the one that is cut off");
    let mut young = observed(&state, &[NA], over_ms());
    young.grants = Grants::new(55_000);
    assert_eq!(next(&state, &young), None);
    let two = automatic(2, LEASE_MS);
    assert_eq!(next(&two, &observed(&two, &[NA], over_ms())), None);
    let mut operator = automatic(3, LEASE_MS);
    operator.apply(ControlCommand::SetFailover { mode: FailoverMode::Operator, lease_ms: LEASE_MS });
    assert_eq!(next(&operator, &observed(&operator, &[NA], over_ms())), None);
}

#[test]
fn a_region_that_has_just_joined_has_a_lease_long_to_ask_for_one() {
    let state = automatic(3, LEASE_MS);
    let mut joined = observed(&state, &[NA], over_ms());
    joined.changed_ms.insert(NA, 50_001);
    assert_eq!(next(&state, &joined), None);
    joined.changed_ms.insert(NA, 50_000);
    assert!(next(&state, &joined).is_some());
}

#[test]
fn a_region_that_has_just_come_back_is_left_alone_for_a_while() {
    let state = automatic(3, LEASE_MS);
    let mut flapping = observed(&state, &[NA], over_ms());
    flapping.passed_ms.insert(NA, over_ms() - 29_000);
    assert_eq!(next(&state, &flapping), None);
    flapping.passed_ms.insert(NA, over_ms() - 30_000);
    assert!(next(&state, &flapping).is_some());
}

#[test]
fn one_that_is_back_begins_where_nobody_is_left_to_act_for_it() {
    // EU acts for the others, is called lost, too, and all of them answer.
    let mut state = automatic(3, LEASE_MS);
    let step = |state: &mut ControlState, home: RegionId, step: Step| {
        let epoch = state.regions[&home].epoch;
        assert_eq!(state.apply(ControlCommand::Handover { home, epoch, step }), ControlOutcome::Done);
    };
    let decide = |state: &mut ControlState, home| {
        step(state, home, Step::Waited { quiet_ms: u64::MAX });
        for region in [NA, EU, APAC] {
            step(state, home, Step::Report { region, report: Report::new() });
        }
    };
    for lost in [NA, APAC] {
        state.regions.get_mut(&NA).expect("a region").away = false;
        state.apply(ControlCommand::Fence { region: lost, cause: Cause::Lost, at: 0 });
        decide(&mut state, lost);
        step(&mut state, lost, Step::Name { successors: Successors::one(EU) });
        step(&mut state, lost, Step::Ready { region: EU });
    }
    state.regions.values_mut().for_each(|region| region.away = false);
    state.apply(ControlCommand::Fence { region: EU, cause: Cause::Lost, at: 0 });
    [NA, EU, APAC].into_iter().for_each(|home| decide(&mut state, home));
    let named = next(&state, &observed(&state, &[], over_ms()));
    let Some(ControlCommand::Handover { home, epoch, step: Step::Name { successors } }) = named else {
        panic!("{named:?}");
    };
    assert_eq!((home, epoch, successors), (EU, state.regions[&EU].epoch, Successors::one(EU)));
}

#[test]
fn never_half_of_the_regions_are_given_up() {
    let mut state = automatic(5, LEASE_MS);
    for lost in [NA, EU] {
        assert!(matches!(next(&state, &observed(&state, &[lost], over_ms())), Some(ControlCommand::Fence { .. })));
        state.apply(ControlCommand::Fence { region: lost, cause: Cause::Lost, at: 0 });
        for home in [NA, EU] {
            let epoch = state.regions[&home].epoch;
            let step = Step::Waited { quiet_ms: u64::MAX };
            state.apply(ControlCommand::Handover { home, epoch, step });
        }
    }
    assert_eq!(next(&state, &observed(&state, &[NA, EU, APAC], over_ms())), None);
}

/// `na` was lost, its lease is over, and these have answered.
fn gathering(state: &mut ControlState, answered: &[RegionId]) {
    state.apply(ControlCommand::Fence { region: NA, cause: Cause::Lost, at: 0 });
    let epoch = state.regions[&NA].epoch;
    let handover = |step| ControlCommand::Handover { home: NA, epoch, step };
    let waited = next(state, &observed(state, &[NA], over_ms()));
    assert_eq!(
        waited,
        Some(handover(Step::Waited { quiet_ms: assumed_ms(LEASE_MS) })),
        "at once: its lease was over before"
    );
    waited.map(|waited| state.apply(waited));
    for region in answered {
        state.apply(handover(Step::Report { region: *region, report: Report::new() }));
    }
}

fn named(state: &ControlState, observed: &Observed) -> Option<RegionId> {
    match next(state, observed)? {
        ControlCommand::Handover { step: Step::Name { successors }, .. } => successors.regions().first().copied(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_heir_is_whom_the_region_prefers_or_the_nearest_that_has_answered() {
    let others = [EU, APAC, RegionId(3), RegionId(4)];
    let mut state = automatic(5, LEASE_MS);
    gathering(&mut state, &others);
    assert_eq!(named(&state, &observed(&state, &[NA], over_ms())), Some(EU), "london is nearer than frankfurt");
    let amend =
        |heirs| ControlCommand::Amend { region: NA, entrances: BTreeSet::new(), place: None, heirs, voter: None };
    state.apply(amend(vec![RegionId(4), APAC]));
    assert_eq!(named(&state, &observed(&state, &[NA], over_ms())), Some(RegionId(4)));
    state.apply(ControlCommand::Drain { region: RegionId(4), draining: true });
    assert_eq!(named(&state, &observed(&state, &[NA], over_ms())), Some(APAC));
}

#[test]
fn whoever_may_still_write_is_waited_for() {
    let mut state = automatic(5, LEASE_MS);
    gathering(&mut state, &[EU, APAC]);
    let last = RegionId(4);
    let mut seen = observed(&state, &[NA], over_ms());
    assert_eq!(named(&state, &seen), None, "two of five");
    let epoch = state.regions[&NA].epoch;
    let step = Step::Report { region: RegionId(3), report: Report::new() };
    state.apply(ControlCommand::Handover { home: NA, epoch, step });
    assert_eq!(named(&state, &seen), None, "a session may have travelled to the fifth, or it may hold more");
    seen.grants = observed(&state, &[NA, last], over_ms()).grants;
    assert_eq!(named(&state, &seen), Some(EU));
}

#[test]
fn a_home_that_was_about_to_take_over_and_cannot_is_not_waited_for_for_ever() {
    let mut state = automatic(3, LEASE_MS);
    gathering(&mut state, &[EU, APAC]);
    let epoch = |state: &ControlState| state.regions[&NA].epoch;
    let step = |state: &mut ControlState, step| {
        let command = ControlCommand::Handover { home: NA, epoch: epoch(state), step };
        assert_eq!(state.apply(command), ControlOutcome::Done);
    };
    step(&mut state, Step::Name { successors: Successors::one(EU) });
    step(&mut state, Step::Ready { region: EU });
    step(&mut state, Step::Return);
    step(&mut state, Step::Settled { by: NA, orphans: Default::default() });
    step(&mut state, Step::Reconciled);
    assert_eq!(state.apply(ControlCommand::Failback { region: NA, at: 0 }), ControlOutcome::Done);
    for region in [EU, APAC] {
        step(&mut state, Step::Report { region, report: Report::new() });
    }
    let mut seen = observed(&state, &[NA], over_ms());
    seen.changed_ms.insert(NA, over_ms() - 1_999);
    assert_eq!(named(&state, &seen), None);
    seen.changed_ms.insert(NA, over_ms() - 2_000);
    assert_eq!(named(&state, &seen), Some(EU));
    step(&mut state, Step::Report { region: NA, report: Report::new() });
    assert_eq!(named(&state, &seen), Some(NA));
}
