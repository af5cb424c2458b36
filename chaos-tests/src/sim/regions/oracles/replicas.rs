//! All replicas of a region are equal, and equal to what their log says they should be.

use super::{Evidence, Findings};
use crate::sim::oracles::replicas::Picture;

/// Compares all replicas of all shards.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for ((region, shard), state) in &evidence.reference.shards {
        let (world, right) = (&evidence.regions.all[*region], Picture::of(state));
        for number in world.holders(*shard) {
            let name = &world.seat.name;
            let sessions = world.running(number).and_then(|running| running.node.sessions(*shard));
            let Some(picture) = sessions.map(|sessions| sessions.audit(Picture::of)) else {
                findings.report(format!("node {number} of {name} does not serve {shard:?} after the heal"));
                continue;
            };
            if let Some(what) = picture.difference(&right) {
                findings.report(format!("node {number} of {name}, {shard:?}: {what}"));
            }
            findings.coverage.count("replicas compared");
        }
    }
}
