//! At no time do two shards serve a slot, whatever crashed while it moved; in the end the one does that the region agrees on.

use super::{Evidence, Findings};
use std::collections::BTreeSet;

/// Follows every slot that was ever moved through the logs of all shards.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for &slot in evidence.lanes.keys() {
        let mut events = Vec::new();
        for (shard, reference) in &evidence.shards {
            let serving = reference.serving(*shard, slot).into_iter();
            events.extend(serving.map(|(state, serves)| (reference.tick(state), *shard, serves)));
        }
        // Who stops at a moment stops before somebody else begins.
        events.sort_by_key(|(tick, shard, serves)| (*tick, *serves, *shard));
        let mut owners = BTreeSet::new();
        for (tick, shard, serves) in events {
            if serves {
                owners.insert(shard);
                findings.coverage.count("slots taken over");
            } else {
                owners.remove(&shard);
            }
            if owners.len() > 1 {
                findings.report(format!("at {tick} {slot:?} is served by {owners:?}"));
            }
        }
        let agreed = evidence.slots.shard(slot);
        if owners != BTreeSet::from([agreed]) {
            findings.report(format!("in the end {slot:?} is served by {owners:?} where {agreed:?} should"));
        }
    }
}
