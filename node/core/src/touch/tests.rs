//! What is coalesced and what is not.

use super::*;
use crate::{Fields, Incarnation, Key, Life, NamespaceId, RegionId, Request, ids::NEVER, policy::Policy};

const T: Stamp = 1_000_000_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn record(idle_timeout_ms: u64) -> Record {
    Record {
        incarnation: Incarnation { stamp: T, region: RegionId(0) },
        version: Version { epoch: 1, home_epoch: 0, sequence: 3 },
        home: RegionId(0),
        kind: Kind::String,
        life: Life::Live,
        written: T,
        idle_timeout_ms,
        idle_deadline: T + idle_timeout_ms,
        absolute_deadline: T + 24 * HOUR_MS,
        owner: None,
        body: Body::Hot(Fields::value(b"v"[..].into())),
        used: Default::default(),
    }
}

fn command(op: Op) -> Command {
    let key = Key::new(NamespaceId(0), b"s").expect("an id");
    Command { request: Request::default(), key, rules: Policy::default().rules(true), touched: None, op }
}

fn expire(ms: u64) -> Op {
    Op::SetExpiry { expiry: Expiry::After { ms }, condition: ExpireCondition::Always }
}

fn answered(now: Stamp, op: Op, record: &Record, known: Stamp) -> Option<(Stamp, Outcome)> {
    answer(now, &command(op), record, known, MINUTE_MS).map(|(touch, outcome)| (touch.deadline, outcome))
}

#[test]
fn what_only_extends_is_answered_until_the_logged_deadline_is_an_interval_old() {
    let record = record(HOUR_MS);
    let known = record.idle_deadline;
    let later = known + 10_000;
    assert_eq!(answered(T + 10_000, expire(HOUR_MS), &record, known), Some((later, Outcome::Count(1))));
    let value = Outcome::Bytes(b"v"[..].into());
    let get = Op::GetExpire { expiry: Expiry::At { ms: later } };
    assert_eq!(answered(T + 10_500, get, &record, known), Some((later, value)));
    let written = Outcome::Written { incarnation: record.incarnation, version: record.version, deadline: later };
    assert_eq!(answered(T + 10_000, Op::Touch, &record, known), Some((later, written)));
    assert!(answered(T + MINUTE_MS, expire(HOUR_MS), &record, known).is_some());
    assert_eq!(answered(T + MINUTE_MS + 1, expire(HOUR_MS), &record, known), None, "time to log one");
}

#[test]
fn what_shortens_or_changes_the_timeout_is_logged() {
    let record = record(HOUR_MS);
    let known = record.idle_deadline;
    assert_eq!(answered(T + 10_000, expire(HOUR_MS / 2), &record, known), None);
    assert_eq!(answered(T + 10_000, expire(2 * HOUR_MS), &record, known), None);
    assert_eq!(answered(T + 10_000, expire(HOUR_MS), &record, known + 20_000), None, "earlier than what is known");
    let absolute = Record { absolute_deadline: known + 1, ..record.clone() };
    assert_eq!(answered(T + 10_000, Op::Touch, &absolute, known).map(|(at, _)| at), Some(known + 1));
    for op in [Op::Destroy, Op::GetDelete, Op::SetExpiry { expiry: Expiry::Never, condition: Default::default() }] {
        assert_eq!(answered(T + 10_000, op, &record, known), None);
    }
    let earlier = Op::SetExpiry { expiry: Expiry::After { ms: HOUR_MS }, condition: ExpireCondition::IfEarlier };
    assert_eq!(answered(T + 10_000, earlier, &record, known), None);
}

#[test]
fn short_lives_are_exact_and_sessions_without_a_timeout_have_nothing_to_touch() {
    let short = record(MINUTE_MS);
    assert_eq!(answered(T + 1, expire(MINUTE_MS), &short, short.idle_deadline), None);
    assert_eq!(grace(short.idle_deadline, T + HOUR_MS, &short, MINUTE_MS), None);
    let plain = Record { idle_timeout_ms: 0, idle_deadline: NEVER, ..record(HOUR_MS) };
    assert_eq!(answered(T + 1, Op::Touch, &plain, NEVER), None);
    assert_eq!(answer(T + 1, &command(Op::Touch), &record(HOUR_MS), T + HOUR_MS, 0), None, "every time");
}

#[test]
fn a_new_leader_gives_an_interval_of_grace_to_what_was_logged_before_its_time() {
    let record = record(HOUR_MS);
    let (due, since) = (record.idle_deadline, T + HOUR_MS / 2);
    assert_eq!(grace(due - 1, since, &record, MINUTE_MS), None, "it is not due");
    assert_eq!(grace(due, since, &record, MINUTE_MS), Some(due + MINUTE_MS));
    assert_eq!(grace(due, T - 1, &record, MINUTE_MS), None, "logged in this leader's time");
    assert_eq!(grace(due, since, &record, u64::MAX), Some(since + HOUR_MS), "never logged: a timeout after they led");
    let absolute = Record { absolute_deadline: due + 5, ..record };
    assert_eq!(grace(due, since, &absolute, MINUTE_MS), Some(due + 5));
}
