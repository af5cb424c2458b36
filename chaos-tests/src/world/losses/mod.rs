//! What the loss of a whole region does to what was acknowledged: all its nodes are killed at once under writes through it and
//! through others, others act for it, it comes back, what it wrote is settled, and it takes over again. Region after region.
//!
//! `geo` is for a namespace whose writes wait for another region: nothing that was acknowledged may ever be missing. `cut` is
//! for one whose writes do not: what is missing may be missing only as far as `sojourn region status` says, and once the
//! region is back every acknowledged value must be current or in the journal. Destroyed is destroyed in both.

mod judge;
mod load;
mod operator;
mod script;
mod told;

use super::{Plan, Row, report::at};
use anyhow::Context;
use script::Loss;

/// What is wanted of the writes that are lost with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Writes wait for another region.
    Geo,
    /// They do not.
    Cut,
}

pub(super) fn geo(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let losses = lose_all(plan, Kind::Geo)?;
    let sum = |part: fn(&Loss) -> u64| losses.iter().map(part).sum::<u64>();
    let acknowledged = sum(|loss| loss.acknowledged);
    let what = format!("acknowledged writes lost with a region, of {acknowledged} that waited for another one");
    let lost = sum(|loss| loss.missing.count + loss.returned.missing + loss.back.missing);
    let note = format!("all nodes killed under load {} times, each region in turn; {}", losses.len(), times(&losses)?);
    Ok(vec![
        Row::new("geo", what, lost as f64, "").wanted(0.0).note(note),
        Row::new("geo", "destroyed sessions that came back through loss and return", revived(&losses) as f64, "")
            .wanted(0.0)
            .note(format!("of {}", sum(|loss| loss.destroyed))),
    ])
}

pub(super) fn cut(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let losses = lose_all(plan, Kind::Cut)?;
    let sum = |part: fn(&Loss) -> u64| losses.iter().map(part).sum::<u64>();
    let mut reported_s: Vec<f64> = losses.iter().map(|loss| loss.missing.reported_ms as f64 / 1e3).collect();
    let note = format!(
        "{} writes of {} were missing after {} losses; {}",
        sum(|loss| loss.missing.count),
        sum(|loss| loss.acknowledged),
        losses.len(),
        times(&losses)?
    );
    let counts = format!(
        "{} had arrived, {} merged, {} went on, {} in the journal",
        sum(|loss| loss.orphans.already_applied),
        sum(|loss| loss.orphans.merged),
        sum(|loss| loss.orphans.fast_forwarded),
        sum(|loss| loss.orphans.journaled)
    );
    let wrong: Vec<String> = losses.iter().filter_map(|loss| loss.wrong_counts.clone()).collect();
    let vanished = sum(|loss| loss.returned.missing + loss.back.missing);
    Ok(vec![
        Row::new("cut", "the longest time that is reported as cut", at(&mut reported_s, 1.0).context("no loss")?, "s")
            .note(note),
        Row::new("cut", "acknowledged writes missing that the reported cut does not cover", sum(uncovered) as f64, "")
            .wanted(0.0)
            .note(losses.iter().filter_map(|loss| loss.missing.example.clone()).collect::<Vec<_>>().join("; ")),
        Row::new("cut", "losses after whose return the counts do not add up", wrong.len() as f64, "")
            .wanted(0.0)
            .note(std::iter::once(counts).chain(wrong).collect::<Vec<_>>().join("; ")),
        Row::new("cut", "acknowledged values neither current nor in the journal after the return", vanished as f64, "")
            .wanted(0.0),
        Row::new("cut", "destroyed sessions that came back through loss and return", revived(&losses) as f64, "")
            .wanted(0.0)
            .note(format!("of {}", sum(|loss| loss.destroyed))),
    ])
}

fn uncovered(loss: &Loss) -> u64 {
    loss.missing.uncovered
}

fn revived(losses: &[Loss]) -> u64 {
    losses.iter().map(|loss| loss.missing.revived + loss.returned.revived + loss.back.revived).sum()
}

/// How long the parts of a loss took at most.
fn times(losses: &[Loss]) -> anyhow::Result<String> {
    let longest = |part: fn(&Loss) -> f64| {
        let mut seconds: Vec<f64> = losses.iter().map(part).collect();
        at(&mut seconds, 1.0).context("no region was lost")
    };
    let (acting, settled) = (longest(|loss| loss.acting_s)?, longest(|loss| loss.settled_s)?);
    Ok(format!("at most {acting:.1} s until another acts, {settled:.1} s from the restart until all is settled"))
}

/// Loses each region in turn, as often as the plan says.
fn lose_all(plan: &Plan, kind: Kind) -> anyhow::Result<Vec<Loss>> {
    let mut world = plan.start()?;
    operator::prepare(&world, kind)?;
    let mut losses = Vec::new();
    for round in 0..plan.region_losses {
        let lost = script::lose(plan, &mut world, kind, round);
        losses.push(lost.with_context(|| format!("loss {} of {}\n{}", round + 1, plan.region_losses, world.tails()))?);
    }
    Ok(losses)
}
