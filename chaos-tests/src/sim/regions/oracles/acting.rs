//! One region acts: for each home, slot and epoch nobody orders a write but whom the world agreed on, and under leases nobody
//! acknowledges what was asked after somebody else had begun to act.

use super::{Evidence, Findings};
use crate::sim::{
    ledger::Told,
    plan::Losses,
    regions::{hands::By, history::Asked, reference::Applied},
};
use sojourn_core::{Outcome, RegionId};
use std::{collections::BTreeMap, time::Duration};

/// Looks through what all regions ordered, and at what clients were told of it.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let hands = &evidence.reference.hands;
    for (key, history) in &evidence.reference.histories {
        for change in history.iter().filter(|change| !change.settled) {
            let by = &change.by;
            let acts = hands.acting(by.home, key.slot(), by.epoch);
            if acts != Some(by.region) {
                findings.report(format!("{key:?}: ordered by {by:?}, but {acts:?} acts under this epoch"));
            }
            if by.region != by.home {
                findings.coverage.count("changes ordered for another region");
            }
        }
    }
    if evidence.regions.plan.losses() == Losses::Automatic {
        check_leases(evidence, findings);
    }
    count(evidence, findings);
}

fn check_leases(evidence: &Evidence<'_>, findings: &mut Findings) {
    // When somebody began to act for a home under an epoch.
    let mut begun: BTreeMap<(RegionId, u32), Duration> = BTreeMap::new();
    for assumed in &evidence.reference.assumed {
        let at = begun.entry((assumed.by.home, assumed.by.epoch)).or_insert(assumed.by.at);
        *at = assumed.by.at.min(*at);
    }
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Write { command, told: Told::Outcomes(outcomes) } = &call.asked else { continue };
        let request = (command.request.origin, command.request.sequence);
        let told = outcomes.first().filter(|outcome| !matches!(outcome, Outcome::Refused(_)));
        let (Some(told), Some(all)) = (told, evidence.reference.requests.get(&request)) else { continue };
        // Whoever else was asked may have answered.
        let answers = all.iter().filter(|applied| applied.outcome == *told);
        let late: Vec<_> = answers.map(|applied| later(&begun, applied, call.invoked.at)).collect();
        if let Some((by, (epoch, at))) = late.iter().flatten().next()
            && late.iter().all(Option::is_some)
        {
            findings.report(format!(
                "call {number} in region {}, asked at {:?}, was acknowledged by {by:?}, although epoch {epoch} had begun at \
                 {at:?}",
                call.region, call.invoked.at
            ));
        }
        findings.coverage.count("writes acknowledged under leases");
    }
}

/// Who answered, and the epoch that had begun before that was asked for.
fn later<'a>(
    begun: &BTreeMap<(RegionId, u32), Duration>,
    applied: &'a Applied,
    asked_at: Duration,
) -> Option<(&'a By, (u32, Duration))> {
    let by = applied.by.as_ref()?;
    let ((_, epoch), at) = begun.range((by.home, by.epoch + 1)..=(by.home, u32::MAX)).next()?;
    (*at < asked_at).then_some((by, (*epoch, *at)))
}

fn count(evidence: &Evidence<'_>, findings: &mut Findings) {
    let hands = &evidence.reference.hands;
    for (cause, times) in &hands.fences {
        findings.coverage.add(*cause, *times);
    }
    for opening in &hands.openings {
        let back = opening.acting.contains(&opening.home);
        findings.coverage.count(if back {
            "homes that are acted for by themselves again"
        } else {
            "homes acted for by others"
        });
        if !opening.former.is_subset(&opening.answered) {
            findings.coverage.count("changes of hands with a cut");
        }
    }
}
