//! The cut that is reported when others begin to act covers all that is missing: whatever a region had ordered up to there, those who
//! act next hold. Nothing is missing of those that answered.

use super::{Evidence, Findings};
use crate::sim::regions::{
    hands::Opening,
    reference::{Assumed, Change},
};
use sojourn_core::{Key, Life};
use std::collections::BTreeMap;

/// Compares what whoever began to act held with what had been ordered before.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for opening in &evidence.reference.hands.openings {
        let assumed = evidence.reference.assumed.iter();
        let assumed = assumed.filter(|assumed| (assumed.by.home, assumed.by.epoch) == (opening.home, opening.epoch));
        for assumed in assumed {
            check_shard(evidence, findings, opening, assumed);
        }
    }
}

fn check_shard(evidence: &Evidence<'_>, findings: &mut Findings, opening: &Opening, assumed: &Assumed) {
    let is_ours = |key: &Key| assumed.served.contains(key.slot());
    let mut missing = 0;
    for (key, history) in evidence.reference.histories.iter().filter(|(key, _)| is_ours(key)) {
        let theirs = history.iter().filter(|change| {
            let by = &change.by;
            !change.settled && by.home == opening.home && by.epoch < opening.epoch && by.region != assumed.by.region
        });
        let mut reported: BTreeMap<_, &Change> = BTreeMap::new();
        for change in theirs {
            if is_beyond(opening, change) {
                missing += u64::from(lacks(assumed, key, change));
            } else {
                reported.insert(change.by.region, change);
            }
        }
        let lacking =
            reported.values().find(|change| lacks(assumed, key, change) && !may_be_gone(assumed, key, change));
        if let Some(change) = lacking {
            findings.report(format!(
                "{key:?}: {:?} began to act with {:?} and without {:?} ({:?}) of {:?}, which is no more than the cut {:?}",
                assumed.by,
                assumed.held.get(key),
                change.rank(),
                change.record.life,
                change.by,
                opening.cut.get(&(change.by.region, change.by.shard))
            ));
        }
    }
    findings.coverage.add("changes beyond a cut", missing);
}

/// Whether a change is one of those that may be missing.
fn is_beyond(opening: &Opening, change: &Change) -> bool {
    let gap = opening.cut.get(&(change.by.region, change.by.shard));
    !opening.answered.contains(&change.by.region) && gap.is_none_or(|gap| change.by.is_beyond(gap))
}

fn lacks(assumed: &Assumed, key: &Key, change: &Change) -> bool {
    assumed.held.get(key).is_none_or(|held| *held < change.rank())
}

/// Whether the change need not be there: the session had ended, and its tombstone may have gone by then; or its absolute deadline has
/// passed, and it is not taken in any more.
fn may_be_gone(assumed: &Assumed, key: &Key, change: &Change) -> bool {
    let is_forgotten = !assumed.held.contains_key(key) && change.record.life != Life::Live;
    is_forgotten || change.record.absolute_deadline <= assumed.by.stamp
}
