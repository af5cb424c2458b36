//! A leader's touches: seen by reads, ahead of writes, kept from expiry, and owed by the next leader.

use super::*;
use sojourn_core::{
    Answer, Condition, Expiry, Outcome, Projection, Query, RegionId, Request, Version,
    command::ExpireCondition,
    policy::{Policy, touch_interval_ms},
};

const T: Stamp = 1_700_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

/// A shard with one session of an hour, written at `T`.
struct Led {
    touches: Touches,
    state: RwLock<State>,
}

fn key() -> Key {
    Key::new(NamespaceId(0), b"s").expect("an id")
}

fn command(op: Op) -> Command {
    Command { request: Request::default(), key: key(), rules: Policy::default().rules(false), touched: None, op }
}

fn set() -> Op {
    let expiry = Expiry::After { ms: HOUR_MS };
    Op::Set { value: b"v"[..].into(), expiry, condition: Condition::Always, get: false, owner: None }
}

fn expire_in_an_hour() -> Command {
    command(Op::SetExpiry { expiry: Expiry::After { ms: HOUR_MS }, condition: ExpireCondition::Always })
}

impl Led {
    fn new() -> Self {
        let touches = Touches::new(Arc::new(|_, idle_timeout_ms| touch_interval_ms(None, idle_timeout_ms)));
        let led = Self { touches, state: RwLock::new(State::new(RegionId(0), 1)) };
        led.touches.lead(1, T - MINUTE_MS);
        led.apply(T, &command(set()));
        led
    }

    fn apply(&self, stamp: Stamp, command: &Command) -> Outcome {
        self.state.write().apply(stamp, command.clone(), &mut Vec::new())
    }

    fn touch(&self, now: Stamp) -> Option<Vec<Outcome>> {
        self.touches.answer(now, &self.state, &[expire_in_an_hour()])
    }

    /// Proposes and applies a write as the proposer does. Returns how many commands went ahead, and the outcome.
    fn write(&self, stamp: Stamp, command: &Command) -> (usize, Outcome) {
        let (ahead, ticket) = self.touches.go_ahead(stamp, &self.state, [command.key.clone()].into());
        ahead.iter().for_each(|command| drop(self.apply(stamp, command)));
        let outcome = self.apply(stamp, command);
        self.touches.arrived(ticket, true);
        (ahead.len(), outcome)
    }

    fn deadline(&self, now: Stamp) -> Option<Stamp> {
        let known = self.touches.known();
        let query = Query::Get { key: key(), projection: Projection::Summary };
        match self.state.read().query(now, &|key, record| known.deadline(now, key, record), &query).0 {
            Answer::Record(view) => view.map(|view| view.idle_deadline),
            other => panic!("{other:?}"),
        }
    }

    fn version(&self) -> Version {
        self.state.read().record(&key()).expect("a record").version
    }
}

#[test]
fn a_touch_is_answered_without_the_log_and_reads_see_it() {
    let led = Led::new();
    let version = led.version();
    assert_eq!(led.touch(T + 30_000), Some(vec![Outcome::Count(1)]));
    assert_eq!(led.deadline(T + 30_000), Some(T + HOUR_MS + 30_000));
    assert_eq!(led.deadline(T + HOUR_MS + 29_999), Some(T + HOUR_MS + 30_000));
    assert_eq!(led.deadline(T + HOUR_MS + 30_000), None);
    assert_eq!(led.version(), version);
    assert_eq!(led.touch(T + MINUTE_MS + 1), None, "time to log one");
}

#[test]
fn writes_begin_with_what_was_touched() {
    let led = Led::new();
    led.touch(T + 30_000).expect("answered");
    let append = command(Op::Append { value: b"!"[..].into() });
    assert_eq!(led.write(T + HOUR_MS + 10_000, &append), (1, Outcome::Count(2)));
    assert_eq!(led.deadline(T + HOUR_MS + 10_000), Some(T + HOUR_MS + 30_000), "an append keeps the deadline");
    assert_eq!(led.write(T + HOUR_MS + 10_001, &append), (0, Outcome::Count(3)), "it is logged by now");
    assert!(led.touches.first().is_empty());
}

#[test]
fn a_session_that_a_write_is_on_its_way_to_is_touched_behind_it() {
    let led = Led::new();
    let (_, ticket) = led.touches.go_ahead(T + 1, &led.state, [key()].into());
    assert_eq!(led.touch(T + 2), None);
    led.touches.arrived(ticket, true);
    assert!(led.touch(T + 3).is_some());
}

#[test]
fn a_destroyed_session_is_not_touched_and_a_newer_body_forgets_the_touch() {
    let led = Led::new();
    led.touch(T + 30_000).expect("answered");
    led.apply(T + 40_000, &command(set()));
    assert_eq!(led.deadline(T + 40_000), Some(T + 40_000 + HOUR_MS), "what the write says");
    assert_eq!(led.touches.tend(&led.state), [], "and the touch is forgotten");
    assert!(led.touches.first().is_empty());
    led.apply(T + 40_001, &command(Op::Destroy));
    assert_eq!(led.touch(T + 40_002), None, "left to the log, which says that it is gone");
}

#[test]
fn the_next_leader_ends_nobody_early() {
    let led = Led::new();
    led.touch(T + 30_000).expect("answered");
    // The next leader has the same log and none of the touches.
    led.touches.lead(2, T + HOUR_MS / 2);
    assert!(led.touches.first().is_empty());
    let due = T + HOUR_MS;
    assert_eq!(led.deadline(due - 1), Some(due), "what is logged, while it has not passed");
    assert_eq!(led.deadline(due), Some(due + MINUTE_MS));
    assert_eq!(led.deadline(due + MINUTE_MS), None, "an interval and no longer");
    let append = command(Op::Append { value: b"!"[..].into() });
    assert_eq!(led.write(due + 5, &append), (1, Outcome::Count(2)), "a write finds it alive");
    assert_eq!(led.deadline(due + 5), Some(due + MINUTE_MS));
    assert_eq!(led.deadline(due + MINUTE_MS), None, "grace is given once");
}

#[test]
fn a_policy_that_logs_more_often_than_before_is_caught_up_with() {
    let interval_ms = Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let read = interval_ms.clone();
    let touches = Touches::new(Arc::new(move |_, _| read.load(std::sync::atomic::Ordering::Relaxed)));
    let led = Led { touches, ..Led::new() };
    led.touches.lead(1, T - MINUTE_MS);
    assert!(led.touch(T + HOUR_MS - 1).is_some(), "never logged");
    assert_eq!(led.touches.tend(&led.state), []);
    interval_ms.store(MINUTE_MS, std::sync::atomic::Ordering::Relaxed);
    led.touches.tend(&led.state);
    assert_eq!(led.touches.tend(&led.state), [key()]);
}
