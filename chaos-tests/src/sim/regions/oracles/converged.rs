//! After the heal all regions have the same records, fields and versions included: what each says its home ordered last.

use super::{Evidence, Findings};
use sojourn_core::{Key, Record};
use std::collections::BTreeMap;

/// Compares what the logs of all regions make of every session; that replicas are as their logs say is for `replicas`.
pub fn check(evidence: &Evidence<'_>, findings: &mut Findings) {
    let count = evidence.regions.all.len();
    let mut all: Vec<BTreeMap<&Key, &Record>> = vec![BTreeMap::new(); count];
    for ((region, _), state) in &evidence.reference.shards {
        all[*region].extend(state.records(None).map(|(key, record)| (key, &**record)));
    }
    for session in evidence.sessions.values() {
        let records: Vec<Option<&Record>> = all.iter().map(|records| records.get(&session.key).copied()).collect();
        let Some(first) = records.first().copied().flatten() else { continue };
        let other = records.iter().position(|record| record.is_some_and(|record| record != first));
        if let Some(region) = other {
            findings.report(format!(
                "{:?} is {first:?} in region 0 and {:?} in region {region}",
                session.key, records[region]
            ));
        }
        findings.coverage.count("sessions equal in all regions");
        // The latest that its home made of it, and nothing older.
        let history = evidence.reference.histories.get(&session.key);
        let last = history.and_then(|history| history.last()).map(super::reference::Change::rank);
        if last.is_some_and(|last| last != (first.incarnation, first.version)) {
            findings.report(format!("{:?} is {first:?} in the end, but {last:?} was ordered last", session.key));
        }
    }
}
