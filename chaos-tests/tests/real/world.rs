//! The figures of a world, with tiny counts: that each is measured, and that nothing that was destroyed comes back.

use anyhow::Context;
use sojourn_chaos_tests::world::{Figure, Plan, Row, measure};

#[test]
fn every_figure_of_a_world_is_measured() -> anyhow::Result<()> {
    let _alone = crate::alone();
    // Those of lost regions have tests of their own.
    let figures = Figure::ALL.into_iter().filter(|figure| !matches!(figure, Figure::Geo | Figure::Cut));
    let plan = Plan { figures: figures.collect(), ..Plan::smoke(std::env::temp_dir()) };
    let report = measure(&plan, &mut |_| {})?;
    for figure in plan.figures {
        let of_figure = |row: &&Row| row.figure == figure.name();
        let row = report.rows.iter().find(of_figure).with_context(|| format!("no row of {}", figure.name()))?;
        assert!(row.value.is_some() || row.note.starts_with("not yet"), "{row}");
    }
    for what in ["sessions of revoked users", "destroyed sessions that came back"] {
        let row = report.rows.iter().find(|row| row.what.starts_with(what)).context(what)?;
        assert_eq!(row.value, Some(0.0), "{row}");
    }
    let json = serde_json::to_value(&report)?;
    assert!(json["rows"].as_array().is_some_and(|rows| rows.len() == report.rows.len()));
    assert!(report.to_string().contains("lag above the delay p99"));
    Ok(())
}
