//! Nothing acknowledged is lost, and nothing happened that clients were told did not.

use super::{Evidence, Findings};
use crate::sim::{
    ledger::{Asked, Told},
    reference,
};

/// Compares what was told with what all replicas hold in the end.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Write { commands, told } = &call.asked else { continue };
        for command in commands {
            let request = (command.request.origin, command.request.sequence);
            let held = evidence.right(evidence.place_of(&command.key)).map(|shard| &shard.requests);
            let applied = held.is_some_and(|requests| requests.contains_key(&request));
            match told {
                Told::Outcomes(outcomes) if !applied => {
                    findings.report(format!(
                        "call {number}: acknowledged with {outcomes:?}, but no replica has it in the end"
                    ));
                }
                Told::Nothing(why) if applied => {
                    findings.report(format!(
                        "call {number}: the client was told that nothing was written ({why}), but it was"
                    ));
                }
                Told::Nothing(_) => findings.coverage.count("writes refused without effect"),
                Told::Outcomes(_) => findings.coverage.count("writes acknowledged"),
                Told::Unknown if applied => findings.coverage.count("writes unknown and applied"),
                Told::Unknown => findings.coverage.count("writes unknown and not applied"),
            }
        }
    }
    for shard in crate::sim::world::shards() {
        let group = reference::group(shard);
        let last = evidence.book.entries.get(&group).and_then(|entries| entries.keys().next_back());
        for &number in evidence.holders(shard) {
            let next = evidence.book.next(number, group);
            if last.is_some_and(|last| next <= *last) {
                findings.report(format!("node {number} ends before {group}/{next}, but {last:?} was applied once"));
            }
        }
    }
}
