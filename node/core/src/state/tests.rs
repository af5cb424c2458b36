//! The laws of `apply`, over tables and random histories.

mod answers;
mod digests;
mod engine;
mod followed;
mod leaving;
mod merging;
mod moves;
mod rights;
mod slots;
mod streams;
mod tombs;
mod travels;
mod unsettled;
mod walks;

use super::{Effect, State};
use crate::{
    Answer, Command, Condition, Expiry, Fields, Key, Kind, NamespaceId, Op, Outcome, Owner, Projection, Query, Refusal,
    RegionId, Request, Rules,
    command::{ExpireCondition, ScoreRules},
    ids::NEVER,
    policy::Policy,
    session::Life,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NAMESPACE: NamespaceId = NamespaceId(0);
const T: u64 = 1_000_000;

fn rules() -> Rules {
    Policy::default().rules(false)
}

fn key(id: &str) -> Key {
    Key::new(NAMESPACE, id.as_bytes()).expect("a good id")
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn run(state: &mut State, stamp: u64, id: &str, op: Op) -> Outcome {
    let command = Command { request: Request::default(), key: key(id), rules: rules(), touched: None, op };
    state.apply(stamp, command, &mut Vec::new())
}

fn set(value: &str, expiry: Expiry) -> Op {
    Op::Set { value: bytes(value), expiry, condition: Condition::Always, get: false, owner: None }
}

fn create(expiry: Expiry) -> Op {
    let fields = Fields::from_pairs([(bytes("a"), bytes("1"))]);
    Op::Create { kind: Kind::Hash, fields, expiry, absolute_deadline: None, owner: None }
}

fn patch(name: &str, value: &str) -> Op {
    let set = Fields::from_pairs([(bytes(name), bytes(value))]);
    Op::Patch { set, remove: Vec::new(), if_version: None, expiry: Expiry::Keep, owner: None }
}

fn get(state: &State, now: u64, id: &str) -> Option<crate::View> {
    let query = Query::Get { key: key(id), projection: Projection::Whole };
    match state.query(now, &|_, _| None, &query).0 {
        Answer::Record(view) => view.map(|view| *view),
        other => panic!("{other:?}"),
    }
}

fn value(state: &State, now: u64, id: &str) -> Option<String> {
    get(state, now, id).map(|view| String::from_utf8_lossy(view.fields.get(b"").unwrap_or_default()).into_owned())
}

#[test]
fn an_update_never_creates_and_a_touch_never_revives() {
    let mut state = State::new(RegionId(0), 1);
    assert_eq!(run(&mut state, T, "s", patch("a", "2")), Outcome::Refused(Refusal::Gone));
    assert!(matches!(run(&mut state, T, "s", create(Expiry::After { ms: 1000 })), Outcome::Written { .. }));
    assert_eq!(run(&mut state, T + 1, "s", Op::Destroy), Outcome::Count(1));
    for op in [
        patch("a", "2"),
        Op::Touch,
        Op::Put { fields: Fields::new(), if_version: None, expiry: Expiry::Keep, owner: None },
    ] {
        assert_eq!(run(&mut state, T + 2, "s", op), Outcome::Refused(Refusal::Gone));
    }
    assert!(matches!(run(&mut state, T, "e", create(Expiry::After { ms: 1000 })), Outcome::Written { .. }));
    assert_eq!(run(&mut state, T + 1002, "e", Op::Touch), Outcome::Refused(Refusal::Gone));
    assert!(matches!(state.record(&key("e")).expect("a tombstone").life, Life::Dead { expired: true, .. }));
}

#[test]
fn a_touch_moves_the_idle_deadline_on_and_never_past_the_absolute_one() {
    let mut state = State::new(RegionId(0), 1);
    let rules = Rules { absolute_moves: false, absolute_ms: 1500, ..rules() };
    let mut with = |stamp, op| {
        let command = Command { request: Request::default(), key: key("s"), rules, touched: None, op };
        state.apply(stamp, command, &mut Vec::new())
    };
    let Outcome::Written { incarnation, version, deadline } = with(T, create(Expiry::After { ms: 1000 })) else {
        panic!("created")
    };
    assert_eq!(deadline, T + 1000);
    let touched = with(T + 400, Op::Touch);
    assert_eq!(touched, Outcome::Written { incarnation, version, deadline: T + 1400 }, "the version is the body's");
    assert_eq!(with(T + 900, Op::Touch), Outcome::Written { incarnation, version, deadline: T + 1500 });
    assert_eq!(with(T + 1500, Op::Touch), Outcome::Refused(Refusal::Gone));
}

#[test]
fn what_the_leader_knows_of_a_touch_counts_before_the_operation() {
    let mut state = State::new(RegionId(0), 1);
    run(&mut state, T, "s", create(Expiry::After { ms: 1000 }));
    let late =
        |touched| Command { request: Request::default(), key: key("s"), rules: rules(), touched, op: patch("b", "2") };
    let mut other = State::new(RegionId(0), 1);
    run(&mut other, T, "s", create(Expiry::After { ms: 1000 }));
    assert_eq!(other.apply(T + 1200, late(None), &mut Vec::new()), Outcome::Refused(Refusal::Gone));
    assert!(matches!(state.apply(T + 1200, late(Some(T + 1900)), &mut Vec::new()), Outcome::Written { .. }));
}

#[test]
fn only_a_stamp_expires() {
    let mut state = State::new(RegionId(0), 1);
    run(&mut state, T, "s", set("v", Expiry::After { ms: 100 }));
    assert_eq!(value(&state, T + 99, "s").as_deref(), Some("v"));
    assert_eq!(value(&state, T + 100, "s"), None, "hidden");
    assert_eq!(state.record(&key("s")).expect("still there").life, Life::Live);
    let due = state.due(T + 100, 10);
    assert_eq!(due.len(), 1);
    let expire = Op::Expire { version: due[0].1.version, deadline: due[0].1.deadline() };
    assert_eq!(run(&mut state, T + 50, "s", expire.clone()), Outcome::Count(0), "too early by the stamp");
    assert_eq!(run(&mut state, T + 100, "s", expire.clone()), Outcome::Count(1));
    assert_eq!(run(&mut state, T + 101, "s", expire), Outcome::Count(0));
}

#[test]
fn a_conflict_carries_the_current_record() {
    let mut state = State::new(RegionId(0), 1);
    let Outcome::Written { version, .. } = run(&mut state, T, "s", create(Expiry::Default)) else { panic!("created") };
    run(&mut state, T, "s", patch("b", "2"));
    let put = Op::Put { fields: Fields::new(), if_version: Some(version), expiry: Expiry::Keep, owner: None };
    match run(&mut state, T, "s", put) {
        Outcome::Refused(Refusal::Conflict { current }) => assert_eq!(current.fields.get(b"b"), Some(&b"2"[..])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repeated_request_answers_the_same_and_changes_nothing() {
    let mut state = State::new(RegionId(0), 1);
    let increment = |sequence, settled| {
        let request = Request { origin: 9, sequence, settled };
        Command { request, key: key("n"), rules: rules(), touched: None, op: Op::Increment { by: 1 } }
    };
    assert_eq!(state.apply(T, increment(1, 1), &mut Vec::new()), Outcome::Count(1));
    assert_eq!(state.apply(T, increment(2, 1), &mut Vec::new()), Outcome::Count(2));
    assert_eq!(state.apply(T, increment(1, 1), &mut Vec::new()), Outcome::Count(1));
    let records: Vec<_> = state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect();
    let mut state = State::restore(state.meta(), records);
    assert_eq!(state.apply(T, increment(2, 1), &mut Vec::new()), Outcome::Count(2), "after a snapshot too");
    assert_eq!(state.apply(T, increment(3, 3), &mut Vec::new()), Outcome::Count(3));
    assert_eq!(state.apply(T, increment(2, 3), &mut Vec::new()), Outcome::Refused(Refusal::Gone), "settled");
    assert_eq!(value(&state, T, "n").as_deref(), Some("3"));
}

#[test]
fn revoking_ends_a_users_sessions_and_refuses_logins_that_read_the_old_epoch() {
    let mut state = State::new(RegionId(0), 1);
    let login = |epoch| {
        let owner = Some(Box::new(Owner { user: bytes("u"), revocation_epoch: epoch, labels: BTreeMap::new() }));
        Op::Create { kind: Kind::Hash, fields: Fields::new(), expiry: Expiry::Default, absolute_deadline: None, owner }
    };
    run(&mut state, T, "one", login(0));
    run(&mut state, T, "two", login(0));
    run(&mut state, T, "other", create(Expiry::Default));
    let revoke = Op::Revoke { user: bytes("u"), epoch: 1, count_max: 100 };
    assert_eq!(run(&mut state, T + 1, "any", revoke.clone()), Outcome::Count(2));
    assert_eq!(run(&mut state, T + 1, "any", revoke), Outcome::Count(0));
    assert_eq!(run(&mut state, T + 2, "three", login(0)), Outcome::Refused(Refusal::Revoked { epoch: 1 }));
    assert!(matches!(run(&mut state, T + 2, "three", login(1)), Outcome::Written { .. }));
    assert!(get(&state, T + 2, "other").is_some());
}

#[test]
fn renaming_keeps_the_session_and_leaves_the_old_id_dead() {
    let mut state = State::new(RegionId(0), 1);
    run(&mut state, T, "{x}a", create(Expiry::After { ms: 5000 }));
    let before = get(&state, T, "{x}a").expect("it lives");
    assert_eq!(run(&mut state, T + 1, "{x}a", Op::Rename { to: key("{x}b"), replace: true }), Outcome::Count(1));
    let after = get(&state, T + 1, "{x}b").expect("it lives on");
    assert_eq!(
        (after.incarnation, after.idle_deadline, after.fields),
        (before.incarnation, before.idle_deadline, before.fields)
    );
    assert!(get(&state, T + 1, "{x}a").is_none());
    assert_eq!(run(&mut state, T + 2, "{x}a", patch("a", "9")), Outcome::Refused(Refusal::Gone));
    assert_eq!(
        run(&mut state, T + 2, "{x}c", Op::Rename { to: key("{x}d"), replace: true }),
        Outcome::Refused(Refusal::Missing)
    );
}

#[test]
fn a_session_that_is_too_large_is_refused_with_its_largest_fields() {
    let mut state = State::new(RegionId(0), 1);
    run(&mut state, T, "s", create(Expiry::Default));
    let rules = Rules { size_bytes_max: 100, ..rules() };
    let op = patch("big", &"x".repeat(200));
    let command = Command { request: Request::default(), key: key("s"), rules, touched: None, op };
    match state.apply(T, command, &mut Vec::new()) {
        Outcome::Refused(Refusal::TooLarge { bytes_max, largest, .. }) => {
            assert_eq!((bytes_max, &*largest[0].0), (100, &b"big"[..]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(get(&state, T, "s").expect("as before").field_count, 1);
}

#[test]
fn strings_hashes_and_sets_answer_as_redis_does() {
    let mut state = State::new(RegionId(0), 1);
    let members = |names: &[&str]| names.iter().map(|name| bytes(name)).collect::<Vec<_>>();
    let pairs =
        |pairs: &[(&str, &str)]| Fields::from_pairs(pairs.iter().map(|(name, value)| (bytes(name), bytes(value))));
    let wrong = Outcome::Refused(Refusal::WrongKind);
    let score = |members: &[(&str, f64)]| members.iter().map(|(name, score)| (bytes(name), *score)).collect::<Vec<_>>();
    let greater = ScoreRules { only_greater: true, count_changed: true, ..ScoreRules::default() };
    let steps = [
        ("s", set("10", Expiry::Default), Outcome::Done),
        ("s", Op::Increment { by: 5 }, Outcome::Count(15)),
        ("s", Op::IncrementFloat { by: 0.5 }, Outcome::Bytes(bytes("15.5"))),
        ("s", Op::Increment { by: 1 }, Outcome::Refused(Refusal::NotInteger)),
        ("s", Op::Append { value: bytes("!") }, Outcome::Count(5)),
        ("s", Op::SetRange { offset: 6, value: bytes("x") }, Outcome::Count(7)),
        ("s", Op::HashSet { fields: pairs(&[("a", "1")]), only_new: false }, wrong.clone()),
        ("s", Op::GetDelete, Outcome::Bytes(b"15.5!\0x"[..].into())),
        ("s", Op::GetDelete, Outcome::Nothing),
        ("h", Op::HashSet { fields: pairs(&[("a", "1"), ("b", "2")]), only_new: false }, Outcome::Count(2)),
        ("h", Op::HashSet { fields: pairs(&[("a", "9")]), only_new: true }, Outcome::Count(0)),
        ("h", Op::HashIncrement { name: bytes("a"), by: i64::MAX }, Outcome::Refused(Refusal::Overflow)),
        ("h", Op::HashIncrement { name: bytes("a"), by: 4 }, Outcome::Count(5)),
        ("h", Op::Increment { by: 1 }, wrong.clone()),
        ("h", Op::HashRemove { names: members(&["a", "b", "c"]) }, Outcome::Count(2)),
        ("h", Op::Destroy, Outcome::Count(0)),
        ("m", Op::SetAdd { members: members(&["x", "y", "x"]) }, Outcome::Count(2)),
        ("m", Op::SetRemove { members: members(&["x"]) }, Outcome::Count(1)),
        ("m", Op::SetPop { count: 5, seed: 1 }, Outcome::Members(members(&["y"]))),
        ("m", Op::Destroy, Outcome::Count(0)),
        (
            "z",
            Op::SortedAdd { members: score(&[("a", 1.0), ("b", 2.0)]), rules: ScoreRules::default() },
            Outcome::Count(2),
        ),
        ("z", Op::SortedAdd { members: score(&[("a", 0.0), ("b", 3.0)]), rules: greater }, Outcome::Count(1)),
        ("z", Op::SortedIncrement { member: bytes("a"), by: 1.5, rules: ScoreRules::default() }, Outcome::Score(2.5)),
        ("z", Op::SortedRemoveByScore { low: (2.5, true), high: (f64::INFINITY, false) }, Outcome::Count(1)),
        ("z", Op::SortedRemoveByRank { start: 0, stop: -1 }, Outcome::Count(1)),
        ("z", Op::Destroy, Outcome::Count(0)),
    ];
    for (id, op, expected) in steps {
        assert_eq!(run(&mut state, T, id, op.clone()), expected, "{id} {op:?}");
    }
}

#[test]
fn many_small_members_cost_one_copy_and_not_one_each() {
    // Each list is put before what is held, where an insert at a time would move everything again and again.
    const COUNT: u32 = 30_000;
    let mut state = State::new(RegionId(0), 1);
    let names = |prefix: &str| (0..COUNT).map(|number| bytes(&format!("{prefix}{number:x}"))).collect::<Vec<_>>();
    let pairs = |prefix: &str| Fields::from_pairs(names(prefix).into_iter().map(|name| (name, bytes("v"))));
    let scored = |prefix: &str| names(prefix).into_iter().map(|name| (name, 1.0)).collect::<Vec<_>>();
    let count = Outcome::Count(i64::from(COUNT));
    for prefix in ["b", "a"] {
        for (id, op) in [
            ("h", Op::HashSet { fields: pairs(prefix), only_new: false }),
            ("s", Op::SetAdd { members: names(prefix) }),
            ("z", Op::SortedAdd { members: scored(prefix), rules: ScoreRules::default() }),
        ] {
            assert_eq!(run(&mut state, T, id, op), count);
        }
    }
    for (id, op) in [
        ("h", Op::HashRemove { names: names("a") }),
        ("s", Op::SetRemove { members: names("a") }),
        ("z", Op::SortedRemove { members: names("a") }),
    ] {
        assert_eq!(run(&mut state, T, id, op), count);
    }
    match run(&mut state, T, "s", Op::SetPop { count: u64::MAX, seed: 5 }) {
        Outcome::Members(members) => assert_eq!(members.len() as u32, COUNT),
        other => panic!("{other:?}"),
    }
}

#[test]
fn expire_and_its_conditions_answer_as_redis_does() {
    let mut state = State::new(RegionId(0), 1);
    run(&mut state, T, "s", set("v", Expiry::Default));
    assert_eq!(get(&state, T, "s").map(|view| view.idle_deadline), Some(NEVER));
    let expire = |ms, condition| Op::SetExpiry { expiry: Expiry::After { ms }, condition };
    for (op, expected) in [
        (expire(100, ExpireCondition::IfSome), 0),
        (expire(100, ExpireCondition::IfLater), 0),
        (expire(100, ExpireCondition::IfEarlier), 1),
        (expire(50, ExpireCondition::IfLater), 0),
        (expire(200, ExpireCondition::IfNone), 0),
        (expire(200, ExpireCondition::IfLater), 1),
        (Op::SetExpiry { expiry: Expiry::Never, condition: ExpireCondition::Always }, 1),
        (Op::SetExpiry { expiry: Expiry::Never, condition: ExpireCondition::Always }, 0),
        (Op::SetExpiry { expiry: Expiry::At { ms: T - 5 }, condition: ExpireCondition::Always }, 1),
        (expire(100, ExpireCondition::Always), 0),
    ] {
        assert_eq!(run(&mut state, T, "s", op.clone()), Outcome::Count(expected), "{op:?}");
    }
}

#[test]
fn a_scan_sees_everything_once_page_by_page() {
    let mut state = State::new(RegionId(0), 1);
    for number in 0..300 {
        run(&mut state, T, &format!("id{number}"), set("v", Expiry::Default));
    }
    let (mut from, mut seen) = (None, Vec::new());
    loop {
        let query = Query::Scan { namespace: NAMESPACE, filter: Default::default(), from, count: 7, until: None };
        let (Answer::Page { lines, next }, _) = state.query(T, &|_, _| None, &query) else { panic!("a page") };
        seen.extend(lines.into_iter().map(|line| line.id));
        from = next;
        if from.is_none() {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 300);
}

#[test]
fn tombstones_go_when_their_time_has_come() {
    let mut state = State::new(RegionId(0), 1);
    for number in 0..40 {
        run(&mut state, T, &format!("id{number}"), set("v", Expiry::Default));
        run(&mut state, T, &format!("id{number}"), Op::Destroy);
    }
    assert_eq!(state.record_count(), 40);
    let later = T + rules().tombstone_ms;
    for _ in 0..3 {
        run(&mut state, later, "other", Op::Destroy);
    }
    assert_eq!(state.record_count(), 0);
}

fn any_op() -> impl Strategy<Value = Op> {
    let name = prop_oneof![Just("a"), Just("b")];
    let expiry = prop_oneof![
        Just(Expiry::Keep),
        Just(Expiry::Default),
        (1_u64..500).prop_map(|ms| Expiry::After { ms }),
        (T..T + 1000).prop_map(|ms| Expiry::At { ms }),
    ];
    let owner = prop_oneof![
        Just(None),
        (0_u64..3).prop_map(|epoch| {
            let labels = BTreeMap::from([(bytes("l"), bytes("v"))]);
            Some(Box::new(Owner { user: bytes("u"), revocation_epoch: epoch, labels }))
        })
    ];
    prop_oneof![
        (expiry.clone(), owner).prop_map(|(expiry, owner)| {
            let fields = Fields::from_pairs([(bytes("a"), bytes("1"))]);
            Op::Create { kind: Kind::Hash, fields, expiry, absolute_deadline: None, owner }
        }),
        (name.clone(), ".{0,3}").prop_map(|(name, value)| patch(name, &value)),
        expiry.clone().prop_map(|expiry| set("1", expiry)),
        Just(Op::Touch),
        Just(Op::Destroy),
        Just(Op::Increment { by: 1 }),
        name.prop_map(|name| Op::SetAdd { members: vec![bytes(name)] }),
        Just(Op::SetPop { count: 1, seed: 3 }),
        expiry.prop_map(|expiry| Op::SetExpiry { expiry, condition: ExpireCondition::Always }),
        Just(Op::Rename { to: key("{t}2"), replace: true }),
        (1_u64..3).prop_map(|epoch| Op::Revoke { user: bytes("u"), epoch, count_max: 1 }),
    ]
}

fn any_history() -> impl Strategy<Value = Vec<(u64, Command)>> {
    let step = (0_u64..200, 1_u64..4, 0_u64..30, any_op());
    proptest::collection::vec(step, 1..60).prop_map(|steps| {
        let mut stamp = T;
        let command = |(after, id, sequence, op): (u64, u64, u64, Op)| {
            stamp += after;
            let request = Request { origin: 5, sequence, settled: 0 };
            (stamp, Command { request, key: key(&format!("{{t}}{id}")), rules: rules(), touched: None, op })
        };
        steps.into_iter().map(command).collect()
    })
}

fn replay(history: &[(u64, Command)]) -> (State, Vec<Outcome>, Vec<Effect>) {
    let (mut state, mut effects) = (State::new(RegionId(0), 1), Vec::new());
    let outcomes = history.iter().map(|(stamp, command)| state.apply(*stamp, command.clone(), &mut effects)).collect();
    (state, outcomes, effects)
}

proptest! {
    #[test]
    fn the_same_history_gives_the_same_state(history in any_history()) {
        let (one, outcomes_one, _) = replay(&history);
        let (two, outcomes_two, _) = replay(&history);
        prop_assert_eq!(outcomes_one, outcomes_two);
        prop_assert_eq!(one.meta(), two.meta());
        prop_assert!(one.records(None).eq(two.records(None)));
    }

    #[test]
    fn indexes_are_what_the_records_say(history in any_history()) {
        let (state, _, _) = replay(&history);
        let records: Vec<_> = state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect();
        let again = State::restore(state.meta(), records);
        prop_assert_eq!(&state.index, &again.index);
    }

    #[test]
    fn asking_again_at_once_answers_the_same_and_changes_nothing(history in any_history()) {
        let (mut state, mut seen) = (State::new(RegionId(0), 1), std::collections::BTreeSet::new());
        for (stamp, command) in history {
            if !seen.insert(command.request.sequence) {
                continue;
            }
            let first = state.apply(stamp, command.clone(), &mut Vec::new());
            let before: Vec<_> = state.records(None).map(|(key, record)| (key.clone(), record.clone())).collect();
            let mut effects = Vec::new();
            let second = state.apply(stamp, command, &mut effects);
            prop_assert_eq!(first, second);
            prop_assert!(effects.is_empty());
            prop_assert!(state.records(None).eq(before.iter().map(|(key, record)| (key, record))));
        }
    }
}
