//! Leases between regions: how long their holder may rely on one, and how long everybody else must reckon with it.
//!
//! All times are milliseconds of a machine's own CLOCK_BOOTTIME, which no two machines share and which runs on while a
//! machine sleeps; so only durations compare, and only as far as clocks run alike ([`DRIFT_PPM_MAX`]). A holder counts from
//! when it *sent* its request, so that no delay of an answer lengthens its lease; a grantor counts from when it granted. What
//! the one takes off for drift and the other adds makes the law: a lease is over for its holder before it is for its grantor.
//!
//! A control leader grants only while a quorum confirms that it leads. So whatever was granted before its time was asked for
//! before its time, and [`Grants::quiet_ms`] needs no memory of other leaders; at best their quorum remembers when it confirmed
//! one of them last ([`Grants::counting_from`]).

use crate::ids::RegionId;
use std::collections::BTreeMap;

/// How far the rate of a machine's clock may be off, in parts per million. NTP slews by at most 500, crystals are off by
/// less than 100.
pub const DRIFT_PPM_MAX: u64 = 5_000;

/// Two readings of a clock in whole milliseconds may make a duration this much shorter or longer than it was.
const READING_MS: u64 = 2;

/// The shortest lease: a few round trips round the world.
pub const LEASE_MS_MIN: u64 = 1_000;

/// The longest lease.
pub const LEASE_MS_MAX: u64 = 600_000;

/// What a world begins with.
pub const LEASE_MS_DEFAULT: u64 = 10_000;

/// What the holder of a lease takes off it and what a grantor adds.
pub const fn margin_ms(lease_ms: u64) -> u64 {
    lease_ms.saturating_mul(DRIFT_PPM_MAX).div_ceil(1_000_000).saturating_add(READING_MS)
}

/// How long after a lease was granted its holder may act by it, as far as anybody else knows.
pub const fn assumed_ms(lease_ms: u64) -> u64 {
    lease_ms.saturating_add(margin_ms(lease_ms))
}

/// A lease as the leader of a shard holds it, to write under one region epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    epoch: u32,
    until_ms: u64,
}

impl Lease {
    /// The lease after a request for `lease_ms` under `epoch`, sent at `sent_ms` by this machine's clock, was granted.
    ///
    /// An answer never shortens a lease, since answers may overtake each other, and one for an epoch that has passed changes
    /// nothing.
    #[must_use]
    pub fn renewed(self, epoch: u32, sent_ms: u64, lease_ms: u64) -> Self {
        let until_ms = sent_ms.saturating_add(lease_ms).saturating_sub(margin_ms(lease_ms));
        if epoch < self.epoch || (epoch == self.epoch && until_ms < self.until_ms) {
            return self;
        }
        Self { epoch, until_ms }
    }

    /// Whether a write under `epoch` may be acknowledged at `now_ms`.
    pub fn is_valid(&self, epoch: u32, now_ms: u64) -> bool {
        epoch == self.epoch && now_ms < self.until_ms
    }

    /// The epoch that it is for.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// From when on nothing may be acknowledged.
    pub fn until_ms(&self) -> u64 {
        self.until_ms
    }
}

/// What a control leader knows of the leases that may be running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    /// When it began to lead.
    since_ms: u64,
    /// After which nobody granted any before it.
    before_ms: u64,
    /// When it last granted one, by home and holder.
    latest_ms: BTreeMap<(RegionId, RegionId), u64>,
}

impl Grants {
    /// Those of somebody who leads since `since_ms` and has granted nothing yet.
    pub fn new(since_ms: u64) -> Self {
        Self { since_ms, before_ms: since_ms, latest_ms: BTreeMap::new() }
    }

    /// Nobody before this leader was confirmed after `before_ms`, so none of those leases was asked for later.
    pub fn counting_from(&mut self, before_ms: u64) {
        self.before_ms = self.before_ms.min(before_ms);
    }

    /// When the leader began to lead.
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// A lease to write to sessions of `home` is granted to a shard of `holder` at `now_ms`. To be noted before it is answered.
    pub fn note(&mut self, home: RegionId, holder: RegionId, now_ms: u64) {
        let latest_ms = self.latest_ms.entry((home, holder)).or_default();
        *latest_ms = now_ms.max(*latest_ms);
    }

    /// When a shard of `holder` was last granted a lease for `home`; until when earlier leaders may have granted some, if this one
    /// has not.
    pub fn latest_ms(&self, home: RegionId, holder: RegionId) -> u64 {
        self.latest_ms.get(&(home, holder)).map_or(self.before_ms, |latest_ms| self.before_ms.max(*latest_ms))
    }

    /// For how long, at `now_ms`, nobody can have been granted a lease for `home` to `holder`, by this leader or another.
    pub fn quiet_ms(&self, home: RegionId, holder: RegionId, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.latest_ms(home, holder))
    }
}

#[cfg(test)]
mod tests;
