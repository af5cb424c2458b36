//! Seeds that once found something, pinned with the oracle that has to notice it again: the proof of the oracles in seconds,
//! where `--prove` takes minutes.
//!
//! A change of the schedule may take a seed's meaning away. Then `--prove` says which seed notices the bug now.

use super::{
    prove::noticed_by,
    runner::{SimArgs, one},
};
use anyhow::bail;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// One pinned run.
struct Pin {
    /// The bug that is planted.
    plant: &'static str,
    /// The seed.
    seed: u64,
    /// Who has to notice.
    oracle: &'static str,
}

/// Seeds that notice a bug, one for each that needs few.
const PINS: [Pin; 8] = [
    pin("acknowledge-before-sync", 4, "acknowledged"),
    pin("update-creates", 1, "renames"),
    pin("expiry-by-local-clock", 1, "linearizable"),
    pin("read-without-read-index", 4, "linearizable"),
    pin("forget-requests-at-snapshot", 1, "retries"),
    pin("touch-past-absolute", 1, "linearizable"),
    pin("rename-keeps-both", 1, "linearizable"),
    pin("feed-denies-gaps", 10, "feed"),
];

const fn pin(plant: &'static str, seed: u64, oracle: &'static str) -> Pin {
    Pin { plant, seed, oracle }
}

/// How long faults go on in a pinned run, in seconds of virtual time.
const SECONDS: u64 = 4;

/// Runs all pins.
///
/// # Errors
/// One of them was not noticed by its oracle.
pub fn run(args: &SimArgs) -> anyhow::Result<()> {
    let args = args.lasting(SECONDS);
    let next = AtomicUsize::new(0);
    let missed = thread::scope(|scope| {
        let take = || -> anyhow::Result<Vec<String>> {
            let mut missed = Vec::new();
            while let Some(Pin { plant, seed, oracle }) = PINS.get(next.fetch_add(1, Ordering::Relaxed)) {
                let seen = noticed_by(&one(args.plan(*seed, Some(plant), Some(plant)))?);
                if !seen.contains(oracle) {
                    missed.push(format!("seed {seed} with {plant}: {oracle} did not notice, but {seen:?} did"));
                }
            }
            Ok(missed)
        };
        let threads: Vec<_> = (0..args.threads()).map(|_| scope.spawn(take)).collect();
        let missed = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a pinned run panicked")));
        missed.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let missed = missed.concat();
    if missed.is_empty() { Ok(()) } else { bail!("{}", missed.join("; ")) }
}
