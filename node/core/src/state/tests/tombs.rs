//! Tombstones stand as long as somebody may bring a living copy, and no longer.

use super::*;
use crate::{
    ShardId,
    feed::{FeedCursor, FeedId},
    stream::{Absorbed, Piece, Source, Span},
    tombstones::{CLOCK_SLACK_MS, Swept},
};

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

fn swept(epoch: u32, through: u64) -> Op {
    Op::Swept { known: Swept { epoch, through } }
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
    for (epoch, through, known) in [(4, T + 10, true), (4, T + 9, false), (3, T + 10, false), (5, T + 10, true)] {
        let mut state = ended();
        run(&mut state, T + 20, "any", swept(epoch, through));
        assert!(stands(&mut state, T + 9 + rules().tombstone_ms));
        assert_eq!(stands(&mut state, T + 10 + rules().tombstone_ms), !known, "{epoch} {through}");
    }
    let mut state = ended();
    for (epoch, through) in [(4, T + 10), (4, T + 5), (3, T + 50)] {
        run(&mut state, T + 20, "any", swept(epoch, through));
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

#[test]
fn a_shard_says_what_is_to_be_done_about_its_tombstones() {
    let mut state = ended();
    let due = T + 10 + rules().tombstone_ms;
    let tombs = |waiting, collectable, swept| crate::state::Tombs { count: 1, swept, waiting, collectable };
    assert_eq!(state.tombs(due - 1), tombs(None, 0, Swept::default()), "nobody has to find out before it is due");
    assert_eq!(state.tombs(due), tombs(Some(T + 10), 0, Swept::default()));
    run(&mut state, T + 20, "any", swept(4, T + 10));
    assert_eq!(state.tombs(due), tombs(None, 1, Swept { epoch: 4, through: T + 10 }));
    run(&mut state, due, "any", swept(4, T + 10));
    assert_eq!(state.tombs(due).count, 0, "any entry collects");
}

const SOURCE: Source = Source { region: THERE, shard: ShardId(0) };

/// Has `state` take in a piece from the other region.
fn take_in(state: &mut State, stamp: u64, piece: Piece) -> Outcome {
    let believed = BTreeMap::from([(THERE, 5)]);
    run(
        state,
        stamp,
        "any",
        Op::Absorb { absorbed: Box::new(Absorbed { source: SOURCE, as_of: stamp, believed, piece }) },
    )
}

/// The whole copy that was begun at `begin`, without anything.
fn page(asked: u64, begin: u64) -> Piece {
    let (span, homes) = (Span::all_after(None), BTreeMap::from([(THERE, 5)]));
    let begin = FeedCursor { feed: FeedId(1), index: begin };
    Piece::Page { asked, begin, span, homes, replaces: false, records: Vec::new(), elsewhere: Vec::new() }
}

#[test]
fn what_was_asked_for_before_a_sweep_ended_is_not_taken_in_after_it() {
    let mut state = ended();
    let held = |asked| Piece::Held { asked, home: THERE, epoch: 5, records: Vec::new() };
    assert_eq!(take_in(&mut state, T + 20, page(T + 15, 7)), Outcome::Count(0));
    run(&mut state, T + 30, "any", swept(4, T + 10));
    for late in [page(T + 29, 7), held(T + 29)] {
        assert_eq!(take_in(&mut state, T + 40, late), Outcome::Nothing);
    }
    for asked in [page(T + 30, 7), held(T + 30)] {
        assert_eq!(take_in(&mut state, T + 40, asked), Outcome::Count(0));
    }
    run(&mut state, T + 50, "any", swept(4, T + 9));
    assert_eq!(take_in(&mut state, T + 60, page(T + 40, 7)), Outcome::Count(0), "nothing more was forgotten");
    let again = State::restore(state.meta(), Vec::new());
    assert_eq!((again.swept, again.swept_at), (Swept { epoch: 4, through: T + 10 }, T + 30));
}

#[test]
fn a_copy_that_is_late_does_not_turn_the_cursor_back() {
    let mut state = ended();
    assert_eq!(take_in(&mut state, T + 20, page(T + 15, 7)), Outcome::Count(0));
    assert_eq!(take_in(&mut state, T + 21, page(T + 20, 6)), Outcome::Nothing);
    assert_eq!(state.progress(SOURCE).cursor.map(|cursor| cursor.index), Some(7));
}
