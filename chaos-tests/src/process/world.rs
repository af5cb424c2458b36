//! Several regions of real nodes, with ways between them that can be delayed and cut.

use super::{Region, RegionOptions, Request, free_addresses};
use crate::resp::Reply;
use anyhow::Context;
use rand::Rng;
use sojourn_node::wan::{Pair, Report, Wan};
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, runtime::Runtime};

/// Where a node listens: peers, Redis clients, gRPC, HTTP.
const PORTS_PER_NODE: usize = 4;

/// How long regions may take to know each other.
const MEET_TIMEOUT: Duration = Duration::from_secs(120);

/// How long regions may take to agree on leases, once they are up.
const LEASED_MAX: Duration = Duration::from_secs(30);

/// What world to start.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// The names of its regions.
    pub regions: Vec<String>,
    /// How each of them is.
    pub region: RegionOptions,
    /// How long what goes from one region to another takes.
    pub delay: Duration,
}

impl Default for WorldOptions {
    fn default() -> Self {
        let regions = ["na", "eu", "apac"].map(str::to_owned).to_vec();
        Self { regions, region: RegionOptions::default(), delay: Duration::ZERO }
    }
}

/// A running world; all of it ends when this is dropped.
pub struct World {
    // Before the ways: nodes end first.
    regions: Vec<Region>,
    wan: Wan,
    /// Runs the ways between regions.
    _ways: Runtime,
}

impl World {
    /// Starts a world and waits until every node can answer and every region knows the others.
    ///
    /// # Errors
    /// As [`Region::start`]; or regions do not meet.
    pub fn start(options: &WorldOptions) -> anyhow::Result<Self> {
        let names = &options.regions;
        let ports_per_region = options.region.nodes * PORTS_PER_NODE;
        // All at once, so that they differ: those of the nodes, then a way out of each region.
        let addresses = free_addresses(names.len() * (ports_per_region + 1))?;
        let (nodes, ways_out) = addresses.split_at(names.len() * ports_per_region);
        let nodes: Vec<&[SocketAddr]> = nodes.chunks(ports_per_region).collect();
        let ways = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("wan")
            .enable_all()
            .build()
            .context("cannot start the ways between regions")?;
        let wan = Wan::new(names.clone());
        for pair in wan.pairs() {
            wan.change(pair, |link| link.delay = options.delay);
        }
        for ((name, addresses), way_out) in names.iter().zip(&nodes).zip(ways_out) {
            wan.place(name, peers(addresses).map(|address| address.port()))?;
            let listener = ways.block_on(TcpListener::bind(way_out))?;
            let (wan, name) = (wan.clone(), name.clone());
            ways.spawn(async move { wan.serve(&name, listener).await });
        }
        let mut random = rand::rng();
        let entrances = names.iter().zip(0..).zip(&nodes).map(|((name, id), addresses)| {
            let peers: Vec<String> = peers(addresses).map(|address| address.to_string()).collect();
            format!("{id}:{name}={}", peers.join("/"))
        });
        let shared = [
            ("region.world".to_owned(), format!("{:x}", random.random_range(1..=u128::MAX))),
            ("world.secret".to_owned(), format!("{:032x}", random.random::<u128>())),
            ("world.regions".to_owned(), entrances.collect::<Vec<_>>().join(",")),
        ];
        let mut regions = Vec::new();
        for (((name, id), addresses), way_out) in names.iter().zip(0..).zip(&nodes).zip(ways_out) {
            let mut region = RegionOptions { name: name.clone(), ..options.region.clone() };
            region.settings.extend(shared.iter().cloned());
            region.settings.extend(own_settings(id, name, *way_out));
            regions.push(Region::begin(&region, addresses)?);
        }
        let mut world = Self { regions, wan, _ways: ways };
        for region in &mut world.regions {
            region.wait_ready()?;
        }
        world.wait_met()?;
        Ok(world)
    }

    /// Waits until every region answers for the others: before, a session that nobody knows cannot be called missing.
    fn wait_met(&self) -> anyhow::Result<()> {
        for node in self.regions.iter().flat_map(Region::nodes) {
            let mut client = node.connect()?;
            super::wait_until("the regions to meet", MEET_TIMEOUT, || {
                matches!(client.call(&[b"GET", b"nobody:has:it"]), Ok(Reply::Bytes(None)))
            })?;
        }
        Ok(())
    }

    /// Waits until all regions write under leases: the first ones are asked for when a world is founded, and writes wait for them.
    ///
    /// # Errors
    /// They do not in time.
    pub fn wait_leased(&self) -> anyhow::Result<()> {
        let http = self.regions.first().and_then(|region| region.nodes().first()).context("a world has nodes")?.http;
        super::wait_until("the regions to write under leases", LEASED_MAX, || {
            let status = Request::get("/v1/regions").send(http);
            status.is_ok_and(|status| status.body.matches(r#""leased":true"#).count() == self.regions.len())
        })
        .map(drop)
    }

    /// Its regions, in the order of their names.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The same, to hurt them.
    pub fn regions_mut(&mut self) -> &mut [Region] {
        &mut self.regions
    }

    /// Adds a node to a running region as an operator does, without waiting for it. Returns its position there.
    ///
    /// # Errors
    /// See [`Region::add_node`].
    pub fn add_node(&mut self, region: usize) -> anyhow::Result<usize> {
        let addresses = free_addresses(PORTS_PER_NODE)?;
        let region = &mut self.regions[region];
        // Before it is known to the other regions.
        self.wan.place(region.name(), peers(&addresses).map(|address| address.port()))?;
        region.add_node_at(&addresses)
    }

    /// The ways between them.
    pub fn wan(&self) -> &Wan {
        &self.wan
    }

    /// The way from one region to another, by their positions.
    ///
    /// # Errors
    /// There is no such region.
    pub fn pair(&self, from: usize, to: usize) -> anyhow::Result<Pair> {
        Ok(self.wan.pair(self.regions[from].name(), self.regions[to].name())?)
    }

    /// Cuts both directions between two regions, or one of them.
    ///
    /// # Errors
    /// There is no such region.
    pub fn cut(&self, from: usize, to: usize, one_way: bool) -> anyhow::Result<()> {
        let pair = self.pair(from, to)?;
        self.wan.change(pair, |link| link.cut = true);
        if !one_way {
            self.wan.change(pair.back(), |link| link.cut = true);
        }
        Ok(())
    }

    /// Undoes all cuts.
    pub fn heal(&self) {
        self.wan.pairs().into_iter().for_each(|pair| self.wan.change(pair, |link| link.cut = false));
    }

    /// What has gone between two regions so far, both directions together.
    pub fn bytes_between(&self, one: usize, other: usize) -> u64 {
        let (one, other) = (self.regions[one].name(), self.regions[other].name());
        let is_theirs = |way: &Report| (way.from == one && way.to == other) || (way.from == other && way.to == one);
        self.wan.report().iter().filter(|way| is_theirs(way)).map(|way| way.bytes_total).sum()
    }

    /// The ends of the logs of all nodes.
    pub fn tails(&self) -> String {
        self.regions.iter().map(Region::tails).collect()
    }
}

/// The peers addresses among those of a region's nodes.
fn peers(addresses: &[SocketAddr]) -> impl Iterator<Item = SocketAddr> {
    addresses.iter().step_by(PORTS_PER_NODE).copied()
}

/// What differs from region to region.
fn own_settings(id: u16, name: &str, way_out: SocketAddr) -> [(String, String); 5] {
    [
        ("region.id".to_owned(), id.to_string()),
        ("region.name".to_owned(), name.to_owned()),
        ("world.proxy".to_owned(), way_out.to_string()),
        // Clients here are on this machine: their sessions are at home where they ask.
        ("geo.default".to_owned(), "asked".to_owned()),
        ("log.level".to_owned(), "warn".to_owned()),
    ]
}
