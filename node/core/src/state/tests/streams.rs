//! A region that follows another has what that one orders, and leaves it to order it.

use super::*;
use crate::{
    Record, ShardId,
    feed::{FeedBounds, FeedCursor, FeedId},
    state::{Believed, Conflict},
    stream::{Absorbed, Piece, Source, Span},
};

pub(super) const SOURCE: Source = Source { region: RegionId(0), shard: ShardId(3) };

fn cursor(index: usize) -> FeedCursor {
    FeedCursor { feed: FeedId(1), index: index as u64 }
}

pub(super) fn absorb(state: &mut State, stamp: u64, piece: Piece) -> Outcome {
    let believed = Believed::from([(SOURCE.region, 1)]);
    let absorbed = Box::new(Absorbed { source: SOURCE, as_of: stamp, believed, piece });
    run(state, stamp, "absorb", Op::Absorb { absorbed })
}

pub(super) fn changes(after: usize, next: usize, effects: &[Effect]) -> Piece {
    let records = effects.iter().map(|effect| (effect.key.clone(), (*effect.record).clone())).collect();
    Piece::Changes { after: cursor(after), next: cursor(next), records, turned: crate::SlotSet::default() }
}

/// Takes a whole copy in pages of `count` records, as a follower does.
pub(super) fn copy(from: &State, to: &mut State, stamp: u64, begin: usize, count: usize) {
    let mut after = None;
    loop {
        let until = to.copy_reach(&Span::all_after(after.clone()), count);
        let span = Span { until, ..Span::all_after(after.clone()) };
        let page = from.copy_page(&span, FeedBounds { entries_max: count, bytes_max: u64::MAX });
        let records = page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
        let span = Span { until: page.until.clone(), ..span };
        let (begin, homes, elsewhere) = (cursor(begin), page.homes, page.elsewhere);
        let piece = Piece::Page { asked: u64::MAX, begin, span, homes, replaces: false, records, elsewhere };
        assert!(matches!(absorb(to, stamp, piece), Outcome::Count(_)));
        after = page.until;
        if after.is_none() {
            return;
        }
    }
}

pub(super) fn records_of(state: &State, home: RegionId) -> BTreeMap<Key, Record> {
    let theirs = state.records(None).filter(|(_, record)| record.home == home);
    theirs.map(|(key, record)| (key.clone(), (**record).clone())).collect()
}

proptest! {
    #[test]
    fn a_follower_has_what_its_source_has(
        history in any_history(),
        begun in 0_usize..40,
        batch in 1_usize..9,
        count in 1_usize..5,
    ) {
        let (mut source, mut follower) = (State::new(RegionId(0), 1), State::new(RegionId(1), 1));
        let mut effects: Vec<Effect> = Vec::new();
        let begun = begun.min(history.len());
        let apply = |source: &mut State, effects: &mut Vec<Effect>, (stamp, command): &(u64, Command)| {
            source.apply(*stamp, command.clone(), effects);
        };
        history[..begun].iter().for_each(|step| apply(&mut source, &mut effects, step));
        let begin = effects.len();
        copy(&source, &mut follower, T, begin, count);
        history[begun..].iter().for_each(|step| apply(&mut source, &mut effects, step));
        let mut told = begin;
        for some in effects[begin..].chunks(batch) {
            let piece = changes(told, told + some.len(), some);
            prop_assert!(matches!(absorb(&mut follower, T, piece.clone()), Outcome::Count(_)));
            // What comes twice changes nothing.
            prop_assert_eq!(absorb(&mut follower, T, piece), Outcome::Nothing);
            told += some.len();
        }
        prop_assert_eq!(records_of(&follower, RegionId(0)), records_of(&source, RegionId(0)));
        prop_assert_eq!(follower.progress(SOURCE).cursor, Some(cursor(told)));
        // Another copy of the same, over all that is there already.
        copy(&source, &mut follower, T, told, count);
        prop_assert_eq!(records_of(&follower, RegionId(0)), records_of(&source, RegionId(0)));
        let again = State::restore(follower.meta(), records_of(&follower, RegionId(0)));
        prop_assert_eq!(&follower.index, &again.index);
    }
}

#[test]
fn what_another_region_orders_is_written_there_and_ends_there() {
    let (mut source, mut effects) = (State::new(RegionId(0), 1), Vec::new());
    let created = Command {
        request: Request::default(),
        key: key("s"),
        rules: rules(),
        touched: None,
        op: create(Expiry::After { ms: 100 }),
    };
    source.apply(T, created, &mut effects);
    let mut follower = State::new(RegionId(1), 1);
    copy(&source, &mut follower, T, 1, 10);
    let elsewhere = Outcome::Refused(Refusal::Elsewhere { home: RegionId(0) });
    for op in [patch("b", "2"), Op::Touch, Op::Destroy, set("v", Expiry::Default), create(Expiry::Default)] {
        assert_eq!(run(&mut follower, T + 1, "s", op), elsewhere);
    }
    assert_eq!(run(&mut follower, T + 1, "other", set("v", Expiry::Default)), Outcome::Done);
    assert!(get(&follower, T + 99, "s").is_some() && get(&follower, T + 100, "s").is_none());
    assert!(follower.due(T + 500, 10).is_empty(), "its home ends it");
    assert_eq!(source.due(T + 500, 10).len(), 1);
    // As long as the tombstone stands, the home decides.
    run(&mut source, T + 500, "s", Op::Destroy);
    copy(&source, &mut follower, T + 500, 2, 10);
    assert_eq!(run(&mut follower, T + 501, "s", set("v", Expiry::Default)), elsewhere);
    // Collected at home, it is forgotten with the next copy.
    run(&mut source, T + 501 + rules().tombstone_ms, "other", Op::Destroy);
    copy(&source, &mut follower, T + 600, 3, 10);
    assert_eq!(run(&mut follower, T + 601, "s", set("v", Expiry::Default)), Outcome::Done);
}

#[test]
fn of_two_regions_that_create_one_id_both_keep_the_same_one() {
    let (mut na, mut eu) = (State::new(RegionId(0), 1), State::new(RegionId(1), 1));
    run(&mut na, T, "s", set("na", Expiry::Default));
    run(&mut eu, T + 5, "s", set("eu", Expiry::Default));
    let page = |of: &State| Piece::Page {
        asked: u64::MAX,
        begin: cursor(1),
        span: Span::all_after(None),
        homes: of.acts(),
        replaces: false,
        records: records_of(of, of.region()).into_iter().collect(),
        elsewhere: Vec::new(),
    };
    let lost_again = page(&na);
    absorb(&mut eu, T + 9, page(&na));
    assert_eq!(value(&eu, T + 9, "s").as_deref(), Some("eu"), "the later one");
    let source = Source { region: RegionId(1), ..SOURCE };
    let absorbed = Box::new(Absorbed { source, as_of: T, believed: eu.acts(), piece: page(&eu) });
    run(&mut na, T + 9, "absorb", Op::Absorb { absorbed });
    assert_eq!(value(&na, T + 9, "s").as_deref(), Some("eu"));
    assert_eq!(run(&mut na, T + 10, "s", Op::Destroy), Outcome::Refused(Refusal::Elsewhere { home: RegionId(1) }));
    // Who orders the one that is left notes the other, once, and tells it.
    assert_eq!((eu.conflicts(None, 9).len(), na.conflicts(None, 9)), (1, eu.conflicts(None, 9)));
    let (_, entry) = eu.conflicts(None, 9).remove(0);
    let crate::Body::Hot(fields) = &eu.record(&entry).expect("listed").body else { panic!("it is cold") };
    let conflict = Conflict::from_fields(fields).expect("an entry");
    assert_eq!((conflict.key, conflict.home, conflict.epoch), (key("s"), RegionId(0), 0));
    let lost = conflict.mine.fields.expect("they are nowhere else");
    assert_eq!((lost.get(b""), conflict.theirs.and_then(|theirs| theirs.fields)), (Some(&b"na"[..]), None));
    absorb(&mut eu, T + 11, lost_again);
    assert_eq!(eu.conflicts(None, 9).len(), 1);
}

#[test]
fn nothing_comes_back_after_its_tombstone_could_be_gone() {
    let mut source = State::new(RegionId(0), 1);
    run(&mut source, T, "s", create(Expiry::Default));
    let absolute_deadline = source.record(&key("s")).expect("created").absolute_deadline;
    let mut follower = State::new(RegionId(1), 1);
    copy(&source, &mut follower, absolute_deadline, 1, 10);
    assert_eq!(follower.record_count(), 0);
}
