//! Destroyed means destroyed, in every region: whoever destroys a session sees it no more, other regions show it no longer than a copy
//! may answer, and in the end nobody has it. What a region that was lost had destroyed is seen until it comes back, but not after that.

use super::{Evidence, Findings};
use crate::sim::{ledger::Told, regions::history::Asked};
use sojourn_core::{Incarnation, Key, Life, Op, Outcome};
use sojourn_node::region::copies::STALE_MAX;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Clocks of nodes drift while a copy ages.
const SLACK: Duration = Duration::from_millis(5);

/// Looks for sessions that were destroyed and are seen again.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let mut gone: BTreeMap<(&Key, Incarnation), (usize, super::super::history::Moment)> = BTreeMap::new();
    let mut cut: BTreeSet<(&Key, Incarnation)> = BTreeSet::new();
    for call in &evidence.calls {
        let (Asked::Write { command, told: Told::Outcomes(outcomes) }, Some(ended)) = (&call.asked, call.ended) else {
            continue;
        };
        if !matches!(command.op, Op::Destroy) || outcomes.first() != Some(&Outcome::Count(1)) {
            continue;
        }
        let request = (command.request.origin, command.request.sequence);
        if let Some((incarnation, _)) = evidence.reference.effective(request).and_then(|applied| applied.rank) {
            gone.entry((&command.key, incarnation)).or_insert((call.region, ended));
            if evidence.may_be_lost(request) {
                cut.insert((&command.key, incarnation));
                findings.coverage.count("sessions destroyed beyond a cut");
            }
            findings.coverage.count("sessions destroyed");
        }
    }
    for (number, call) in evidence.calls.iter().enumerate() {
        let Asked::Read { key, answer: Some(Some(view)), .. } = &call.asked else { continue };
        let session = (key, view.incarnation);
        let Some((region, ended)) = gone.get(&session).filter(|_| !cut.contains(&session)) else { continue };
        let known = if *region == call.region { call.invoked.tick > ended.tick } else { false };
        if known || call.invoked.at > ended.at + STALE_MAX + SLACK {
            findings.report(format!(
                "call {number} in region {}: read {view:?}, which was destroyed through region {region} at {:?}",
                call.region, ended.at
            ));
        }
    }
    for (region, records) in evidence.records.iter().enumerate() {
        for (key, record) in records.iter().filter(|(_, record)| record.life == Life::Live) {
            if gone.contains_key(&(key, record.incarnation)) {
                findings.report(format!("region {region} has {record:?} of {key:?} in the end, which was destroyed"));
            }
        }
    }
}
