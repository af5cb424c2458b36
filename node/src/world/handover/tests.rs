//! Regions that do what their plans say, in any order, with a control leader that does what its own says: what they log is
//! played, what they send each other is not.

use super::plan::{Duty, plan};
use crate::region::standing::Standing;
use sojourn_core::{
    RegionId, ShardId, Slot,
    control::{
        Cause, ControlCommand, ControlOutcome, ControlState, FailoverMode, Phase, Reach, Report, Step, Successors,
    },
    orphans::Tally,
    state::Right,
};
use std::collections::{BTreeMap, BTreeSet};

const NA: RegionId = RegionId(0);
const EU: RegionId = RegionId(1);
const APAC: RegionId = RegionId(2);

struct World {
    state: ControlState,
    shards: BTreeMap<RegionId, BTreeMap<ShardId, Standing>>,
    down: BTreeSet<RegionId>,
    /// What was done, in order.
    done: Vec<(RegionId, Duty)>,
}

impl World {
    fn new(mode: FailoverMode) -> Self {
        let mut state = ControlState::default();
        state.apply(ControlCommand::Found { world: 7 });
        for (region, name) in [(NA, "na"), (EU, "eu"), (APAC, "apac")] {
            let (entrances, name, mark) = (BTreeSet::new(), name.to_owned(), u128::from(region.0));
            let join = ControlCommand::Join { region, mark, name, entrances, place: None, voter: None };
            assert!(matches!(state.apply(join), ControlOutcome::Region(_)));
        }
        state.apply(ControlCommand::SetFailover { mode, lease_ms: 1_000 });
        let alone = |region| {
            let right = Right { epoch: 1, acts: true, missing_since: None, ..Right::default() };
            let standing = || Standing { rights: BTreeMap::from([(region, right.clone())]), ..Standing::default() };
            (region, [0, 1].map(|shard| (ShardId(shard), standing())).into())
        };
        let mut world =
            Self { state, shards: [NA, EU, APAC].map(alone).into(), down: BTreeSet::new(), done: Vec::new() };
        world.settle();
        world
    }

    fn apply(&mut self, command: ControlCommand) {
        let outcome = self.state.apply(command.clone());
        assert!(!matches!(outcome, ControlOutcome::Refused(_)), "{command:?}: {outcome:?}");
    }

    fn step(&mut self, home: RegionId, epoch: u32, step: Step) {
        self.apply(ControlCommand::Handover { home, epoch, step });
    }

    fn rights(&mut self, region: RegionId, change: impl Fn(&mut BTreeMap<RegionId, Right>)) {
        let shards = self.shards.get_mut(&region).expect("a region");
        shards.values_mut().for_each(|shard| change(&mut shard.rights));
    }

    fn fulfil(&mut self, here: RegionId, duty: Duty) {
        match duty.clone() {
            Duty::Adopt { mode_version } => {
                let shards = self.shards.get_mut(&here).expect("a region");
                shards.values_mut().for_each(|shard| shard.adopted = Some(mode_version));
                self.apply(ControlCommand::Adopt { region: here, mode_version });
            }
            Duty::Promise { home, epoch, .. } => self.rights(here, |rights| {
                let known = rights.get(&home).cloned().unwrap_or_default();
                assert!(known.epoch < epoch);
                let missing_since = (!known.acts).then_some(0);
                rights.insert(home, Right { epoch, acts: false, missing_since, ..Right::default() });
            }),
            Duty::Report { home, epoch } => {
                let report = Report::from([((NA, ShardId(0)), Reach::default())]);
                self.step(home, epoch, Step::Report { region: here, report });
            }
            Duty::CatchUp { home, epoch } => self.step(home, epoch, Step::Ready { region: here }),
            Duty::Assume { home, epoch } => {
                let acting = self.state.acting(home, Slot::default()).expect("somebody acts");
                assert_eq!((acting.region, acting.epoch), (here, epoch), "nobody acts before the world says so");
                let right = Right { epoch, acts: true, missing_since: None, ..Right::default() };
                self.rights(here, |rights| drop(rights.insert(home, right.clone())));
            }
            Duty::Level { home, .. } => self.rights(here, |rights| {
                rights.get_mut(&home).expect("promised").missing_since = None;
            }),
            Duty::Absorb { home, epoch, from } => {
                let has_promised = self.shards[&from].values().all(|shard| shard.rights[&home].epoch == epoch);
                assert!(has_promised, "it may still take in what was written before");
                self.step(home, epoch, Step::Absorbed { from });
            }
            Duty::Return { epoch } => self.step(here, epoch, Step::Return),
            Duty::Settle { home, .. } => {
                let epoch = self.state.regions[&home].epoch;
                self.step(home, epoch, Step::Settled { by: here, orphans: Tally::default() });
            }
            Duty::Reconcile { epoch, .. } => self.step(here, epoch, Step::Reconciled),
        }
        self.done.push((here, duty));
    }

    /// What the control leader does by itself.
    fn lead(&mut self) -> bool {
        let next = self.state.regions.values().find_map(|home| match &home.phase {
            Phase::Fenced(handover) if handover.unreleased().all(|holder| self.down.contains(&holder)) => {
                Some((home.id, home.epoch, Step::Waited { quiet_ms: u64::MAX }))
            }
            Phase::Gathering(handover) if handover.reports.len() + self.down.len() == self.state.regions.len() => {
                let heir = if handover.cause == Cause::Failback { home.id } else { EU };
                Some((home.id, home.epoch, Step::Name { successors: Successors::one(heir) }))
            }
            _waiting => None,
        });
        let any = next.is_some();
        if let Some((home, epoch, step)) = next {
            self.step(home, epoch, step);
        }
        any
    }

    /// Goes on until there is nothing to do.
    fn settle(&mut self) {
        for _round in 0..100 {
            let up: Vec<RegionId> = self.shards.keys().copied().filter(|region| !self.down.contains(region)).collect();
            let mut any = false;
            for region in up {
                // What one of them does may be what another one waits for.
                for duty in plan(&self.state, region, &self.shards[&region]) {
                    if plan(&self.state, region, &self.shards[&region]).contains(&duty) {
                        self.fulfil(region, duty);
                        any = true;
                    }
                }
            }
            if !self.lead() && !any {
                return;
            }
        }
        panic!("it never comes to an end: {:?}", self.done);
    }

    fn acts(&self, region: RegionId, home: RegionId) -> bool {
        let epoch = self.state.regions[&home].epoch;
        let acts = |shard: &Standing| shard.rights.get(&home).is_some_and(|right| right.acts && right.epoch == epoch);
        self.shards[&region].values().all(acts)
    }
}

#[test]
fn a_region_writes_under_the_epoch_that_the_world_gave_it_and_a_world_without_leases_logs_no_mode() {
    let world = World::new(FailoverMode::Operator);
    assert!([NA, EU, APAC].iter().all(|region| world.acts(*region, *region)));
    assert!(world.done.iter().all(|(_, duty)| matches!(duty, Duty::Assume { .. })), "{:?}", world.done);
}

#[test]
fn a_lost_region_is_acted_for_and_takes_over_again_once_it_has_settled() {
    let mut world = World::new(FailoverMode::Automatic);
    assert!([NA, EU, APAC].iter().all(|region| world.state.is_leased(*region)));
    world.down.insert(NA);
    world.apply(ControlCommand::Fence { region: NA, cause: Cause::Lost, at: 9 });
    world.settle();
    assert!(world.acts(EU, NA) && world.acts(EU, EU) && !world.acts(APAC, NA));
    let lacks =
        |world: &World, region| world.shards[&region].values().any(|shard| shard.rights[&NA].missing_since.is_some());
    assert!(!lacks(&world, APAC), "{:?}", world.done);

    world.down.clear();
    world.done.clear();
    world.settle();
    assert!(!world.acts(NA, NA), "the world believes in somebody else");
    let of_na = |world: &World| -> Vec<Duty> {
        world.done.iter().filter(|(region, _)| *region == NA).map(|(_, duty)| duty.clone()).collect()
    };
    let epoch = world.state.regions[&NA].epoch;
    let promise = Duty::Promise { home: NA, epoch, holders: BTreeSet::new() };
    assert_eq!(
        of_na(&world),
        [promise, Duty::Return { epoch }, Duty::Settle { home: NA, acting: EU }, Duty::Reconcile { epoch, acting: EU }]
    );

    world.apply(ControlCommand::Failback { region: NA, at: 10 });
    world.settle();
    assert!(world.acts(NA, NA) && !world.acts(EU, NA) && world.state.regions[&NA].phase == Phase::Serving);
    assert!(!lacks(&world, APAC) && !lacks(&world, EU));
}

#[test]
fn an_heir_that_is_lost_before_it_acts_leaves_nothing_behind() {
    let mut world = World::new(FailoverMode::Automatic);
    world.down.insert(NA);
    world.apply(ControlCommand::Fence { region: NA, cause: Cause::Lost, at: 9 });
    for region in [EU, APAC] {
        while let Some(duty) = plan(&world.state, region, &world.shards[&region]).pop() {
            world.fulfil(region, duty);
        }
        world.lead();
        while let Some(duty) = plan(&world.state, region, &world.shards[&region]).pop() {
            world.fulfil(region, duty);
        }
    }
    world.lead();
    assert!(matches!(world.state.regions[&NA].phase, Phase::CatchingUp { .. }));
    assert_eq!(plan(&world.state, EU, &world.shards[&EU]).len(), 1);
    assert!(plan(&world.state, APAC, &world.shards[&APAC]).is_empty());
    assert!(!world.acts(EU, NA), "it may still be forgotten, and another one named under this epoch");
}

#[test]
fn a_region_that_acted_and_missed_that_the_home_took_over_again_gives_the_right_up() {
    let mut world = World::new(FailoverMode::Automatic);
    world.down.insert(NA);
    world.apply(ControlCommand::Fence { region: NA, cause: Cause::Lost, at: 9 });
    world.settle();
    assert!(world.acts(EU, NA));
    // EU is lost in turn, and comes back later than NA.
    let na = world.state.regions.get_mut(&NA).expect("a region");
    (na.epoch, na.phase) = (na.epoch + 10, Phase::Serving);
    let promise = Duty::Promise { home: NA, epoch: na.epoch, holders: BTreeSet::new() };
    let duties = plan(&world.state, EU, &world.shards[&EU]);
    assert!(duties.contains(&promise), "{duties:?}");
    assert!(plan(&world.state, APAC, &world.shards[&APAC]).is_empty(), "it never acted");
}

#[test]
fn who_was_lost_while_it_acted_settles_what_it_wrote_before_it_takes_in_anything_else() {
    let mut world = World::new(FailoverMode::Automatic);
    let na = world.state.regions.get_mut(&NA).expect("a region");
    na.strays.insert(APAC, None);
    // It was named and lost before it had logged anything.
    na.epoch += 10;
    let epoch = na.epoch;
    let promise = Duty::Promise { home: NA, epoch, holders: BTreeSet::new() };
    assert_eq!(plan(&world.state, APAC, &world.shards[&APAC]), std::slice::from_ref(&promise));
    world.fulfil(APAC, promise);
    let of_eu = world.state.regions[&EU].epoch;
    world.rights(APAC, |rights| {
        rights.insert(EU, Right { epoch: of_eu, missing_since: Some(7), ..Right::default() });
    });
    let settle = Duty::Settle { home: NA, acting: NA };
    assert_eq!(plan(&world.state, APAC, &world.shards[&APAC]), std::slice::from_ref(&settle));
    world.fulfil(APAC, settle);
    let left = plan(&world.state, APAC, &world.shards[&APAC]);
    assert!(left.iter().all(|duty| matches!(duty, Duty::Level { .. })) && left.len() == 2, "{left:?}");
}

#[test]
fn a_home_takes_over_again_once_it_has_what_others_wrote_for_each_other() {
    let mut world = World::new(FailoverMode::Automatic);
    world.down.insert(NA);
    world.apply(ControlCommand::Fence { region: NA, cause: Cause::Lost, at: 9 });
    world.settle();
    world.down.clear();
    world.settle();
    world.apply(ControlCommand::Failback { region: NA, at: 10 });
    let of_eu = world.state.regions[&EU].epoch;
    let mut lacks = |lacks: bool| {
        let missing_since = lacks.then_some(7);
        world.rights(NA, |rights| drop(rights.insert(EU, Right { epoch: of_eu, missing_since, ..Right::default() })));
        let (handover, successors, ready) =
            (world.state.regions[&NA].handover().expect("it is decided").clone(), Successors::one(NA), BTreeSet::new());
        let mut state = world.state.clone();
        state.regions.get_mut(&NA).expect("a region").phase = Phase::CatchingUp { handover, successors, ready };
        let epoch = state.regions[&NA].epoch;
        world.rights(NA, |rights| drop(rights.insert(NA, Right { epoch, ..Right::default() })));
        plan(&state, NA, &world.shards[&NA])
    };
    let catches_up = |duties: &[Duty]| duties.iter().any(|duty| matches!(duty, Duty::CatchUp { home: NA, .. }));
    let levels = |duties: &[Duty]| duties.iter().any(|duty| matches!(duty, Duty::Level { home: EU, .. }));
    let both = |duties: Vec<Duty>| (levels(&duties), catches_up(&duties));
    assert_eq!((both(lacks(true)), both(lacks(false))), ((true, false), (false, true)));
}

#[test]
fn what_was_not_heard_is_asked_for_by_who_acts_and_holds_up_nothing_else() {
    let mut world = World::new(FailoverMode::Automatic);
    world.down.insert(NA);
    world.apply(ControlCommand::Fence { region: NA, cause: Cause::Lost, at: 9 });
    world.settle();
    world.state.regions.get_mut(&NA).expect("a region").unheard.insert(APAC);
    let epoch = world.state.regions[&NA].epoch;
    let absorb = Duty::Absorb { home: NA, epoch, from: APAC };
    assert_eq!(plan(&world.state, EU, &world.shards[&EU]), std::slice::from_ref(&absorb));
    assert_eq!(plan(&world.state, APAC, &world.shards[&APAC]), [], "only who acts asks");
    world.state.failover.mode_version += 2;
    let adopt = Duty::Adopt { mode_version: world.state.failover.mode_version };
    assert_eq!(plan(&world.state, EU, &world.shards[&EU]), [absorb.clone(), adopt]);
    world.state.failover.mode_version -= 2;
    world.fulfil(EU, absorb);
    assert!(world.state.regions[&NA].unheard.is_empty());
}
