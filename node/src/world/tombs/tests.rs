//! What surveys of regions with different numbers of shards say.

use super::plan::{Surveys, Unfit, begin, feeds, progress};
use crate::{region::standing::Standing, world::calls::Survey};
use sojourn_core::{
    RegionId, ShardId, SlotTable,
    control::{Cause, ControlCommand, ControlOutcome, ControlState},
    feed::{FeedCursor, FeedId},
    state::Right,
    stream::Source,
    tombstones::{Sweep, Swept},
};
use std::collections::{BTreeMap, BTreeSet};

const NA: RegionId = RegionId(0);
const EU: RegionId = RegionId(1);
const FEED: FeedId = FeedId(7);

/// Two regions that act for themselves, of two and of three shards; all have all up to index 10.
fn world() -> (ControlState, Surveys) {
    let mut world = ControlState::default();
    world.apply(ControlCommand::Found { world: 7 });
    for (region, name) in [(NA, "na"), (EU, "eu")] {
        let (entrances, name, mark) = (BTreeSet::new(), name.to_owned(), u128::from(region.0));
        let join = ControlCommand::Join { region, mark, name, entrances, place: None, voter: None };
        assert!(matches!(world.apply(join), ControlOutcome::Region(_)));
    }
    let survey = |(region, count, other, others): (RegionId, u32, RegionId, u32)| {
        let rights = BTreeMap::from([(region, Right::acting(world.regions[&region].epoch))]);
        let slots = SlotTable::even(count);
        let cursor = FeedCursor { feed: FEED, index: 10 };
        let taken = (0..others).map(|shard| (Source { region: other, shard: ShardId(shard) }, cursor));
        let standing = |shard: u32| Standing {
            stamp: 1_000 + u64::from(shard),
            index: 10,
            feed: FEED,
            rights: rights.clone(),
            taken: taken.clone().collect(),
            ..Standing::default()
        };
        let shards = (0..count).map(|shard| (ShardId(shard), standing(shard))).collect();
        (region, Survey { slots, shards })
    };
    let surveys = [(NA, 2, EU, 3), (EU, 3, NA, 2)].map(survey).into();
    (world, surveys)
}

fn standing(surveys: &mut Surveys, region: RegionId, shard: u32) -> &mut Standing {
    let survey = surveys.get_mut(&region).expect("a region");
    survey.shards.get_mut(&ShardId(shard)).expect("a shard")
}

#[test]
fn what_is_known_was_made_before_the_first_stamp_that_any_shard_is_past() {
    let (world, mut surveys) = world();
    assert_eq!(begin(&world, &surveys), Ok(Swept { epoch: world.last_epoch, through: 999 }));
    standing(&mut surveys, EU, 2).stamp = 500;
    assert_eq!(begin(&world, &surveys).map(|known| known.through), Ok(499));
}

#[test]
fn nothing_is_found_out_while_a_region_does_not_act_for_itself_or_lacks_something() {
    let (mut world, surveys) = world();
    let mut silent = surveys.clone();
    silent.remove(&EU);
    assert_eq!(begin(&world, &silent), Err(Unfit::Unheard(EU)));
    let mut partly = surveys.clone();
    partly.get_mut(&NA).expect("a region").shards.remove(&ShardId(1));
    assert_eq!(begin(&world, &partly), Err(Unfit::Unheard(NA)));
    let changed = |change: &dyn Fn(&mut BTreeMap<RegionId, Right>)| {
        let mut surveys = surveys.clone();
        change(&mut standing(&mut surveys, EU, 1).rights);
        begin(&world, &surveys)
    };
    let unsettled = Err(Unfit::Unsettled(EU, ShardId(1)));
    assert_eq!(changed(&|rights| rights.clear()), unsettled, "it does not act");
    assert_eq!(changed(&|rights| *rights = [(EU, Right::acting(1))].into()), unsettled, "under an epoch of the past");
    assert_eq!(changed(&|rights| drop(rights.insert(NA, Right::acting(9)))), unsettled, "for another one, too");
    let lacking = Right { epoch: 9, missing_since: Some(5), ..Right::default() };
    assert_eq!(changed(&|rights| drop(rights.insert(NA, lacking.clone()))), unsettled, "something may be missing");
    let on_their_way: [&dyn Fn(&mut Standing); 2] =
        [&|standing| standing.is_parted = true, &|standing| standing.lags_behind = [(NA, 5)].into()];
    for change in on_their_way {
        let mut surveys = surveys.clone();
        change(standing(&mut surveys, EU, 1));
        assert_eq!(begin(&world, &surveys), unsettled, "another shard may know better");
    }
    let mut strayed = world.clone();
    strayed.regions.get_mut(&EU).expect("a region").strays.insert(NA, None);
    assert_eq!(begin(&strayed, &surveys), Err(Unfit::NotItself(EU)), "what one wrote for another is not settled");
    let promised = Right { epoch: 9, ..Right::default() };
    assert!(changed(&|rights| drop(rights.insert(NA, promised.clone()))).is_ok());
    let cause = Cause::Operator { force: false };
    let fenced = world.apply(ControlCommand::Fence { region: EU, cause, at: 5 });
    assert!(!matches!(fenced, ControlOutcome::Refused(_)), "{fenced:?}");
    assert_eq!(begin(&world, &surveys), Err(Unfit::NotItself(EU)));
}

#[test]
fn a_sweep_waits_for_every_shard_that_shares_slots_with_another() {
    let regions = BTreeSet::from([NA, EU]);
    let sweep = |surveys: &Surveys| {
        let progress = progress(surveys);
        Sweep::begin(progress.heads.clone()).advance(&regions, &progress).advance(&regions, &progress)
    };
    let (_, surveys) = world();
    assert_eq!(sweep(&surveys), Sweep::Done);
    for (region, shard, other, from) in [(NA, 0, EU, 1), (NA, 1, EU, 1), (EU, 0, NA, 0), (EU, 1, NA, 1)] {
        let (mut late, mut away, mut anew) = (surveys.clone(), surveys.clone(), surveys.clone());
        let source = Source { region: other, shard: ShardId(from) };
        let cursor = |feed, index| FeedCursor { feed, index };
        standing(&mut late, region, shard).taken.insert(source, cursor(FEED, 9));
        standing(&mut away, region, shard).taken.remove(&source);
        standing(&mut anew, region, shard).taken.insert(source, cursor(FeedId(8), 10));
        for surveys in [late, away, anew] {
            assert!(matches!(sweep(&surveys), Sweep::Spreading { .. }), "{region:?} {shard} of {other:?} {from}");
        }
    }
    // Shards that share no slots follow nothing of each other.
    let mut surveys = surveys;
    standing(&mut surveys, NA, 0).taken.remove(&Source { region: EU, shard: ShardId(2) });
    assert_eq!(sweep(&surveys), Sweep::Done);
    let of = feeds(&surveys);
    standing(&mut surveys, EU, 2).feed = FeedId(9);
    assert_ne!(feeds(&surveys), of, "its indexes say nothing about the ones before");
    let of = feeds(&surveys);
    standing(&mut surveys, NA, 1).turned = 7;
    assert_ne!(feeds(&surveys), of, "slots have moved");
}
