//! Moving deadlines on without writing: what a shard's leader may answer by itself, and what a new leader owes the old one.
//!
//! A session in use moves its idle deadline with every request. The leader keeps the newer deadline in memory and logs it only
//! when it is more than an interval ahead of the logged one; what shortens a deadline, or changes anything else, is logged.
//! Whoever leads next does not know what was kept in memory, so deadlines from before its time count an interval longer.

use crate::{
    command::{Command, ExpireCondition, Expiry, Op, Outcome},
    expiry::Times,
    ids::Stamp,
    policy::EXACT_LIFETIME_MS_MAX,
    session::{Body, Kind, Record, Version},
};

/// A deadline that a leader keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The body that it belongs to: a write since then says itself when the session ends.
    pub version: Version,
    /// The idle deadline.
    pub deadline: Stamp,
}

impl Touch {
    /// The deadline, if it is about this body and later than what is logged.
    pub fn of(&self, record: &Record) -> Option<Stamp> {
        (self.version == record.version && self.deadline > record.idle_deadline).then_some(self.deadline)
    }
}

/// How far a deadline that is stated as a time may be off the session's timeout and still be its rolling on: clients state
/// seconds, and take time to arrive.
const ROUNDING_MS_MAX: u64 = 1_000;

/// Whether an operation may turn out to be nothing but a touch. Cheap, and needs no record.
pub fn may_touch(op: &Op) -> bool {
    match op {
        Op::Touch => true,
        Op::GetExpire { expiry } => matches!(expiry, Expiry::After { .. } | Expiry::At { .. }),
        Op::SetExpiry { expiry, condition } => {
            let extends =
                matches!(condition, ExpireCondition::Always | ExpireCondition::IfSome | ExpireCondition::IfLater);
            extends && matches!(expiry, Expiry::After { .. } | Expiry::At { .. })
        }
        _logged => false,
    }
}

/// What a leader answers to `command` without logging it, and what it then keeps in memory; `None` if it must be logged.
///
/// `record` lives at `now`, and `known` is its idle deadline as far as the leader knows. With an interval of `u64::MAX` no
/// touch is ever logged, with 0 every one.
pub fn answer(
    now: Stamp,
    command: &Command,
    record: &Record,
    known: Stamp,
    interval_ms: u64,
) -> Option<(Touch, Outcome)> {
    if record.idle_timeout_ms <= EXACT_LIFETIME_MS_MAX || interval_ms == 0 || !may_touch(&command.op) {
        return None;
    }
    let Command { rules, op, .. } = command;
    let rolled = |expiry| {
        let times = Times::after(now, rules, expiry, Some(record));
        (times.idle_timeout_ms.abs_diff(record.idle_timeout_ms) <= ROUNDING_MS_MAX).then_some(times.idle_deadline)
    };
    let (deadline, outcome) = match op {
        Op::Touch => {
            let deadline = Times::touched(now, rules, record).idle_deadline.max(known);
            let Record { incarnation, version, absolute_deadline, .. } = *record;
            let outcome = Outcome::Written { incarnation, version, deadline: deadline.min(absolute_deadline) };
            (deadline, outcome)
        }
        Op::SetExpiry { expiry, condition } => {
            let deadline = rolled(*expiry).filter(|at| *condition != ExpireCondition::IfLater || *at > known)?;
            (deadline, Outcome::Count(1))
        }
        Op::GetExpire { expiry } => {
            let Body::Hot(fields) = &record.body else { return None };
            let value = fields.get(b"").filter(|_| record.kind == Kind::String)?;
            (rolled(*expiry)?, Outcome::Bytes(value.into()))
        }
        _logged => return None,
    };
    let extends = deadline >= known && deadline <= record.absolute_deadline;
    let near = deadline.saturating_sub(record.idle_deadline) <= interval_ms;
    (extends && near).then_some((Touch { version: record.version, deadline }, outcome))
}

/// The idle deadline of an overdue session that a former leader may have moved on without logging it.
///
/// `since` is when this leader took over: what was logged later, it knows all about.
pub fn grace(now: Stamp, since: Stamp, record: &Record, interval_ms: u64) -> Option<Stamp> {
    let exact = record.idle_timeout_ms <= EXACT_LIFETIME_MS_MAX || interval_ms == 0;
    if exact || record.written > since || record.idle_deadline > now {
        return None;
    }
    // No touch of theirs moved it further than an interval, nor further than a timeout after they led.
    let latest = since.saturating_add(record.idle_timeout_ms);
    let later = record.idle_deadline.saturating_add(interval_ms).min(latest).min(record.absolute_deadline);
    (later > record.idle_deadline).then_some(later)
}

#[cfg(test)]
mod tests;
