//! The simulation itself, run as anybody runs it.

use std::process::Command;

/// What the command prints for a seed that breaks nothing.
fn run(options: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_chaos-tests")).arg("sim").args(options).output().expect("a run");
    let (output, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{options:?} failed: {output}{errors}");
    output.into_owned()
}

/// Addresses, hash seeds and the order of threads differ from process to process; a run must depend on none of them.
#[test]
fn one_seed_is_one_trace_in_every_process() {
    let options = |seed: &'static str| ["--seed", seed, "--nodes", "3", "--seconds", "4"];
    // One with an operator.
    let first = run(&options("6"));
    assert!(first.contains("seed 6: trace "), "no trace in {first}");
    assert_eq!(first, run(&options("6")));
    let trace = |shown: &str| shown.split("trace ").nth(1).map(str::to_owned);
    assert_ne!(trace(&first), trace(&run(&options("5"))), "the trace says nothing about the run");
}

#[test]
fn one_seed_of_a_world_is_one_trace_in_every_process() {
    let options = ["--seed", "4", "--regions", "3", "--seconds", "2"];
    let first = run(&options);
    assert!(first.contains("seed 4: trace "), "no trace in {first}");
    assert_eq!(first, run(&options));
}

/// An oracle that cannot see proves nothing.
#[test]
fn pinned_seeds_notice_the_bugs_that_they_are_pinned_for() {
    run(&["--pinned"]);
}
