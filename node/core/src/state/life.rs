//! When sessions end: deadlines as callers state them, `EXPIRE`, destroy, expiry, `RESTORE`.

use super::{
    Event,
    turn::{Times, Turn},
};
use crate::{
    command::{ExpireCondition, Expiry, Op, Outcome, Refusal},
    ids::{Key, NEVER, Stamp},
    session::{Kind, Life, Record, Version},
};

impl Turn<'_> {
    pub(super) fn life_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::Expire { version, deadline } => Ok(self.expire(key, version, deadline)),
            Op::SetExpiry { expiry, condition } => Ok(self.set_expiry(key, expiry, condition)),
            Op::Restore { kind, fields, expiry, replace } => {
                if self.live(key).is_some() {
                    if !replace {
                        return Err(Refusal::Busy);
                    }
                    self.end(key, false);
                }
                let times = self.times(expiry, None);
                if fields.is_empty() && kind != Kind::String || times.idle_deadline <= self.stamp {
                    return Ok(Outcome::Done);
                }
                self.create(key, kind, fields, times, None, Event::Changed("restore"))?;
                Ok(Outcome::Done)
            }
            _destroy => {
                let lived = self.live(key).is_some();
                if lived {
                    self.end(key, false);
                }
                Ok(Outcome::Count(i64::from(lived)))
            }
        }
    }

    /// Ends a session that the leader found overdue, unless it was written or given a later deadline since.
    fn expire(&mut self, key: &Key, version: Version, deadline: Stamp) -> Outcome {
        let due = self.state.records.get(key).is_some_and(|record| {
            let same = record.life == Life::Live && record.version == version;
            same && record.deadline() <= deadline && deadline <= self.stamp
        });
        if due {
            self.end(key, true);
        }
        Outcome::Count(i64::from(due))
    }

    fn set_expiry(&mut self, key: &Key, expiry: Expiry, condition: ExpireCondition) -> Outcome {
        let Some(record) = self.live(key) else { return Outcome::Count(0) };
        if expiry == Expiry::Never {
            if record.idle_timeout_ms == 0 {
                return Outcome::Count(0);
            }
            let times = self.times(Expiry::Never, Some(&record));
            self.retime(key, times, Event::Persist, true);
            return Outcome::Count(1);
        }
        let times = self.times(expiry, Some(&record));
        let now = if record.idle_timeout_ms == 0 { NEVER } else { record.idle_deadline };
        let met = match condition {
            ExpireCondition::Always => true,
            ExpireCondition::IfNone => now == NEVER,
            ExpireCondition::IfSome => now != NEVER,
            ExpireCondition::IfLater => now != NEVER && times.idle_deadline > now,
            ExpireCondition::IfEarlier => times.idle_deadline < now,
        };
        if !met {
            return Outcome::Count(0);
        }
        if times.idle_deadline <= self.stamp {
            self.end(key, false);
        } else {
            self.retime(key, times, Event::Expire, true);
        }
        Outcome::Count(1)
    }

    /// The times of a session after a write that states `expiry`.
    pub(super) fn times(&self, expiry: Expiry, current: Option<&Record>) -> Times {
        let fresh = self.stamp.saturating_add(self.rules.absolute_ms);
        let absolute_deadline = match current {
            Some(record) if !self.rules.absolute_moves => record.absolute_deadline,
            Some(_) | None => fresh,
        };
        let after = |ms: u64| {
            let cap = self.rules.idle_timeout_ms_max;
            let ms = if cap == 0 { ms } else { ms.min(cap) };
            (ms, self.stamp.saturating_add(ms))
        };
        let (idle_timeout_ms, idle_deadline) = match expiry {
            Expiry::Keep => match current {
                Some(record) => (record.idle_timeout_ms, record.idle_deadline),
                None => return self.times(Expiry::Default, None),
            },
            Expiry::Default if self.rules.idle_timeout_ms == 0 => (0, NEVER),
            Expiry::Default => after(self.rules.idle_timeout_ms),
            Expiry::After { ms } => after(ms.max(1)),
            Expiry::At { ms } if ms <= self.stamp => (1, self.stamp),
            Expiry::At { ms } => after(ms - self.stamp),
            Expiry::Never => (0, NEVER),
        };
        let idle_deadline = if idle_deadline == NEVER { NEVER } else { idle_deadline.min(absolute_deadline) };
        Times { idle_timeout_ms, idle_deadline, absolute_deadline }
    }

    /// The times after a write that rolls the idle deadline on.
    pub(super) fn rolled(&self, expiry: Expiry, record: &Record) -> Times {
        match expiry {
            Expiry::Keep if record.idle_timeout_ms > 0 => {
                let times = self.times(Expiry::After { ms: record.idle_timeout_ms }, Some(record));
                // A deadline that was set exactly and later than the timeout says is not shortened.
                Times {
                    idle_deadline: times.idle_deadline.max(record.idle_deadline).min(times.absolute_deadline),
                    ..times
                }
            }
            other => self.times(other, Some(record)),
        }
    }
}
