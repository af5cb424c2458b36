//! Redis's own tools against nodes of a region, also one that leads nothing.

use crate::app::required;
use anyhow::{Context, ensure};
use sojourn_chaos_tests::process::{Child, Launch, Region, RegionOptions, wait_until};
use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

/// What redis-benchmark is asked to run.
const TESTS: &str = "set,get,incr,hset,sadd,zadd,mset";

/// Its longest run on a busy machine.
const TOOL_TIMEOUT: Duration = Duration::from_secs(180);

/// Runs a tool to its end; what it printed.
fn run(program: &Path, port: u16, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("timeout");
    command.arg(TOOL_TIMEOUT.as_secs().to_string()).arg(program).args(["-p", &port.to_string()]).args(arguments);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program:?} {arguments:?} ends with {}: {said}{complaint}", output.status);
    Ok(said)
}

/// Runs redis-benchmark; it ends at the first error that it is answered.
fn benchmark(program: &Path, port: u16, arguments: &[&str]) -> anyhow::Result<()> {
    let said = run(program, port, &[&["-t", TESTS, "--csv"], arguments].concat())?;
    let done = said.lines().filter(|line| !line.starts_with("\"test\"")).count();
    ensure!(done == TESTS.split(',').count(), "redis-benchmark {arguments:?} printed {said}");
    Ok(())
}

#[test]
fn redis_benchmark_runs_against_any_node_and_overload_is_slow_but_no_error() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let Some(program) = required("redis-benchmark") else { return Ok(()) };
    // One shard: two of three nodes lead nothing.
    let region = Region::start(&RegionOptions { shards: 1, ..RegionOptions::default() })?;
    for node in region.nodes() {
        benchmark(&program, node.resp.port(), &["-n", "500"])?;
        benchmark(&program, node.resp.port(), &["-n", "1600", "-P", "16"])?;
    }
    let leader = region.lead("any")?.node;
    let other = &region.nodes()[(leader + 1) % region.nodes().len()];
    // More than a hundred thousand writes at once, seconds of work for a debug build.
    let all_at_once = ["-t", "mset", "-n", "12800", "-c", "200", "-P", "64", "--csv"];
    run(&program, other.resp.port(), &all_at_once).map(drop)
}

#[test]
fn redis_cli_looks_at_a_node_that_leads_nothing() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let Some(program) = required("redis-cli") else { return Ok(()) };
    let region = Region::start(&RegionOptions { shards: 1, ..RegionOptions::default() })?;
    let leader = region.lead("any")?.node;
    let node = &region.nodes()[(leader + 1) % region.nodes().len()];
    let port = node.resp.port();
    let cli = |arguments: &[&str]| run(&program, port, arguments);

    let mut wanted = BTreeSet::new();
    for number in 0..250 {
        let key = format!("sess:{number}");
        ensure!(cli(&["SET", &key, "value"])?.trim() == "OK");
        wanted.insert(key);
    }
    cli(&["HSET", "hash", "a", "1", "b", "2"])?;
    let scanned: BTreeSet<String> = cli(&["--scan", "--pattern", "sess:*"])?.lines().map(str::to_owned).collect();
    assert_eq!(scanned, wanted);

    let big = cli(&["--bigkeys"])?;
    for line in ["Sampled 251 keys in the keyspace!", "Biggest   hash found '\"hash\"' has 2 fields"] {
        ensure!(big.contains(line), "{line} in {big}");
    }
    let help = cli(&["help"])?;
    ensure!(help.contains("help @<group>"), "{help}");
    ensure!(cli(&["COMMAND", "DOCS", "get"])?.contains("summary"));

    let directory = tempfile::tempdir()?;
    // A line at a time, though nobody looks.
    let stat = Launch::new("stat", "stdbuf", directory.path()).arguments(["-oL".as_ref(), program.as_os_str()]);
    let stat = Child::start(stat.arguments(["-p", &port.to_string(), "--stat", "-i", "0.1"]))?;
    let figures = |line: &str| line.starts_with("251 ");
    wait_until("redis-cli to show figures", TOOL_TIMEOUT, || {
        stat.tail().lines().filter(|line| figures(line)).count() > 1
    })
    .with_context(|| stat.tail())
    .map(drop)
}
