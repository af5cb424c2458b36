//! For which homes a shard acts, and what it has promised of others.
//!
//! To act for a home is to order the writes of its sessions, under an epoch that the control group has drawn. The right is in
//! the log: a shard acts from the entry that says so up to the entry that promises not to, whoever leads it, and nothing that
//! it is told about other regions changes that.
//!
//! A promise has two halves. The shard orders nothing of the home any more under an earlier epoch. And it takes in nothing
//! that was written for the home under an earlier one, but from those who act next: what it holds by then is what it answers
//! the control group, and stays so. What it thereby misses is known by a stamp ([`Right::missing_since`]), and comes from who
//! acts next ([`super::held`]).

use super::{State, turn::Turn};
use crate::{
    command::{Op, Outcome, Refusal},
    digest,
    ids::{RegionId, Stamp},
    session::Record,
    travel::left_too_late,
};
use std::collections::{BTreeMap, BTreeSet};

/// How a shard stands to a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// The highest epoch that it knows for the home: nothing counts that is written under an earlier one from now on.
    pub epoch: u32,
    /// Whether it acts for the home under this epoch.
    pub acts: bool,
    /// Who acted for it under earlier epochs; none if that is not known, and then it may be anybody.
    pub former: Option<BTreeSet<RegionId>>,
    /// What was written for the home after this stamp, by those who acted under earlier epochs, may be missing here.
    pub missing_since: Option<Stamp>,
}

impl Default for Right {
    /// Of a home that has never changed hands, as far as is known.
    fn default() -> Self {
        Self { epoch: 0, acts: false, former: Some(BTreeSet::new()), missing_since: None }
    }
}

impl Right {
    /// That of a shard that acts under `epoch`.
    pub fn acting(epoch: u32) -> Self {
        Self { epoch, acts: true, ..Self::default() }
    }

    fn may_have_been(&self, region: RegionId) -> bool {
        self.former.as_ref().is_none_or(|former| former.contains(&region))
    }
}

/// Who tells something, and what it is believed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller<'a> {
    pub region: RegionId,
    pub believed: &'a Believed,
}

/// The homes for which somebody is believed, and the epochs under which.
pub type Believed = BTreeMap<RegionId, u32>;

impl State {
    /// The epoch under which the shard orders the writes to sessions of `home`, if it does.
    pub fn acts_for(&self, home: RegionId) -> Option<u32> {
        self.rights.get(&home).filter(|right| right.acts).map(|right| right.epoch)
    }

    /// All homes for which the shard acts, and under which epochs: what others believe this region for.
    pub fn acts(&self) -> Believed {
        let acts = self.rights.iter().filter(|(_, right)| right.acts);
        acts.map(|(home, right)| (*home, right.epoch)).collect()
    }

    /// Whether this shard may have written a record itself, for a home that it acted for under an earlier epoch.
    pub(super) fn may_have_written(&self, record: &Record) -> bool {
        let right = self.rights.get(&record.home).filter(|right| !right.acts);
        right.is_some_and(|right| record.version.epoch < right.epoch && right.may_have_been(self.region))
    }

    /// Whether something may be missing here of what was written for a home before it changed hands.
    pub fn lacks(&self, home: RegionId) -> bool {
        self.rights.get(&home).is_some_and(|right| !right.acts && right.missing_since.is_some())
    }

    /// Whether what is here of a session may be this region's own write that whoever acts for its home has not heard of: then it must
    /// be settled while it is here.
    fn may_have_to_settle(&self, known: &Record) -> bool {
        let own = known.home == self.region && self.acts_for(known.home).is_none();
        own || self.lacks(known.home) && self.may_have_written(known)
    }

    /// Whether this shard may have acted for a home for which it does not act now.
    pub fn may_have_acted(&self, home: RegionId) -> bool {
        self.rights.get(&home).is_some_and(|right| !right.acts && right.may_have_been(self.region))
    }

    /// The epoch below which nothing that is written for `home` counts here any more; 0 if nothing was promised.
    ///
    /// Whoever counts this region among those that hold a write asks for it, too: a write under an earlier epoch is held by
    /// nobody who has promised.
    pub fn promised(&self, home: RegionId) -> u32 {
        self.rights.get(&home).map_or(0, |right| right.epoch)
    }

    /// How the shard stands to each home of which it was told.
    pub fn rights(&self) -> &BTreeMap<RegionId, Right> {
        &self.rights
    }

    /// The version of the failover mode that the shard has logged, if it has logged one.
    pub fn adopted(&self) -> Option<u64> {
        self.adopted
    }

    /// Whether somebody who is believed for `believed` is so for a home, after what was promised of it.
    pub(super) fn believes(&self, believed: &Believed, home: RegionId) -> bool {
        believed.get(&home).is_some_and(|epoch| *epoch >= self.promised(home))
    }

    /// What keeps a record out that somebody tells; `known` is what is here.
    ///
    /// What is here already is never kept out: it changes nothing.
    pub(super) fn bar(&self, teller: Teller<'_>, known: Option<&Record>, record: &Record) -> Option<Refusal> {
        if self.plants.fences_by_term_alone {
            return None;
        }
        let Teller { region, believed } = teller;
        let outdone = known.and_then(|known| Some((known.home, self.acts_for(known.home)?, is_outdone(known, record))));
        if let Some((home, epoch, true)) = outdone
            && record.version.epoch > epoch
        {
            // Others act for its home by now, and whoever tells has heard of it. What was written here last must be settled while it is
            // here.
            return Some(Refusal::Fenced { home, epoch });
        }
        let left = known.filter(|known| known.home != record.home && known.incarnation == record.incarnation);
        if left.is_some_and(|known| self.believes(believed, known.home)) {
            // Whoever acts for a home may give its sessions away to any other.
            return None;
        }
        if let Some(known) = left {
            let promised = self.promised(known.home);
            let ours = self.orders(known) || self.may_have_to_settle(known);
            let was_given_away = record.version.home_epoch > known.version.home_epoch && record.version > known.version;
            // What this region orders it gives away itself. Who has given it away acts after this region, whose last writes are
            // to be settled before it takes that in; then it hears of it from who acts.
            if left_too_late(known, record, promised) || (ours && was_given_away) {
                return Some(Refusal::Fenced { home: known.home, epoch: promised });
            }
        }
        let awaits = known.filter(|known| known.home != record.home && self.may_have_to_settle(known));
        if let Some(known) = awaits.filter(|known| !self.believes(believed, known.home)) {
            // Another session has the id by now, in another home. What this region wrote to the one before it must be settled while
            // it is here.
            return Some(Refusal::Fenced { home: known.home, epoch: self.promised(known.home) });
        }
        let Record { home, version, .. } = *record;
        let right = self.rights.get(&home)?;
        let former = version.epoch < right.epoch && right.may_have_been(region);
        // Its own sessions, too, while others act for them: what it wrote itself must be settled before it is told of theirs.
        let ours = home == self.region && !right.acts;
        let barred = (former || ours) && !self.believes(believed, home);
        barred.then_some(Refusal::Fenced { home, epoch: right.epoch })
    }

    /// Whether this shard acts for its own region, and lacks nothing of any home.
    pub(super) fn is_settled(&self) -> bool {
        self.acts_for(self.region).is_some() && self.rights.values().all(|right| right.missing_since.is_none())
    }

    /// A digest of how the shard stands to each home that has ever changed hands, or for which it acts.
    pub(super) fn rights_digest(&self) -> u64 {
        let known = self.rights.iter().filter(|(_, right)| **right != Right::default());
        let rights = known.map(|(home, right)| {
            let Right { epoch, acts, former, missing_since } = right;
            let former = former.as_ref().map_or(0, |former| {
                former.iter().fold(1, |sum, region| digest::mixed([sum, u64::from(region.0), 0, 0]))
            });
            let flags = u64::from(*acts) | u64::from(missing_since.is_some()) << 1;
            digest::mixed([u64::from(home.0), u64::from(*epoch), former, flags])
        });
        rights.fold(self.adopted.map_or(0, |version| version + 1), |sum, right| digest::mixed([sum, right, 0, 0]))
    }

    /// The stamp up to which this shard holds all that regions told: those that are named, or all that it follows.
    fn held_until(&self, holders: &BTreeSet<RegionId>) -> Stamp {
        let told = |region: &RegionId| holders.is_empty() || holders.contains(region);
        let followed: BTreeSet<RegionId> = self.followed.keys().map(|source| source.region).filter(told).collect();
        let unknown = holders
            .iter()
            .any(|holder| *holder != self.region && !self.followed.keys().any(|source| source.region == *holder));
        if unknown { 0 } else { followed.into_iter().map(|region| self.held_of(region)).min().unwrap_or(0) }
    }
}

/// Whether a session that has not left its home meanwhile, or the next one under its id, was written under a later epoch than what is
/// known of it.
fn is_outdone(known: &Record, record: &Record) -> bool {
    let stayed = record.version.home_epoch == known.version.home_epoch || record.incarnation == known.incarnation;
    record.home == known.home && stayed && record.version.epoch > known.version.epoch
}

/// Whether an operation changes how the shard stands to homes.
pub(super) fn changes_rights(op: &Op) -> bool {
    matches!(op, Op::Promise { .. } | Op::Assume { .. } | Op::CaughtUp { .. } | Op::Adopt { .. })
}

impl Turn<'_> {
    /// Orders nothing of `home` any more under an earlier epoch, and takes nothing in that is written so.
    pub(super) fn promise(&mut self, home: RegionId, epoch: u32, holders: &BTreeSet<RegionId>) -> Outcome {
        let known = self.state.rights.get(&home).cloned().unwrap_or_default();
        if epoch > known.epoch {
            // Who acted last knows everything; not so who was lost meanwhile and others acted after it.
            let acted_last = known.acts && holders.contains(&self.state.region);
            let held = if acted_last { None } else { Some(self.state.held_until(holders)) };
            let missing_since = known.missing_since.into_iter().chain(held).min();
            let former = known.former.filter(|_| !holders.is_empty()).map(|former| &former | holders);
            self.state.rights.insert(home, Right { epoch, acts: false, former, missing_since });
        }
        Outcome::Done
    }

    /// Orders the writes of `home` under `epoch` from now on.
    pub(super) fn assume(&mut self, home: RegionId, epoch: u32) -> Result<Outcome, Refusal> {
        let known = self.state.rights.get(&home).cloned().unwrap_or_default();
        if epoch < known.epoch {
            return Err(Refusal::Fenced { home, epoch: known.epoch });
        }
        self.state.rights.insert(home, Right { epoch, acts: true, ..known });
        Ok(Outcome::Done)
    }

    /// Nothing is missing here of what was written for `home` under epochs before `epoch`.
    pub(super) fn caught_up(&mut self, home: RegionId, epoch: u32) -> Outcome {
        if let Some(right) = self.state.rights.get_mut(&home).filter(|right| right.epoch == epoch) {
            right.missing_since = None;
        }
        Outcome::Done
    }

    pub(super) fn adopt(&mut self, mode_version: u64) -> Outcome {
        self.state.adopted = self.state.adopted.max(Some(mode_version));
        Outcome::Done
    }
}
