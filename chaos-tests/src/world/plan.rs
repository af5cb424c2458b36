//! What is measured, how long, and how often.

use crate::process::{Region, RegionOptions, Request, World, WorldOptions, wait_until};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long they may take to spread their leads.
const SETTLED_MAX: Duration = Duration::from_secs(60);

/// One figure of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figure {
    /// How far the copies of other regions are behind.
    Lag,
    /// What writes notice of the other regions.
    Writes,
    /// What reads of another region's sessions take.
    Reads,
    /// Bytes between regions for each write.
    Bytes,
    /// How soon a lost region's sessions are writable elsewhere.
    Lost,
    /// How long a user's revocation takes everywhere.
    Revoke,
    /// Whether destroyed sessions come back.
    Resurrect,
    /// Whether writes that wait for another region are lost with one.
    Geo,
    /// Whether what is lost with a region is what is reported, and what becomes of it when it returns.
    Cut,
    /// What writes notice of a node that joins their region.
    Join,
}

impl Figure {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 10] = [
        Self::Lag,
        Self::Writes,
        Self::Reads,
        Self::Bytes,
        Self::Lost,
        Self::Revoke,
        Self::Resurrect,
        Self::Geo,
        Self::Cut,
        Self::Join,
    ];

    /// Its name in options and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Writes => "writes",
            Self::Reads => "reads",
            Self::Bytes => "bytes",
            Self::Lost => "lost",
            Self::Revoke => "revoke",
            Self::Resurrect => "resurrect",
            Self::Geo => "geo",
            Self::Cut => "cut",
            Self::Join => "join",
        }
    }

    /// What is done for it.
    pub fn about(self) -> &'static str {
        match self {
            Self::Lag => "writes in each region, looked for in the others until they are seen",
            Self::Writes => {
                "a third of the world's saturation in one region alone, then in three that follow each other"
            }
            Self::Reads => "sessions of another region and a region's own",
            Self::Bytes => "what the ways between regions carry for writes in one of them",
            Self::Lost => "all nodes of a region are killed, its sessions written through another",
            Self::Revoke => "users with a session in each region are logged out everywhere",
            Self::Resurrect => "destroys raced with saves and touches while ways between regions are cut",
            Self::Geo => "regions are killed and come back under writes that wait for another region",
            Self::Cut => "regions are killed and come back under writes that wait for none",
            Self::Join => "a node joins a region under a steady load",
        }
    }
}

/// All that is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What.
    pub figures: Vec<Figure>,
    /// How long what goes from one region to another takes.
    pub delay: Duration,
    /// Writes a second in each region under which lag is measured, one after the other.
    pub lag_writes_per_s: Vec<f64>,
    /// Reads, and writes whose bytes are counted, that are due in a second.
    pub operations_per_s: f64,
    /// What is not measured of a load.
    pub warm_up: Duration,
    /// What is.
    pub measured: Duration,
    /// Sessions that loads go to.
    pub sessions: u64,
    /// Writes whose bytes are counted.
    pub counted_writes: u64,
    /// How often a region is lost.
    pub losses: usize,
    /// How often one is lost, comes back and takes over again, under load.
    pub region_losses: usize,
    /// Whether a person says that it is lost, so that nobody waits for leases.
    pub losses_by_hand: bool,
    /// How long a lost region's sessions are tried.
    pub takeover_max: Duration,
    /// Users that are logged out.
    pub revocations: usize,
    /// Sessions that are destroyed in races.
    pub destroys: u64,
    /// How long all leads have to stay where they are before anything is measured: new regions spread theirs first.
    pub settled: Duration,
    /// Where data goes.
    pub place: PathBuf,
}

impl Plan {
    /// Everything, as the figures are published.
    pub fn full(place: PathBuf) -> Self {
        Self {
            figures: Figure::ALL.to_vec(),
            delay: Duration::from_millis(80),
            lag_writes_per_s: vec![1_000.0, 2_000.0],
            operations_per_s: 1_000.0,
            warm_up: Duration::from_secs(2),
            measured: Duration::from_secs(20),
            sessions: 20_000,
            counted_writes: 20_000,
            losses: 3,
            region_losses: 20,
            losses_by_hand: false,
            takeover_max: Duration::from_secs(60),
            revocations: 500,
            destroys: 10_000,
            settled: Duration::from_secs(4),
            place,
        }
    }

    /// The headline figures in about six minutes.
    pub fn quick(place: PathBuf) -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(5),
            sessions: 5_000,
            counted_writes: 5_000,
            losses: 1,
            region_losses: 2,
            takeover_max: Duration::from_secs(30),
            revocations: 100,
            destroys: 1_000,
            ..Self::full(place)
        }
    }

    /// A few seconds of each, to see that everything works.
    pub fn smoke(place: PathBuf) -> Self {
        Self {
            delay: Duration::from_millis(20),
            lag_writes_per_s: vec![20.0],
            operations_per_s: 50.0,
            warm_up: Duration::from_millis(500),
            measured: Duration::from_secs(2),
            sessions: 100,
            counted_writes: 100,
            losses: 1,
            region_losses: 1,
            losses_by_hand: true,
            takeover_max: Duration::from_secs(15),
            revocations: 5,
            destroys: 24,
            settled: Duration::ZERO,
            ..Self::full(place)
        }
    }

    /// Starts the world that is measured.
    pub(super) fn start(&self) -> anyhow::Result<World> {
        self.start_with(&[])
    }

    /// The same with further settings of its nodes.
    pub(super) fn start_with(&self, settings: &[(&str, &str)]) -> anyhow::Result<World> {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let region = RegionOptions { place: self.place.clone(), settings, ..RegionOptions::default() };
        let world = World::start(&WorldOptions { region, delay: self.delay, ..WorldOptions::default() })?;
        world.wait_leased()?;
        self.wait_settled(&world)?;
        Ok(world)
    }

    /// Waits until nobody hands a lead over any more.
    fn wait_settled(&self, world: &World) -> anyhow::Result<()> {
        let (mut leaders, mut since) = (leaders(world), Instant::now());
        wait_until("all leads to stay where they are", SETTLED_MAX, || {
            let now = self::leaders(world);
            if now != leaders {
                (leaders, since) = (now, Instant::now());
            }
            since.elapsed() >= self.settled
        })
        .map(drop)
    }
}

/// Who leads what in each region, as its first node tells.
fn leaders(world: &World) -> Vec<Vec<String>> {
    let of_region = |region: &Region| {
        let http = region.nodes().first()?.http;
        let status = Request::get("/v1/status").send(http).ok()?;
        let status: serde_json::Value = serde_json::from_str(&status.body).ok()?;
        let groups = status.get("groups")?.as_array()?;
        Some(groups.iter().map(|group| group.get("leader").map_or_else(String::new, ToString::to_string)).collect())
    };
    world.regions().iter().map(|region| of_region(region).unwrap_or_default()).collect()
}
