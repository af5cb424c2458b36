//! A node's configuration: one TOML file, every key also by environment and by flag.
//!
//! Precedence: flag, environment, file, default. An unknown key is an error that names the nearest known one.

mod geo;
mod keys;
mod world;

pub use geo::GeoConfig;
pub use keys::{KEYS, Key, environment_name, flag_name};
pub use world::{WorldConfig, WorldSecret};

use crate::{
    security::certificates::Files,
    telemetry::{LogFormat, LogOptions},
};
use sojourn_core::{
    NodeId, RegionId,
    region::{Addresses, Member},
    routing::{Coordinates, coordinates_of_region},
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

/// What a node needs to know at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its number in the region, if the configuration says so.
    pub id: Option<NodeId>,
    /// Its name, likewise.
    pub name: Option<String>,
    /// Where others reach it, likewise.
    pub addresses: Option<Addresses>,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Threads that serve; 0 for one a core.
    pub threads: usize,
    /// The region's number and name.
    pub region: (RegionId, String),
    /// Whether the configuration says the region's name, so that it is checked.
    pub region_given: bool,
    /// The world's number, if the configuration says so.
    pub world: Option<u128>,
    /// How many shards share the slots, when the region is founded.
    pub shard_count: u32,
    /// How many voters each group should have, when the region is founded.
    pub replicas: u32,
    /// Where the region is, if the configuration says so.
    pub coordinates: Option<Coordinates>,
    /// Where addresses are.
    pub geo: GeoConfig,
    /// The members that found the region.
    pub founders: Vec<Member>,
    /// A member of the region to join.
    pub join: Option<String>,
    /// Where it listens.
    pub listen: Listen,
    /// Whether the Redis endpoint sends clients to leaders with `-MOVED`.
    pub resp_cluster: bool,
    /// Whether each connection to it begins with a load balancer's PROXY header.
    pub resp_proxy: bool,
    /// The most bytes that the log may take.
    pub log_bytes_max: u64,
    /// The most that the fields of sessions may take in memory, if something other than the default.
    pub memory_bytes_max: Option<u64>,
    /// What is logged for people, and how.
    pub log: LogOptions,
    /// The other regions.
    pub abroad: WorldConfig,
    /// What nodes show each other; none where they believe each other.
    pub tls: Option<Files>,
    /// Whether to listen beyond the loopback without TLS.
    pub insecure: bool,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// gRPC clients.
    pub grpc: SocketAddr,
    /// Redis clients.
    pub resp: SocketAddr,
    /// Probes and metrics.
    pub http: SocketAddr,
    /// Other nodes.
    pub peers: SocketAddr,
}

/// Why a configuration is refused: what, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the configuration {file}: {reason}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        reason: String,
    },
    /// A key that there is not.
    #[error("unknown key `{key}` in {source_name}{}", suggestion.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it was.
        source_name: String,
        /// The nearest known one.
        suggestion: Option<String>,
    },
    /// A value that does not fit.
    #[error("`{key}` is {value:?}; {mend}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        mend: String,
    },
    /// Open to strangers without protection.
    #[error(
        "{key} listens on {address}, beyond the loopback, without TLS: listen on 127.0.0.1, or say `--insecure true` if \
         another layer protects it"
    )]
    Insecure {
        /// Which listener.
        key: &'static str,
        /// Where.
        address: SocketAddr,
    },
}

/// Texts by key, before they are understood.
pub type Texts = BTreeMap<String, String>;

/// Reads a TOML file into texts by dotted key.
///
/// # Errors
/// Unreadable or malformed files and unknown keys.
pub fn read_file(path: &std::path::Path) -> Result<Texts, ConfigError> {
    let file = path.display().to_string();
    let unreadable = |reason: String| ConfigError::Unreadable { file: file.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| unreadable(error.to_string()))?;
    let mut texts = Texts::new();
    flatten("", table, &mut texts);
    for key in texts.keys() {
        keys::check(key, &file)?;
    }
    Ok(texts)
}

fn flatten(prefix: &str, table: toml::Table, texts: &mut Texts) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, texts),
            toml::Value::String(text) => drop(texts.insert(key, text)),
            toml::Value::Array(items) => {
                let items: Vec<String> =
                    items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
                texts.insert(key, items.join(","));
            }
            other => drop(texts.insert(key, other.to_string())),
        }
    }
}

/// All keys with what would hold, as a file that [`read_file`] reads, each with its help and its variable.
pub fn describe(sources: &[&Texts]) -> String {
    let (mut out, mut section) = (String::new(), "");
    // Keys without a section first: in TOML they would belong to the section before them.
    let (plain, sectioned): (Vec<&Key>, Vec<&Key>) = KEYS.iter().partition(|key| !key.name.contains('.'));
    for key in plain.into_iter().chain(sectioned) {
        let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if of != section {
            section = of;
            out.push_str(&format!("[{of}]\n"));
        }
        let value = Source(sources).text(key.name);
        let given = sources.iter().any(|texts| texts.contains_key(key.name));
        // What nobody else may know is not shown, only that it is there.
        let is_secret = key.name.ends_with(".secret");
        let mark = if given && !is_secret { "" } else { "# " };
        let shown = if given && is_secret { "(given, not shown)".to_owned() } else { value.unwrap_or_default() };
        let value = toml::Value::String(shown);
        out.push_str(&format!("# {} ({})\n{mark}{name} = {value}\n\n", key.help, environment_name(key.name)));
    }
    out
}

/// Texts from environment variables such as `SOJOURN_LISTEN_RESP`.
pub fn read_environment(variables: impl Iterator<Item = (String, String)>) -> Texts {
    let names: BTreeMap<String, &str> = KEYS.iter().map(|key| (environment_name(key.name), key.name)).collect();
    variables.filter_map(|(name, value)| Some(((*names.get(&name)?).to_owned(), value))).collect()
}

impl NodeConfig {
    /// Understands texts, earlier sources before later ones.
    ///
    /// # Errors
    /// Values that do not fit, and listeners open to strangers.
    pub fn from_texts(sources: &[&Texts]) -> Result<Self, ConfigError> {
        let source = Source(sources);
        let founders = source.founders()?;
        let config = Self {
            id: source.text("node.id").map(|_| source.number("node.id").map(NodeId)).transpose()?,
            name: source.text("node.name"),
            addresses: source.addresses()?,
            data_dir: source.text("node.data_dir").unwrap_or_default().into(),
            threads: source.number("node.threads")?,
            region: (RegionId(source.number("region.id")?), source.text("region.name").unwrap_or_default()),
            world: source.world()?,
            shard_count: source.number("region.shards")?,
            replicas: source.number("region.replicas")?,
            coordinates: source.understood("region.coordinates")?,
            geo: source.geo()?,
            region_given: source.is_given("region.name"),
            founders,
            join: source.text("join"),
            listen: Listen {
                grpc: source.address("listen.grpc")?,
                resp: source.address("listen.resp")?,
                http: source.address("listen.http")?,
                peers: source.address("listen.peers")?,
            },
            resp_cluster: source.flag("resp.cluster")?,
            resp_proxy: source.flag("resp.proxy")?,
            log_bytes_max: source.number("limits.log_bytes_max")?,
            memory_bytes_max: source.optional("limits.memory_bytes_max", "use a whole number of bytes")?,
            log: LogOptions { format: source.log_format()?, level: source.text("log.level").unwrap_or_default() },
            abroad: source.abroad()?,
            tls: source.tls()?,
            insecure: source.flag("insecure")?,
        };
        config.check()?;
        Ok(config)
    }

    /// The number of a node that founds the region: by default the first founder's.
    pub fn founder_id(&self) -> NodeId {
        self.id.or_else(|| self.founders.first().map(|founder| founder.id)).unwrap_or(NodeId(1))
    }

    /// Where the region of this name is, as far as that is known.
    pub fn coordinates_of(&self, region: &str) -> Option<Coordinates> {
        self.coordinates.or_else(|| coordinates_of_region(region))
    }

    /// The name of this node when it is `node`, or has no number yet.
    pub fn name_of(&self, node: Option<NodeId>) -> String {
        let founder = self.founders.iter().find(|founder| Some(founder.id) == node);
        let name = self.name.clone().or_else(|| founder.map(|founder| founder.name.clone()));
        name.unwrap_or_else(|| format!("node-{}", self.listen.peers))
    }

    /// Where this node is reached when it is `node`, or has no number yet.
    pub fn addresses_of(&self, node: Option<NodeId>) -> Addresses {
        let founder = self.founders.iter().find(|founder| Some(founder.id) == node);
        let addresses = self.addresses.clone().or_else(|| founder.map(|founder| founder.addresses.clone()));
        addresses.unwrap_or_else(|| self.listen.addresses())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Listen { grpc, resp, http, peers } = self.listen;
        let listeners = [("listen.grpc", grpc), ("listen.resp", resp), ("listen.http", http), ("listen.peers", peers)];
        for (key, address) in listeners {
            if !address.ip().is_loopback() && !self.insecure {
                return Err(ConfigError::Insecure { key, address });
            }
        }
        self.abroad.check(self.world, &self.region)?;
        if !(1..=256).contains(&self.shard_count) {
            let value = self.shard_count.to_string();
            return Err(ConfigError::BadValue { key: "region.shards", value, mend: "use 1 to 256".to_owned() });
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            let value = self.replicas.to_string();
            return Err(ConfigError::BadValue { key: "region.replicas", value, mend: "use 3 or 5".to_owned() });
        }
        if let (Some(id), None) = (self.id, &self.join)
            && !self.founders.iter().any(|member| member.id == id)
        {
            let mend = "give a number that `region.founders` lists, or `join` a region".to_owned();
            return Err(ConfigError::BadValue { key: "node.id", value: id.0.to_string(), mend });
        }
        Ok(())
    }
}

struct Source<'a>(&'a [&'a Texts]);

impl Source<'_> {
    /// What nodes show each other: all three files, or none.
    fn tls(&self) -> Result<Option<Files>, ConfigError> {
        let keys = ["tls.certificate", "tls.key", "tls.authority"];
        let texts = keys.map(|key| self.text(key));
        if texts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let file = |at: usize| {
            let mend = "say all of `tls.certificate`, `tls.key` and `tls.authority`, or none".to_owned();
            let missing = ConfigError::BadValue { key: keys[at], value: String::new(), mend };
            texts[at].as_ref().map(PathBuf::from).ok_or(missing)
        };
        Ok(Some(Files { certificate: file(0)?, key: file(1)?, authority: file(2)? }))
    }

    fn text(&self, key: &'static str) -> Option<String> {
        let given = self.0.iter().find_map(|texts| texts.get(key).cloned());
        let default = || KEYS.iter().find(|known| known.name == key).and_then(|known| known.default.map(str::to_owned));
        given.or_else(default)
    }

    fn parse<T: std::str::FromStr>(&self, key: &'static str, mend: &str) -> Result<T, ConfigError> {
        let value = self.text(key).unwrap_or_default();
        value.parse().map_err(|_| ConfigError::BadValue { key, value, mend: mend.to_owned() })
    }

    fn optional<T: std::str::FromStr>(&self, key: &'static str, mend: &str) -> Result<Option<T>, ConfigError> {
        self.text(key).map(|_| self.parse(key, mend)).transpose()
    }

    /// A value whose own error says the mend.
    fn understood<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.text(key) else { return Ok(None) };
        let refused = |error: T::Err| ConfigError::BadValue { key, value: value.clone(), mend: error.to_string() };
        value.parse().map(Some).map_err(refused)
    }

    fn number<T: std::str::FromStr>(&self, key: &'static str) -> Result<T, ConfigError> {
        self.parse(key, "use a whole number")
    }

    fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        self.parse(key, "use true or false")
    }

    fn address(&self, key: &'static str) -> Result<SocketAddr, ConfigError> {
        self.parse(key, "use an address and a port, such as 127.0.0.1:7401")
    }

    fn log_format(&self) -> Result<LogFormat, ConfigError> {
        match self.text("log.format").unwrap_or_default().as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(ConfigError::BadValue {
                key: "log.format",
                value: other.to_owned(),
                mend: "use text or json".to_owned(),
            }),
        }
    }

    fn is_given(&self, key: &str) -> bool {
        self.0.iter().any(|texts| texts.contains_key(key))
    }

    fn world(&self) -> Result<Option<u128>, ConfigError> {
        let Some(value) = self.text("region.world") else { return Ok(None) };
        match u128::from_str_radix(&value, 16) {
            Ok(world) if world != 0 => Ok(Some(world)),
            Ok(_) | Err(_) => Err(ConfigError::BadValue {
                key: "region.world",
                value,
                mend: "use up to 32 hexadecimal digits, not all 0, the same on every node".to_owned(),
            }),
        }
    }

    fn addresses(&self) -> Result<Option<Addresses>, ConfigError> {
        let Some(value) = self.text("node.addresses") else { return Ok(None) };
        let mend = "give peers/resp/grpc/http with an address and a port for each".to_owned();
        places(&value).map(Some).ok_or(ConfigError::BadValue { key: "node.addresses", value, mend })
    }

    /// `id=host:port/host:port/host:port/host:port` for peers, Redis, gRPC and HTTP, separated by commas.
    fn founders(&self) -> Result<Vec<Member>, ConfigError> {
        let value = self.text("region.founders").unwrap_or_default();
        let refuse = || ConfigError::BadValue {
            key: "region.founders",
            value: value.clone(),
            mend: "list `number:name=peers/resp/grpc/http` with an address and a port for each".to_owned(),
        };
        value.split(',').map(|one| founder(one.trim()).ok_or_else(refuse)).collect()
    }
}

fn founder(text: &str) -> Option<Member> {
    let (who, addresses) = text.split_once('=')?;
    let (id, name) = who.split_once(':')?;
    let id = NodeId(id.parse().ok()?);
    Some(Member { id, name: name.to_owned(), addresses: places(addresses)?, draining: false, disk: None })
}

/// `peers/resp/grpc/http`.
fn places(text: &str) -> Option<Addresses> {
    let mut places = text.split('/').map(str::to_owned);
    let (peers, resp, grpc, http) = (places.next()?, places.next()?, places.next()?, places.next()?);
    let complete = [&peers, &resp, &grpc, &http].iter().all(|place| place.contains(':')) && places.next().is_none();
    complete.then_some(Addresses { peers, resp, grpc, http })
}

impl Listen {
    /// Where a node that says nothing else is reached.
    fn addresses(&self) -> Addresses {
        let Self { grpc, resp, http, peers } = self;
        Addresses { peers: peers.to_string(), resp: resp.to_string(), grpc: grpc.to_string(), http: http.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUNDERS: &str = "1:na-0=127.0.0.1:7403/127.0.0.1:7401/127.0.0.1:7400/127.0.0.1:7402";

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file_over_defaults() {
        let file = texts(&[("region.founders", FOUNDERS), ("listen.resp", "127.0.0.1:1"), ("region.shards", "8")]);
        let environment =
            [("SOJOURN_LISTEN_RESP".to_owned(), "127.0.0.1:2".to_owned()), ("HOME".to_owned(), "/".to_owned())];
        let environment = read_environment(environment.into_iter());
        let flags = texts(&[("listen.resp", "127.0.0.1:3")]);
        let config = NodeConfig::from_texts(&[&flags, &environment, &file]).expect("a good configuration");
        assert_eq!(
            (config.listen.resp.port(), config.shard_count, config.name_of(Some(config.founder_id())).as_str()),
            (3, 8, "na-0")
        );
        let config = NodeConfig::from_texts(&[&environment, &file]).expect("a good configuration");
        assert_eq!((config.listen.resp.port(), config.listen.http.port()), (2, 7402));
    }

    #[test]
    fn what_is_described_reads_back_as_what_was_given() {
        let given = texts(&[("insecure", "true"), ("region.shards", "8"), ("listen.http", "127.0.0.1:9")]);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("node.toml");
        std::fs::write(&path, describe(&[&given])).expect("written");
        assert_eq!(read_file(&path), Ok(given));
        let secret = texts(&[("world.secret", "0123456789abcdef0123456789abcdef")]);
        let described = describe(&[&secret]);
        assert!(!described.contains("0123456789abcdef") && described.contains("not shown"), "{described}");
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_known_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("node.toml");
        std::fs::write(&path, "[listen]\nrespp = \"127.0.0.1:1\"\n").expect("written");
        let error = read_file(&path).expect_err("an unknown key").to_string();
        assert!(
            error.contains("unknown key `listen.respp`") && error.contains("did you mean `listen.resp`?"),
            "{error}"
        );
    }

    #[test]
    fn bad_values_name_the_key_and_the_mend() {
        for (key, value, mend) in [
            ("region.shards", "many", "use a whole number"),
            ("region.shards", "300", "use 1 to 256"),
            ("listen.http", "7402", "an address and a port"),
            ("node.id", "9", "`region.founders` lists"),
            ("region.founders", "1=x", "list `number:name=peers/resp/grpc/http`"),
            ("listen.peers", "0.0.0.0:7403", "beyond the loopback"),
            ("region.coordinates", "Frankfurt", "use degrees north and east"),
            ("geo.countries", "USA=na", "use its two letters"),
            ("geo.countries", "US", "is no row of the table"),
        ] {
            let given = texts(&[(key, value)]);
            let base = texts(&[("region.founders", FOUNDERS)]);
            let error = NodeConfig::from_texts(&[&given, &base]).expect_err(key).to_string();
            assert!(error.contains(key) && error.contains(mend), "{key} = {value}: {error}");
        }
    }
}
