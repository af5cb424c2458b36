//! The comparison itself, with tiny counts: that every store starts, syncs, answers and is ended.

use sojourn_chaos_tests::compare::{Plan, compare};

#[test]
fn every_store_is_compared_and_syncs_what_it_acknowledges() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let mut plan = Plan::smoke(std::env::temp_dir());
    // `.ci/run` installs them all, and there a missing one is a failure.
    plan.stores.retain(|store| store.program().is_some() || std::env::var_os("CI").is_some());
    let report = compare(&plan, &mut |_| {})?;
    assert_eq!(report.syncs.len(), plan.stores.len());
    assert_eq!(report.rates.len(), plan.stores.len() * plan.workloads.len());
    assert!(report.ratios.contains_key("restart_s"));
    let json = serde_json::to_value(&report)?;
    assert!(json["ratios"].is_object() && report.to_string().contains("update 1 KiB"));
    Ok(())
}
