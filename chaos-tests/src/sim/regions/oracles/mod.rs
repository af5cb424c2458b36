//! What must hold in a world of several regions: one promise a file.
//!
//! `agreement` and `recovery` are watched in each region while the run goes on, `converged` where it settles (see `settling`), the
//! others afterwards. None of them knows which bugs can be planted.

mod acknowledged;
mod acting;
mod converged;
mod counters;
mod cut;
mod destroyed;
mod homes;
mod missing;
mod orphans;
mod owners;
mod replicas;
mod revoked;
mod seen;
mod tokens;

use super::{
    Records, Regions,
    history::Call,
    reference::{self, Reference},
    settling, story,
    workload::{Nature, Session},
};
use crate::sim::{coverage::Coverage, ledger::Violation, oracles::Findings};
use sojourn_core::Key;
use std::collections::BTreeMap;

/// What the oracles look at when all is over.
pub struct Evidence<'a> {
    /// The regions, all their machines running.
    pub regions: &'a Regions,
    /// What clients asked and were told, in order.
    pub calls: Vec<Call>,
    /// What every region should be.
    pub reference: Reference,
    /// What every region has in the end.
    pub records: Vec<Records>,
    /// The sessions.
    pub sessions: BTreeMap<Key, Session>,
}

impl Evidence<'_> {
    /// Whether what a client was told of a write may be missing where others act later. Not so where writes wait for other regions.
    pub fn may_be_lost(&self, request: (u64, u64)) -> bool {
        !self.regions.plan.waits_for_others() && self.reference.is_cut(request)
    }

    /// What happens to a session.
    pub fn nature(&self, key: &Key) -> Option<Nature> {
        self.sessions.get(key).map(|session| session.nature)
    }
}

type Oracle = fn(&Evidence<'_>, &mut Findings);

const ALL: [(&str, Oracle); 14] = [
    ("converged", converged::check),
    ("replicas", replicas::check),
    ("acknowledged", acknowledged::check),
    ("acting", acting::check),
    ("counters", counters::check),
    ("cut", cut::check),
    ("destroyed", destroyed::check),
    ("homes", homes::check),
    ("missing", missing::check),
    ("orphans", orphans::check),
    ("owners", owners::check),
    ("revoked", revoked::check),
    ("seen", seen::check),
    ("tokens", tokens::check),
];

/// Asks all oracles.
pub fn audit(regions: &Regions) -> (Vec<Violation>, Coverage) {
    let reference = match reference::replay(regions) {
        Ok(reference) => reference,
        Err(what) => return (vec![Violation { oracle: "agreement", what }], Coverage::default()),
    };
    let sessions = regions.catalog.all().into_iter().map(|session| (session.key.clone(), session)).collect();
    let records = regions.all.iter().map(|world| settling::records(world)).collect();
    let evidence = Evidence { regions, calls: regions.history.calls(), reference, records, sessions };
    let mut coverage = Coverage::default();
    let mut violations = Vec::new();
    for (oracle, check) in ALL {
        let mut findings = Findings::of(oracle);
        check(&evidence, &mut findings);
        coverage.merge(&findings.coverage);
        violations.extend(findings.into_found());
    }
    story::print(regions, &violations);
    let (taken, left) = evidence.reference.pieces;
    coverage.add("sweeps that shards have logged", evidence.reference.sweeps);
    coverage.add("pieces of streams taken in", taken);
    coverage.add("pieces that did not follow", left);
    (violations, coverage)
}
