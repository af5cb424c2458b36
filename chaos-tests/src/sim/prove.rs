//! Proof that the oracles see: every bug that can be planted is planted, and somebody has to notice.

use super::{
    plan::PLANTS,
    runner::{SimArgs, each},
};
use anyhow::bail;
use std::collections::BTreeSet;

/// Seeds that a planted bug may hide in.
const SEEDS_MAX: u64 = 60;

/// Plants each bug in turn and prints which oracles noticed it, and at which seed first.
///
/// # Errors
/// Nobody noticed one of them.
#[allow(clippy::print_stdout)]
pub fn run(args: &SimArgs) -> anyhow::Result<()> {
    let mut hidden = Vec::new();
    println!("{:<30}{:>6}  noticed by", "planted bug", "seeds");
    for plant in PLANTS {
        let mut seeds = 0;
        let mut oracles = BTreeSet::new();
        each(
            args.threads(),
            |seed| seed <= SEEDS_MAX,
            |seed| args.plan(seed, Some(plant)),
            |report| {
                seeds += 1;
                oracles.extend(report.violations.iter().map(|violation| violation.oracle));
                oracles.is_empty()
            },
        )?;
        let names: Vec<&str> = oracles.into_iter().collect();
        println!("{plant:<30}{seeds:>6}  {}", if names.is_empty() { "NOBODY".to_owned() } else { names.join(", ") });
        if names.is_empty() {
            hidden.push(plant);
        }
    }
    if hidden.is_empty() { Ok(()) } else { bail!("nobody noticed {}", hidden.join(", ")) }
}
