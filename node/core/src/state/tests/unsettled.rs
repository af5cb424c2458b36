//! What a region wrote that others have not heard of: it gives way to nothing before it is settled, and is settled once.

use super::{
    rights::{ALL, AP, EU, NA, changes, copy, does, fenced, held, parted, parted_acting, promise, records, tell},
    *,
};
use crate::{Record, orphans::Orphaned, state::Believed, stream::Span, tombstones::Return};
use std::collections::BTreeSet;

#[test]
fn what_is_to_be_settled_yet_gives_way_to_nobody_to_whom_others_have_given_the_session() {
    let (mut na, mut eu, mut ap, _) = parted();
    run(&mut eu, T + 5, "any", Op::Assume { home: NA, epoch: 5 });
    let told = does(&mut eu, T + 6, "s", Op::Release { to: AP });
    copy(&State::new(EU, 2), &mut ap, false);
    assert_eq!(tell(&mut ap, EU, eu.acts(), changes(0, &told)), Outcome::Count(1));
    let written = does(&mut ap, T + 7, "s", set("ap", Expiry::Default));
    copy(&State::new(AP, 3), &mut na, false);
    let mine = records(&na);
    for promised in [1, 5] {
        assert_eq!(tell(&mut na, AP, ap.acts(), changes(0, &written)), fenced(NA, promised), "nothing is settled");
        assert_eq!(records(&na), mine);
        run(&mut na, T + 8, "any", promise(NA, 5));
    }
    assert_eq!(tell(&mut na, EU, Believed::new(), held(&eu, NA, 5, T + 6)), Outcome::Count(1), "it is settled");
    assert_eq!(tell(&mut na, AP, ap.acts(), changes(0, &written)), Outcome::Count(1));
    assert_eq!(value(&na, T + 9, "s"), Some("ap".to_owned()));
}

#[test]
fn what_is_to_be_settled_yet_gives_way_to_no_other_session_under_its_id() {
    for ends in [false, true] {
        let (mut na, mut eu, ..) = parted();
        run(&mut eu, T + 5, "any", Op::Assume { home: NA, epoch: 5 });
        does(&mut eu, T + 6, "s", Op::Destroy);
        let another = does(&mut eu, T + 7, "s", set("another", Expiry::Default));
        assert_eq!(another[0].record.home, EU);
        does(&mut na, T + 6, "s", if ends { Op::Destroy } else { set("alone", Expiry::Default) });
        run(&mut na, T + 8, "any", promise(NA, 5));
        let mine = records(&na);
        copy(&State::new(EU, 2), &mut na, false);
        // A region believes nobody about its home before it has settled what it wrote.
        assert_eq!(tell(&mut na, EU, Believed::from([(EU, 2)]), changes(0, &another)), fenced(NA, 5));
        assert_eq!(records(&na), mine, "it is there to be settled");
        assert_eq!(tell(&mut na, EU, eu.acts(), changes(0, &another)), Outcome::Count(1), "it is settled");
        assert_eq!(value(&na, T + 9, "s"), Some("another".to_owned()));
    }
}

/// The second region wrote for the first one's home and was lost; the third one, which acts next and has not heard of that, lets the
/// session go by `end` and has another under its id.
fn outlived(end: Op) -> (State, State, Vec<Effect>) {
    let (_, mut eu, mut ap, _) = parted_acting();
    does(&mut eu, T + 4, "s", set("alone", Expiry::Default));
    run(&mut ap, T + 5, "any", promise(NA, 7));
    run(&mut ap, T + 5, "any", Op::Assume { home: NA, epoch: 7 });
    does(&mut ap, T + 6, "s", end);
    let another = does(&mut ap, T + 7, "s", set("another", Expiry::Default));
    assert_eq!(another[0].record.home, AP);
    run(&mut eu, T + 8, "any", Op::Promise { home: NA, epoch: 7, holders: BTreeSet::new() });
    copy(&State::new(AP, 3), &mut eu, false);
    (eu, ap, another)
}

#[test]
fn what_was_written_for_another_home_gives_way_to_no_other_session_before_it_is_settled() {
    for end in [Op::Destroy, Op::Release { to: AP }] {
        let (mut eu, ap, another) = outlived(end);
        let mine = records(&eu);
        assert_eq!(tell(&mut eu, AP, Believed::from([(AP, 3)]), changes(0, &another)), fenced(NA, 7));
        assert_eq!(records(&eu), mine, "it is there to be settled");
        assert_eq!(tell(&mut eu, AP, ap.acts(), changes(0, &another)), Outcome::Count(1), "it is settled");
        assert_eq!(value(&eu, T + 9, "s"), Some("another".to_owned()));
    }
}

#[test]
fn what_nobody_has_to_settle_any_more_gives_way_although_it_may_have_been_written_here() {
    let (mut eu, _, another) = outlived(Op::Destroy);
    run(&mut eu, T + 8, "any", Op::CaughtUp { home: NA, epoch: 7 });
    assert_eq!(tell(&mut eu, AP, Believed::from([(AP, 3)]), changes(0, &another)), Outcome::Count(1));
}

#[test]
fn who_has_not_heard_that_others_act_is_not_told_by_a_third_one_what_they_wrote() {
    let (mut na, mut eu, mut ap, _) = parted();
    does(&mut na, T + 4, "s", set("alone", Expiry::Default));
    run(&mut eu, T + 5, "any", Op::Assume { home: NA, epoch: 5 });
    // Once the third one has told of the session: what it tells of is as it has it when it does.
    let told = does(&mut eu, T + 6, "s", set("eu", Expiry::Default));
    assert_eq!(tell(&mut ap, EU, Believed::new(), held(&eu, NA, 5, T + 6)), Outcome::Count(1));
    copy(&State::new(AP, 3), &mut na, false);
    let mine = records(&na);
    assert_eq!(tell(&mut na, AP, ap.acts(), changes(0, &told)), fenced(NA, 1));
    assert_eq!(records(&na), mine, "it is there to be settled");
    // What it has written itself, and hears of again, changes nothing.
    let own = does(&mut na, T + 7, "s", set("again", Expiry::Default));
    assert_eq!(tell(&mut na, AP, ap.acts(), changes(0, &own)), Outcome::Count(0));
}

#[test]
fn what_a_region_wrote_is_settled_once_somebody_acts_however_often_it_asked_before() {
    let (mut na, mut eu, ..) = parted();
    does(&mut na, T + 6, "s", set("alone", Expiry::Default));
    let orphan = Orphaned { key: key("s"), mine: (**na.record(&key("s")).expect("it lives")).clone(), base: None };
    let mut settle = |stamp| {
        let request = Request { origin: 9, sequence: 1, settled: 0 };
        let op = Op::Settle { by: NA, home: NA, epoch: 2, how: Return::Merge, orphans: vec![orphan.clone()] };
        let command = Command { request, key: key("s"), rules: rules(), touched: None, op };
        let outcome = eu.apply(stamp, command, &mut Vec::new());
        run(&mut eu, stamp, "any", Op::Assume { home: NA, epoch: 5 });
        outcome
    };
    assert_eq!(settle(T + 7), fenced(NA, 5), "nobody acts yet");
    let settled = settle(T + 8);
    assert!(matches!(settled, Outcome::Settled(tally) if tally.total() == 1), "{settled:?}");
    assert_eq!(settle(T + 9), settled, "and counted once");
}

#[test]
fn a_session_that_was_taken_in_beyond_the_cut_is_settled_by_the_heir() {
    for heir_writes in [false, true] {
        let [mut na, mut eu, mut ap] = [NA, EU, AP].map(|region| State::new(region, 1 + u32::from(region.0)));
        run(&mut na, T, "s", set("old", Expiry::Default));
        copy(&na, &mut eu, false);
        copy(&na, &mut ap, false);
        let told = does(&mut na, T + 5, "s", Op::Release { to: AP });
        assert_eq!(tell(&mut ap, NA, na.acts(), changes(0, &told)), Outcome::Count(1));
        let written = does(&mut ap, T + 6, "s", set("ap", Expiry::Default));
        assert_eq!(written[0].record.home, AP);
        // Nobody who answered had heard of it.
        run(&mut eu, T + 9, "any", promise(NA, 5));
        run(&mut eu, T + 9, "any", Op::Assume { home: NA, epoch: 5 });
        if heir_writes {
            does(&mut eu, T + 10, "s", set("eu", Expiry::Default));
        }
        run(&mut ap, T + 9, "any", promise(NA, 5));
        let held = ap.held_page(NA, T + 5, &Span::all_after(None), ALL).records;
        let orphan =
            |(key, record): (Key, std::sync::Arc<Record>)| Orphaned { key, mine: (*record).clone(), base: None };
        let orphans: Vec<Orphaned> = held.into_iter().map(orphan).collect();
        assert_eq!(orphans.len(), 1);
        let settle = Op::Settle { by: NA, home: NA, epoch: 5, how: Return::Merge, orphans };
        let mut effects = Vec::new();
        let command = Command { request: Request::default(), key: key("s"), rules: rules(), touched: None, op: settle };
        let Outcome::Settled(tally) = eu.apply(T + 11, command, &mut effects) else { panic!("it acts") };
        assert_eq!((tally.fast_forwarded, tally.journaled), if heir_writes { (0, 1) } else { (1, 0) });
        copy(&State::new(EU, 2), &mut ap, false);
        if heir_writes {
            copy(&eu, &mut ap, false);
        } else {
            assert!(effects.iter().all(|effect| effect.told));
            assert_eq!(tell(&mut ap, EU, eu.acts(), changes(0, &effects)), Outcome::Count(0), "it has it");
        }
        let orders = |state: &State| state.orders(state.record(&key("s")).expect("it lives"));
        assert_eq!((orders(&eu), orders(&ap)), (heir_writes, !heir_writes));
        let last = if heir_writes { "eu" } else { "ap" };
        assert_eq!([&eu, &ap].map(|state| value(state, T + 12, "s")), [Some(last.to_owned()), Some(last.to_owned())]);
    }
}
