//! What replicas remember of answers is bounded by what clients have under way.

use super::{Evidence, Findings};
use crate::sim::ledger::Asked;
use std::collections::BTreeMap;

/// Steps of renames that one node has under way at a time: those of every traveller, and what a leader goes on with.
const STEPS_OF_RENAMES_MAX: usize = 8;

/// Counts what is remembered for each sender: at most the writes of its last call to the shard.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut largest: BTreeMap<u64, usize> = BTreeMap::new();
    for call in evidence.calls {
        if let Asked::Write { commands, .. } = &call.asked {
            let most = largest.entry(call.client).or_default();
            *most = commands.len().max(*most);
        }
    }
    for (shard, reference) in &evidence.shards {
        for (origin, remembered) in reference.state.meta().answers.origins {
            let bound = largest.get(&origin).copied().unwrap_or(STEPS_OF_RENAMES_MAX);
            if remembered.answers.len() > bound {
                let count = remembered.answers.len();
                findings
                    .report(format!("{shard:?} remembers {count} answers of sender {origin}, who may ask for {bound}"));
            }
            findings.coverage.count("senders remembered");
        }
    }
}
