//! Whether what the log says may be said to clients: under leases, only while nobody else can have taken over.
//!
//! A node holds its leases for all shards that it leads: who may write for a home is the region, and one request every third of
//! a lease is enough for it. Each shard checks by its own log under which epoch it acts for a session's home. So a lease of
//! another epoch is none, and a shard that has promised not to act any more answers nothing whatever lease runs.

use super::{NotProposed, Sessions, batch::Bundle};
use crate::env::Clock;
use parking_lot::RwLock;
use sojourn_core::{Key, Outcome, Refusal, RegionId, State, control::FailoverMode, lease::Lease};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The leases of a node, each for one home.
pub struct Leases {
    clock: Arc<dyn Clock>,
    held: RwLock<BTreeMap<RegionId, Lease>>,
    /// Until when a node that needs no leases answers nothing because it has not asked yet whether its region still acts.
    doubt_until_ms: AtomicU64,
}

impl Leases {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, held: RwLock::default(), doubt_until_ms: AtomicU64::new(0) }
    }

    /// This machine's CLOCK_BOOTTIME in ms: to be noted before a lease is asked for.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.boot().as_millis()).unwrap_or(u64::MAX)
    }

    /// A request for a lease of `lease_ms`, sent at `sent_ms`, was granted.
    pub fn renewed(&self, home: RegionId, epoch: u32, sent_ms: u64, lease_ms: u64) {
        let mut held = self.held.write();
        let lease = held.entry(home).or_default();
        *lease = lease.renewed(epoch, sent_ms, lease_ms);
    }

    /// This node has not been there for a while. Before it answers by itself it asks whether its region still acts, and waits for
    /// so long: where there are no leases, a region that is cut off goes on.
    pub fn doubt(&self, patience: Duration) {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.doubt_until_ms.store(self.now_ms().saturating_add(patience_ms), Ordering::Relaxed);
    }

    /// It was told that its region acts.
    pub fn trust(&self) {
        self.doubt_until_ms.store(0, Ordering::Relaxed);
    }

    /// Whether it waits for an answer.
    pub fn is_in_doubt(&self) -> bool {
        let until_ms = self.doubt_until_ms.load(Ordering::Relaxed);
        until_ms > 0 && self.now_ms() < until_ms
    }

    /// Whether what is written for `home` under `epoch` may be acknowledged now.
    pub fn is_valid(&self, home: RegionId, epoch: u32) -> bool {
        self.held.read().get(&home).is_some_and(|lease| lease.is_valid(epoch, self.now_ms()))
    }
}

/// What an answer rests on: taken before it is found out, upheld before it is told.
#[derive(Clone, Debug)]
pub enum Claim {
    /// No lease is needed.
    Free,
    /// No lease is needed, but the node has not been told yet whether its region still acts for this home.
    Doubtful(RegionId),
    /// The leases of these homes under these epochs.
    Leased {
        /// The homes of its sessions that the shard acted for.
        acting: Vec<(RegionId, u32)>,
        /// One that it did not act for.
        other: Option<RegionId>,
    },
}

impl Claim {
    /// A home for which nothing may be told now, if there is one.
    fn lapsed(&self, leases: &Leases) -> Option<RegionId> {
        match self {
            Self::Free => None,
            Self::Doubtful(home) => Some(*home).filter(|_| leases.is_in_doubt()),
            Self::Leased { acting, .. } => {
                acting.iter().find(|(home, epoch)| !leases.is_valid(*home, *epoch)).map(|(home, _)| *home)
            }
        }
    }

    /// The same for what was written: a shard that did not act for all of it may have begun to only since.
    fn lapsed_or_other(&self, leases: &Leases) -> Option<RegionId> {
        match self {
            Self::Leased { other: Some(other), .. } => Some(*other),
            Self::Leased { .. } | Self::Doubtful(_) | Self::Free => self.lapsed(leases),
        }
    }
}

impl Sessions {
    /// What the answer to a bundle rests on now.
    pub fn claim_of(&self, leases: &Leases, bundle: &Bundle) -> Claim {
        match bundle.settles() {
            // Who acts for the home answers, also where one of its sessions has gone to another since.
            Some(home) => self.claim_on(leases, |_| vec![Some(home)]),
            None => self.claim(leases, bundle.keys()),
        }
    }

    /// What an answer about these sessions rests on now.
    pub fn claim(&self, leases: &Leases, keys: &[Key]) -> Claim {
        self.claim_on(leases, |state| keys.iter().map(|key| state.record(key).map(|record| record.home)).collect())
    }

    /// What an answer about sessions of these homes rests on; one that is not known may be any.
    fn claim_on(&self, leases: &Leases, homes: impl FnOnce(&State) -> Vec<Option<RegionId>>) -> Claim {
        let is_leased = self.leased.load(Ordering::SeqCst);
        if !is_leased && !leases.is_in_doubt() {
            return Claim::Free;
        }
        let state = self.state.read();
        let (mut acting, mut other) = (Vec::new(), None);
        for home in homes(&state) {
            match home {
                Some(home) => match state.acts_for(home) {
                    Some(epoch) => acting.push((home, epoch)),
                    None => other = Some(home),
                },
                None => acting.extend(state.acts()),
            }
        }
        acting.sort_unstable();
        acting.dedup();
        match acting.first() {
            _any if is_leased => Claim::Leased { acting, other },
            Some((home, _)) => Claim::Doubtful(*home),
            None => Claim::Free,
        }
    }

    /// Whether nobody else can have written for any of the homes that this shard acts for.
    pub fn vouches(&self, leases: &Leases) -> bool {
        self.uphold(leases, &self.claim_on(leases, |_| vec![None])).is_ok()
    }

    /// Whether what was found out may be told.
    ///
    /// # Errors
    /// Somebody else may have written since.
    pub fn uphold(&self, leases: &Leases, claim: &Claim) -> Result<(), NotProposed> {
        self.upheld(claim, claim.lapsed(leases))
    }

    /// Whether what was done may be told.
    pub(super) fn acknowledge(
        &self,
        leases: &Leases,
        claim: &Claim,
        outcomes: Vec<Outcome>,
    ) -> Result<Vec<Outcome>, NotProposed> {
        if !are_elsewhere(&outcomes) {
            self.upheld(claim, claim.lapsed_or_other(leases))?;
        }
        Ok(outcomes)
    }

    fn upheld(&self, claim: &Claim, lapsed: Option<RegionId>) -> Result<(), NotProposed> {
        // It may have begun to need leases since.
        let begun = || !matches!(claim, Claim::Leased { .. }) && self.leased.load(Ordering::SeqCst);
        match lapsed.or_else(|| begun().then(|| self.audit(State::region))) {
            Some(home) => Err(NotProposed::NotActing(home)),
            None => Ok(()),
        }
    }
}

/// Whether the shard has logged that it answers under leases only.
pub(super) fn is_leased(state: &State) -> bool {
    state.adopted().is_some_and(|version| FailoverMode::of_version(version) == FailoverMode::Automatic)
}

/// Whether outcomes say nothing but that somebody else has to be asked: no lease is needed for that.
fn are_elsewhere(outcomes: &[Outcome]) -> bool {
    outcomes
        .iter()
        .all(|outcome| matches!(outcome, Outcome::Refused(Refusal::Elsewhere { .. } | Refusal::Fenced { .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::Hands;

    #[test]
    fn a_lease_counts_from_when_it_was_asked_for_and_for_its_epoch_only() {
        let hands = Arc::new(Hands::default());
        let (leases, na) = (Leases::new(hands.clone()), RegionId(0));
        assert!(!leases.is_valid(na, 3));
        let sent_ms = leases.now_ms();
        hands.set_boot_ms(900);
        leases.renewed(na, 3, sent_ms, 1_000);
        assert!(leases.is_valid(na, 3) && !leases.is_valid(na, 2) && !leases.is_valid(na, 4));
        assert!(!leases.is_valid(RegionId(1), 3));
        hands.set_boot_ms(1_000);
        assert!(!leases.is_valid(na, 3), "whenever the answer came");
        leases.renewed(na, 4, 950, 1_000);
        assert!(leases.is_valid(na, 4) && !leases.is_valid(na, 3));
    }

    #[test]
    fn a_doubt_ends_with_an_answer_or_by_itself() {
        let hands = Arc::new(Hands::default());
        let leases = Leases::new(hands.clone());
        assert!(!leases.is_in_doubt());
        leases.doubt(Duration::from_secs(3));
        assert!(leases.is_in_doubt());
        leases.trust();
        assert!(!leases.is_in_doubt());
        leases.doubt(Duration::from_secs(3));
        hands.set_boot_ms(3_000);
        assert!(!leases.is_in_doubt(), "nobody can be asked");
    }
}
