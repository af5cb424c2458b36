//! A write that was asked for several times under one name, through whatever region, happens once, as long as one region acts for its
//! home: who acts after another does not know what that one has answered.

use super::{Evidence, Findings, Nature};
use crate::sim::{ledger::Told, regions::history::Asked};
use sojourn_core::{Body, Key, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// Adds up the counters: every addition brings a number of its own, and the sum is what was acknowledged and at most what was asked.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut told: BTreeMap<&Key, BTreeSet<i64>> = BTreeMap::new();
    // Those that were acknowledged and may be missing where others acted later, too.
    let mut unknown: BTreeMap<&Key, i64> = BTreeMap::new();
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Write { command, told: answer } = &call.asked else { continue };
        if evidence.nature(&command.key) != Some(Nature::Counter) {
            continue;
        }
        let request = (command.request.origin, command.request.sequence);
        let again = evidence.reference.times_done(request).saturating_sub(1);
        *unknown.entry(&command.key).or_default() += again as i64;
        match answer {
            Told::Outcomes(_) if evidence.may_be_lost(request) => {
                *unknown.entry(&command.key).or_default() += 1;
                findings.coverage.count("additions beyond a cut");
            }
            Told::Outcomes(outcomes) => match outcomes.first() {
                Some(Outcome::Count(sum)) if told.entry(&command.key).or_default().insert(*sum) => {}
                other => findings.report(format!("call {number}: an addition was told {other:?}, or another was too")),
            },
            Told::Unknown | Told::Nothing(_) => *unknown.entry(&command.key).or_default() += 1,
        }
    }
    let counters = evidence.sessions.values().filter(|session| session.nature == Nature::Counter);
    for session in counters {
        let acknowledged = told.get(&session.key).map_or(0, |sums| sums.len() as i64);
        let at_most = acknowledged + unknown.get(&session.key).copied().unwrap_or(0);
        for ((region, shard), state) in &evidence.reference.shards {
            let Some(record) = state.record(&session.key) else { continue };
            let Body::Hot(fields) = &record.body else { continue };
            let text = fields.get(b"").and_then(|text| std::str::from_utf8(text).ok());
            let sum = text.and_then(|text| text.parse().ok()).unwrap_or(-1);
            if sum < acknowledged || sum > at_most {
                findings.report(format!(
                    "region {region}, {shard:?}: {acknowledged} additions to {:?} were acknowledged and {at_most} asked \
                     for, the sum is {sum}",
                    session.key
                ));
            }
            findings.coverage.count("counters added up");
        }
    }
}
