//! How far a shard has followed others stands for the slots for which they spoke, on both sides of moves.

use super::{
    streams::{SOURCE, absorb, changes, copy, records_of},
    *,
};
use crate::{
    Slot, SlotSet, SlotTable,
    feed::{FeedBounds, FeedCursor, FeedId},
    ids::ShardId,
    slots::{Hold, SlotMove, SlotRefusal, SlotStep},
    stream::{Absorbed, Piece, Progress, Source, Span},
};

const HERE: RegionId = RegionId(1);

fn moved(number: u64) -> SlotMove {
    SlotMove { number, from: ShardId(0), to: ShardId(1) }
}

fn step(state: &mut State, slot: Slot, step: SlotStep) -> Outcome {
    run(state, T, "anywhere", Op::Slot { slot, step })
}

fn only(id: &str) -> SlotSet {
    SlotSet::of_slots([key(id).slot()])
}

/// A source with two sessions in different slots, and a shard that follows it.
fn followed() -> (State, State, Vec<Effect>) {
    let (mut source, mut follower) = (State::new(SOURCE.region, 1), State::new(HERE, 1));
    for id in ["goes", "stays"] {
        run(&mut source, T, id, set_op("1"));
    }
    copy(&source, &mut follower, T, 0, 9);
    let mut effects = Vec::new();
    for id in ["goes", "stays"] {
        let command =
            Command { request: Request::default(), key: key(id), rules: rules(), touched: None, op: set_op("2") };
        source.apply(T + 1, command, &mut effects);
    }
    (source, follower, effects)
}

fn set_op(value: &str) -> Op {
    let (expiry, condition) = (Expiry::Default, Condition::Always);
    Op::Set { value: value.as_bytes().into(), expiry, condition, get: false, owner: None }
}

/// A page of some slots, asked for at the cursor up to which the follower is.
fn page(source: &State, at: usize, slots: &SlotSet) -> Piece {
    let span = Span { after: None, until: None, slots: slots.clone() };
    let page = source.copy_page(&span, FeedBounds { entries_max: 9, bytes_max: u64::MAX });
    let records = page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
    let begin = FeedCursor { feed: FeedId(1), index: at as u64 };
    let (homes, elsewhere) = (page.homes, page.elsewhere);
    Piece::Page { asked: u64::MAX, begin, span, homes, replaces: false, records, elsewhere }
}

#[test]
fn a_slot_that_its_source_has_let_go_is_not_told_by_it_any_more() {
    let (source, mut follower, effects) = followed();
    assert_eq!(absorb(&mut follower, T, changes(0, 1, &effects[..1])), Outcome::Count(1));
    let all = SlotSet::of_shard(&SlotTable::even(1), ShardId(0));
    let left = all.without(&only("goes"));
    assert_eq!(absorb(&mut follower, T, Piece::Bounded { slots: left.clone() }), Outcome::Count(0));
    let progress = follower.progress(SOURCE);
    assert_eq!((progress.slots.clone(), progress.cursor.map(|cursor| cursor.index)), (left, Some(1)));
    assert_eq!(
        follower.lags_behind().map(|(region, _)| region).collect::<Vec<_>>(),
        [SOURCE.region],
        "nobody is known to speak for it"
    );
    assert_eq!(absorb(&mut follower, T, changes(1, 2, &effects[..1])), Outcome::Nothing, "of a slot that was let go");
    assert_eq!(absorb(&mut follower, T, changes(1, 2, &effects[1..])), Outcome::Count(1));
    // Who speaks for it by now is followed elsewhere; here it is the same shard once more.
    assert_eq!(absorb(&mut follower, T, page(&source, 2, &only("goes"))), Outcome::Count(0));
    assert_eq!(follower.progress(SOURCE).slots, all);
    assert_eq!(follower.lags_behind().next(), None);
    assert_eq!(records_of(&follower, SOURCE.region), records_of(&source, SOURCE.region));
}

#[test]
fn a_slot_that_its_source_let_go_and_took_in_again_is_copied_anew() {
    let (source, mut follower, effects) = followed();
    let Piece::Changes { after, next, records, .. } = changes(0, 2, &effects) else { panic!("changes") };
    let piece = Piece::Changes { after, next, records, turned: only("goes") };
    assert_eq!(absorb(&mut follower, T, piece), Outcome::Count(2), "what came before that is taken in");
    assert!(!follower.progress(SOURCE).slots.contains(key("goes").slot()));
    assert_eq!(follower.lags_behind().map(|(region, _)| region).collect::<Vec<_>>(), [SOURCE.region]);
    assert!(matches!(absorb(&mut follower, T, page(&source, 2, &only("goes"))), Outcome::Count(0)));
    assert!(follower.progress(SOURCE).slots.contains(key("goes").slot()));
    assert_eq!(follower.lags_behind().next(), None);
}

#[test]
fn a_slot_that_was_copied_from_who_took_it_in_lacks_nothing_when_who_let_it_go_says_so_later() {
    let (source, mut follower, effects) = followed();
    // Both shards of the source's region are one state here: what the new one says of the slot is what the old one said.
    let other = Source { shard: ShardId(9), ..SOURCE };
    let from_other = |follower: &mut State, piece: Piece| {
        let believed = [(SOURCE.region, 1)].into();
        let absorbed = Box::new(Absorbed { source: other, as_of: T, believed, piece });
        run(follower, T, "absorb", Op::Absorb { absorbed })
    };
    assert!(matches!(from_other(&mut follower, page(&source, 0, &only("goes"))), Outcome::Count(_)));
    let Piece::Changes { after, next, records, .. } = changes(0, 2, &effects) else { panic!("changes") };
    let piece = Piece::Changes { after, next, records, turned: only("goes") };
    assert!(matches!(absorb(&mut follower, T, piece), Outcome::Count(_)));
    assert_eq!(follower.lags_behind().next(), None);
    assert_eq!(follower.progress(other).slots, only("goes"));
}

#[test]
fn a_copy_that_skips_what_a_source_told_last_of_a_slot_leaves_the_region_behind() {
    let (source, mut follower, _) = followed();
    let anew = page(&source, 2, &only("stays"));
    assert!(matches!(absorb(&mut follower, T, anew), Outcome::Count(_)));
    assert_eq!(follower.progress(SOURCE).slots, only("stays"));
    assert_eq!(follower.lags_behind().map(|(region, _)| region).collect::<Vec<_>>(), [SOURCE.region]);
}

#[test]
fn what_another_region_told_before_a_slot_came_is_not_counted_on_until_it_was_copied() {
    let (source, mut follower, effects) = followed();
    let slot = key("goes").slot();
    // To another shard, and back from there with what it was.
    assert_eq!(step(&mut follower, slot, SlotStep::Leave(moved(1))), Outcome::Done);
    assert_eq!(step(&mut follower, slot, SlotStep::Freeze { number: 1 }), Outcome::Done);
    let all = SlotSet::of_shard(&SlotTable::even(1), ShardId(0));
    assert_eq!(follower.progress(SOURCE).slots, all.without(&only("goes")));
    assert_eq!(follower.served(&SlotTable::even(1), ShardId(0)), all.without(&only("goes")));
    assert_eq!(absorb(&mut follower, T, changes(0, 1, &effects[..1])), Outcome::Nothing, "it is told where it goes");
    assert_eq!(absorb(&mut follower, T, page(&source, 0, &only("goes"))), Outcome::Nothing);
    let Piece::Changes { after, next, records, .. } = changes(0, 2, &effects[1..]) else { panic!("changes") };
    let piece = Piece::Changes { after, next, records, turned: only("goes") };
    assert_eq!(absorb(&mut follower, T + 5, piece), Outcome::Count(1));
    assert_eq!(follower.lags_behind().next(), None, "it is no business of this shard's any more");
    assert_eq!(step(&mut follower, slot, SlotStep::Thaw { number: 1 }), Outcome::Done);

    assert_eq!(follower.served(&SlotTable::even(1), ShardId(0)), all);
    assert_eq!(
        follower.lags_behind().map(|(region, _)| region).collect::<Vec<_>>(),
        [SOURCE.region],
        "it lacks what was told meanwhile"
    );
    let held = |follower: &mut State| {
        let holders = [SOURCE.region].into();
        run(follower, T, "anywhere", Op::Promise { home: SOURCE.region, epoch: 9, holders });
        follower.rights()[&SOURCE.region].missing_since
    };
    let mut early =
        State::restore(follower.meta(), follower.records(None).map(|(key, record)| (key.clone(), (**record).clone())));
    assert_eq!(held(&mut early), Some(T), "what is known to be here is what was when it was frozen");
    assert_eq!(absorb(&mut follower, T + 5, page(&source, 2, &only("goes"))), Outcome::Count(1));
    assert_eq!(follower.lags_behind().next(), None);
    assert_eq!(records_of(&follower, SOURCE.region), records_of(&source, SOURCE.region));
    assert_eq!(held(&mut follower), Some(T + 5));
}

#[test]
fn a_slot_moves_only_under_the_same_promises_and_while_nothing_is_missing() {
    let slot = key("goes").slot();
    let shards = || {
        let (_, from, _) = followed();
        let (_, mut to, _) = followed();
        // It serves other slots.
        to.slots.holds.insert(slot, Hold::Away { settled: 0 });
        to.records.retain(|key, _| key.slot() != slot);
        (from, to)
    };
    let promise = |state: &mut State, home: RegionId, epoch: u32| {
        run(state, T, "anywhere", Op::Promise { home, epoch, holders: [home].into() })
    };
    let (mut from, _) = shards();
    step(&mut from, slot, SlotStep::Leave(moved(1)));
    assert_eq!(promise(&mut from, SOURCE.region, 9), Outcome::Done);
    let unsettled = Outcome::Refused(Refusal::Slot(SlotRefusal::Unsettled));
    assert_eq!(step(&mut from, slot, SlotStep::Freeze { number: 1 }), unsettled, "something may be missing");
    run(&mut from, T, "anywhere", Op::CaughtUp { home: SOURCE.region, epoch: 9 });
    assert_eq!(step(&mut from, slot, SlotStep::Freeze { number: 1 }), Outcome::Done);
    let waits = Outcome::Refused(Refusal::SlotMoved { to: None });
    assert_eq!(promise(&mut from, SOURCE.region, 10), waits, "until it is certain where the slot is");
    step(&mut from, slot, SlotStep::Thaw { number: 1 });
    assert_eq!(promise(&mut from, HERE, 10), Outcome::Done);
    step(&mut from, slot, SlotStep::Leave(moved(2)));
    assert_eq!(step(&mut from, slot, SlotStep::Freeze { number: 2 }), unsettled, "it does not act for its region");

    let (mut from, mut to) = shards();
    step(&mut from, slot, SlotStep::Leave(moved(1)));
    step(&mut to, slot, SlotStep::Arrive(moved(1)));
    step(&mut from, slot, SlotStep::Freeze { number: 1 });
    let Hold::Frozen { contents, .. } = from.holds()[&slot] else { panic!("frozen") };
    let differ = Outcome::Refused(Refusal::Slot(SlotRefusal::RightsDiffer));
    assert_eq!(promise(&mut to, SOURCE.region, 9), Outcome::Done);
    let adopt = SlotStep::Adopt { number: 1, contents };
    assert_eq!(step(&mut to, slot, adopt), differ);
    assert_eq!(step(&mut to, slot, SlotStep::Abandon { number: 1 }), Outcome::Done);
    assert_eq!(step(&mut from, slot, SlotStep::Thaw { number: 1 }), Outcome::Done);
    assert!(from.serves(slot) && !to.serves(slot));
}

#[test]
fn sources_that_share_no_slots_any_more_hold_nothing_up() {
    let (_, mut follower, effects) = followed();
    let other = Source { shard: ShardId(9), ..SOURCE };
    assert!(matches!(absorb(&mut follower, T, changes(0, 2, &effects)), Outcome::Count(_)));
    let held = follower.progress(SOURCE).held;
    let idle = Progress { cursor: Some(FeedCursor::default()), ..Default::default() };
    follower.followed.insert(other, idle);
    run(&mut follower, T, "anywhere", Op::Promise { home: SOURCE.region, epoch: 9, holders: [SOURCE.region].into() });
    assert_eq!(follower.rights()[&SOURCE.region].missing_since, Some(held));
}
