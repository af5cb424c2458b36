//! What holds whatever is asked of the control group, in whatever order; and the ways that lead somewhere.

mod ways;

use super::*;
use crate::{
    ids::{ShardId, Stamp},
    lease::assumed_ms,
    orphans::Tally,
    policy::{Namespace, Policy},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A command, but for the epoch that the home has by then.
#[derive(Clone, Debug)]
enum Ask {
    Command(ControlCommand),
    Step {
        home: RegionId,
        stale: bool,
        step: Step,
    },
    /// Whatever brings the home on; `by` answers where somebody has to.
    Onward {
        home: RegionId,
        by: RegionId,
    },
}

fn any_region() -> impl Strategy<Value = RegionId> {
    (0_u16..6).prop_map(RegionId)
}

fn any_successors() -> impl Strategy<Value = Successors> {
    let split = (0_u16..16_383, any_region(), any_region()).prop_map(|(last, one, two)| {
        let ranges = [(last, one), (16_383, two)].map(|(slot, region)| (Slot::new(slot).expect("a slot"), region));
        Successors::from_ranges(ranges).expect("all slots")
    });
    prop_oneof![2 => any_region().prop_map(Successors::one), 1 => split]
}

fn any_report() -> impl Strategy<Value = Report> {
    let reach = (0_u64..9, 0_u64..9).prop_map(|(index, ahead)| Reach { stamp: index, index, head: index + ahead });
    proptest::collection::btree_map((any_region(), (0_u32..2).prop_map(ShardId)), reach, 0..3)
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![Just(0), Just(assumed_ms(10_000)), Just(u64::MAX)].prop_map(|quiet_ms| Step::Waited { quiet_ms }),
        6 => (any_region(), any_report()).prop_map(|(region, report)| Step::Report { region, report }),
        4 => any_successors().prop_map(|successors| Step::Name { successors }),
        6 => any_region().prop_map(|region| Step::Ready { region }),
        1 => any_region().prop_map(|from| Step::Absorbed { from }),
        1 => Just(Step::GoOn),
        2 => Just(Step::Return),
        2 => (any_region(), 0_u64..9)
            .prop_map(|(by, merged)| Step::Settled { by, orphans: Tally { merged, ..Tally::default() } }),
        2 => Just(Step::Reconciled),
    ]
}

fn any_cause() -> impl Strategy<Value = Cause> {
    let operator = any::<bool>().prop_map(|force| Cause::Operator { force });
    prop_oneof![2 => Just(Cause::Lost), 2 => operator, 1 => Just(Cause::Failback)]
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let mode = prop_oneof![3 => Just(FailoverMode::Automatic), 1 => Just(FailoverMode::Operator)];
    let command = prop_oneof![
        2 => (0_u128..6).prop_map(|mark| join(mark, &format!("r{mark}"))),
        2 => (mode, 500_u64..20_000).prop_map(|(mode, lease_ms)| ControlCommand::SetFailover { mode, lease_ms }),
        4 => (any_region(), 0_u64..4).prop_map(|(region, mode_version)| ControlCommand::Adopt { region, mode_version }),
        1 => (any_region(), any::<bool>()).prop_map(|(region, draining)| ControlCommand::Drain { region, draining }),
        4 => (any_region(), any_cause()).prop_map(|(region, cause)| ControlCommand::Fence { region, cause, at: 9 }),
        2 => any_region().prop_map(|region| ControlCommand::Failback { region, at: 9 }),
    ];
    let step = (any_region(), proptest::bool::weighted(0.1), any_step());
    prop_oneof![
        2 => command.prop_map(Ask::Command),
        3 => (any_region(), any_region()).prop_map(|(home, by)| Ask::Onward { home, by }),
        3 => step.prop_map(|(home, stale, step)| Ask::Step { home, stale, step }),
    ]
}

fn join(mark: u128, name: &str) -> ControlCommand {
    let region = RegionId(u16::try_from(mark).expect("a small mark"));
    ControlCommand::Join { region, mark, name: name.to_owned(), entrances: BTreeSet::new(), place: None, voter: None }
}

fn step(state: &ControlState, home: RegionId, step: Step) -> ControlCommand {
    let epoch = state.regions.get(&home).map_or(0, |home| home.epoch);
    ControlCommand::Handover { home, epoch, step }
}

/// A world of so many regions.
fn world(regions: u16) -> ControlState {
    let mut state = ControlState::default();
    assert_eq!(state.apply(ControlCommand::Found { world: 7 }), ControlOutcome::Done);
    for region in 0..regions {
        let outcome = state.apply(join(u128::from(region), &format!("r{region}")));
        assert_eq!(outcome, ControlOutcome::Region(RegionId(region)));
    }
    state
}

/// A world whose regions are failed over without a person.
fn automatic(regions: u16) -> ControlState {
    let mut state = world(regions);
    state.apply(ControlCommand::SetFailover { mode: FailoverMode::Automatic, lease_ms: 10_000 });
    for region in (0..regions).map(RegionId) {
        assert_eq!(state.apply(ControlCommand::Adopt { region, mode_version: 1 }), ControlOutcome::Done);
    }
    state
}

/// Everybody who ever acted: home, first slot of a range, epoch.
type Acted = BTreeMap<(RegionId, u16, u32), RegionId>;

/// Slots on both sides of every boundary that is drawn, near enough.
const SLOTS_LOOKED_AT: [u16; 6] = [0, 99, 5_000, 9_000, 13_000, 16_383];

fn check(before: &ControlState, state: &ControlState, acted: &mut Acted) {
    assert_eq!(FailoverMode::of_version(state.failover.mode_version), state.failover.mode);
    assert!(state.last_epoch >= before.last_epoch);
    let epochs: BTreeSet<u32> = state.regions.values().map(|region| region.epoch).collect();
    assert_eq!(epochs.len(), state.regions.len(), "no two homes share an epoch");
    for (id, region) in &state.regions {
        let old = before.regions.get(id);
        assert!(region.epoch <= state.last_epoch && old.is_none_or(|old| region.epoch >= old.epoch));
        let drawn = old.is_none_or(|old| region.epoch > old.epoch);
        assert!(!drawn || region.epoch > before.last_epoch, "an epoch that somebody may have had");
        for slot in SLOTS_LOOKED_AT {
            let Some(acting) = state.acting(*id, Slot::new(slot).expect("a slot")) else { continue };
            assert!(state.regions.contains_key(&acting.region));
            let first = *acted.entry((*id, slot, acting.epoch)).or_insert(acting.region);
            assert_eq!(first, acting.region, "two regions acted for {id:?} under {acting:?}");
        }
        // Nobody acts without every lease of those before being accounted for.
        if let Some(handover) = region.handover()
            && !matches!(region.phase, Phase::Fenced(_))
            && old.is_some_and(|old| matches!(old.phase, Phase::Fenced(_)))
        {
            let accounted = |holder| handover.given_up.contains(&holder) || state.is_leased(holder);
            assert!(handover.unreleased().all(accounted));
        }
    }
}

fn onward(state: &ControlState, home: RegionId, by: RegionId) -> Option<ControlCommand> {
    let region = state.regions.get(&home)?;
    let taken = match &region.phase {
        Phase::Serving => return None,
        Phase::Fenced(_) => Step::Waited { quiet_ms: u64::MAX },
        Phase::Gathering(handover) if 2 * handover.reports.len() <= state.regions.len() => {
            Step::Report { region: by, report: Report::new() }
        }
        Phase::Gathering(_) => Step::Name { successors: Successors::one(by) },
        Phase::CatchingUp { successors, .. } => Step::Ready { region: successors.of(Slot::new(0)?) },
        Phase::Open(_) => Step::Return,
        Phase::Returning(_) if region.diverged && region.orphans.is_none() => {
            Step::Settled { by: home, orphans: Tally::default() }
        }
        Phase::Returning(_) if region.diverged => Step::Reconciled,
        Phase::Returning(_) => return Some(ControlCommand::Failback { region: home, at: AT }),
    };
    Some(step(state, home, taken))
}

fn drive(mut state: ControlState, asks: Vec<Ask>) -> ControlState {
    let mut acted = Acted::new();
    for ask in asks {
        let command = match ask {
            Ask::Command(command) => command,
            Ask::Step { home, stale: false, step: taken } => step(&state, home, taken),
            Ask::Step { home, stale: true, step } => ControlCommand::Handover { home, epoch: 2, step },
            Ask::Onward { home, by } => match onward(&state, home, by) {
                Some(command) => command,
                None => continue,
            },
        };
        let before = state.clone();
        let lost = matches!(command, ControlCommand::Fence { cause: Cause::Lost, .. });
        match state.apply(command) {
            ControlOutcome::Refused(_) => assert_eq!(state, before, "what is refused changes nothing"),
            ControlOutcome::Done | ControlOutcome::Region(_) | ControlOutcome::Namespace(_) => {
                let away = state.regions.values().filter(|region| region.away).count();
                assert!(!lost || 2 * away < state.regions.len(), "never half of the regions by itself");
            }
        }
        check(&before, &state, &mut acted);
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn at_most_one_region_acts_for_a_home_slot_and_epoch_whatever_is_asked(
        regions in 0_u16..6, leased in any::<bool>(), asks in proptest::collection::vec(any_ask(), 0..120),
    ) {
        let state = if leased { automatic(regions) } else { world(regions) };
        drive(state, asks);
    }
}

/// The test above would hold of a machine that refuses everything.
#[test]
fn random_commands_get_far() {
    let (mut runner, mut phases) = (proptest::test_runner::TestRunner::deterministic(), BTreeSet::new());
    let asks = proptest::collection::vec(any_ask(), 200);
    for _ in 0..200 {
        let tree = asks.new_tree(&mut runner).expect("some commands");
        let state = drive(automatic(3), proptest::strategy::ValueTree::current(&tree));
        phases.extend(state.regions.values().map(|region| match &region.phase {
            Phase::Serving => "serving",
            Phase::Fenced(_) => "fenced",
            Phase::Gathering(_) => "gathering",
            Phase::CatchingUp { .. } => "catching up",
            Phase::Open(_) => "open",
            Phase::Returning(_) => "returning",
        }));
    }
    assert_eq!(phases.len(), 6, "{phases:?}");
}

#[test]
fn regions_are_told_apart_by_their_mark_and_no_number_or_name_is_used_twice() {
    let mut state = world(2);
    assert_eq!(state.apply(join(1, "r1")), ControlOutcome::Region(RegionId(1)), "it asks again");
    let taken = ControlOutcome::Refused(ControlRefusal::RegionNameTaken("r1".into()));
    assert_eq!(state.apply(join(9, "r1")), taken);
    let ControlCommand::Join { name, entrances, place, voter, .. } = join(1, "r7") else { panic!("a join") };
    let anew = ControlCommand::Join { region: RegionId(1), mark: 7, name, entrances, place, voter };
    let taken = ControlRefusal::RegionNumberTaken { region: RegionId(1), name: "r1".into() };
    assert_eq!(state.apply(anew), ControlOutcome::Refused(taken), "founded anew, or a second one under one number");
    assert_eq!(state.apply(join(40, "r40")), ControlOutcome::Region(RegionId(40)), "numbers need not be close");
    assert!(matches!(state.apply(join(9, "R 9")), ControlOutcome::Refused(ControlRefusal::BadRegionName(_))));
    assert!(matches!(
        state.apply(ControlCommand::Found { world: 8 }),
        ControlOutcome::Refused(ControlRefusal::World(7))
    ));
    let policy = || Box::new(WorldPolicy::default());
    let create = |name: &str| ControlCommand::CreateNamespace { name: name.into(), policy: policy() };
    assert_eq!(state.apply(create("shop")), ControlOutcome::Namespace(NamespaceId(1)));
    assert_eq!(
        state.apply(ControlCommand::DropNamespace { name: "shop".into() }),
        ControlOutcome::Namespace(NamespaceId(1))
    );
    assert_eq!(state.apply(create("shop")), ControlOutcome::Namespace(NamespaceId(2)));
}

#[test]
fn a_namespace_is_brought_under_its_number_unless_that_was_given_out() {
    let mut state = world(2);
    let bring = |id, name: &str, policy: &Policy| {
        let namespace = Namespace { id: NamespaceId(id), name: name.into(), policy: policy.clone() };
        ControlCommand::BringNamespace { namespace: Box::new(namespace) }
    };
    let (policy, other) = (Policy::default(), Policy { database: Some(0), ..Policy::default() });
    assert_eq!(state.apply(bring(3, "shop", &policy)), ControlOutcome::Namespace(NamespaceId(3)));
    assert_eq!(state.apply(bring(3, "shop", &policy)), ControlOutcome::Namespace(NamespaceId(3)), "asked again");
    assert_eq!(state.apply(bring(1, "blog", &policy)), ControlOutcome::Namespace(NamespaceId(1)), "a gap is filled");
    for (command, refusal) in [
        (bring(3, "wiki", &policy), ControlRefusal::NamespaceNumberUsed(NamespaceId(3))),
        (bring(3, "shop", &other), ControlRefusal::NamespaceNumberUsed(NamespaceId(3))),
        (bring(5, "shop", &policy), ControlRefusal::NamespaceExists("shop".into())),
        (bring(5, "a b", &policy), ControlRefusal::BadNamespaceName("a b".into())),
        (bring(5, "wiki", &other), ControlRefusal::DatabaseTaken { database: 0, owner: "default".into() }),
    ] {
        let before = state.clone();
        assert_eq!(state.apply(command), ControlOutcome::Refused(refusal));
        assert_eq!(state, before);
    }
    let create = ControlCommand::CreateNamespace { name: "wiki".into(), policy: Box::default() };
    assert_eq!(state.apply(create), ControlOutcome::Namespace(NamespaceId(4)));
    state.apply(ControlCommand::DropNamespace { name: "shop".into() });
    let refused = ControlOutcome::Refused(ControlRefusal::NamespaceNumberUsed(NamespaceId(3)));
    assert_eq!(state.apply(bring(3, "shop", &policy)), refused, "it was dropped");
}

#[test]
fn what_somebody_else_changed_meanwhile_is_not_overwritten() {
    let mut state = world(2);
    let routing = |over, region| ControlCommand::SetRouting {
        over,
        countries: BTreeMap::from([("DE".to_owned(), RegionId(region))]),
        fallback: None,
    };
    assert_eq!(state.apply(routing(0, 1)), ControlOutcome::Done);
    assert_eq!(state.apply(routing(0, 0)), ControlOutcome::Refused(ControlRefusal::Changed { now: 1 }));
    assert_eq!(state.apply(routing(1, 9)), ControlOutcome::Refused(ControlRefusal::UnknownRegion(RegionId(9))));
    let policy = WorldPolicy { policy: Policy { ack_regions: 1, ..Policy::default() }, ..WorldPolicy::default() };
    let set = |over| ControlCommand::SetNamespace { name: "default".into(), over, policy: Box::new(policy.clone()) };
    assert_eq!(state.apply(set(Some(0))), ControlOutcome::Namespace(NamespaceId(0)));
    assert_eq!(state.apply(set(Some(0))), ControlOutcome::Refused(ControlRefusal::Changed { now: 1 }));
    assert_eq!(state.apply(set(None)), ControlOutcome::Namespace(NamespaceId(0)));
}

fn report(entries: &[(u16, u64, u64)]) -> Report {
    let reach = |(region, index, head): &(u16, u64, u64)| {
        ((RegionId(*region), ShardId(0)), Reach { stamp: 1_000 + index, index: *index, head: *head })
    };
    entries.iter().map(reach).collect()
}

const AT: Stamp = 2_000;
