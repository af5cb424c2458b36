//! The comparison itself, with tiny counts: that every store starts, syncs, answers and is ended.

use sojourn_chaos_tests::{
    compare::{Plan, compare},
    peers::Store,
};

#[test]
fn every_store_is_compared_and_syncs_what_it_acknowledges() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let mut plan = Plan::smoke(std::env::temp_dir());
    // `.ci/run` installs them all, and there a missing one is a failure.
    plan.stores.retain(|store| store.program().is_some() || is_missed(*store));
    let report = compare(&plan, &mut |_| {})?;
    assert_eq!(report.syncs.len(), plan.stores.len());
    assert_eq!(report.rates.len(), plan.stores.len() * plan.workloads.len());
    assert!(report.ratios.contains_key("restart_s") && report.ratios.contains_key("write_p99_while_joining"));
    let json = serde_json::to_value(&report)?;
    assert!(json["ratios"].is_object() && report.to_string().contains("update 1 KiB"));
    Ok(())
}

/// Whether a store that cannot be started is a failure; otherwise it is named.
fn is_missed(store: Store) -> bool {
    crate::skipped(&format!("{} is left out of the comparison: {}", store.name(), store.installation()))
}
