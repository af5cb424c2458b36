//! Bytes that cross between two regions for each write of 1 KiB in one of them, both directions together: what is told, asked
//! and acknowledged at a steady rate of writes.

use super::{Plan, Row};
use crate::{
    load::{Confirm, Keys, Operation, Steady, Target, Values, steady},
    process::{World, wait_until},
    resp::Reply,
};
use anyhow::Context;
use std::{thread, time::Duration};

const VALUE_BYTES: usize = 1024;

/// What a write of that size may cost on the way to another region: 1.2 KiB.
const BYTES_WANTED_MAX: f64 = 1.2 * 1024.0;

const CONNECTIONS: usize = 32;

/// How long the other regions may take to have all.
const FOLLOWED_MAX: Duration = Duration::from_secs(60);

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let world = plan.start()?;
    let mut written = 0;
    let mut measure = |values: Values| {
        let (before, first) = (world.bytes_between(0, 1), written);
        let load = Steady {
            operation: Operation::Create,
            keys: Keys::Counting(first),
            values,
            connections: CONNECTIONS,
            operations_per_s: plan.operations_per_s,
        };
        let target = Target::Resp { addresses: world.regions()[0].resp_addresses(), confirm: Confirm::None };
        let going = steady(&target, &load)?;
        thread::sleep(Duration::from_secs_f64(plan.counted_writes as f64 / plan.operations_per_s));
        let count = going.end()?.len() as u64;
        written += count;
        until_followed(&world, written)?;
        Ok::<_, anyhow::Error>((world.bytes_between(0, 1) - before) as f64 / count as f64)
    };
    let measured =
        measure(Values::random(VALUE_BYTES)).and_then(|random| Ok((random, measure(Values::varied(VALUE_BYTES))?)));
    let (random, express) = measured.with_context(|| world.tails())?;
    let note = format!("{:.0} writes/s in one region, keys of 37 bytes", plan.operations_per_s);
    let row = |values: &str, bytes| {
        let what = format!("bytes to and from each other region per 1 KiB write, {values}");
        Row::new("bytes", what, bytes, "bytes").note(note.clone())
    };
    Ok(vec![
        row("incompressible values", random).wanted(BYTES_WANTED_MAX),
        row("values as express-session writes them", express).wanted(BYTES_WANTED_MAX),
    ])
}

/// Waits until every region knows so many sessions.
pub(super) fn until_followed(world: &World, sessions: u64) -> anyhow::Result<()> {
    let wanted = Reply::Number(i64::try_from(sessions)?);
    for region in world.regions() {
        let mut client = region.nodes().first().context("a region has nodes")?.connect()?;
        let what = format!("{} to know {sessions} sessions", region.name());
        wait_until(&what, FOLLOWED_MAX, || client.say("DBSIZE").is_ok_and(|known| known == wanted))?;
    }
    Ok(())
}
