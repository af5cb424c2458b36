//! The closed loop: every connection asks, waits for the answer, and asks again.

use super::{
    keys::{KEY_BYTES, Keys, write_key},
    target::{Connection, Operation, Refused, Target},
    values::Values,
};
use crate::process::usage;
use anyhow::{bail, ensure};
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use rand::{SeedableRng, rngs::SmallRng};
use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};
use tokio::task::unconstrained;

/// Latencies are kept from a microsecond to a minute, to three digits.
const LATENCY_US_MAX: u64 = 60_000_000;

/// A server that answers nothing for so long never will.
const STALL_MAX: Duration = Duration::from_secs(30);

/// Between a refusal and the next try.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After a warm-up that is not measured and this time.
    After {
        /// What is not measured.
        warm_up: Duration,
        /// What is.
        measured: Duration,
    },
    /// After so many operations, all of which are measured.
    Operations(u64),
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// The operation.
    pub operation: Operation,
    /// Of which sessions.
    pub keys: Keys,
    /// What is written.
    pub values: Values,
    /// How many connections ask at a time.
    pub connections: usize,
    /// Until when.
    pub stop: Stop,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Operations that were answered.
    pub operations: u64,
    /// In which time.
    pub elapsed: Duration,
    /// Answers that asked to try again, which was done.
    pub refused: u64,
    /// How long each took, in microseconds, until it was done.
    pub latency_us: Histogram<u64>,
    /// CPU time of the generator itself.
    pub generator_cpu: Duration,
}

impl Measured {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `percent` of the operations did not exceed, in milliseconds.
    pub fn latency_ms(&self, percent: f64) -> f64 {
        self.latency_us.value_at_percentile(percent) as f64 / 1000.0
    }
}

/// Shared by all connections of one load; they run on one thread.
struct Shared<'a> {
    load: &'a Load,
    latency_us: RefCell<Histogram<u64>>,
    begun: Cell<u64>,
    refused: Cell<u64>,
    from: Instant,
    until: Option<Instant>,
}

/// Sends a load and waits for its end. `on_start` is called when the warm-up is over.
///
/// # Errors
/// Any operation failed for good: a comparison of wrong answers means nothing.
pub fn run(target: &Target, load: &Load, on_start: impl FnOnce()) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_here(target, load, on_start))
}

async fn run_here(target: &Target, load: &Load, on_start: impl FnOnce()) -> anyhow::Result<Measured> {
    let connections = try_join_all((0..load.connections).map(|number| Connection::open(target, number))).await?;
    let (warm_up, measured) = match load.stop {
        Stop::After { warm_up, measured } => (warm_up, Some(measured)),
        Stop::Operations(_) => (Duration::ZERO, None),
    };
    let from = Instant::now() + warm_up;
    let shared = Shared {
        load,
        latency_us: RefCell::new(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?),
        begun: Cell::new(0),
        refused: Cell::new(0),
        from,
        until: measured.map(|measured| from + measured),
    };
    let generator_cpu = Cell::new(Duration::ZERO);
    let begin = async {
        tokio::time::sleep_until(from.into()).await;
        generator_cpu.set(usage(std::process::id())?.cpu);
        on_start();
        anyhow::Ok(())
    };
    let loops = connections.into_iter().zip(0..).map(|(connection, seed)| work(&shared, connection, seed));
    // All connections are one task, which would otherwise be made to pause after each 128 replies.
    let all = futures::future::try_join(begin, unconstrained(try_join_all(loops)));
    tokio::select! {
        done = all => drop(done?),
        () = stalled(&shared.begun) => bail!("no operation was answered for {STALL_MAX:?}"),
    }
    let ended = shared.until.unwrap_or_else(Instant::now);
    let latency_us = shared.latency_us.into_inner();
    ensure!(!latency_us.is_empty(), "no operation ended in the measured time");
    Ok(Measured {
        operations: latency_us.len(),
        elapsed: ended - from,
        refused: shared.refused.get(),
        latency_us,
        generator_cpu: usage(std::process::id())?.cpu - generator_cpu.get(),
    })
}

/// Returns when no operation has begun for a while, as none does when none is answered.
async fn stalled(begun: &Cell<u64>) {
    loop {
        let before = begun.get();
        tokio::time::sleep(STALL_MAX).await;
        if begun.get() == before {
            return;
        }
    }
}

async fn work(shared: &Shared<'_>, mut connection: Connection, seed: u64) -> anyhow::Result<()> {
    let load = shared.load;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut key = [0; KEY_BYTES];
    loop {
        let begun = shared.begun.get();
        if load.stop == Stop::Operations(begun) {
            return Ok(());
        }
        shared.begun.set(begun + 1);
        let number = load.keys.draw(begun, &mut random);
        write_key(number, &mut key);
        let asked = Instant::now();
        if shared.until.is_some_and(|until| asked >= until) {
            return Ok(());
        }
        let value = load.values.draw(&mut random);
        while let Err(error) = connection.perform(load.operation, &key, value).await {
            if !error.is::<Refused>() {
                return Err(error.context(format!("{} of session {number}", load.operation.name())));
            }
            shared.refused.set(shared.refused.get() + 1);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let answered = Instant::now();
        if answered >= shared.from && shared.until.is_none_or(|until| answered <= until) {
            let latency_us = (answered - asked).as_micros().clamp(1, LATENCY_US_MAX.into()) as u64;
            shared.latency_us.borrow_mut().record(latency_us)?;
        }
    }
}
