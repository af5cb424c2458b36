//! Proof that the oracles see: every bug that can be planted is planted, and somebody has to notice. Where somebody did, the
//! same run without the bug must break nothing.

use super::{
    Report,
    runner::{SimArgs, each, one},
};
use anyhow::bail;
use std::collections::BTreeSet;

/// Seeds that a planted bug may hide in.
const SEEDS_MAX: u64 = 60;

/// Bugs that make replicas look different, which some oracles see at once, and the oracles that see what they do to clients:
/// one of these has to notice.
const HARM: [(&str, &[&str]); 11] = [
    ("forget-requests-at-snapshot", &["retries", "search"]),
    ("acknowledge-before-sync", &["acknowledged"]),
    ("cursor-apart-from-data", &["converged"]),
    ("page-drops-beyond-its-span", &["converged"]),
    ("turned-slots-stand", &["converged"]),
    ("tombstones-by-window", &["converged", "destroyed"]),
    ("revokes-by-wall-clock", &["revoked"]),
    ("lease-from-receipt", &["acting"]),
    ("skips-old-lease", &["acting"]),
    ("geo-opens-without-quorum", &["acknowledged", "counters", "seen"]),
    ("fences-by-term-alone", &["acknowledged", "counters", "seen"]),
];

/// Plants each bug in turn and prints which oracles noticed it, and after how many seeds.
///
/// # Errors
/// Nobody noticed one of them, or somebody notices it where it is not.
#[allow(clippy::print_stdout)]
pub fn run(args: &SimArgs) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    println!("{:<30}{:>6}  noticed by", "planted bug", "seeds");
    for plant in args.plants().iter().copied().filter(|plant| args.plant().is_none_or(|wanted| wanted == *plant)) {
        let harm = HARM.into_iter().find(|(of, _)| *of == plant).map(|(_, oracles)| oracles);
        let does_harm = |oracle: &str| harm.is_none_or(|oracles| oracles.contains(&oracle));
        let mut seeds = 0;
        let mut oracles = BTreeSet::new();
        let mut found = None;
        each(
            args.threads(),
            |seed| seed <= SEEDS_MAX,
            |seed| args.plan(seed, Some(plant), Some(plant)),
            |report| {
                seeds += 1;
                let seen = noticed_by(&report);
                if seen.iter().any(|oracle| does_harm(oracle)) {
                    found = Some(report.plan.seed);
                }
                oracles.extend(seen);
                found.is_none()
            },
        )?;
        let names = oracles.into_iter().collect::<Vec<_>>().join(", ");
        let Some(seed) = found else {
            println!("{plant:<30}{seeds:>6}  NOBODY who matters; {names}");
            wrong.push(format!("nobody noticed {plant}"));
            continue;
        };
        println!("{plant:<30}{seeds:>6}  {names}");
        let without = one(args.plan(seed, None, Some(plant)))?;
        if !without.violations.is_empty() {
            wrong.push(format!("without the bug, too, {:?} noticed it: {}", noticed_by(&without), without.plan));
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
}

/// The oracles that noticed something.
pub(super) fn noticed_by(report: &Report) -> BTreeSet<&'static str> {
    report.violations.iter().map(|violation| violation.oracle).collect()
}
