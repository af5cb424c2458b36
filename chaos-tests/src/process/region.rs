//! A region of real nodes on the loopback, and what may happen to them.

use super::{Child, Launch, Profile, Request, Usage, free_addresses, http_get, sojourn_binary, wait_until};
use crate::resp::{Client, Reply};
use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use sojourn_node::gateway::http::api::{AddMember, Added, Addresses, Status};
use std::{fs, net::SocketAddr, os::unix::fs::MetadataExt, path::Path, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// How long nodes may take to be ready, on a machine that does other things too.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a node may take to hand its work over and end.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a question to a node may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What region to start.
#[derive(Clone, Debug)]
pub struct RegionOptions {
    /// Its name.
    pub name: String,
    /// How many nodes.
    pub nodes: usize,
    /// How many shards.
    pub shards: u32,
    /// Which build of the binary.
    pub profile: Profile,
    /// Further keys of the configuration, such as `("limits.log_bytes_max", "67108864")`.
    pub settings: Vec<(String, String)>,
    /// Whether syncs are counted, see [`Launch::trace_syncs`].
    pub trace_syncs: bool,
    /// Where a directory for the data is made.
    pub place: PathBuf,
}

impl Default for RegionOptions {
    fn default() -> Self {
        Self {
            name: "na".to_owned(),
            nodes: 3,
            shards: 4,
            profile: Profile::own(),
            settings: Vec::new(),
            trace_syncs: false,
            place: std::env::temp_dir(),
        }
    }
}

/// One node: where it listens, and its process unless it is down.
pub struct Node {
    /// Its number in the region, from 1.
    pub id: usize,
    /// For other nodes.
    pub peers: SocketAddr,
    /// For Redis clients.
    pub resp: SocketAddr,
    /// For the client crate.
    pub grpc: SocketAddr,
    /// For probes and metrics.
    pub http: SocketAddr,
    launch: Launch,
    child: Option<Child>,
}

impl Node {
    /// Its process.
    ///
    /// # Errors
    /// The node is down.
    pub fn child(&self) -> anyhow::Result<&Child> {
        self.child.as_ref().with_context(|| format!("node {} is down", self.id))
    }

    /// Whether it says that it can answer for every slot.
    pub fn is_ready(&self) -> bool {
        self.child.is_some() && http_get(self.http, "/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// A connection for questions.
    ///
    /// # Errors
    /// It does not listen.
    pub fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(self.resp, ASK_TIMEOUT).with_context(|| format!("node {} does not take Redis clients", self.id))
    }

    /// What its engine takes on the disk, in bytes.
    ///
    /// # Errors
    /// It has none.
    pub fn stored_bytes(&self) -> anyhow::Result<u64> {
        let mut ahead = vec![self.launch.directory.join("data/engine")];
        let mut bytes = 0;
        while let Some(directory) = ahead.pop() {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    ahead.push(path);
                } else {
                    // A running engine removes files as it goes. Files may be longer than what is in them: see stat(2).
                    bytes += fs::metadata(&path).map_or(0, |metadata| metadata.blocks() * 512);
                }
            }
        }
        Ok(bytes)
    }

    /// The value of one of its metrics.
    ///
    /// # Errors
    /// It does not answer, or has no such metric.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (_, text) = http_get(self.http, "/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no metric {name}"))?.trim().parse()?)
    }
}

/// A running region; all of it ends when this is dropped.
pub struct Region {
    nodes: Vec<Node>,
    options: RegionOptions,
    binary: PathBuf,
    // After the nodes: they are ended before their data goes.
    data: TempDir,
}

impl Region {
    /// Starts a region and waits until every node can answer.
    ///
    /// # Errors
    /// The binary does not build, or a node does not get ready; then the text has the end of its log.
    pub fn start(options: &RegionOptions) -> anyhow::Result<Self> {
        let mut region = Self::begin(options, &free_addresses(options.nodes * 4)?)?;
        region.wait_ready()?;
        Ok(region)
    }

    /// Starts the nodes of a region, four addresses for each: for peers, Redis clients, gRPC and HTTP. Waits for nothing.
    ///
    /// # Errors
    /// The binary does not build, or a node cannot be started.
    pub fn begin(options: &RegionOptions, addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        let binary = sojourn_binary(options.profile)?;
        let data = tempfile::Builder::new().prefix("sojourn-region-").tempdir_in(&options.place)?;
        let name = &options.name;
        let founders: Vec<String> = addresses
            .chunks(4)
            .enumerate()
            .map(|(position, own)| {
                format!("{}:{name}-{position}={}/{}/{}/{}", position + 1, own[0], own[1], own[2], own[3])
            })
            .collect();
        let founders = founders.join(",");
        let mut region = Self { nodes: Vec::new(), options: options.clone(), binary, data };
        for (own, id) in addresses.chunks(4).zip(1..) {
            let keys = [("node.id", id.to_string()), ("region.founders", founders.clone())];
            region.prepare(id, own, &keys)?;
        }
        for position in 0..region.nodes.len() {
            region.start_node(position)?;
        }
        Ok(region)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The ends of the logs of its nodes.
    pub fn tails(&self) -> String {
        let children = self.nodes.iter().filter_map(|node| node.child.as_ref());
        children.map(|child| format!("--- {} of {}\n{}\n", child.name(), self.name(), child.tail())).collect()
    }

    /// Writes the configuration of a node with these keys of its own.
    fn prepare(&mut self, id: usize, addresses: &[SocketAddr], keys: &[(&str, String)]) -> anyhow::Result<()> {
        let directory = self.data.path().join(format!("node-{id}"));
        fs::create_dir_all(&directory)?;
        let config = directory.join("node.toml");
        fs::write(&config, configuration(addresses, keys, &directory, &self.options))?;
        let arguments = ["serve".into(), "--config".into(), config.into_os_string()];
        let mut launch = Launch::new(format!("sojourn-{id}"), &self.binary, &directory).arguments(arguments);
        launch.trace_syncs = self.options.trace_syncs;
        let &[peers, resp, grpc, http] = addresses else { bail!("a node listens at four addresses") };
        self.nodes.push(Node { id, peers, resp, grpc, http, launch, child: None });
        Ok(())
    }

    /// Adds a node to the running region as an operator does, without waiting for it. Returns its position.
    ///
    /// # Errors
    /// The region does not let it in, or it cannot be started.
    pub fn add_node(&mut self) -> anyhow::Result<usize> {
        self.add_node_at(&free_addresses(4)?)
    }

    /// The same, at these addresses: for peers, Redis clients, gRPC and HTTP.
    pub(super) fn add_node_at(&mut self, own: &[SocketAddr]) -> anyhow::Result<usize> {
        let position = self.nodes.len();
        let name = format!("{}-{position}", self.name());
        let asked = self.running()?;
        let [peers, resp, grpc, http] = [0, 1, 2, 3].map(|at: usize| own[at].to_string());
        let member = AddMember { node: name.clone(), addresses: Addresses { peers, resp, grpc, http } };
        let json = serde_json::to_string(&member)?;
        let request = Request { method: "POST", json: &json, timeout: ASK_TIMEOUT, ..Request::get("/v1/members") };
        let response = request.send(asked.http)?;
        ensure!(response.status == 200, "node {} does not let {name} in: {}", asked.id, response.body);
        let Added { id } = serde_json::from_str(&response.body)?;
        let keys = [("join", asked.peers.to_string()), ("node.name", name)];
        self.prepare(usize::try_from(id)?, own, &keys)?;
        self.start_node(position)?;
        Ok(position)
    }

    /// The region as one of its nodes tells it.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> anyhow::Result<Status> {
        let (status, body) = http_get(self.running()?.http, "/v1/status")?;
        ensure!(status == 200, "no status: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    fn running(&self) -> anyhow::Result<&Node> {
        self.nodes.iter().find(|node| node.child.is_some()).context("all nodes are down")
    }

    /// Its nodes; the methods below name them by their position here.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where the nodes that run take Redis clients.
    pub fn resp_addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().filter(|node| node.child.is_some()).map(|node| node.resp).collect()
    }

    /// What all running nodes have used.
    ///
    /// # Errors
    /// One ended by itself.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let children = self.nodes.iter().filter_map(|node| node.child.as_ref());
        Ok(children.map(Child::usage).collect::<Result<Vec<_>, _>>()?.into_iter().sum())
    }

    /// Starts a node that is down, without waiting for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_node(&mut self, position: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[position];
        node.child = Some(Child::start(node.launch.clone())?);
        Ok(())
    }

    /// Ends a node with SIGKILL.
    ///
    /// # Errors
    /// It is down already.
    pub fn kill(&mut self, position: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[position];
        let mut child = node.child.take().with_context(|| format!("node {} is down already", node.id))?;
        Ok(child.kill()?)
    }

    /// Asks a node to end, which hands its leaderships over first.
    ///
    /// # Errors
    /// It is down already, does not end in time or ends with a failure.
    pub fn shut_down(&mut self, position: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[position];
        let mut child = node.child.take().with_context(|| format!("node {} is down already", node.id))?;
        child.terminate(STOP_TIMEOUT)
    }

    /// Holds a node with SIGSTOP: it is there, and does nothing.
    ///
    /// # Errors
    /// It is down.
    pub fn hold(&self, position: usize) -> anyhow::Result<()> {
        self.nodes[position].child()?.signal(Signal::STOP)
    }

    /// Lets a node that was held go on.
    ///
    /// # Errors
    /// It is down.
    pub fn release(&self, position: usize) -> anyhow::Result<()> {
        self.nodes[position].child()?.signal(Signal::CONT)
    }

    /// Waits until every node that was started can answer.
    ///
    /// # Errors
    /// One ended, or is not ready in time; the text has the end of its log.
    pub fn wait_ready(&mut self) -> anyhow::Result<Duration> {
        let mut waited = Duration::ZERO;
        for node in self.nodes.iter_mut().filter(|node| node.child.is_some()) {
            let what = format!("node {} to be ready", node.id);
            let mut ended = false;
            let ready = wait_until(&what, READY_TIMEOUT, || {
                ended = node.child.as_mut().is_none_or(|child| !child.is_running());
                ended || node.is_ready()
            });
            let tail = || node.child.as_ref().map(Child::tail).unwrap_or_default();
            waited += ready.with_context(tail)?;
            ensure!(!ended, "node {} ended:\n{}", node.id, tail());
        }
        Ok(waited)
    }

    /// Who leads the slot of `key`, as a running node knows it.
    ///
    /// # Errors
    /// Nobody answers, or nobody leads.
    pub fn lead(&self, key: &str) -> anyhow::Result<Lead> {
        let mut client = self.running()?.connect()?;
        let Reply::Number(slot) = client.say(&format!("CLUSTER KEYSLOT {key}"))? else {
            bail!("CLUSTER KEYSLOT answers no number")
        };
        let slots = client.say("CLUSTER SLOTS")?;
        let (first_slot, port) =
            leader(&slots, slot).with_context(|| format!("nobody leads slot {slot}: {slots:?}"))?;
        let node = self.nodes.iter().position(|node| node.resp.port() == port);
        Ok(Lead { node: node.with_context(|| format!("port {port} is nobody's"))?, first_slot })
    }
}

/// Who leads some slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The leader's position.
    pub node: usize,
    /// The first of the slots, by which one shard differs from another.
    pub first_slot: i64,
}

/// The first slot of the range that holds `slot`, and the port of its first node, see CLUSTER SLOTS.
fn leader(slots: &Reply, slot: i64) -> Option<(i64, u16)> {
    let Reply::Array(ranges) = slots else { return None };
    ranges.iter().find_map(|range| {
        let Reply::Array(range) = range else { return None };
        let [Reply::Number(first), Reply::Number(last), Reply::Array(leader), ..] = range.as_slice() else {
            return None;
        };
        let Some(Reply::Number(port)) = leader.get(1) else { return None };
        (*first..=*last).contains(&slot).then_some((*first, u16::try_from(*port).ok()?))
    })
}

fn configuration(
    addresses: &[SocketAddr],
    own: &[(&str, String)],
    directory: &Path,
    options: &RegionOptions,
) -> String {
    let listens = ["peers", "resp", "grpc", "http"].map(|what| format!("listen.{what}"));
    let mut keys = vec![
        ("node.data_dir".to_owned(), directory.join("data").display().to_string()),
        // The nodes share this machine's cores.
        ("node.threads".to_owned(), threads_per_node(options.nodes).to_string()),
        ("region.shards".to_owned(), options.shards.to_string()),
    ];
    keys.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    keys.extend(listens.into_iter().zip(addresses).map(|(key, address)| (key, address.to_string())));
    keys.extend(options.settings.iter().cloned());
    keys.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect()
}

fn threads_per_node(node_count: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / node_count.max(1)).max(1)
}
