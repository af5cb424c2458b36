//! Who follows the feeds of all shards has what the shards have, record by record.

use super::{Evidence, Findings};
use sojourn_core::{Key, Life, Stamp};

/// Compares the follower's copies with what the shards should be.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (shard, reference) in &evidence.shards {
        let mut copy = evidence.copies.records(*shard);
        // Nobody outside follows slots from shard to shard yet.
        let stays = |key: &Key| !evidence.lanes.contains_key(&key.slot());
        copy.retain(|key, _| stays(key));
        for (key, right) in reference.state.records(None).filter(|(key, _)| stays(key)) {
            let ours = copy.remove(key);
            if ours.as_ref() != Some(right) {
                findings.report(format!("the follower of {shard:?} has {ours:?} for {key:?} where {right:?} is right"));
            }
            findings.coverage.count("followed records compared");
        }
        let last_stamp = reference.state.last_stamp();
        for (key, record) in copy {
            if !is_forgotten(record.life, last_stamp) {
                findings.report(format!("the follower of {shard:?} has {record:?} for {key:?}, which is not there"));
            }
        }
    }
}

/// Whether replicas may have let go of the tombstone.
fn is_forgotten(life: Life, now: Stamp) -> bool {
    match life {
        Life::Live => false,
        Life::Dead { collect_at, .. } => collect_at <= now,
    }
}
