//! The keys of the configuration, once: the file, the environment, the flags and the help are made from this table.

use super::ConfigError;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its dotted name in the file.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What holds without it.
    pub default: Option<&'static str>,
}

impl Key {
    /// Whether it is true or false.
    pub fn is_switch(&self) -> bool {
        matches!(self.default, Some("true" | "false"))
    }
}

const fn key(name: &'static str, default: Option<&'static str>, help: &'static str) -> Key {
    Key { name, help, default }
}

/// All keys.
pub const KEYS: &[Key] = &[
    key("node.id", None, "this node's number, if it founds the region: one of `region.founders`, else the first"),
    key("node.name", None, "its name; the founders' list has one otherwise"),
    key("node.addresses", None, "where others reach it, as peers/resp/grpc/http; where it listens otherwise"),
    key("node.data_dir", Some("data"), "where it keeps its data"),
    key("node.threads", Some("0"), "threads that serve, 0 for one a core; less where nodes share a machine"),
    key("region.id", Some("0"), "the region's number in the world"),
    key("region.name", Some("na"), "the region's name"),
    key("region.world", None, "the world's number in hexadecimal, to check; drawn at the founding otherwise"),
    key("region.shards", Some("4"), "how many Raft groups share the sessions, fixed when the region is founded"),
    key(
        "region.founders",
        Some("1:na-0=127.0.0.1:7403/127.0.0.1:7401/127.0.0.1:7400/127.0.0.1:7402"),
        "the nodes that found the region: number:name=peers/resp/grpc/http, ...",
    ),
    key("region.replicas", Some("3"), "how many nodes vote in each Raft group, 3 or 5, fixed likewise"),
    key(
        "region.coordinates",
        None,
        "where it is, in degrees north and east, as 50.11,8.68; for na, eu and apac there is a default",
    ),
    key(
        "world.regions",
        None,
        "the other regions: number:name=address/address, ... with peers addresses of some nodes of each; this region may be \
         among them",
    ),
    key(
        "world.secret",
        None,
        "what all nodes of a world know and nobody else: at least 32 letters, the same everywhere",
    ),
    key(
        "world.proxy",
        None,
        "where a proxy listens that opens the connections to other regions (HTTP CONNECT), such as 10.0.0.1:3128; none \
         otherwise",
    ),
    key(
        "world.failover",
        None,
        "who decides that a region is lost, when the world is founded: `automatic`, by leases, which is the default with \
         three regions or more, or `operator`; `sojourn region policy` changes it later",
    ),
    key(
        "world.lease",
        Some("10s"),
        "how long a region may write without hearing of the others, where leases decide; likewise",
    ),
    key(
        "world.digest_interval",
        Some("1m"),
        "how often copies of other regions' sessions are compared with what those have, at least 1s",
    ),
    key(
        "world.sweep_interval",
        Some("1m"),
        "how often it is found out which ended sessions all regions know of, so that they may be forgotten, at least 1s",
    ),
    key(
        "tls.certificate",
        None,
        "this node's certificate in PEM, for the name node.sojourn: with it nodes speak TLS with each other and take nobody \
         without; said on all nodes of a world, or on none; read anew when it changes",
    ),
    key("tls.key", None, "its private key in PEM"),
    key("tls.authority", None, "the certificate of the authority that certifies all nodes of the world, in PEM"),
    key(
        "geo.database",
        None,
        "a MaxMind DB file that says where addresses are, read anew when it changes; built in otherwise",
    ),
    key("geo.countries", None, "regions of countries, as US=na,GB=eu, in place of the default for these countries"),
    key(
        "geo.default",
        Some("na"),
        "the region of sessions of which nothing is known, or `asked` for the one that was asked",
    ),
    key("join", None, "the peers address of any member, to join its region with an empty data directory"),
    key("listen.grpc", Some("127.0.0.1:7400"), "where gRPC clients connect"),
    key("listen.resp", Some("127.0.0.1:7401"), "where Redis clients connect"),
    key("listen.http", Some("127.0.0.1:7402"), "where probes, metrics and administration are"),
    key("listen.peers", Some("127.0.0.1:7403"), "where other nodes connect"),
    key("resp.cluster", Some("false"), "send Redis clients to leaders with -MOVED instead of forwarding"),
    key(
        "resp.proxy",
        Some("false"),
        "Redis clients come through a load balancer that sends a PROXY header of version 2",
    ),
    key("limits.log_bytes_max", Some("4294967296"), "the most bytes that the log may take"),
    key(
        "limits.memory_bytes_max",
        None,
        "the most that the fields of sessions may take in memory, the others being on disk; half of the machine's otherwise",
    ),
    key("log.format", Some("text"), "how log lines look: text or json"),
    key("log.level", Some("info"), "what is logged: a level, or levels by module, as info,sojourn_node::raft=debug"),
    key("insecure", Some("false"), "listen beyond the loopback without TLS"),
];

/// The environment variable of a key: `SOJOURN_LISTEN_RESP` for `listen.resp`.
pub fn environment_name(key: &str) -> String {
    format!("SOJOURN_{}", key.replace('.', "_").to_uppercase())
}

/// The flag of a key, without its dashes: `listen-resp` for `listen.resp`.
pub fn flag_name(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

/// How alike a suggestion must be, from 0 to 1.
const SUGGESTION_LIKENESS_MIN: f64 = 0.7;

/// Refuses a key that there is not.
pub(super) fn check(key: &str, source_name: &str) -> Result<(), ConfigError> {
    if KEYS.iter().any(|known| known.name == key) {
        return Ok(());
    }
    let nearest = KEYS
        .iter()
        .map(|known| (strsim::jaro_winkler(known.name, key), known.name))
        .filter(|(likeness, _)| *likeness >= SUGGESTION_LIKENESS_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    let suggestion = nearest.map(|(_, name)| name.to_owned());
    Err(ConfigError::UnknownKey { key: key.to_owned(), source_name: source_name.to_owned(), suggestion })
}
