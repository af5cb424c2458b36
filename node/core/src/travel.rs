//! Sessions that follow their users: when a session should change its home, and how.
//!
//! Who uses it from where is counted in memory by whoever leads the home's shard: [`Uses`] is small, forgets by halves, and
//! says a move only of a session that is used mostly from one other region. After a move the count begins anew, so each
//! move is paid for with as many uses again, and users who are everywhere move nothing.
//!
//! The move has two steps. *Release*: the old home's log gives the session away, under the next home epoch. *Acquire*: the
//! new home's log takes the released record in, like any change; from this entry on it orders the session's writes. Between
//! the two nobody does, and the old home sends writes on. The record itself says whose it is, so no crash can leave two
//! homes.
//!
//! If the old home is lost meanwhile, the cut decides. A release that any of those who answered had seen stands: the heir has
//! it too. One after the cut does not: the heir goes on as if the session had stayed, and does not let itself be told
//! otherwise ([`left_too_late`]); whoever had taken it in gives it up ([`belongs_to_heir`]).

use crate::{
    ids::{RegionId, Stamp},
    session::{Life, Record, Version},
};

/// When sessions of a namespace travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TravelPolicy {
    /// How many uses from the other region there must be at least, the old ones forgotten by halves.
    pub uses_min: u16,
    /// How many times as many as from the home.
    pub times_home: u16,
    /// After this time, in ms, a use counts half.
    pub half_life_ms: u64,
}

impl Default for TravelPolicy {
    fn default() -> Self {
        Self { uses_min: 8, times_home: 3, half_life_ms: 60 * 60_000 }
    }
}

/// Where a session is used from, in 16 bytes.
///
/// One other region is counted at a time, the one that can have the majority of all foreign uses. Source: the majority vote
/// algorithm of Boyer and Moore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// When old uses were last halved.
    halved_at: Stamp,
    home: u16,
    other: RegionId,
    others: u16,
}

impl Uses {
    /// Counts a use from `region` of a session that is at home in `home`; `now` is the shard's time.
    pub fn note(&mut self, region: RegionId, home: RegionId, now: Stamp, policy: &TravelPolicy) {
        self.forget(now, policy);
        if region == home {
            self.home = self.home.saturating_add(1);
        } else if self.others == 0 || self.other == region {
            self.other = region;
            self.others = self.others.saturating_add(1);
        } else {
            self.others -= 1;
        }
    }

    /// The other region that it is used from most, if it was used from any.
    pub fn mostly_from(&self) -> Option<RegionId> {
        (self.others > 0).then_some(self.other)
    }

    /// The region that the session should travel to, if any.
    pub fn should_move(&self, policy: &TravelPolicy) -> Option<RegionId> {
        let much = self.others >= policy.uses_min.max(1);
        let mostly = u32::from(self.others) >= u32::from(policy.times_home) * u32::from(self.home);
        (much && mostly).then_some(self.other)
    }

    fn forget(&mut self, now: Stamp, policy: &TravelPolicy) {
        if self.halved_at == 0 {
            self.halved_at = now;
        }
        let half_lives = now.saturating_sub(self.halved_at) / policy.half_life_ms.max(1);
        let halvings = u32::try_from(half_lives).unwrap_or(u32::MAX);
        self.home = self.home.checked_shr(halvings).unwrap_or(0);
        self.others = self.others.checked_shr(halvings).unwrap_or(0);
        self.halved_at += half_lives * policy.half_life_ms.max(1);
    }
}

/// Why a session does not travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TravelRefusal {
    /// It was destroyed or has expired.
    #[error("the session has ended; what has ended stays where it is")]
    Ended,
    /// It is there.
    #[error("the session is at home there already")]
    AtHome,
}

/// The record that gives a session away to `to`: logged by whoever acts for its home, under region epoch `epoch` and with the
/// next `sequence` of the slot.
///
/// Its epoch is the highest that the session was ever written under, as everywhere: the new home may have a lower one, and
/// what is written there must still be newer.
///
/// # Errors
/// It has ended, or is at home there.
pub fn release(record: &Record, to: RegionId, epoch: u32, sequence: u64, now: Stamp) -> Result<Record, TravelRefusal> {
    if record.life != Life::Live || now >= record.absolute_deadline {
        return Err(TravelRefusal::Ended);
    }
    if record.home == to {
        return Err(TravelRefusal::AtHome);
    }
    let old = record.version;
    let version = Version {
        epoch: old.epoch.max(epoch),
        home_epoch: old.home_epoch + 1,
        sequence: sequence.max(old.sequence.saturating_add(1)),
    };
    Ok(Record { home: to, version, written: now, ..record.clone() })
}

/// Whether a session that was released with change `index` of a lost region's shard belongs to that region's heir all the
/// same, because the cut is at `cut_index`. Whoever has taken it in settles what it wrote to it as orphans of its own.
pub fn belongs_to_heir(index: u64, cut_index: u64) -> bool {
    index > cut_index
}

/// Whether `incoming` says that a session has left the home where `mine` says it is, and comes too late: whoever has promised
/// to take in nothing more of that home from before `epoch` takes it in from nobody, not even from the new home.
pub fn left_too_late(mine: &Record, incoming: &Record, epoch: u32) -> bool {
    let left = incoming.incarnation == mine.incarnation && incoming.home != mine.home;
    left && incoming.version > mine.version && incoming.version.epoch < epoch
}

#[cfg(test)]
mod tests;
