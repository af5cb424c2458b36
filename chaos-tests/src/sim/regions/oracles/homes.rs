//! One home at any time: each incarnation of a session is ordered by one region per home epoch and epoch of who acts, and a version
//! names one body.

use super::{Evidence, Findings, reference::Change};
use sojourn_core::{Incarnation, Record};
use std::collections::BTreeMap;

/// Looks through the histories of all sessions.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (key, history) in &evidence.reference.histories {
        let mut homes: BTreeMap<(Incarnation, u32, u32), usize> = BTreeMap::new();
        findings.coverage.add("changes of homes", history.iter().filter(|change| change.releases()).count() as u64);
        for change in history.iter().filter(|change| !change.settled && !change.releases()) {
            let record = &change.record;
            let held = (record.incarnation, record.version.home_epoch, change.by.epoch);
            let home = *homes.entry(held).or_insert(change.region);
            if home != change.region {
                findings.report(format!(
                    "{key:?}: regions {home} and {} both ordered it under home epoch {}",
                    change.region, record.version.home_epoch
                ));
            }
        }
        let written: Vec<&Change> = history.iter().filter(|change| !change.settled).collect();
        for pair in written.windows(2).filter(|pair| pair[0].rank() == pair[1].rank()) {
            if differs(&pair[0].record, &pair[1].record) {
                findings.report(format!("{key:?}: one version names {:?} and {:?}", pair[0].record, pair[1].record));
            }
        }
        findings.coverage.count("histories with one home");
        let created: std::collections::BTreeSet<_> =
            history.iter().map(|change| change.record.incarnation.region).collect();
        if created.len() > 1 {
            findings.coverage.count("sessions created in several regions");
        }
    }
}

/// Whether two records differ by more than their use.
fn differs(left: &Record, right: &Record) -> bool {
    (left.life, &left.body, &left.owner, left.kind) != (right.life, &right.body, &right.owner, right.kind)
}
