//! Where drained sessions go, by hand and over generated worlds.

use super::*;
use crate::{
    control::{Cause, ControlCommand, ControlOutcome, WorldPolicy},
    ids::NodeId,
    region::DEFAULT_NAMESPACE,
    routing::Coordinates,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const NA: RegionId = RegionId(0);
const EU: RegionId = RegionId(1);
const APAC: RegionId = RegionId(2);

/// A world of regions on the equator, so many degrees east.
fn world(degrees: &[Option<i32>]) -> ControlState {
    let mut world = ControlState::default();
    world.apply(ControlCommand::Found { world: 7 });
    for (number, east) in (0_u16..).zip(degrees) {
        let joined = world.apply(ControlCommand::Join {
            region: RegionId(number),
            mark: u128::from(number) + 1,
            name: format!("r{number}"),
            entrances: BTreeSet::new(),
            place: east.and_then(|east| Coordinates::new(0, 1_000 * east)),
            voter: Some(NodeId(1)),
        });
        assert_eq!(joined, ControlOutcome::Region(RegionId(number)));
    }
    world
}

fn drain(world: &mut ControlState, region: RegionId) {
    assert_eq!(world.apply(ControlCommand::Drain { region, draining: true }), ControlOutcome::Done);
}

fn pin(world: &mut ControlState, regions: &[RegionId]) -> NamespaceId {
    let residency = Residency::Only(regions.iter().copied().collect());
    let policy = Box::new(WorldPolicy { residency, ..WorldPolicy::default() });
    let name = format!("n{}", world.namespaces.len());
    match world.apply(ControlCommand::CreateNamespace { name, policy }) {
        ControlOutcome::Namespace(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_goes_to_where_it_is_used_from_or_else_to_the_nearest() {
    let mut world = world(&[Some(0), Some(80), Some(-20), None]);
    drain(&mut world, NA);
    let to = |world: &ControlState, used_from| destination(world, NA, DEFAULT_NAMESPACE, used_from);
    assert_eq!(to(&world, None), Ok(APAC), "the nearest");
    assert_eq!(to(&world, Some(EU)), Ok(EU));
    assert_eq!(to(&world, Some(NA)), Ok(APAC), "used at home");
    drain(&mut world, EU);
    assert_eq!(to(&world, Some(EU)), Ok(APAC), "that one is drained, too");
    drain(&mut world, APAC);
    assert_eq!(to(&world, None), Ok(RegionId(3)), "nobody knows how far away");
    drain(&mut world, RegionId(3));
    assert_eq!(to(&world, None), Err(Stays::NoRegion));
}

#[test]
fn what_is_pinned_stays_where_it_may_be_held() {
    let mut world = world(&[Some(0), Some(10), Some(20)]);
    drain(&mut world, NA);
    let (here, there) = (pin(&mut world, &[NA]), pin(&mut world, &[NA, APAC]));
    assert_eq!(destination(&world, NA, here, Some(EU)), Err(Stays::Pinned));
    assert_eq!(destination(&world, NA, there, Some(EU)), Ok(APAC));
    let sessions = BTreeMap::from([(DEFAULT_NAMESPACE, 7), (here, 3), (there, 2), (NamespaceId(99), 0)]);
    let forecast = Forecast::of(&world, NA, &sessions);
    assert_eq!(forecast.goes, BTreeMap::from([(EU, 7), (APAC, 2)]));
    assert_eq!(forecast.stays, BTreeMap::from([((Stays::Pinned, here), 3)]));
    let cause = Cause::Operator { force: true };
    world.apply(ControlCommand::Fence { region: APAC, cause, at: 5 });
    assert_eq!(destination(&world, NA, there, None), Err(Stays::NoRegion), "it comes back");
    world.apply(ControlCommand::Fence { region: NA, cause, at: 5 });
    assert_eq!(destination(&world, NA, there, None), Err(Stays::NotActing));
}

#[test]
fn a_region_that_is_alone_has_nowhere_to_send_its_sessions() {
    let mut world = world(&[None]);
    drain(&mut world, NA);
    assert_eq!(destination(&world, NA, DEFAULT_NAMESPACE, None), Err(Stays::NoRegion));
}

const REGIONS: u16 = 4;

fn any_region() -> impl Strategy<Value = RegionId> {
    (0..REGIONS).prop_map(RegionId)
}

/// What changes in a world while it is drained.
#[derive(Clone, Copy, Debug)]
enum Change {
    Drain(RegionId, bool),
    Lose(RegionId),
    /// Some sessions of a shard leave, those of one namespace.
    Leave(usize),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any_region(), any::<bool>()).prop_map(|(region, draining)| Change::Drain(region, draining)),
        1 => any_region().prop_map(Change::Lose),
        6 => (0_usize..64).prop_map(Change::Leave),
    ]
}

fn any_world() -> impl Strategy<Value = ControlState> {
    let east = proptest::option::of(-180_i32..180);
    let places = proptest::collection::vec(east, usize::from(REGIONS));
    let pins = proptest::collection::vec(proptest::collection::btree_set(any_region(), 1..4), 0..4);
    (places, pins).prop_map(|(places, pins)| {
        let mut world = world(&places);
        for regions in pins {
            pin(&mut world, &regions.into_iter().collect::<Vec<_>>());
        }
        world
    })
}

proptest! {
    /// Whatever happens meanwhile: a session is sent only to a region that takes it in, nowhere twice while nothing changes,
    /// and stays only for the reason that is given.
    #[test]
    fn sessions_leave_for_regions_that_take_them_in_and_stay_for_a_reason(
        mut world in any_world(),
        sessions in proptest::collection::vec((any_region(), 0_u32..6, proptest::option::of(any_region())), 0..40),
        changes in proptest::collection::vec(any_change(), 0..40),
    ) {
        let mut sessions = sessions;
        for change in changes {
            match change {
                Change::Drain(region, draining) => drop(world.apply(ControlCommand::Drain { region, draining })),
                Change::Lose(region) => {
                    let cause = Cause::Operator { force: true };
                    drop(world.apply(ControlCommand::Fence { region, cause, at: 9 }));
                }
                Change::Leave(which) => {
                    let Some((home, namespace, used_from)) = sessions.get_mut(which) else { continue };
                    let namespace = NamespaceId(*namespace);
                    if !world.regions[&*home].draining {
                        continue;
                    }
                    match destination(&world, *home, namespace, *used_from) {
                        Ok(to) => {
                            prop_assert!(to != *home && takes_in(&world, to, namespace));
                            if used_from.is_some_and(|from| from != *home && takes_in(&world, from, namespace)) {
                                prop_assert_eq!(Some(to), *used_from);
                            }
                            *home = to;
                            prop_assert!(!world.regions[&to].draining, "it does not go on at once");
                        }
                        Err(why) => {
                            let taking = world.regions.keys().any(|to| to != home && takes_in(&world, *to, namespace));
                            let acts = world.regions[&*home].phase == Phase::Serving;
                            prop_assert!(!acts || !taking);
                            prop_assert_eq!(why == Stays::NotActing, !acts);
                            let pinned = world.regions.keys().all(|to| to == home || !may_hold(&world, *to, namespace));
                            prop_assert_eq!(why == Stays::Pinned, acts && pinned);
                        }
                    }
                }
            }
        }
    }

    /// A forecast counts every session once, and says what would become of each.
    #[test]
    fn forecasts_add_up(
        mut world in any_world(),
        from in any_region(),
        drained in proptest::collection::vec(any_region(), 0..3),
        counts in proptest::collection::btree_map((0_u32..6).prop_map(NamespaceId), 0_u64..100, 0..6),
    ) {
        drained.into_iter().for_each(|region| drain(&mut world, region));
        let forecast = Forecast::of(&world, from, &counts);
        let told: u64 = forecast.goes.values().chain(forecast.stays.values()).sum();
        prop_assert_eq!(told, counts.values().sum::<u64>());
        for (to, count) in &forecast.goes {
            let theirs = counts.iter().filter(|(namespace, _)| destination(&world, from, **namespace, None) == Ok(*to));
            prop_assert_eq!(*count, theirs.map(|(_, count)| count).sum::<u64>());
        }
        for ((why, namespace), count) in &forecast.stays {
            prop_assert_eq!(destination(&world, from, *namespace, None), Err(*why));
            prop_assert_eq!(count, &counts[namespace]);
        }
    }
}
