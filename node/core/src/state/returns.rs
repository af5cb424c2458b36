//! A region that others acted for has returned: what it wrote while they did is settled, a page at a time, by whoever acts for
//! its home now.
//!
//! What becomes of each session is what [`crate::orphans`] says. It is in the log of who acts, and told from there, also where
//! another region orders the session by now: copies that meet again agree on it. Where both sides wrote, both values go to
//! the journal. An entry answers how many orphans of each sort it has looked at; asked again as the same request it answers
//! the same, so that nothing is counted twice.

use super::{
    Effect, State,
    journal::{Conflict, Side},
    streams::told_as,
    turn::Turn,
};
use crate::{
    command::{Op, Outcome, Refusal},
    ids::{Key, RegionId},
    orphans::{Orphan, Orphaned, Settled, Tally, retire, settle},
    session::Record,
    tombstones::Return,
};

/// The most orphans that one entry looks at.
pub const ORPHANS_PER_APPLY_MAX: usize = 512;

/// After so many bytes of fields an entry looks at no more of them.
pub const ORPHANS_BYTES_PER_APPLY_MAX: u64 = 4 << 20;

impl State {
    /// Why this shard cannot settle what a region wrote: it does not act for it (yet). A region asks again until it does.
    pub(super) fn settles_nothing(&self, op: &Op) -> Option<Refusal> {
        let Op::Settle { home, epoch, .. } = *op else { return None };
        let acts = self.acts_for(home).is_some_and(|acting| acting >= epoch);
        (!acts).then(|| Refusal::Fenced { home, epoch: self.promised(home) })
    }
}

impl Turn<'_> {
    pub(super) fn settle_orphans(
        &mut self,
        home: RegionId,
        epoch: u32,
        how: Return,
        orphans: &[Orphaned],
    ) -> Result<Outcome, Refusal> {
        let orphans = &orphans[..count_within_bounds(orphans)];
        if orphans.iter().any(|orphan| self.state.records.get(&orphan.key).is_some_and(|record| record.is_cold())) {
            return Err(Refusal::NotHere);
        }
        let mut tally = Tally::default();
        for Orphaned { key, mine, base } in orphans {
            let current = self.state.records.get(key).cloned();
            let orphan = Orphan { mine, base: base.as_ref(), current: current.as_deref() };
            let settled = match how {
                Return::Merge => settle(orphan, epoch, self.stamp),
                Return::Copy => retire(orphan, epoch, self.stamp),
            };
            tally.count(&settled);
            if matches!(settled, Settled::Journaled { .. }) {
                let (mine, theirs) = (Side::of(mine), current.as_deref().map(Side::of));
                self.journal(home, &Conflict { key: key.clone(), home, epoch, at: self.stamp, mine, theirs });
            }
            if let Some(record) = settled.record().filter(|record| current.as_deref() != Some(*record)) {
                self.place_told(key, record.clone());
            }
        }
        Ok(Outcome::Settled(tally))
    }

    /// Puts a record under `key` and tells it, whoever orders it.
    fn place_told(&mut self, key: &Key, record: Record) {
        let event = told_as(&record);
        self.place(key, record, event);
        if let Some(Effect { told, .. }) = self.effects.last_mut() {
            *told = true;
        }
    }
}

/// How many of these one entry looks at: one at least.
fn count_within_bounds(orphans: &[Orphaned]) -> usize {
    let mut bytes = 0;
    let within = orphans.iter().take(ORPHANS_PER_APPLY_MAX).take_while(|orphan| {
        let fits = bytes < ORPHANS_BYTES_PER_APPLY_MAX;
        bytes += orphan.mine.body_bytes();
        fits
    });
    within.count()
}
