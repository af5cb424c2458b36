//! What a world on this machine consists of: names, ports, directories, flags. Pure.

use std::path::{Path, PathBuf};

/// The first port of a world.
pub const BASE_PORT: u16 = 7400;

/// Ports between regions and between nodes.
const REGION_STEP: u16 = 100;
const NODE_STEP: u16 = 10;

/// Where a region's nodes ask for connections to the other regions, from its first port on: behind its last node's ports.
const WAY_OUT_PORT: u16 = REGION_STEP - 1;

/// Regions by number.
const USUAL_REGIONS: [&str; 3] = ["na", "eu", "apac"];

/// Nodes of a region: their ports must not reach the next region's.
pub const NODES_MAX: u16 = REGION_STEP / NODE_STEP;

/// Where one node listens on the loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// gRPC clients.
    pub grpc: u16,
    /// Redis clients.
    pub resp: u16,
    /// Probes, metrics, administration.
    pub http: u16,
    /// Other nodes.
    pub peers: u16,
}

impl Ports {
    /// The ports of node `node` in region `region`, if there are that many.
    pub fn of(base: u16, region: u16, node: u16) -> Option<Self> {
        let first = base.checked_add(region.checked_mul(REGION_STEP)?)?.checked_add(node.checked_mul(NODE_STEP)?)?;
        Some(Self { grpc: first, resp: first + 1, http: first + 2, peers: first.checked_add(3)? })
    }

    /// All four, with what each is for.
    pub fn all(self) -> [(&'static str, u16); 4] {
        [("gRPC", self.grpc), ("Redis clients", self.resp), ("HTTP", self.http), ("other nodes", self.peers)]
    }
}

/// One region of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRegion {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: String,
}

impl PlannedRegion {
    /// Regions of these names; those that are usual have their numbers, and so their ports, whichever others there are.
    pub fn all(names: &[String]) -> Vec<Self> {
        let usual = |name: &str| USUAL_REGIONS.iter().position(|usual| *usual == name);
        let others = names.iter().filter(|name| usual(name).is_none());
        let number = |name: &String| {
            let later = || USUAL_REGIONS.len() + others.clone().position(|other| other == name).unwrap_or_default();
            u16::try_from(usual(name).unwrap_or_else(later)).unwrap_or(u16::MAX)
        };
        names.iter().map(|name| Self { id: number(name), name: name.clone() }).collect()
    }
}

/// One node of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its number in the region.
    pub id: u64,
    /// Its name, such as `na-0`.
    pub name: String,
    /// Its region.
    pub region: PlannedRegion,
    /// Where it listens.
    pub ports: Ports,
}

/// A world on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The world's number.
    pub world: u128,
    /// Its regions.
    pub regions: Vec<PlannedRegion>,
    /// Their nodes.
    pub nodes: Vec<PlannedNode>,
}

impl Plan {
    /// Regions of `node_count` nodes each; `None` if the ports do not fit below 65536.
    pub fn new(data_dir: &Path, world: u128, regions: &[String], base_port: u16, node_count: u16) -> Option<Self> {
        let regions = PlannedRegion::all(regions);
        let all = regions.iter().flat_map(|region| (0..node_count).map(move |index| (region, index)));
        let node = |(region, index): (&PlannedRegion, u16)| {
            let (id, name) = (u64::from(index) + 1, format!("{}-{index}", region.name));
            Some(PlannedNode { id, name, region: region.clone(), ports: Ports::of(base_port, region.id, index)? })
        };
        let nodes = all.map(node).collect::<Option<_>>()?;
        let plan = Self { data_dir: data_dir.to_owned(), world, regions, nodes };
        let ways_fit = plan.regions.len() < 2 || plan.regions.iter().all(|region| plan.way_out(region).is_some());
        ways_fit.then_some(plan)
    }

    /// The first port of a region.
    fn first_port(&self, region: &PlannedRegion) -> Option<u16> {
        self.of_region(region).next().map(|node| node.ports.grpc)
    }

    /// Where a region's nodes ask for connections to other regions; none if there are no others, or no port is left.
    pub fn way_out(&self, region: &PlannedRegion) -> Option<u16> {
        let is_world = self.regions.len() > 1;
        self.first_port(region).filter(|_| is_world)?.checked_add(WAY_OUT_PORT)
    }

    /// The ports of a region's nodes, also of those that are added by hand.
    pub fn ports_of(&self, region: &PlannedRegion) -> std::ops::Range<u16> {
        let first = self.first_port(region).unwrap_or_default();
        first..first.saturating_add(WAY_OUT_PORT)
    }

    fn of_region<'a>(&'a self, region: &'a PlannedRegion) -> impl Iterator<Item = &'a PlannedNode> {
        self.nodes.iter().filter(move |node| node.region == *region)
    }

    /// What the nodes know that is not for every eye: the environment of each.
    pub fn environment(&self) -> [(String, String); 1] {
        // A world on one machine, open to whoever is on it.
        [(crate::config::environment_name("world.secret"), format!("{:032x}", self.world))]
    }

    /// Where a node keeps its data.
    pub fn directory(&self, node: &PlannedNode) -> PathBuf {
        self.data_dir.join(&node.name)
    }

    /// Where a node's log lines go.
    pub fn log_file(&self, node: &PlannedNode) -> PathBuf {
        self.data_dir.join(format!("{}.log", node.name))
    }

    /// Where a node says that it is ready.
    pub fn notify_socket(&self, node: &PlannedNode) -> PathBuf {
        self.data_dir.join(format!("{}.notify", node.name))
    }

    /// The nodes share this machine's cores.
    fn threads_per_node(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / self.nodes.len().max(1)).max(1)
    }

    /// The arguments that make a process of the same binary this node, ending with `parent`.
    pub fn arguments(&self, node: &PlannedNode, parent: u32) -> Vec<String> {
        let at = |port: u16| format!("127.0.0.1:{port}");
        let founders = self.of_region(&node.region).map(|PlannedNode { id, name, ports, region: _ }| {
            let Ports { grpc, resp, http, peers } = *ports;
            format!("{id}:{name}={}/{}/{}/{}", at(peers), at(resp), at(grpc), at(http))
        });
        let regions = self.regions.iter().map(|region| {
            let entrances: Vec<String> = self.of_region(region).map(|node| at(node.ports.peers)).collect();
            format!("{}:{}={}", region.id, region.name, entrances.join("/"))
        });
        let flags = [
            ("--parent", parent.to_string()),
            ("--node-id", node.id.to_string()),
            ("--node-name", node.name.clone()),
            ("--node-data-dir", self.directory(node).display().to_string()),
            ("--node-threads", self.threads_per_node().to_string()),
            ("--region-id", node.region.id.to_string()),
            ("--region-name", node.region.name.clone()),
            ("--world-regions", regions.collect::<Vec<_>>().join(",")),
            ("--region-world", format!("{:x}", self.world)),
            ("--region-founders", founders.collect::<Vec<_>>().join(",")),
            ("--listen-grpc", at(node.ports.grpc)),
            ("--listen-resp", at(node.ports.resp)),
            ("--listen-http", at(node.ports.http)),
            ("--listen-peers", at(node.ports.peers)),
        ];
        let way_out = self.way_out(&node.region).map(|port| ("--world-proxy", at(port)));
        std::iter::once("serve".to_owned())
            .chain(flags.into_iter().chain(way_out).flat_map(|(flag, value)| [flag.to_owned(), value]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_where_the_documentation_says() {
        assert_eq!(Ports::of(7400, 0, 0), Some(Ports { grpc: 7400, resp: 7401, http: 7402, peers: 7403 }));
        assert_eq!(Ports::of(7400, 2, 1), Some(Ports { grpc: 7610, resp: 7611, http: 7612, peers: 7613 }));
        assert_eq!(Ports::of(65_530, 0, 1), None);
        assert_eq!(Ports::of(65_533, 0, 0), None);
    }

    #[test]
    fn a_nodes_arguments_are_understood_by_serve() {
        let regions = ["na", "eu"].map(str::to_owned);
        let plan = Plan::new(Path::new("/tmp/world"), 7, &regions, 7400, 3).expect("a plan");
        let arguments = plan.arguments(&plan.nodes[4], 42);
        assert_eq!(arguments[0], "serve");
        let pairs = arguments[1..].chunks(2).filter(|pair| pair[0] != "--parent");
        let known = |flag: &str| crate::config::KEYS.iter().find(|key| flag == format!("--{}", flag_of(key)));
        let texts = pairs.map(|pair| (known(&pair[0]).expect("a key").name.to_owned(), pair[1].clone())).collect();
        let environment = crate::config::read_environment(plan.environment().into_iter());
        let config = crate::config::NodeConfig::from_texts(&[&texts, &environment]).expect("a configuration");
        let name = config.name_of(config.id);
        assert_eq!((name.as_str(), config.founders.len(), config.world), ("eu-1", 3, Some(7)));
        assert_eq!((config.listen.resp.port(), config.abroad.neighbours.len()), (7511, 1));
        assert_eq!(config.abroad.way_out, crate::peers::WayOut::Proxy("127.0.0.1:7599".to_owned()));
        assert_eq!(plan.ports_of(&plan.regions[1]), 7500..7599);
    }

    fn flag_of(key: &crate::config::Key) -> String {
        crate::config::flag_name(key.name)
    }
}
