//! The ways from losing a region to having it back, step by step.

use super::*;

const NA: RegionId = RegionId(0);
const EU: RegionId = RegionId(1);
const APAC: RegionId = RegionId(2);

fn done(state: &mut ControlState, command: ControlCommand) {
    assert_eq!(state.apply(command.clone()), ControlOutcome::Done, "{command:?}");
}

fn refused(state: &mut ControlState, command: ControlCommand) -> ControlRefusal {
    match state.apply(command) {
        ControlOutcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn take(state: &mut ControlState, home: RegionId, taken: Step) {
    let command = step(state, home, taken);
    done(state, command);
}

fn refuse(state: &mut ControlState, home: RegionId, taken: Step) -> ControlRefusal {
    let command = step(state, home, taken);
    refused(state, command)
}

fn fence(region: RegionId, cause: Cause) -> ControlCommand {
    ControlCommand::Fence { region, cause, at: AT }
}

fn acting(state: &ControlState, home: RegionId) -> Option<RegionId> {
    state.acting(home, Slot::of(b"s")).map(|acting| acting.region)
}

fn answers(region: RegionId, entries: &[(u16, u64, u64)]) -> Step {
    Step::Report { region, report: report(entries) }
}

/// `na` is lost and `eu` acts for it.
fn lost() -> ControlState {
    let mut state = automatic(3);
    done(&mut state, fence(NA, Cause::Lost));
    take(&mut state, NA, Step::Waited { quiet_ms: assumed_ms(10_000) });
    take(&mut state, NA, answers(EU, &[(0, 90, 95)]));
    take(&mut state, NA, answers(APAC, &[(0, 93, 93)]));
    take(&mut state, NA, Step::Name { successors: Successors::one(EU) });
    take(&mut state, NA, Step::Ready { region: EU });
    state
}

#[test]
fn a_lost_region_is_acted_for_once_its_lease_is_over_and_all_that_is_held_is_found() {
    let mut state = automatic(3);
    let epoch = state.regions[&NA].epoch;
    done(&mut state, fence(NA, Cause::Lost));
    assert_eq!(acting(&state, NA), None);
    assert!(state.regions[&NA].epoch > epoch);
    assert!(state.grant(NA, epoch, NA, state.version).is_err(), "its leases run out");
    let eu = state.regions[&EU].epoch;
    assert_eq!(state.grant(EU, eu, EU, state.version), Ok(Grant::Lease { ms: 10_000 }));
    assert!(state.grant(EU, eu, EU, state.version - 1).is_err(), "it does not know of the fence");
    // An answer from before the lease is over may lack what is still to be written.
    assert_eq!(refuse(&mut state, NA, answers(EU, &[(0, 80, 80)])), ControlRefusal::Phase(NA));
    let early = Step::Waited { quiet_ms: assumed_ms(10_000) - 1 };
    assert_eq!(refuse(&mut state, NA, early), ControlRefusal::MayStillWrite(NA));
    take(&mut state, NA, Step::Waited { quiet_ms: assumed_ms(10_000) });
    assert!(state.grant(EU, eu, EU, state.version).is_err(), "it has not answered");
    take(&mut state, NA, answers(EU, &[(0, 90, 95)]));
    assert_eq!(state.grant(EU, eu, EU, state.version), Ok(Grant::Lease { ms: 10_000 }));
    let name = Step::Name { successors: Successors::one(EU) };
    assert_eq!(refuse(&mut state, NA, name.clone()), ControlRefusal::NoQuorum { answered: 1, regions: 3 });
    take(&mut state, NA, answers(APAC, &[(0, 93, 93)]));
    assert_eq!(refuse(&mut state, NA, Step::Name { successors: Successors::one(NA) }), ControlRefusal::NotAble(NA));
    take(&mut state, NA, name);
    assert_eq!(acting(&state, NA), None, "it has not yet taken in what apac has");
    assert_eq!(refuse(&mut state, NA, Step::Ready { region: APAC }), ControlRefusal::NotAble(APAC));
    take(&mut state, NA, Step::Ready { region: EU });
    assert_eq!(acting(&state, NA), Some(EU));
    assert!(state.grant(EU, eu, EU, state.version - 1).is_err(), "it does not know that somebody acts");
    assert!(state.grant(EU, eu, EU, state.version).is_ok());
    let gap = state.regions[&NA].cut[&(NA, ShardId(0))];
    assert_eq!(gap, Gap { at: APAC, index: 93, stamp: 1_093, entries: 2, ms: AT - 1_093 });
    assert_eq!(acting(&state, EU), Some(EU));
}

#[test]
fn a_region_that_returns_takes_over_only_when_its_orphans_are_settled() {
    let mut state = lost();
    let failback = ControlCommand::Failback { region: NA, at: AT };
    assert_eq!(refused(&mut state, failback.clone()), ControlRefusal::Phase(NA));
    take(&mut state, NA, Step::Return);
    assert_eq!(acting(&state, NA), Some(EU));
    assert_eq!(refused(&mut state, failback.clone()), ControlRefusal::NotReconciled(NA));
    let orphans = Tally { merged: 1, journaled: 1, ..Tally::default() };
    assert_eq!(refuse(&mut state, NA, Step::Reconciled), ControlRefusal::Phase(NA));
    take(&mut state, NA, Step::Settled { by: NA, orphans });
    assert_eq!(refused(&mut state, failback.clone()), ControlRefusal::NotReconciled(NA));
    // Who asks again after having taken in what others wrote finds less to settle.
    take(&mut state, NA, Step::Settled { by: NA, orphans: Tally::default() });
    take(&mut state, NA, Step::Reconciled);
    done(&mut state, failback);
    assert_eq!(acting(&state, NA), None);
    // Who acted says so itself: nobody's lease has to be waited for, and nothing can be missing.
    take(&mut state, NA, answers(EU, &[(1, 70, 70)]));
    take(&mut state, NA, answers(NA, &[(1, 60, 66)]));
    take(&mut state, NA, Step::Name { successors: Successors::one(NA) });
    take(&mut state, NA, Step::Ready { region: NA });
    let na = &state.regions[&NA];
    assert_eq!((acting(&state, NA), &na.phase, na.orphans), (Some(NA), &Phase::Serving, Some(orphans)));
    assert!(na.cut.is_empty() && na.unheard.is_empty() && !na.diverged);
}

#[test]
fn who_was_lost_while_it_acted_for_another_home_has_to_settle_what_it_wrote() {
    let mut state = lost();
    take(&mut state, NA, Step::Return);
    take(&mut state, NA, Step::Settled { by: NA, orphans: Tally::default() });
    take(&mut state, NA, Step::Reconciled);
    // The one who acts is lost before it can hand over.
    done(&mut state, ControlCommand::Failback { region: NA, at: AT });
    take(&mut state, NA, Step::Waited { quiet_ms: assumed_ms(10_000) });
    take(&mut state, NA, answers(NA, &[(1, 60, 66)]));
    take(&mut state, NA, answers(APAC, &[(1, 61, 61)]));
    let epoch = state.regions[&NA].epoch;
    assert!(
        !state.regions[&NA].may_take_in(EU, NA, epoch),
        "it is not known yet who acts, and so not what there is to settle"
    );
    take(&mut state, NA, Step::Name { successors: Successors::one(NA) });
    take(&mut state, NA, Step::Ready { region: NA });
    let na = &state.regions[&NA];
    assert_eq!((&na.phase, na.is_unsettled(EU), na.is_unsettled(APAC)), (&Phase::Serving, true, false));
    assert_eq!([EU, APAC].map(|by| na.may_take_in(by, NA, epoch)), [false, true]);
    assert_eq!(na.cut.keys().collect::<Vec<_>>(), [&(EU, ShardId(0))], "it goes by the cut");
    // Others are named before it: it would have nobody to settle with.
    let mut again = state.clone();
    done(&mut again, fence(NA, Cause::Operator { force: true }));
    take(&mut again, NA, Step::Waited { quiet_ms: assumed_ms(10_000) });
    for region in [EU, APAC] {
        take(&mut again, NA, answers(region, &[(0, 9, 9)]));
    }
    let handover = again.regions[&NA].handover().expect("it is decided");
    assert_eq!(crate::failover::heir(&again, &again.regions[&NA], handover), Some(APAC));
    let orphans = Tally { merged: 1, ..Tally::default() };
    assert_eq!(refuse(&mut state, NA, Step::Settled { by: APAC, orphans }), ControlRefusal::Phase(NA));
    take(&mut state, NA, Step::Settled { by: EU, orphans });
    let na = &state.regions[&NA];
    assert_eq!((na.strays.get(&EU), na.cut.len(), na.may_take_in(EU, NA, epoch)), (Some(&Some(orphans)), 0, true));
}

#[test]
fn a_region_with_orphans_never_gets_its_home_back_by_a_detour() {
    let mut state = lost();
    take(&mut state, NA, Step::Return);
    done(&mut state, fence(EU, Cause::Operator { force: true }));
    for home in [NA, EU] {
        take(&mut state, home, Step::Waited { quiet_ms: 0 });
        take(&mut state, home, answers(NA, &[(1, 9, 9)]));
        take(&mut state, home, answers(APAC, &[(1, 9, 9)]));
    }
    assert_eq!(refuse(&mut state, NA, Step::Name { successors: Successors::one(NA) }), ControlRefusal::NotAble(NA));
    assert_eq!(refuse(&mut state, EU, Step::Name { successors: Successors::one(NA) }), ControlRefusal::NotAble(NA));
    take(&mut state, NA, Step::Name { successors: Successors::one(APAC) });
}

#[test]
fn who_acts_for_others_and_is_lost_leaves_both_homes_to_new_hands() {
    let mut state = automatic(5);
    for lost in [NA, EU] {
        done(&mut state, fence(lost, Cause::Lost));
        let homes: Vec<RegionId> =
            state.regions.values().filter(|home| home.handover().is_some()).map(|home| home.id).collect();
        for home in homes {
            take(&mut state, home, Step::Waited { quiet_ms: assumed_ms(10_000) });
            for answering in (lost.0 + 1..5).map(RegionId) {
                take(&mut state, home, answers(answering, &[(lost.0, 9, 9)]));
            }
            let heir = RegionId(lost.0 + 1);
            take(&mut state, home, Step::Name { successors: Successors::one(heir) });
            take(&mut state, home, Step::Ready { region: heir });
        }
    }
    assert_eq!((acting(&state, NA), acting(&state, EU)), (Some(APAC), Some(APAC)));
    assert!(state.regions[&NA].cut.contains_key(&(NA, ShardId(0))), "what na itself lacked counts when it returns");
    assert_eq!(refused(&mut state, fence(APAC, Cause::Lost)), ControlRefusal::NotAutomatic(APAC), "three of five");
}

#[test]
fn an_heir_that_is_lost_before_it_acts_is_replaced_under_the_same_epoch() {
    let mut state = automatic(5);
    done(&mut state, fence(NA, Cause::Lost));
    let epoch = state.regions[&NA].epoch;
    take(&mut state, NA, Step::Waited { quiet_ms: assumed_ms(10_000) });
    for answering in [EU, APAC, RegionId(3), RegionId(4)] {
        take(&mut state, NA, answers(answering, &[(0, 9, 9)]));
    }
    take(&mut state, NA, Step::Name { successors: Successors::one(EU) });
    done(&mut state, fence(EU, Cause::Lost));
    assert_eq!(refuse(&mut state, NA, Step::Name { successors: Successors::one(EU) }), ControlRefusal::NotAble(EU));
    take(&mut state, NA, Step::Name { successors: Successors::one(APAC) });
    take(&mut state, NA, Step::Ready { region: APAC });
    assert_eq!(state.acting(NA, Slot::of(b"s")), Some(Acting { region: APAC, epoch }));
    assert_eq!(state.regions[&NA].unheard, BTreeSet::from([EU]), "a write may be known there and nowhere else");
}

#[test]
fn two_regions_are_never_failed_over_without_a_person() {
    let mut state = automatic(2);
    assert_eq!(refused(&mut state, fence(NA, Cause::Lost)), ControlRefusal::NotAutomatic(NA));
    done(&mut state, fence(NA, Cause::Operator { force: false }));
    assert_eq!(refuse(&mut state, NA, Step::Waited { quiet_ms: 0 }), ControlRefusal::MayStillWrite(NA));
    done(&mut state, fence(NA, Cause::Operator { force: true }));
    take(&mut state, NA, Step::Waited { quiet_ms: 0 });
    take(&mut state, NA, answers(EU, &[(0, 9, 9)]));
    take(&mut state, NA, Step::Name { successors: Successors::one(EU) });
    take(&mut state, NA, Step::Ready { region: EU });
    assert_eq!(acting(&state, NA), Some(EU));
}

#[test]
fn a_wait_proves_nothing_of_a_region_that_writes_without_leases() {
    let mut state = world(3);
    done(&mut state, fence(NA, Cause::Operator { force: false }));
    assert_eq!(refuse(&mut state, NA, Step::Waited { quiet_ms: u64::MAX }), ControlRefusal::MayStillWrite(NA));
    // It may have said long ago that it needs leases, and have been told otherwise since.
    let mut state = automatic(3);
    done(&mut state, ControlCommand::SetFailover { mode: FailoverMode::Operator, lease_ms: 10_000 });
    done(&mut state, ControlCommand::SetFailover { mode: FailoverMode::Automatic, lease_ms: 10_000 });
    assert_eq!(refused(&mut state, fence(NA, Cause::Lost)), ControlRefusal::NotAutomatic(NA));
    let late = ControlCommand::Adopt { region: NA, mode_version: 1 };
    assert_eq!(refused(&mut state, late), ControlRefusal::Changed { now: 3 });
    done(&mut state, ControlCommand::Adopt { region: NA, mode_version: 3 });
    done(&mut state, fence(NA, Cause::Lost));
}

#[test]
fn a_lease_that_was_made_shorter_is_still_waited_for_as_it_was_granted() {
    let mut state = automatic(3);
    done(&mut state, ControlCommand::SetFailover { mode: FailoverMode::Automatic, lease_ms: 2_000 });
    done(&mut state, fence(NA, Cause::Lost));
    let short = Step::Waited { quiet_ms: assumed_ms(2_000) };
    assert_eq!(refuse(&mut state, NA, short), ControlRefusal::MayStillWrite(NA));
    take(&mut state, NA, Step::Waited { quiet_ms: assumed_ms(10_000) });
}

#[test]
fn writes_that_waited_for_another_region_are_opened_only_when_one_that_answered_must_have_them() {
    let mut state = automatic(5);
    let geo = |ack_regions, residency| {
        let policy = Policy { ack_regions, ..Policy::default() };
        Box::new(WorldPolicy { policy, residency })
    };
    let pinned = Residency::Only([0, 1, 2].map(RegionId).into());
    for (name, policy) in
        [("one", geo(1, Residency::Anywhere)), ("two", geo(2, Residency::Anywhere)), ("pinned", geo(1, pinned))]
    {
        state.apply(ControlCommand::CreateNamespace { name: name.into(), policy });
    }
    done(&mut state, fence(NA, Cause::Lost));
    take(&mut state, NA, Step::Waited { quiet_ms: assumed_ms(10_000) });
    for answering in [EU, APAC, RegionId(3)] {
        take(&mut state, NA, answers(answering, &[(0, 9, 9)]));
    }
    take(&mut state, NA, Step::Name { successors: Successors::one(EU) });
    assert_eq!(refuse(&mut state, NA, Step::GoOn), ControlRefusal::Phase(NA), "nobody acts yet");
    take(&mut state, NA, Step::Ready { region: EU });
    let opened = |state: &ControlState| {
        [0, 1, 2, 3].map(|namespace| state.acting_for(NA, Slot::of(b"s"), NamespaceId(namespace)).is_some())
    };
    assert_eq!(state.regions[&NA].unheard, BTreeSet::from([RegionId(4)]));
    assert_eq!(
        opened(&state),
        [true, false, true, true],
        "region 4 alone may have a write of `one`, not of the others"
    );
    let mut by_person = state.clone();
    take(&mut by_person, NA, Step::GoOn);
    assert_eq!(opened(&by_person), [true; 4]);
    take(&mut state, NA, Step::Absorbed { from: RegionId(4) });
    assert_eq!(opened(&state), [true; 4]);
}

#[test]
fn a_pinned_namespace_is_written_where_it_may_be_held() {
    let mut state = lost();
    let policy = WorldPolicy { residency: Residency::Only([NA, APAC].into()), ..WorldPolicy::default() };
    state.apply(ControlCommand::CreateNamespace { name: "pinned".into(), policy: Box::new(policy) });
    assert_eq!(state.acting_for(NA, Slot::of(b"s"), NamespaceId(1)), None);
    assert!(state.acting_for(APAC, Slot::of(b"s"), NamespaceId(1)).is_some());
}

#[test]
fn where_only_a_stamp_says_how_far_somebody_is_no_entry_is_known_to_be_missing() {
    let gap = |index| {
        let reach = Reach { stamp: 1_093, index, head: 95 };
        let reports = BTreeMap::from([(APAC, Report::from([((NA, ShardId(0)), reach)]))]);
        let (released, given_up) = Default::default();
        let handover = Handover { cause: Cause::Lost, since: AT, holders: [NA].into(), released, given_up, reports };
        let gap = handover.gaps()[&(NA, ShardId(0))];
        (gap.index, gap.entries, gap.ms)
    };
    assert_eq!(gap(93), (93, 2, AT - 1_093));
    assert_eq!(gap(0), (0, 0, AT - 1_093));
}
