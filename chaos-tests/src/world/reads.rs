//! What reads of another region's sessions take beside reads of a region's own.
//!
//! The sessions of `na` are read in `eu`, which holds copies, and in `na`, where nothing crosses a way. Both in turn, at one
//! steady rate.

use super::{Plan, Row, bytes::until_followed, report::at};
use crate::{
    load::{Confirm, Keys, Load, Operation, Steady, Stop, Target, Values, run as run_load, steady},
    process::Region,
};
use anyhow::Context;
use std::{thread, time::Instant};

const VALUE_BYTES: usize = 1024;

const CONNECTIONS: usize = 16;

/// How often each region has its turn.
const TURNS: usize = 2;

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let world = plan.start()?;
    let [home, abroad, ..] = world.regions() else { anyhow::bail!("a world has several regions") };
    let measured = || {
        let filling = Load {
            operation: Operation::Create,
            keys: Keys::Counting(0),
            values: Values::new(VALUE_BYTES),
            connections: CONNECTIONS,
            stop: Stop::Operations(plan.sessions),
        };
        run_load(&target(home), &filling, || {})?;
        until_followed(&world, plan.sessions)?;
        let (mut at_home, mut away) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            at_home.extend(read(plan, home)?);
            away.extend(read(plan, abroad)?);
        }
        Ok::<_, anyhow::Error>((at_home, away))
    };
    let (mut at_home, mut away) = measured().with_context(|| world.tails())?;
    let p99 = |values: &mut [f64]| at(values, 0.99).context("no read was due");
    let note = format!("{:.0} reads/s", plan.operations_per_s);
    let (home_ms, away_ms) = (p99(&mut at_home)?, p99(&mut away)?);
    Ok(vec![
        Row::new("reads", "read p99 at home", home_ms, "ms").note(note.clone()),
        Row::new("reads", "read p99 of another region's sessions", away_ms, "ms").note(note.clone()),
        Row::new("reads", "read p99 of another region's sessions, times that at home", away_ms / home_ms, "")
            .wanted(1.5),
    ])
}

fn target(region: &Region) -> Target {
    Target::Resp { addresses: region.resp_addresses(), confirm: Confirm::None }
}

/// How long reads of the home's sessions take in a region, in ms.
fn read(plan: &Plan, region: &Region) -> anyhow::Result<Vec<f64>> {
    let load = Steady {
        operation: Operation::Get,
        keys: Keys::Between { first: 0, count: plan.sessions },
        values: Values::new(0),
        connections: CONNECTIONS,
        operations_per_s: plan.operations_per_s,
    };
    let going = steady(&target(region), &load)?;
    thread::sleep(plan.warm_up);
    let from = Instant::now();
    thread::sleep(plan.measured / 2);
    let until = Instant::now();
    let done = going.end()?;
    let then = done.iter().filter(|one| (from..until).contains(&one.due));
    Ok(then.map(|one| one.took.as_secs_f64() * 1e3).collect())
}
