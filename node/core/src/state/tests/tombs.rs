//! Tombstones stand as long as somebody may bring a living copy, and no longer.

use super::*;
use crate::tombstones::CLOCK_SLACK_MS;

const HERE: RegionId = RegionId(0);
const THERE: RegionId = RegionId(1);
const DAY_MS: u64 = 24 * 60 * 60_000;

/// A shard of a world of two regions, with a foreign id that was destroyed at `T + 10`.
fn ended() -> State {
    let mut state = State::new(HERE, 3);
    run(&mut state, T, "any", Op::Assume { home: HERE, epoch: 4 });
    run(&mut state, T, "any", Op::Promise { home: THERE, epoch: 5, holders: [THERE].into() });
    run(&mut state, T, "s", set("v", Expiry::After { ms: 5_000 }));
    run(&mut state, T + 10, "s", Op::Destroy);
    state
}

fn stands(state: &mut State, stamp: u64) -> bool {
    run(state, stamp, "other", Op::Destroy);
    state.record(&key("s")).is_some()
}

#[test]
fn one_that_nobody_has_swept_stands_until_everybody_refuses_what_it_ended() {
    let mut state = ended();
    let deadline = state.record(&key("s")).expect("a tombstone").absolute_deadline;
    assert_eq!(deadline, T + 10 + rules().absolute_ms, "counted from the destroy");
    assert!(deadline > T + 300 * DAY_MS);
    assert!(stands(&mut state, deadline + CLOCK_SLACK_MS - 1));
    assert!(!stands(&mut state, deadline + CLOCK_SLACK_MS));
}

#[test]
fn one_that_is_known_everywhere_goes_when_nobody_asks_again() {
    for (epoch, through, known) in [(4, T + 10, true), (4, T + 9, false), (3, T + 10, false), (5, T + 10, false)] {
        let mut state = ended();
        run(&mut state, T + 20, "any", Op::Swept { home: HERE, epoch, through });
        assert!(stands(&mut state, T + 9 + rules().tombstone_ms));
        assert_eq!(stands(&mut state, T + 10 + rules().tombstone_ms), !known, "{epoch} {through}");
    }
    let mut state = ended();
    for (epoch, through) in [(4, T + 10), (4, T + 5), (3, T + 50)] {
        run(&mut state, T + 20, "any", Op::Swept { home: HERE, epoch, through });
    }
    assert!(!stands(&mut state, T + 10 + rules().tombstone_ms), "a sweep is not undone by an older one");
}

#[test]
fn a_region_that_others_act_for_keeps_what_is_not_swept() {
    let mut state = ended();
    let deadline = state.record(&key("s")).expect("a tombstone").absolute_deadline;
    run(&mut state, T + 20, "any", Op::Promise { home: HERE, epoch: 9, holders: [HERE].into() });
    let later = deadline + 10 * CLOCK_SLACK_MS;
    assert!(stands(&mut state, later));
    run(&mut state, later, "any", Op::Assume { home: HERE, epoch: 10 });
    assert!(!stands(&mut state, later));
}

#[test]
fn those_that_must_stay_keep_none_from_going() {
    let mut state = ended();
    let count = 10 * crate::state::COLLECTED_PER_APPLY_MAX;
    for number in 0..count {
        run(&mut state, T + 20, &format!("id{number}"), set("v", Expiry::Default));
        run(&mut state, T + 20, &format!("id{number}"), Op::Destroy);
    }
    run(&mut state, T + 21, "last", create(Expiry::After { ms: 5_000 }));
    let minted = crate::Rules { absolute_ms: 30_000, absolute_moves: false, tombstone_ms: 30_000, ..rules() };
    let command = |op| Command { request: Request::default(), key: key("short"), rules: minted, touched: None, op };
    state.apply(T + 22, command(create(Expiry::Default)), &mut Vec::new());
    state.apply(T + 23, command(Op::Destroy), &mut Vec::new());
    let later = T + 23 + rules().tombstone_ms + CLOCK_SLACK_MS;
    run(&mut state, later, "other", Op::Destroy);
    assert!(state.record(&key("short")).is_none(), "its deadline has passed");
    assert!(state.record(&key("id0")).is_some());
    let again = State::restore(
        state.meta(),
        state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect::<Vec<_>>(),
    );
    assert_eq!(again.index, state.index);
}
