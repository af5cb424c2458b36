//! A whole region of real nodes is killed under writes, others act for it, it comes back and takes over again: what was
//! acknowledged is where it has to be at each of these moments.

use anyhow::{Context, ensure};
use sojourn_chaos_tests::world::{Figure, Plan, Row, measure};

/// Measures one figure with a single loss; its rows.
fn lose(figure: Figure) -> anyhow::Result<Vec<Row>> {
    let plan = Plan { figures: vec![figure], ..Plan::smoke(std::env::temp_dir()) };
    Ok(measure(&plan, &mut |_| {})?.rows)
}

fn row<'a>(rows: &'a [Row], what: &str) -> anyhow::Result<&'a Row> {
    rows.iter().find(|row| row.what.starts_with(what)).with_context(|| format!("no row of {what}: {rows:?}"))
}

#[test]
fn what_waited_for_another_region_is_there_when_its_own_is_lost_and_when_it_is_back() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let rows = lose(Figure::Geo)?;
    for what in ["acknowledged writes lost", "destroyed sessions that came back"] {
        assert_eq!(row(&rows, what)?.value, Some(0.0), "{rows:#?}");
    }
    Ok(())
}

#[test]
fn what_is_missing_of_a_lost_region_is_reported_and_settled_when_it_is_back() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let rows = lose(Figure::Cut)?;
    let nothing = [
        "acknowledged writes missing",
        "losses after whose return",
        "acknowledged values neither current",
        "destroyed sessions that came back",
    ];
    for what in nothing {
        assert_eq!(row(&rows, what)?.value, Some(0.0), "{rows:#?}");
    }
    let reported = row(&rows, "the longest time that is reported")?;
    // It was parted from the others for a second before it was killed, and acknowledged writes all the time.
    ensure!(reported.value.is_some_and(|seconds| seconds > 1.0), "{reported}");
    ensure!(!reported.note.starts_with("0 writes"), "nothing was missing: {reported}");
    Ok(())
}
