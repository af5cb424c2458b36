//! In the end each slot that was ever moved is served by one shard of its region: the one that the region agrees on. While it is on its
//! way nobody serves it twice, which histories show: two owners would give out the same versions.

use super::{Evidence, Findings};
use sojourn_core::{ShardId, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at all slots of which any shard has a note.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut owners: BTreeMap<(usize, Slot), BTreeSet<ShardId>> = BTreeMap::new();
    for ((region, shard), state) in &evidence.reference.shards {
        for (slot, hold) in state.holds() {
            let owners = owners.entry((*region, *slot)).or_default();
            owners.extend(hold.serves().then_some(*shard));
            findings.coverage.add("moves of slots settled", u64::from(hold.serves()) * hold.settled().min(1));
        }
    }
    for ((region, slot), owners) in owners {
        let agreed = evidence.regions.all[region].slots().shard(slot);
        // Where a move has only begun at one of both shards, the other has no note.
        if !owners.is_empty() && owners != BTreeSet::from([agreed]) {
            findings.report(format!("region {region}: {slot:?} is served by {owners:?} where {agreed:?} should"));
        }
    }
    for (key, history) in &evidence.reference.histories {
        let twice = history.windows(2).find(|pair| {
            let [one, next] = pair else { return false };
            let apart = one.by.region == next.by.region && one.by.shard != next.by.shard;
            apart && one.rank() == next.rank() && !one.record.eq(&next.record)
        });
        if let Some([one, next]) = twice {
            findings.report(format!("{key:?}: {:?} and {:?} gave out {:?}", one.by, next.by, one.rank()));
        }
    }
}
