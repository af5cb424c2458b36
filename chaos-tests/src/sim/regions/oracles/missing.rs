//! An id is missing only when no region that can be asked has it: "not copied yet" is never answered as "no session".

use super::{Evidence, Findings, Nature};
use crate::sim::{
    ledger::{Tick, Told},
    regions::history::Asked,
};
use sojourn_core::{Key, Op, Outcome};
use std::collections::BTreeMap;

/// Looks for reads that found nothing although a session had been created before and was never ended.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut created: BTreeMap<&Key, Tick> = BTreeMap::new();
    for call in &evidence.calls {
        let (Asked::Write { command, told: Told::Outcomes(outcomes) }, Some(ended)) = (&call.asked, call.ended) else {
            continue;
        };
        let request = (command.request.origin, command.request.sequence);
        let once = match evidence.nature(&command.key) {
            // Until its region comes back.
            _ if evidence.may_be_lost(request) => false,
            Some(Nature::Minted | Nature::Owned) => true,
            // A region that is away for long counts as lost, and what only it knows as missing.
            Some(Nature::Fresh) => !evidence.regions.plan.is_long(),
            _ => false,
        };
        if once && matches!(command.op, Op::Create { .. }) && matches!(outcomes.first(), Some(Outcome::Written { .. }))
        {
            created.insert(&command.key, ended.tick);
        }
    }
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Read { key, answer: Some(None), .. } = &call.asked else { continue };
        let Some(since) = created.get(key).filter(|since| **since < call.invoked.tick) else { continue };
        let history = evidence.reference.histories.get(key);
        let ended = history.is_some_and(|history| history.iter().any(|change| !change.lives()));
        let revoked = evidence.nature(key) == Some(Nature::Owned);
        if !ended && !revoked {
            findings.report(format!(
                "call {number} in region {}: no session {key:?}, which was created at {since} and never ended",
                call.region
            ));
        }
        findings.coverage.count("sessions not found any more");
    }
    findings.coverage.add("sessions created once", created.len() as u64);
}
