//! What is remembered for retries, and for how long.

use super::*;
use crate::state::{ANSWER_LEAP_MS_MAX, ANSWER_MS_MAX, answers::ANSWERS_BYTES_MAX};

fn named(origin: u64, sequence: u64, id: &str, op: Op) -> Command {
    let request = Request { origin, sequence, settled: 0 };
    Command { request, key: key(id), rules: rules(), touched: None, op }
}

fn apply(state: &mut State, stamp: u64, command: Command) -> Outcome {
    state.apply(stamp, command, &mut Vec::new())
}

#[test]
fn a_copy_of_a_refused_request_is_refused_again_although_it_could_succeed_by_now() {
    let mut state = State::new(RegionId(0), 1);
    let write = named(7, 1, "s", patch("a", "1"));
    assert_eq!(apply(&mut state, T, write.clone()), Outcome::Refused(Refusal::Gone));
    run(&mut state, T + 1, "s", create(Expiry::Default));
    assert_eq!(apply(&mut state, T + 2, write), Outcome::Refused(Refusal::Gone));
    assert_eq!(get(&state, T + 2, "s").expect("as created").fields.get(b"a"), Some(&b"1"[..]));
}

#[test]
fn senders_that_are_not_heard_of_any_more_are_forgotten() {
    let mut state = State::new(RegionId(0), 1);
    for origin in 1..=20 {
        let request = Request { origin, sequence: 2, settled: 2 };
        apply(&mut state, T, Command { request, ..named(origin, 2, "n", Op::Increment { by: 1 }) });
    }
    assert_eq!(state.meta().answers.origins.len(), 20);
    for entry in 1..=20 + ANSWER_MS_MAX / ANSWER_LEAP_MS_MAX {
        run(&mut state, T + entry * ANSWER_LEAP_MS_MAX, "other", Op::Destroy);
    }
    assert_eq!(state.meta().answers.origins.len(), 0);
}

#[test]
fn a_leader_whose_clock_is_an_hour_ahead_forgets_nothing() {
    let mut state = State::new(RegionId(0), 1);
    assert_eq!(apply(&mut state, T, named(1, 1, "n", Op::Increment { by: 1 })), Outcome::Count(1));
    for _ in 0..20 {
        run(&mut state, T + 3_600_000, "other", Op::Destroy);
    }
    let again = apply(&mut state, T + 3_600_000, named(1, 1, "n", Op::Increment { by: 1 }));
    assert_eq!(again, Outcome::Count(1), "added twice");
}

#[test]
fn answers_of_senders_that_settle_nothing_are_bounded_in_bytes() {
    const VALUE_BYTES: usize = 1 << 20;
    let mut state = State::new(RegionId(0), 1);
    let value: Box<[u8]> = vec![b'x'; VALUE_BYTES - 2].into();
    for sequence in 1..=100 {
        let op = Op::Set {
            value: value.clone(),
            expiry: Expiry::Default,
            condition: Condition::Always,
            get: true,
            owner: None,
        };
        let outcome = apply(&mut state, T, named(9, sequence, "s", op));
        assert!(matches!(outcome, Outcome::Bytes(_) | Outcome::Nothing));
    }
    let remembered = state.meta().answers.origins[&9].answers.len();
    assert!(remembered <= ANSWERS_BYTES_MAX as usize / VALUE_BYTES + 1, "{remembered} answers of a megabyte");
    assert!(remembered > 32, "no fewer than there is room for");
}
