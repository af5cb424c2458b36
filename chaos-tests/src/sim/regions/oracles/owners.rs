//! In the end each slot that was ever moved is served by one shard of its region: the one that the region agrees on. While it is on its
//! way nobody serves it twice, which histories show: two owners would give out the same versions.

use super::{Evidence, Findings};
use sojourn_core::{ShardId, Slot, SlotTable};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at all slots of which any shard has a note, and at all sessions.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut owners: BTreeMap<(usize, Slot), BTreeSet<ShardId>> = BTreeMap::new();
    let moved: BTreeSet<(usize, Slot)> = evidence
        .reference
        .shards
        .iter()
        .flat_map(|((region, _), state)| state.holds().keys().map(move |slot| (*region, *slot)))
        .collect();
    for ((region, shard), state) in &evidence.reference.shards {
        let table = SlotTable::even(evidence.regions.all[*region].seat.shards);
        let served = state.served(&table, *shard);
        for (at, slot) in moved.iter().filter(|(at, _)| at == region) {
            owners.entry((*at, *slot)).or_default().extend(served.contains(*slot).then_some(*shard));
        }
    }
    for ((region, slot), owners) in owners {
        findings.coverage.count("slots that were moved");
        let agreed = evidence.regions.all[region].slots().shard(slot);
        if owners != BTreeSet::from([agreed]) {
            findings.report(format!("region {region}: {slot:?} is served by {owners:?} where {agreed:?} should"));
        }
    }
    for (key, history) in &evidence.reference.histories {
        let twice = history.windows(2).find(|pair| {
            let [one, next] = pair else { return false };
            let apart = one.by.region == next.by.region && one.by.shard != next.by.shard;
            // A touch is told with the version that it found.
            apart && one.rank() == next.rank() && one.record.body != next.record.body
        });
        if let Some([one, next]) = twice {
            findings.report(format!("{key:?}: {:?} and {:?} gave out {:?}", one.by, next.by, one.rank()));
        }
    }
}
