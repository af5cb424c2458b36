//! When a session ends after a write: deadlines as callers state them, settled by the write's stamp and the policy.

use crate::{
    command::{Expiry, Rules},
    ids::{NEVER, Stamp},
    session::Record,
};

/// The times of a session that a write sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// See [`Record::idle_timeout_ms`].
    pub idle_timeout_ms: u64,
    /// See [`Record::idle_deadline`].
    pub idle_deadline: Stamp,
    /// See [`Record::absolute_deadline`].
    pub absolute_deadline: Stamp,
}

impl Times {
    /// Those of a session after a write at `stamp` that states `expiry`; `current` is the session that lives, if any.
    pub fn after(stamp: Stamp, rules: &Rules, expiry: Expiry, current: Option<&Record>) -> Self {
        let fresh = stamp.saturating_add(rules.absolute_ms);
        let absolute_deadline = match current {
            Some(record) if !rules.absolute_moves => record.absolute_deadline,
            Some(_) | None => fresh,
        };
        let after = |ms: u64| {
            let ms = rules.capped_ms(ms);
            (ms, stamp.saturating_add(ms))
        };
        let (idle_timeout_ms, idle_deadline) = match expiry {
            Expiry::Keep => match current {
                Some(record) => (record.idle_timeout_ms, record.idle_deadline),
                None => return Self::after(stamp, rules, Expiry::Default, None),
            },
            Expiry::Default if rules.idle_timeout_ms == 0 => (0, NEVER),
            Expiry::Default => after(rules.idle_timeout_ms),
            Expiry::After { ms } => after(ms.max(1)),
            Expiry::At { ms } if ms <= stamp => (1, stamp),
            Expiry::At { ms } => after(ms - stamp),
            Expiry::Never => (0, NEVER),
        };
        let idle_deadline = if idle_deadline == NEVER { NEVER } else { idle_deadline.min(absolute_deadline) };
        Self { idle_timeout_ms, idle_deadline, absolute_deadline }
    }

    /// Those after a write that moves the idle deadline on where `expiry` leaves it to the session.
    pub fn rolled(stamp: Stamp, rules: &Rules, expiry: Expiry, record: &Record) -> Self {
        if expiry != Expiry::Keep || record.idle_timeout_ms == 0 {
            return Self::after(stamp, rules, expiry, Some(record));
        }
        let times = Self::after(stamp, rules, Expiry::After { ms: record.idle_timeout_ms }, Some(record));
        // A deadline that was set exactly and later than the timeout says is not shortened.
        Self { idle_deadline: times.idle_deadline.max(record.idle_deadline).min(times.absolute_deadline), ..times }
    }

    /// Those after a touch: only the idle deadline moves, within the absolute one.
    pub fn touched(stamp: Stamp, rules: &Rules, record: &Record) -> Self {
        let Record { idle_timeout_ms, idle_deadline, absolute_deadline, .. } = *record;
        if idle_timeout_ms == 0 {
            return Self { idle_timeout_ms, idle_deadline, absolute_deadline };
        }
        let later = stamp.saturating_add(rules.capped_ms(idle_timeout_ms)).min(absolute_deadline);
        Self { idle_timeout_ms, idle_deadline: idle_deadline.max(later), absolute_deadline }
    }

    /// The earlier of both deadlines.
    pub fn deadline(&self) -> Stamp {
        self.idle_deadline.min(self.absolute_deadline)
    }
}

impl Rules {
    /// An idle timeout within the namespace's cap.
    fn capped_ms(&self, ms: u64) -> u64 {
        if self.idle_timeout_ms_max == 0 { ms } else { ms.min(self.idle_timeout_ms_max) }
    }
}
