//! Absolute deadlines hold, and nobody is ended before the region could believe that it is time.

use super::{Evidence, Findings};
use crate::sim::ledger::Asked;
use sojourn_core::{Answer, Incarnation, Key, Query, View, ids::NEVER};
use std::collections::BTreeMap;

/// How far stamps may be ahead of what the clocks were last seen to allow: they are looked at now and then, and a busy
/// shard counts on by a millisecond an entry.
const SLACK_MS: u64 = 1_000;

/// Looks at every stamp and at every deadline that a client saw.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    for entries in evidence.shards.iter().map(|(shard, reference)| (shard, &reference.steps)) {
        let (shard, steps) = entries;
        let mut last = 0;
        let seen = evidence.book.entries.get(&crate::sim::reference::group(*shard));
        let latest: BTreeMap<u64, u64> =
            seen.into_iter().flatten().map(|(_, seen)| (seen.tick, seen.latest_ms)).collect();
        for step in steps {
            let latest_ms = latest.get(&step.tick).copied().unwrap_or(NEVER);
            if step.stamp > last + 1 && step.stamp > latest_ms.saturating_add(SLACK_MS) {
                let ahead_ms = step.stamp - latest_ms;
                findings.report(format!("an entry of {shard:?} is stamped {ahead_ms} ms later than any clock allows"));
            }
            last = last.max(step.stamp);
        }
    }
    let mut absolute: BTreeMap<(&Key, Incarnation), u64> = BTreeMap::new();
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Read { query: Query::Get { key, .. }, answer: Some(Answer::Record(Some(view))) } = &call.asked
        else {
            continue;
        };
        judge_view(number, view, call.earliest_ms, findings);
        let fixed = evidence.cell(key).is_some_and(|cell| !cell.rules.absolute_moves);
        let first = *absolute.entry((key, view.incarnation)).or_insert(view.absolute_deadline);
        if fixed && first != view.absolute_deadline {
            findings.report(format!("call {number}: the absolute deadline moved from {first}: {view:?}"));
        }
    }
}

fn judge_view(number: usize, view: &View, earliest_ms: u64, findings: &mut Findings) {
    if view.idle_deadline != NEVER && view.idle_deadline > view.absolute_deadline {
        findings.report(format!("call {number}: an idle deadline is beyond the absolute one: {view:?}"));
    }
    let deadline = view.idle_deadline.min(view.absolute_deadline);
    if deadline.saturating_add(SLACK_MS) < earliest_ms {
        let late_ms = earliest_ms - deadline;
        findings.report(format!("call {number}: read alive {late_ms} ms after its deadline by every clock: {view:?}"));
    }
    if deadline < NEVER {
        findings.coverage.count("deadlines seen");
    }
}
