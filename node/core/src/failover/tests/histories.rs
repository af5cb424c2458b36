//! Many histories of whole regions: all promises are kept, and each rule that is left out is noticed.

use super::world::{Act, History, Plants, World};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

fn any_act(regions: u16) -> impl Strategy<Value = Act> {
    let region = move || 0..regions;
    let some_region = move || proptest::option::of(0..regions);
    let run = prop_oneof![500_u64..1_500, 2_500_u64..4_000];
    prop_oneof![
        2 => prop_oneof![1_u64..300, 1_000_u64..2_500].prop_map(|ms| Act::Tick { ms }),
        3 => proptest::collection::vec(region(), 0..3).prop_map(|away| Act::Cut { away }),
        1 => region().prop_map(|region| Act::Lead { region }),
        3 => (region(), region()).prop_map(|(region, home)| Act::Renew { region, home }),
        4 => some_region().prop_map(|with| Act::Write { with }),
        2 => Just(Act::Plan),
        3 => (region(), region()).prop_map(|(region, home)| Act::Help { region, home }),
        2 => region().prop_map(|region| Act::Force { region }),
        6 => (run, some_region(), some_region()).prop_map(|(ms, deaf, with)| Act::Run { ms, deaf, with }),
    ]
}

fn any_history() -> impl Strategy<Value = History> {
    let of = |regions: u16| {
        let slow = (0..regions, 0_u64..1_800);
        let acts = proptest::collection::vec(any_act(regions), 0..60);
        (proptest::bool::weighted(0.7), slow, acts).prop_map(move |(leased, slow, acts)| History {
            regions,
            leased,
            slow,
            acts,
        })
    };
    prop_oneof![of(3), of(5)]
}

/// Plays a history; answers how often somebody began to act.
fn run(history: &History, plants: Plants) -> Result<usize, String> {
    let mut world = World::new(history, plants);
    history.acts.iter().try_for_each(|act| world.act(act.clone()))?;
    Ok(world.opened)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nobody_acts_beside_its_successor_and_no_geo_write_is_lost(history in any_history()) {
        let played = run(&history, Plants::default());
        prop_assert!(played.is_ok(), "{played:?}");
    }
}

/// The results of so many histories, the same ones each time.
fn histories(plants: Plants, count: usize) -> impl Iterator<Item = Result<usize, String>> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(move |_| run(&any_history().new_tree(&mut runner).expect("a history").current(), plants))
}

#[test]
fn the_histories_are_eventful() {
    let opened: usize = histories(Plants::default(), 50).map(|played| played.expect("all promises kept")).sum();
    assert!(opened > 50, "somebody began to act only {opened} times");
}

#[test]
fn each_rule_that_is_left_out_is_noticed() {
    for plants in [
        Plants { wait_skipped: true, ..Plants::default() },
        Plants { lease_from_answer: true, ..Plants::default() },
        Plants { geo_without_quorum: true, ..Plants::default() },
        Plants { promise_forgotten: true, ..Plants::default() },
        Plants { last_holders_only: true, ..Plants::default() },
        Plants { epoch_ignored: true, ..Plants::default() },
    ] {
        assert!(histories(plants, 3_000).any(|played| played.is_err()), "{plants:?}");
    }
}
