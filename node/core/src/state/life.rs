//! When sessions end: deadlines as callers state them, `EXPIRE`, destroy, expiry, `RESTORE`.

use super::{
    Event,
    turn::{Contents, Turn},
};
use crate::{
    command::{ExpireCondition, Expiry, Op, Outcome, Refusal},
    expiry::Times,
    ids::{Key, NEVER, Stamp},
    session::{Kind, Life, Record, Version},
};

impl Turn<'_> {
    pub(super) fn life_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::Expire { version, deadline } => Ok(self.expire(key, version, deadline)),
            Op::Extend { version, deadline } => Ok(self.extend(key, Some(version), deadline)),
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
                self.create(key, Contents { kind, fields, owner: None }, times, Event::Changed("restore"))?;
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

    /// Moves the idle deadline on to what a leader answered, whatever the stamp: nobody was told yet that the session is
    /// over, else its end would be logged.
    pub(super) fn extend(&mut self, key: &Key, version: Option<Version>, deadline: Stamp) -> Outcome {
        let Some(old) = self.state.records.get(key).cloned() else { return Outcome::Count(0) };
        let bound = if self.state.plants.touch_past_absolute { Stamp::MAX } else { old.absolute_deadline };
        let idle_deadline = deadline.min(bound);
        let same =
            self.state.orders(&old) && old.life == Life::Live && version.is_none_or(|version| version == old.version);
        let later = same && old.idle_timeout_ms > 0 && idle_deadline > old.idle_deadline;
        if later {
            let Record { idle_timeout_ms, absolute_deadline, .. } = *old;
            self.touch(key, &old, Times { idle_timeout_ms, idle_deadline, absolute_deadline });
        }
        Outcome::Count(i64::from(later))
    }

    fn set_expiry(&mut self, key: &Key, expiry: Expiry, condition: ExpireCondition) -> Outcome {
        let Some(record) = self.live(key) else { return Outcome::Count(0) };
        if expiry == Expiry::Never {
            if record.idle_timeout_ms == 0 {
                return Outcome::Count(0);
            }
            let times = self.times(Expiry::Never, Some(&record));
            self.retime(key, &record, times, Event::Persist);
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
            self.retime(key, &record, times, Event::Expire);
        }
        Outcome::Count(1)
    }
}
