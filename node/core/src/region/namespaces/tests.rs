use super::*;
use proptest::prelude::*;

/// A world that nobody but tests have founded.
fn world() -> ControlState {
    let mut world = ControlState::default();
    assert_eq!(world.apply(ControlCommand::Found { world: 7 }), ControlOutcome::Done);
    world
}

fn policy(idle_timeout_ms: u64) -> Policy {
    Policy { idle_timeout_ms, ..Policy::default() }
}

fn in_world(policy: Policy) -> Box<WorldPolicy> {
    Box::new(WorldPolicy { policy, residency: Residency::default() })
}

fn create(world: &mut ControlState, name: &str, policy: Policy) {
    let outcome = world.apply(ControlCommand::CreateNamespace { name: name.into(), policy: in_world(policy) });
    assert!(matches!(outcome, ControlOutcome::Namespace(_)), "{outcome:?}");
}

fn set(world: &mut ControlState, name: &str, policy: Policy) {
    let outcome = world.apply(ControlCommand::SetNamespace { name: name.into(), over: None, policy: in_world(policy) });
    assert!(matches!(outcome, ControlOutcome::Namespace(_)), "{outcome:?}");
}

fn drop_from(world: &mut ControlState, name: &str) {
    let outcome = world.apply(ControlCommand::DropNamespace { name: name.into() });
    assert!(matches!(outcome, ControlOutcome::Namespace(_)), "{outcome:?}");
}

/// A region that had these namespaces of its own, from number 1 on.
fn region(own: &[&str]) -> RegionState {
    let mut region = RegionState::default();
    for name in own {
        let created = region.apply(RegionCommand::CreateNamespace { name: (*name).into(), policy: policy(5) });
        assert!(matches!(created, RegionOutcome::Namespace(_)));
    }
    region
}

/// Does what a region's leader does, until there is nothing left to do.
fn settle(region: &mut RegionState, world: &mut ControlState) {
    for _ in 0..20 {
        if let Some(command) = region.next_to_bring(world) {
            assert!(!matches!(world.apply(command.clone()), ControlOutcome::Refused(_)), "{command:?}");
        } else if let Some(command) = region.next_adoption(world) {
            assert_eq!(region.apply(command), RegionOutcome::Done);
        } else {
            return;
        }
    }
    panic!("never settled: {region:?} {world:?}");
}

fn named(region: &RegionState, name: &str) -> Option<(u32, u64)> {
    let found = region.namespaces.values().find(|namespace| namespace.name == name)?;
    Some((found.id.0, found.policy.idle_timeout_ms))
}

#[test]
fn a_region_has_what_the_world_has_and_destroys_what_it_drops() {
    let (mut region, mut world) = (region(&[]), world());
    create(&mut world, "shop", policy(1));
    create(&mut world, "blog", policy(2));
    settle(&mut region, &mut world);
    assert_eq!((named(&region, "shop"), named(&region, "blog")), (Some((1, 1)), Some((2, 2))));
    set(&mut world, "default", Policy { database: Some(0), ..policy(9) });
    set(&mut world, "shop", policy(3));
    drop_from(&mut world, "blog");
    settle(&mut region, &mut world);
    assert_eq!((named(&region, "shop"), named(&region, "default")), (Some((1, 3)), Some((0, 9))));
    assert_eq!((named(&region, "blog"), region.adopted.dropped.clone()), (None, [NamespaceId(2)].into()));
    region.apply(RegionCommand::ForgetNamespace { id: NamespaceId(2) });
    assert!(region.adopted.dropped.is_empty());
    assert_eq!((region.next_adoption(&world), region.contradictions(&world)), (None, vec![]));
    assert_eq!(region.next_namespace, 3, "a number that was given out in the world is none of the region's own");
}

#[test]
fn what_comes_late_or_again_changes_nothing() {
    let (mut region, mut world) = (region(&[]), world());
    create(&mut world, "shop", policy(1));
    let early = region.next_adoption(&world).expect("news");
    create(&mut world, "blog", policy(2));
    let late = region.next_adoption(&world).expect("news");
    region.apply(late.clone());
    let after = region.clone();
    for command in [late, early] {
        region.apply(command.clone());
        assert_eq!(region, after, "{command:?}");
    }
    world.apply(ControlCommand::SetFailover { mode: crate::control::FailoverMode::Automatic, lease_ms: 10_000 });
    assert_eq!(region.next_adoption(&world), None, "nothing of it is about namespaces");
}

#[test]
fn what_a_region_had_of_its_own_becomes_the_worlds() {
    let (mut na, mut eu, mut world) = (region(&["shop", "blog"]), region(&[]), world());
    na.apply(RegionCommand::DropNamespace { name: "shop".into() });
    let changed = Policy { password_hash: "hash".into(), database: Some(0), ..policy(7) };
    na.apply(RegionCommand::SetNamespace { name: "default".into(), policy: changed.clone() });
    settle(&mut na, &mut world);
    settle(&mut eu, &mut world);
    for region in [&na, &eu] {
        assert_eq!((named(region, "blog"), named(region, "shop")), (Some((2, 5)), None));
        assert_eq!(region.namespaces[&DEFAULT_NAMESPACE].policy, changed, "it was changed in one region only");
        assert_eq!(region.contradictions(&world), []);
        assert!(!region.is_own_namespace("blog"));
    }
    create(&mut world, "shop", policy(1));
    settle(&mut eu, &mut world);
    assert_eq!(named(&eu, "shop"), Some((3, 1)), "the number of the old one is in use nowhere, and left alone");
}

#[test]
fn two_regions_that_had_the_same_have_one_and_what_differs_stays_until_somebody_decides() {
    let (mut na, mut eu, mut world) = (region(&["shop", "blog"]), region(&["shop", "blog"]), world());
    eu.apply(RegionCommand::SetNamespace { name: "blog".into(), policy: policy(8) });
    let changed = |idle_timeout_ms| Policy { database: Some(0), ..policy(idle_timeout_ms) };
    na.apply(RegionCommand::SetNamespace { name: "default".into(), policy: changed(1) });
    eu.apply(RegionCommand::SetNamespace { name: "default".into(), policy: changed(2) });
    settle(&mut na, &mut world);
    settle(&mut eu, &mut world);
    assert_eq!(
        (named(&eu, "shop"), named(&eu, "blog"), named(&eu, "default")),
        (Some((1, 5)), Some((2, 8)), Some((0, 2)))
    );
    assert_eq!((named(&na, "blog"), named(&na, "default")), (Some((2, 5)), Some((0, 1))));
    let differs = |name: &str| Contradiction::Policy { name: name.into() };
    assert_eq!(eu.contradictions(&world), [differs("default"), differs("blog")]);
    assert!(differs("blog").to_string().contains("`sojourn namespace set blog`"));
    assert_eq!(na.contradictions(&world), []);
    assert!(!eu.is_own_namespace("blog"), "it is changed in the world");
    set(&mut world, "blog", policy(9));
    settle(&mut eu, &mut world);
    assert_eq!((named(&eu, "blog"), eu.contradictions(&world)), (Some((2, 9)), vec![differs("default")]));
    drop_from(&mut world, "blog");
    settle(&mut eu, &mut world);
    assert_eq!(named(&eu, "blog"), None);
}

#[test]
fn what_is_in_the_way_stays_until_it_is_dropped() {
    let database = |database| Policy { database: Some(database), ..policy(5) };
    let cases = [
        ("its number", "shop", policy(1), region(&["blog"])),
        ("its name", "shop", policy(1), {
            let mut region = region(&["first", "shop"]);
            region.apply(RegionCommand::DropNamespace { name: "first".into() });
            region
        }),
        ("its database", "shop", database(3), {
            let mut region = region(&["first", "blog"]);
            region.apply(RegionCommand::DropNamespace { name: "first".into() });
            region.apply(RegionCommand::SetNamespace { name: "blog".into(), policy: database(3) });
            region
        }),
    ];
    for (what, theirs, policy, mut region) in cases {
        let mut world = world();
        create(&mut world, theirs, policy);
        let own = region.namespaces.values().next_back().expect("one").clone();
        settle(&mut region, &mut world);
        assert_eq!(region.namespaces.get(&own.id), Some(&own), "{what}");
        assert_eq!(region.namespaces.len(), 2, "{what}: the world's is not here");
        let contradiction = Contradiction::InTheWay { own: own.name.clone(), theirs: theirs.into() };
        assert_eq!(region.contradictions(&world), [contradiction], "{what}");
        assert!(region.is_own_namespace(&own.name), "{what}");
        assert_eq!(world.namespaces.len(), 2, "{what}");
        region.apply(RegionCommand::DropNamespace { name: own.name });
        settle(&mut region, &mut world);
        assert!(named(&region, theirs).is_some() && region.contradictions(&world).is_empty(), "{what}");
    }
}

#[test]
fn what_the_world_has_dropped_is_not_brought_back() {
    let (mut region, mut world) = (region(&["shop"]), world());
    create(&mut world, "wiki", policy(1));
    drop_from(&mut world, "wiki");
    settle(&mut region, &mut world);
    assert_eq!((named(&region, "shop"), world.namespaces.len()), (Some((1, 5)), 1));
    assert_eq!(region.contradictions(&world), [Contradiction::NumberUsed { own: "shop".into() }]);
    assert!(region.adopted.dropped.is_empty(), "nothing of it is destroyed");
}

proptest! {
    /// Whatever each had before: nothing is lost but by somebody's word, and what both have under one number is one.
    #[test]
    fn regions_that_join_lose_nothing(na in own(), eu in own(), ops in proptest::collection::vec((0_u8..3, 0_usize..4), 0..8)) {
        let mut world = world();
        let mut regions = [of(&na), of(&eu)];
        let had: Vec<_> = regions.iter().map(|region| region.namespaces.clone()).collect();
        // Once for what each brings, once for what the other has brought.
        (0..2).for_each(|_| regions.iter_mut().for_each(|region| settle(region, &mut world)));
        for (region, had) in regions.iter().zip(had) {
            for (id, namespace) in had {
                prop_assert_eq!(&region.namespaces[&id].name, &namespace.name);
            }
            for theirs in world.namespaces.values() {
                let here = region.namespaces.get(&theirs.id).is_some_and(|ours| ours.name == theirs.name);
                let missing = region.contradictions(&world).iter().any(|it| matches!(
                    it, Contradiction::InTheWay { theirs: missing, .. } if *missing == theirs.name
                ));
                prop_assert_eq!(here, !missing, "{:?}", theirs);
            }
        }
        for (op, name) in ops {
            let name = NAMES[name].to_owned();
            world.apply(match op {
                0 => ControlCommand::CreateNamespace { name, policy: in_world(policy(1)) },
                1 => ControlCommand::SetNamespace { name, over: None, policy: in_world(policy(2)) },
                _ => ControlCommand::DropNamespace { name },
            });
        }
        for region in &mut regions {
            let own: Vec<String> = region.own_namespaces().map(|own| own.name.clone()).collect();
            settle(region, &mut world);
            prop_assert!(own.iter().all(|name| region.namespace(name).is_ok()), "only a person drops them");
            for name in own {
                region.apply(RegionCommand::DropNamespace { name });
            }
        }
        (0..2).for_each(|_| regions.iter_mut().for_each(|region| settle(region, &mut world)));
        let ids = |region: &RegionState| -> Vec<_> {
            region.namespaces.values().map(|one| (one.id, one.name.clone())).collect()
        };
        let theirs: Vec<_> = world.namespaces.values().map(|one| (one.id, one.name.clone())).collect();
        for region in &regions {
            prop_assert_eq!(ids(region), theirs.clone());
        }
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Namespaces that are created, or dropped again, one after the other.
fn own() -> impl Strategy<Value = Vec<(usize, bool)>> {
    proptest::collection::vec((0_usize..4, any::<bool>()), 0..6)
}

fn of(own: &[(usize, bool)]) -> RegionState {
    let mut region = RegionState::default();
    for (name, lives) in own {
        let name = NAMES[*name].to_owned();
        region.apply(if *lives {
            RegionCommand::CreateNamespace { name, policy: policy(5) }
        } else {
            RegionCommand::DropNamespace { name }
        });
    }
    region
}
