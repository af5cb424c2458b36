//! Applications of others: their packages, their processes, and visitors that count.

use anyhow::{Context, ensure};
use sojourn_chaos_tests::process::{Child, Launch, Region, Request, free_addresses, tool, wait_until, workspace};
use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// Longer than a node looks for a leader: who is answered with a failure knows that nothing of it comes later.
const VISIT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the visitors may take to get on, whatever happens to the nodes.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);

/// A copy of `deploy/examples/NAME` below `target`, where its packages may be put.
pub fn copy_of(name: &str) -> anyhow::Result<PathBuf> {
    let from = workspace().join("deploy/examples").join(name);
    let to = workspace().join("target/examples").join(name);
    fs::create_dir_all(&to)?;
    for file in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
        let file = file?;
        if file.file_type()?.is_file() {
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
    }
    Ok(to)
}

/// Runs `program`, unless it has run for the same `locked` file before.
pub fn install(directory: &Path, locked: &str, steps: &[(&OsStr, &[&str])]) -> anyhow::Result<()> {
    let wanted = fs::read(directory.join(locked))?;
    let stamp = directory.join("installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    for (program, arguments) in steps {
        let output = Command::new(program).args(*arguments).current_dir(directory).output()?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{program:?} {arguments:?} fails: {}", said());
    }
    Ok(fs::write(stamp, wanted)?)
}

/// A program that `.ci/run` installs: without it a test of a developer is skipped, one of CI fails.
pub fn required(name: &str) -> Option<PathBuf> {
    let program = tool(name);
    assert!(program.is_some() || !crate::skipped(&format!("{name} is not installed")), "{name} is not installed");
    program
}

/// A running application.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Child,
}

impl App {
    /// Starts it for the node at `redis`, and waits until it listens.
    pub fn start(launch: Launch, redis: SocketAddr) -> anyhow::Result<Self> {
        let address = free_addresses(1)?[0];
        let launch = launch.variable("REDIS_URL", format!("redis://{redis}"));
        let process = Child::start(launch.variable("PORT", address.port().to_string()))?;
        wait_until("the application to listen", PROGRESS_TIMEOUT, || process.tail().contains("listening on"))
            .with_context(|| process.tail())?;
        Ok(Self { address, _process: process })
    }

    /// Asks for something as the visitor with `cookie`; the answer's JSON and its cookie, or the old one.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        cookie: &str,
        json: &str,
    ) -> anyhow::Result<(serde_json::Value, String)> {
        let sent = (!cookie.is_empty()).then_some(cookie);
        let response = Request { method, path, cookie: sent, json, timeout: VISIT_TIMEOUT }.send(self.address)?;
        ensure!(response.status == 200, "{method} {path} is answered with {}: {}", response.status, response.body);
        Ok((serde_json::from_str(&response.body)?, response.cookie.unwrap_or_else(|| cookie.to_owned())))
    }
}

/// One who visits again and again, and remembers what the application said.
pub struct Visitor {
    number: usize,
    cookie: parking_lot::Mutex<String>,
    acknowledged: AtomicU64,
}

impl Visitor {
    /// Visits until `stop`. A visit that fails is made at the next application.
    fn visit(&self, apps: &[App], stop: &AtomicBool) -> anyhow::Result<()> {
        let (mut at, mut unknown) = (self.number, 0);
        while !stop.load(Ordering::Relaxed) {
            let cookie = self.cookie.lock().clone();
            let Ok((answer, cookie)) = apps[at % apps.len()].ask("GET", "/", &cookie, "") else {
                (at, unknown) = (at + 1, unknown + 1);
                continue;
            };
            let acknowledged = self.acknowledged.load(Ordering::Relaxed);
            let views = answer["views"].as_u64().context("an answer without views")?;
            // A visit that failed may have been counted all the same.
            let possible = acknowledged + 1..=acknowledged + 1 + unknown;
            ensure!(
                possible.contains(&views),
                "visitor {} was told {acknowledged}, failed {unknown} times since, and is told {views} now",
                self.number
            );
            *self.cookie.lock() = cookie;
            self.acknowledged.store(views, Ordering::Relaxed);
            unknown = 0;
        }
        Ok(())
    }

    /// The last count that it was told.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Its cookie.
    pub fn cookie(&self) -> String {
        self.cookie.lock().clone()
    }
}

/// Visitors that visit while something happens to the region.
pub struct Traffic<'a> {
    acknowledged: Vec<&'a AtomicU64>,
    stop: &'a AtomicBool,
}

impl Traffic<'_> {
    /// Waits until every visitor was answered `visits` more times.
    pub fn goes_on(&self, visits: u64) -> anyhow::Result<()> {
        let told = || self.acknowledged.iter().map(|told| told.load(Ordering::Relaxed));
        let wanted: Vec<u64> = told().map(|told| told + visits).collect();
        let reached = || told().zip(&wanted).all(|(told, wanted)| told >= *wanted);
        let answered = || self.stop.load(Ordering::Relaxed) || reached();
        let waited = wait_until("all visitors to be answered", PROGRESS_TIMEOUT, answered);
        waited.with_context(|| format!("told {:?} of {wanted:?} visits", told().collect::<Vec<_>>())).map(drop)
    }
}

/// Lets `count` visitors visit while `events` happen; tells the visitors as they were at the end.
pub fn with_traffic(
    apps: &[App],
    count: usize,
    events: impl FnOnce(&Traffic<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Visitor>> {
    let new = |number| Visitor { number, cookie: <_>::default(), acknowledged: AtomicU64::new(0) };
    let visitors: Vec<Visitor> = (0..count).map(new).collect();
    let acknowledged = visitors.iter().map(|visitor| &visitor.acknowledged);
    while_visited(acknowledged, |number, stop| visitors[number].visit(apps, stop), events)?;
    Ok(visitors)
}

/// Lets visitors `visit` until they are told to stop, each on a thread of its own, while `events` happen. What each of them
/// was told is counted in `acknowledged`.
pub fn while_visited<'a>(
    acknowledged: impl IntoIterator<Item = &'a AtomicU64>,
    visit: impl Fn(usize, &AtomicBool) -> anyhow::Result<()> + Sync,
    events: impl FnOnce(&Traffic<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let acknowledged: Vec<&AtomicU64> = acknowledged.into_iter().collect();
    let stop = AtomicBool::new(false);
    let visit = |number| {
        let ended = visit(number, &stop);
        // The first that finds something wrong ends the run.
        stop.store(true, Ordering::Relaxed);
        ended
    };
    std::thread::scope(|scope| {
        let visit = &visit;
        let visits: Vec<_> = (0..acknowledged.len()).map(|number| scope.spawn(move || visit(number))).collect();
        let happened = events(&Traffic { acknowledged, stop: &stop });
        stop.store(true, Ordering::Relaxed);
        for visit in visits {
            visit.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
        }
        happened
    })
}

/// Kills a leader in the middle of traffic, brings it back, then restarts the nodes of `rolling` one after another.
pub fn hurt(region: &mut Region, victim: usize, rolling: &[usize], traffic: &Traffic<'_>) -> anyhow::Result<()> {
    traffic.goes_on(5)?;
    region.kill(victim)?;
    traffic.goes_on(5)?;
    region.start_node(victim)?;
    region.wait_ready()?;
    traffic.goes_on(5)?;
    for node in rolling {
        region.shut_down(*node)?;
        traffic.goes_on(5)?;
        region.start_node(*node)?;
        region.wait_ready()?;
        traffic.goes_on(5)?;
    }
    Ok(())
}
