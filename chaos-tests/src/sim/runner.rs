//! Runs many seeds, says what failed and how to repeat it, and whether the seeds reached what they are for.

use super::{Plan, Report, catch_panics, coverage::Coverage, faults, pinned, plan, prove, run_seed};
use anyhow::{Context, bail};
use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// The most regions of a world under simulation.
const REGIONS_MAX: u16 = 5;

/// Options of `chaos-tests sim`.
#[derive(Clone, Debug, clap::Args)]
pub struct SimArgs {
    /// How many seeds to run, from 1 on.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Runs this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Plants a bug; `--prove` lists them.
    #[arg(long)]
    plant: Option<String>,
    /// Prefers the faults that could bring out this bug, without planting it.
    #[arg(long)]
    stress: Option<String>,
    /// Goes on with new seeds for this long.
    #[arg(long)]
    hours: Option<f64>,
    /// Nodes of a region that is alone, 3 or 5; by default 5 for every eighth seed.
    #[arg(long)]
    nodes: Option<u64>,
    /// Regions of the world: 1 to 5.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(REGIONS_MAX)))]
    regions: u16,
    /// Loses whole regions of a world for so long that others act for them, in half of the runs.
    #[arg(long)]
    losses: bool,
    /// How long faults go on in each run, in seconds of virtual time.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Prints every event of the run.
    #[arg(long)]
    trace: bool,
    /// Plants every bug in turn, or the one given, and shows which oracle notices it.
    #[arg(long)]
    prove: bool,
    /// Runs the pinned seeds: each has to notice the bug that it is pinned for, and nothing without it.
    #[arg(long)]
    pinned: bool,
    /// Seeds that run at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl SimArgs {
    /// The plan for one seed.
    pub(super) fn plan(&self, seed: u64, plant: Option<&'static str>, stress: Option<&'static str>) -> Plan {
        let nodes = self.nodes.unwrap_or(if seed.is_multiple_of(8) { 5 } else { 3 });
        let faults = Duration::from_secs(self.seconds);
        let several = if plan::needs_five(stress) { REGIONS_MAX } else { self.regions };
        let regions = if self.regions > 1 { several } else { 1 };
        Plan { seed, nodes, regions, faults, losses: self.losses, plant, stress, print: self.trace }
    }

    /// The bug that is asked for.
    pub(super) fn plant(&self) -> Option<&str> {
        self.plant.as_deref()
    }

    /// The bugs that can be planted in what is run.
    pub(super) fn plants(&self) -> &'static [&'static str] {
        match self.regions {
            1 => &plan::PLANTS,
            _several if self.losses => &plan::LOSS_PLANTS,
            _several => &plan::WORLD_PLANTS,
        }
    }

    /// The same for runs whose faults go on for so long, in seconds of virtual time.
    pub(super) fn lasting(&self, seconds: u64) -> Self {
        Self { seconds, ..self.clone() }
    }

    /// Seeds that run at a time.
    pub(super) fn threads(&self) -> usize {
        self.threads.max(1)
    }
}

/// `chaos-tests sim`.
///
/// # Errors
/// A promise was broken, or the seeds did not reach what they are for.
pub fn run(args: &SimArgs) -> anyhow::Result<()> {
    catch_panics();
    if args.prove {
        return prove::run(args);
    }
    if args.pinned {
        return pinned::run(args);
    }
    let plant = args.plant.as_deref().map(known).transpose()?;
    let stress = args.stress.as_deref().map(known).transpose()?.or(plant);
    if let Some(seed) = args.seed {
        let report = one(args.plan(seed, plant, stress))?;
        show(&report);
        return if report.violations.is_empty() { Ok(()) } else { bail!("seed {seed} broke a promise") };
    }
    let started = Instant::now();
    let until = args.hours.map(|hours| started + Duration::from_secs_f64(hours * 3_600.0));
    let (mut coverage, mut runs, mut failed, mut virtual_time) = (Coverage::default(), 0, 0, Duration::ZERO);
    let more = |seed: u64| until.map_or(seed <= args.seeds, |until| Instant::now() < until);
    each(
        args.threads(),
        more,
        |seed| args.plan(seed, plant, stress),
        |report| {
            coverage.merge(&report.coverage);
            runs += 1;
            virtual_time += report.lasted;
            if !report.violations.is_empty() {
                failed += 1;
                show(&report);
            }
            true
        },
    )?;
    summarize(&coverage, runs, virtual_time, started.elapsed());
    if failed > 0 {
        bail!("{failed} of {runs} seeds broke a promise");
    }
    demand(args, &coverage, runs)
}

/// The bug called `name`.
fn known(name: &str) -> anyhow::Result<&'static str> {
    let all = || plan::PLANTS.into_iter().chain(plan::WORLD_PLANTS).chain(plan::LOSS_PLANTS).chain(plan::RARE_PLANTS);
    let bug = all().find(|known| *known == name);
    bug.with_context(|| {
        format!("no bug called {name} can be planted; there are: {}", all().collect::<Vec<_>>().join(", "))
    })
}

/// Runs plans for seeds from 1 on, each on a thread of its own, `threads` at a time, while `more` says so and `take`
/// wants more reports.
pub(super) fn each(
    threads: usize,
    more: impl Fn(u64) -> bool + Sync,
    plan: impl Fn(u64) -> Plan + Sync,
    mut take: impl FnMut(Report) -> bool,
) -> anyhow::Result<()> {
    let next = AtomicU64::new(1);
    thread::scope(|scope| {
        let (sender, reports) = mpsc::sync_channel(0);
        for _ in 0..threads {
            let (sender, next, more, plan) = (sender.clone(), &next, &more, &plan);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !more(seed) || sender.send(one(plan(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        while let Ok(report) = reports.recv() {
            if !take(report?) {
                return Ok(());
            }
        }
        Ok(())
    })
}

/// How long a run may take in real time: a task that never waits would keep virtual time from passing.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs one plan on a new thread: randomness of a thread must not go from one run to the next.
pub(super) fn one(plan: Plan) -> anyhow::Result<Report> {
    let repeat = plan.to_string();
    let (sender, report) = mpsc::sync_channel(1);
    let run = thread::Builder::new().name(format!("seed {}", plan.seed)).stack_size(16 << 20);
    // Nobody listens any more when this took too long.
    let run = run.spawn(move || drop(sender.send(run_seed(&plan))));
    run.context("cannot start a thread")?;
    match report.recv_timeout(RUN_TIMEOUT) {
        Ok(report) => Ok(report?),
        Err(mpsc::RecvTimeoutError::Timeout) => bail!("virtual time stands still; repeat with: {repeat}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the simulation itself panicked; repeat with: {repeat}"),
    }
}

#[allow(clippy::print_stdout)]
fn show(report: &Report) {
    let (hash, events) = report.trace;
    let Plan { seed, .. } = report.plan;
    println!("seed {seed}: trace {hash:016x}, {events} events in {:.1} s", report.lasted.as_secs_f64());
    for (number, violation) in report.violations.iter().enumerate() {
        // A node that does not start is tried again and again.
        if !report.violations[..number].contains(violation) {
            println!("  BROKEN {}: {}", violation.oracle, violation.what);
        }
    }
    if !report.violations.is_empty() {
        println!("  repeat with: {}", report.plan);
    }
}

#[allow(clippy::print_stdout)]
fn summarize(coverage: &Coverage, runs: u64, virtual_time: Duration, took: Duration) {
    for (what, times) in coverage.iter() {
        println!("{times:>9}  {what}");
    }
    let (hours, seconds) = (virtual_time.as_secs_f64() / 3_600.0, took.as_secs_f64());
    println!("{runs} seeds, {hours:.2} h of virtual time in {seconds:.0} s; no more than what was found is shown");
}

/// For how many seeds the numbers below are.
const PER_RUNS: u64 = 100;

/// What a run of many seeds must have reached, and how often per hundred seeds.
const DEMANDED: [(&str, u64); 26] = [
    ("Blackout", 10),
    ("PowerCut", 20),
    ("Weather", 20),
    ("snapshots restored", 20),
    ("processes that ended themselves", 20),
    ("refused: disk full", 5),
    ("requests logged more than once", 20),
    ("writes asked again", 100),
    ("writes unknown and applied", 20),
    ("sessions seen and destroyed", 50),
    ("cells explained", 50),
    ("unsynced sectors lost", 50),
    ("replicas compared", 100),
    ("operator: nodes joined amid faults", 10),
    ("operator: nodes drained amid faults", 5),
    ("operator: drained nodes removed", 10),
    ("operator: lost nodes removed", 5),
    ("operator: leads transferred", 10),
    ("removed nodes that heard of it", 15),
    ("sessions arrived in another slot", 100),
    ("sessions given their id back", 3),
    ("renames unknown", 20),
    ("nodes that died amid a rename", 20),
    ("entries followed", 500),
    ("copies of shards", 200),
    ("cursors too old", 20),
];

/// The same for a world of several regions.
const DEMANDED_OF_WORLDS: [(&str, u64); 16] = [
    ("Part", 30),
    ("OneWay", 30),
    ("Isolate", 30),
    ("Lose", 30),
    ("Storm", 15),
    ("Kill", 20),
    ("writes ordered in another region", 500),
    ("writes unknown and applied", 5),
    ("writes asked again", 300),
    ("reads abroad judged", 500),
    ("reads at home judged", 300),
    ("sessions created once", 300),
    ("sessions created in several regions", 10),
    ("sessions destroyed", 100),
    ("revocations acknowledged everywhere", 50),
    ("owned sessions read", 100),
];

/// The same where whole regions are lost, beside those faults.
const DEMANDED_OF_LOSSES: [(&str, u64); 19] = [
    ("regions lost: Power", 5),
    ("regions lost: Killed", 5),
    ("regions lost: CutOff", 4),
    ("regions lost: Silenced", 4),
    ("regions lost: Mute", 4),
    ("regions lost: Frozen", 4),
    ("regions lost: Dazed", 4),
    ("fences of lost regions", 15),
    ("fences by a person", 1),
    ("fences by a person who gives up a region", 5),
    ("person: failbacks agreed on", 20),
    ("changes of hands with a cut", 8),
    ("homes acted for by others", 25),
    ("homes that are acted for by themselves again", 25),
    ("changes ordered for another region", 150),
    ("writes acknowledged under leases", 1_000),
    ("returns settled", 25),
    ("orphans applied already", 3),
    ("orphans in the journal", 1),
];

/// Runs of which so much is demanded; fewer need not reach it.
const RUNS_DEMANDED: u64 = 100;

/// The same where whole regions are lost, which takes longer.
const RUNS_OF_LOSSES_DEMANDED: u64 = 50;

/// Fails where the seeds did not reach what they are for; a few seeds need not.
fn demand(args: &SimArgs, coverage: &Coverage, runs: u64) -> anyhow::Result<()> {
    let (demanded, on_one, runs_min) = match args.regions {
        1 => (&DEMANDED[..], &faults::ON_ONE[..], RUNS_DEMANDED),
        _several if args.losses => (&DEMANDED_OF_LOSSES[..], &[][..], RUNS_OF_LOSSES_DEMANDED),
        _several => (&DEMANDED_OF_WORLDS[..], &[][..], RUNS_DEMANDED),
    };
    if runs < runs_min {
        return Ok(());
    }
    let on_one =
        on_one.iter().flat_map(|fault| ["leader", "follower"].map(|role| (format!("{fault:?} of a {role}"), 5)));
    let demanded = demanded.iter().map(|(what, times)| ((*what).to_owned(), *times)).chain(on_one);
    let missed = demanded.filter(|(what, times)| coverage.times(what) < times * runs / PER_RUNS);
    let missed: Vec<String> =
        missed.map(|(what, times)| format!("{what} (wanted {})", times * runs / PER_RUNS)).collect();
    if missed.is_empty() { Ok(()) } else { bail!("the seeds did not reach: {}", missed.join(", ")) }
}
