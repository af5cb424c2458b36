//! Many histories of three regions: nothing destroyed lives again; and for each rule one history that shows what it is for.

use super::{
    super::CLOCK_SLACK_MS,
    world::{Act, KEYS, LIFETIME_MS, Plant, RETRY_MS, World},
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

fn any_act() -> impl Strategy<Value = Act> {
    let (region, key) = (|| 0..3_u16, || 0..KEYS);
    let tick = prop_oneof![3 => 1..5_000_u64, 3 => 1..LIFETIME_MS / 2, 1 => 1..LIFETIME_MS];
    prop_oneof![
        4 => tick.prop_map(|ms| Act::Tick { ms }),
        4 => key().prop_map(|key| Act::Create { key }),
        3 => key().prop_map(|key| Act::Write { key }),
        3 => key().prop_map(|key| Act::Destroy { key }),
        2 => (key(), region()).prop_map(|(key, to)| Act::Travel { key, to }),
        8 => (region(), region(), 1_usize..8).prop_map(|(by, from, count)| Act::Pull { by, from, count }),
        1 => (region(), region(), 1_usize..8, 1_usize..8)
            .prop_map(|(by, from, back, count)| Act::Repeat { by, from, back, count }),
        4 => region().prop_map(|by| Act::Sweep { by }),
        3 => region().prop_map(|by| Act::Collect { by }),
        1 => region().prop_map(|region| Act::Part { region }),
        4 => (key(), proptest::bool::weighted(0.2)).prop_map(|(key, destroy)| Act::Alone { key, destroy }),
        1 => Just(Act::Return),
        3 => Just(Act::Settle),
    ]
}

fn any_acts() -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(any_act(), 0..120)
}

/// Plays it, then lets everybody learn everything; how many tombstones went.
fn run(plant: Plant, acts: &[Act]) -> Result<(usize, usize), String> {
    let mut world = World::new(plant);
    for act in acts {
        world.act(act.clone());
        world.revived(false)?;
    }
    world.come_back();
    world.pull_all();
    world.revived(true)?;
    Ok(world.collected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_destroyed_ever_lives_again(acts in any_acts()) {
        prop_assert_eq!(run(Plant::None, &acts).err(), None);
    }
}

#[test]
fn the_histories_are_eventful() {
    let (mut runner, mut swept, mut overdue) = (TestRunner::deterministic(), 0, 0);
    for _ in 0..300 {
        let acts = any_acts().new_tree(&mut runner).expect("acts").current();
        let (more, late) = run(Plant::None, &acts).expect("nothing revived");
        (swept, overdue) = (swept + more, overdue + late);
    }
    assert!(swept > 20 && overdue > 20, "{swept} tombstones were swept away, {overdue} had passed their deadline");
}

/// The rule makes the difference.
fn proves(plant: Plant, acts: &[Act]) {
    assert_eq!(run(Plant::None, acts).err(), None);
    assert!(run(plant, acts).is_err(), "{plant:?} was not noticed");
}

fn pull(by: u16, from: u16) -> Act {
    Act::Pull { by, from, count: usize::MAX }
}

/// Session 0 was at home in region 0, goes to 1 and is destroyed there; 2 has not yet heard of all that 0 told.
fn destroyed_after_travel() -> Vec<Act> {
    vec![Act::Create { key: 0 }, Act::Travel { key: 0, to: 1 }, Act::Destroy { key: 0 }, pull(2, 1), pull(0, 1)]
}

#[test]
fn tombstones_that_only_stand_for_a_time_are_noticed() {
    let then = [Act::Tick { ms: 2 * RETRY_MS }, Act::Collect { by: 2 }, pull(2, 0)];
    proves(Plant::WindowOnly, &[destroyed_after_travel(), then.to_vec()].concat());
}

#[test]
fn a_tombstone_that_is_known_everywhere_is_still_needed_while_older_copies_are_on_their_way() {
    let sweep = [Act::Tick { ms: CLOCK_SLACK_MS }, Act::Sweep { by: 2 }, Act::Sweep { by: 2 }, Act::Collect { by: 2 }];
    proves(Plant::NoFlush, &[destroyed_after_travel(), sweep.to_vec(), vec![pull(2, 0)]].concat());
}

#[test]
fn a_clock_that_is_ahead_says_nothing_of_what_others_destroy() {
    let mut acts = vec![Act::Settle, Act::Settle, Act::Settle];
    acts.extend([Act::Create { key: 1 }, Act::Travel { key: 1, to: 0 }, Act::Destroy { key: 1 }]);
    acts.extend([Act::Tick { ms: 2 * RETRY_MS }, pull(2, 0), Act::Collect { by: 2 }, pull(2, 1)]);
    proves(Plant::OwnStamp, &acts);
}

/// Both were found among 100 000 histories: what the region had ended was hidden by what it created after that, and that was
/// overdue elsewhere.
#[test]
fn what_a_region_ended_and_created_anew_stays_ended() {
    let mut acts = vec![Act::Create { key: 2 }, Act::Travel { key: 2, to: 0 }, Act::Destroy { key: 2 }];
    acts.extend([Act::Create { key: 2 }, Act::Part { region: 0 }, Act::Tick { ms: LIFETIME_MS * 9 / 10 }, Act::Return]);
    assert_eq!(run(Plant::None, &acts).err(), None);
    let mut acts = vec![Act::Create { key: 3 }, Act::Settle, Act::Destroy { key: 3 }, Act::Create { key: 3 }];
    acts.extend([
        Act::Tick { ms: LIFETIME_MS * 2 / 5 },
        Act::Part { region: 0 },
        Act::Tick { ms: LIFETIME_MS * 2 / 5 },
    ]);
    acts.extend([Act::Write { key: 3 }, Act::Tick { ms: LIFETIME_MS / 10 }]);
    assert_eq!(run(Plant::None, &acts).err(), None);
}

#[test]
fn a_region_that_was_away_too_long_and_merges_is_noticed() {
    let mut acts = vec![Act::Create { key: 1 }, Act::Settle, Act::Part { region: 1 }, Act::Destroy { key: 1 }];
    for _ in 0..3 {
        acts.extend([Act::Tick { ms: LIFETIME_MS / 2 }, Act::Alone { key: 1, destroy: false }]);
    }
    acts.extend([Act::Collect { by: 0 }, Act::Settle, Act::Collect { by: 2 }, Act::Collect { by: 0 }, Act::Return]);
    proves(Plant::AlwaysMerge, &acts);
}

#[test]
fn a_region_that_collects_while_others_act_for_it_is_noticed() {
    let mut acts = vec![Act::Create { key: 1 }, Act::Settle, Act::Destroy { key: 1 }, Act::Part { region: 1 }];
    acts.extend([Act::Tick { ms: LIFETIME_MS / 2 }, Act::Write { key: 1 }, Act::Tick { ms: LIFETIME_MS * 2 / 3 }]);
    acts.extend([Act::Collect { by: 1 }, Act::Return]);
    proves(Plant::CollectedAlone, &acts);
}

#[test]
fn a_cursor_apart_from_its_data_is_noticed() {
    let mut acts = vec![Act::Create { key: 0 }, Act::Settle, Act::Destroy { key: 0 }, Act::Tick { ms: 2 * RETRY_MS }];
    acts.extend([Act::Settle, Act::Settle, Act::Settle, Act::Settle, Act::Settle, Act::Collect { by: 1 }]);
    acts.push(Act::Repeat { by: 1, from: 0, back: 2, count: 1 });
    proves(Plant::CursorApart, &acts);
}
