//! When sessions end.
//!
//! `EXPIRE` sends its deadline to the shard's leader like any write; whether that is logged or only moves the deadline that
//! the leader holds in memory is decided there.

use crate::gateway::resp::{
    call::Call,
    error::{self, Error},
    plan::{Plan, Planned, tell_count},
    reply::Reply,
    table::{ONE_KEY, Spec, command, flag::*},
};
use sojourn_core::{Expiry, Op, Projection, Stamp, View, command::ExpireCondition};

pub const COMMANDS: &[Spec] = &[
    command("expire", -3, expire).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "generic",
        "1.0.0",
        "key seconds [NX|XX|GT|LT]",
        "Lets a key end after some seconds.",
    ),
    command("pexpire", -3, pexpire).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "generic",
        "2.6.0",
        "key milliseconds [NX|XX|GT|LT]",
        "Lets a key end after some milliseconds.",
    ),
    command("expireat", -3, expireat).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "generic",
        "1.2.0",
        "key unix-time-seconds [NX|XX|GT|LT]",
        "Lets a key end at a time in seconds.",
    ),
    command("pexpireat", -3, pexpireat).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "generic",
        "2.6.0",
        "key unix-time-milliseconds [NX|XX|GT|LT]",
        "Lets a key end at a time in milliseconds.",
    ),
    command("ttl", 2, ttl).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "generic",
        "1.0.0",
        "key",
        "Returns the seconds until a key ends.",
    ),
    command("pttl", 2, pttl).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "generic",
        "2.6.0",
        "key",
        "Returns the milliseconds until a key ends.",
    ),
    command("expiretime", 2, expiretime).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "generic",
        "7.0.0",
        "key",
        "Returns the time in seconds at which a key ends.",
    ),
    command("pexpiretime", 2, pexpiretime).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "generic",
        "7.0.0",
        "key",
        "Returns the time in milliseconds at which a key ends.",
    ),
    command("persist", 2, persist).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "generic",
        "2.2.0",
        "key",
        "Lets a key live as long as its namespace allows.",
    ),
];

/// How a deadline is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    ms: i64,
    absolute: bool,
}

impl Unit {
    /// Seconds from now.
    pub const SECONDS: Self = Self { ms: 1000, absolute: false };
    /// Milliseconds from now.
    pub const MILLISECONDS: Self = Self { ms: 1, absolute: false };
    /// Seconds since the Unix epoch.
    pub const AT_SECONDS: Self = Self { ms: 1000, absolute: true };
    /// Milliseconds since the Unix epoch.
    pub const AT_MILLISECONDS: Self = Self { ms: 1, absolute: true };

    /// The unit that an option such as `EX` stands for.
    pub fn of_option(word: &[u8]) -> Option<Self> {
        let options = [
            ("ex", Self::SECONDS),
            ("px", Self::MILLISECONDS),
            ("exat", Self::AT_SECONDS),
            ("pxat", Self::AT_MILLISECONDS),
        ];
        options.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, unit)| unit)
    }

    /// What `value` of this unit means, if it can be told in milliseconds.
    pub fn expiry(self, value: i64, now: Stamp) -> Option<Expiry> {
        let ms = value.checked_mul(self.ms)?;
        if !self.absolute {
            // Redis keeps the sum in 63 bits too.
            i64::try_from(now).ok()?.checked_add(ms)?;
        }
        Some(match u64::try_from(ms) {
            Ok(ms) if self.absolute => Expiry::At { ms },
            Ok(ms) if ms > 0 => Expiry::After { ms },
            // The past.
            Ok(_) | Err(_) => Expiry::At { ms: 0 },
        })
    }
}

/// A deadline that must be positive, as `SET` and its kin take it.
///
/// # Errors
/// No integer, not positive, or too large.
pub fn positive(call: &Call<'_>, index: usize, unit: Unit) -> Result<Expiry, Error> {
    let value = call.integer(index)?;
    let expiry = if value > 0 { unit.expiry(value, call.server.backend.now_ms()) } else { None };
    expiry.ok_or_else(|| error::invalid_expire(call.spec.name))
}

fn expire(call: &mut Call<'_>) -> Planned {
    expire_by(call, Unit::SECONDS)
}

fn pexpire(call: &mut Call<'_>) -> Planned {
    expire_by(call, Unit::MILLISECONDS)
}

fn expireat(call: &mut Call<'_>) -> Planned {
    expire_by(call, Unit::AT_SECONDS)
}

fn pexpireat(call: &mut Call<'_>) -> Planned {
    expire_by(call, Unit::AT_MILLISECONDS)
}

fn expire_by(call: &mut Call<'_>, unit: Unit) -> Planned {
    let condition = expire_condition(call)?;
    let expiry = unit.expiry(call.integer(2)?, call.server.backend.now_ms());
    let expiry = expiry.ok_or_else(|| error::invalid_expire(call.spec.name))?;
    call.write(Op::SetExpiry { expiry, condition }, tell_count)
}

fn expire_condition(call: &Call<'_>) -> Result<ExpireCondition, Error> {
    let (mut none, mut some, mut later, mut earlier) = (false, false, false, false);
    for word in call.args.from(3).iter() {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => none = true,
            b"xx" => some = true,
            b"gt" => later = true,
            b"lt" => earlier = true,
            _ => return Err(format!("ERR Unsupported option {}", String::from_utf8_lossy(word)).into()),
        }
    }
    match (none, some, later, earlier) {
        (true, true, _, _) | (true, _, true, _) | (true, _, _, true) => {
            Err(Error::new("ERR NX and XX, GT or LT options at the same time are not compatible"))
        }
        (_, _, true, true) => Err(Error::new("ERR GT and LT options at the same time are not compatible")),
        (true, ..) => Ok(ExpireCondition::IfNone),
        // A key without a deadline never fits GT, so XX adds nothing to it.
        (_, _, true, _) => Ok(ExpireCondition::IfLater),
        (_, true, _, true) => Err(Error::new("ERR XX and LT options at the same time are not supported")),
        (_, _, _, true) => Ok(ExpireCondition::IfEarlier),
        (_, true, _, _) => Ok(ExpireCondition::IfSome),
        (false, false, false, false) => Ok(ExpireCondition::Always),
    }
}

fn persist(call: &mut Call<'_>) -> Planned {
    let op = Op::SetExpiry { expiry: Expiry::Never, condition: ExpireCondition::IfSome };
    call.write(op, tell_count)
}

/// When a session ends, if its client or its namespace said so.
pub fn deadline(view: &View) -> Option<Stamp> {
    (view.idle_timeout_ms > 0).then(|| view.idle_deadline.min(view.absolute_deadline))
}

/// Tells −2 without a session, −1 without a deadline, else what `show` makes of it.
fn tell(call: &mut Call<'_>, show: impl FnOnce(Stamp) -> u64 + Send + 'static) -> Planned {
    Ok(Plan::view(call.key(1)?, Projection::Summary, move |reply: &mut Reply, view| {
        match view.map(|view| deadline(&view)) {
            None => reply.integer(-2),
            Some(None) => reply.integer(-1),
            Some(Some(deadline)) => reply.count(show(deadline)),
        }
        Ok(())
    }))
}

fn ttl(call: &mut Call<'_>) -> Planned {
    let server = std::sync::Arc::clone(call.server);
    tell(call, move |deadline| (deadline.saturating_sub(server.backend.now_ms()) + 500) / 1000)
}

fn pttl(call: &mut Call<'_>) -> Planned {
    let server = std::sync::Arc::clone(call.server);
    tell(call, move |deadline| deadline.saturating_sub(server.backend.now_ms()))
}

fn expiretime(call: &mut Call<'_>) -> Planned {
    tell(call, |deadline| (deadline + 500) / 1000)
}

fn pexpiretime(call: &mut Call<'_>) -> Planned {
    tell(call, |deadline| deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_become_milliseconds() {
        for (unit, value, expiry) in [
            (Unit::SECONDS, 2, Some(Expiry::After { ms: 2000 })),
            (Unit::SECONDS, 0, Some(Expiry::At { ms: 0 })),
            (Unit::SECONDS, -5, Some(Expiry::At { ms: 0 })),
            (Unit::AT_SECONDS, 5, Some(Expiry::At { ms: 5000 })),
            (Unit::SECONDS, i64::MAX / 1000 + 1, None),
            (Unit::MILLISECONDS, i64::MAX, None),
            (Unit::AT_MILLISECONDS, i64::MAX, Some(Expiry::At { ms: i64::MAX as u64 })),
        ] {
            assert_eq!(unit.expiry(value, 1000), expiry, "{unit:?} {value}");
        }
        assert_eq!(Unit::of_option(b"pXaT"), Some(Unit::AT_MILLISECONDS));
        assert_eq!(Unit::of_option(b"keepttl"), None);
    }
}
