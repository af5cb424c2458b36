//! What `apply` tells of its changes is enough for another copy, in whatever order and how often it comes.

use super::*;
use crate::{Record, merge::merge};

/// One step of a small generator, so that a seed gives an order.
fn next(random: &mut u64) -> usize {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) as usize
}

/// The copy of one that merges these changes in an order drawn from `seed`, some of them twice.
fn copy_of(effects: &[Effect], seed: u64) -> BTreeMap<Key, Record> {
    let mut random = seed;
    let mut left: Vec<&Effect> = effects.iter().collect();
    let again: Vec<&Effect> = left.iter().copied().filter(|_| next(&mut random).is_multiple_of(3)).collect();
    left.extend(again);
    let mut copy: BTreeMap<Key, Record> = BTreeMap::new();
    while !left.is_empty() {
        let Effect { key, record, .. } = left.swap_remove(next(&mut random) % left.len());
        let merged = copy.get(key).map_or_else(|| (**record).clone(), |known| merge(known, record).record);
        copy.insert(key.clone(), merged);
    }
    copy
}

proptest! {
    #[test]
    fn copies_that_saw_the_same_changes_agree_with_the_original(history in any_history(), seed in any::<u64>()) {
        let (state, _, effects) = replay(&history);
        let original: BTreeMap<Key, Record> =
            state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect();
        prop_assert_eq!(copy_of(&effects, seed), original);
    }
}

#[test]
fn an_end_that_outran_the_clock_is_remembered_until_the_clock_is_past_it() {
    let mut state = State::new(RegionId(0), 1);
    // Many lives within one stamp push the incarnation ahead of the clock.
    for _ in 0..1_000 {
        run(&mut state, T, "s", set("v", Expiry::Default));
        run(&mut state, T, "s", Op::Destroy);
    }
    let tombstone = state.record(&key("s")).expect("a tombstone");
    let Life::Dead { collect_at, .. } = tombstone.life else { panic!("it lives") };
    assert!(collect_at > tombstone.incarnation.stamp);
    assert!(tombstone.incarnation.stamp > T + 900);
}
