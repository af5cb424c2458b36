//! Sojourn and the stores that it is compared with: each is started here, on the same disk, fsyncing as Sojourn does.
//!
//! Every peer gets the settings under which it keeps what it acknowledged through a power cut, as far as it can; what is
//! left at its defaults is what its users run.

mod etcd;
mod nats;
mod redis;
mod sojourn;

use crate::{
    load::Target,
    process::{Child, Usage, tool},
};
use anyhow::{Context, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// How long a store may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Store {
    /// Three nodes, linearizable reads.
    Sojourn,
    /// Three nodes, linearizable reads.
    Etcd,
    /// One Redis that syncs its append-only file before it answers.
    RedisAlone,
    /// A primary and two replicas, all syncing always; a write waits until one replica has received it.
    RedisWait,
    /// A primary and two replicas; a write waits until the primary and one replica have synced it.
    ValkeyWaitaof,
    /// JetStream, three replicas, sync always.
    Nats,
}

impl Store {
    /// All of them; Sojourn first.
    pub const ALL: [Self; 6] =
        [Self::Sojourn, Self::Etcd, Self::RedisWait, Self::RedisAlone, Self::ValkeyWaitaof, Self::Nats];

    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sojourn => "sojourn",
            Self::Etcd => "etcd",
            Self::RedisAlone => "redis_aof_always",
            Self::RedisWait => "redis_wait",
            Self::ValkeyWaitaof => "valkey_waitaof",
            Self::Nats => "nats_r3",
        }
    }

    /// What it is, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Sojourn => "3 nodes, quorum fsync",
            Self::Etcd => "3 nodes, quorum fsync",
            Self::RedisAlone => "1 server, AOF always",
            Self::RedisWait => "primary + 2 replicas, AOF always, WAIT 1",
            Self::ValkeyWaitaof => "primary + 2 replicas, AOF always, WAITAOF 1 1",
            Self::Nats => "JetStream R3, sync always",
        }
    }

    /// How many of its servers must sync each write that comes alone.
    pub fn syncing_servers_min(self) -> usize {
        match self {
            Self::RedisAlone => 1,
            // A replica acknowledges on receipt, and syncs after.
            Self::RedisWait => 1,
            Self::Sojourn | Self::Etcd | Self::ValkeyWaitaof | Self::Nats => 2,
        }
    }

    /// Its server's program, if one is installed that can be compared; Sojourn's is built.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Sojourn => Some(PathBuf::new()),
            Self::Etcd => tool("etcd"),
            Self::RedisAlone | Self::RedisWait => tool("redis-server"),
            Self::ValkeyWaitaof => tool("valkey-server"),
            Self::Nats => tool("nats-server").filter(|program| can_sync_always(&version_of(program))),
        }
    }

    /// The Debian package, or another way to have it.
    pub fn installation(self) -> &'static str {
        match self {
            Self::Sojourn => "it is built from this workspace",
            Self::Etcd => "chaos-tests/peers.sh, or apt-get install etcd-server",
            Self::RedisAlone | Self::RedisWait => "apt-get install redis-server",
            Self::ValkeyWaitaof => "chaos-tests/peers.sh, or apt-get install valkey-server",
            Self::Nats => {
                "chaos-tests/peers.sh, or apt-get install nats-server (2.10 or later: before, it cannot sync always)"
            }
        }
    }

    /// Starts it in a directory of its own below `place`, and waits until it takes writes.
    ///
    /// # Errors
    /// It is not installed, or does not get ready.
    pub fn start(self, place: &Path, trace_syncs: bool) -> anyhow::Result<Running> {
        let program =
            self.program().with_context(|| format!("{} is not installed: {}", self.name(), self.installation()))?;
        let data = tempfile::Builder::new().prefix(&format!("compare-{}-", self.name())).tempdir_in(place)?;
        let site = Site { program, place: data.path().to_owned(), trace_syncs };
        let (servers, target) = match self {
            Self::Sojourn => sojourn::start(&site)?,
            Self::Etcd => etcd::start(&site)?,
            Self::RedisAlone | Self::RedisWait | Self::ValkeyWaitaof => redis::start(self, &site)?,
            Self::Nats => nats::start(&site)?,
        };
        Ok(Running { store: self, target, servers, _data: data })
    }

    /// The version of what would be started.
    ///
    /// # Errors
    /// The program does not run.
    pub fn version(self) -> anyhow::Result<String> {
        let program = match self {
            Self::Sojourn => crate::process::sojourn_binary(crate::process::Profile::own())?,
            _ => self.program().context("not installed")?,
        };
        Ok(version_of(&program))
    }
}

/// What a program says of its version; nothing if it does not run.
fn version_of(program: &Path) -> String {
    let said = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned()
}

/// Whether a NATS server knows `sync_interval: always`, by its version: `nats-server: v2.10.27`.
fn can_sync_always(version: &str) -> bool {
    let numbers = version.rsplit_once('v').map_or("", |(_, numbers)| numbers);
    let mut numbers = numbers.split('.').map(|number| number.parse::<u64>().unwrap_or_default());
    (numbers.next(), numbers.next()) >= (Some(2), Some(10))
}

/// Where a store is started and how.
struct Site {
    program: PathBuf,
    place: PathBuf,
    trace_syncs: bool,
}

/// The servers of a store.
pub enum Servers {
    /// Processes of others.
    Processes(Vec<Child>),
    /// Ours.
    Region(Box<crate::process::Region>),
}

/// A running store; all of it ends when this is dropped.
pub struct Running {
    /// Which.
    pub store: Store,
    /// Where load goes.
    pub target: Target,
    /// Its processes.
    pub servers: Servers,
    // After the servers: they are ended before their data goes.
    _data: TempDir,
}

impl Running {
    /// Its processes that run.
    pub fn processes(&self) -> Vec<&Child> {
        match &self.servers {
            Servers::Processes(children) => children.iter().collect(),
            Servers::Region(region) => region.nodes().iter().filter_map(|node| node.child().ok()).collect(),
        }
    }

    /// What all its processes have used.
    ///
    /// # Errors
    /// One of them ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let usages: Result<Vec<_>, _> = self.processes().into_iter().map(Child::usage).collect();
        Ok(usages
            .with_context(|| format!("a server of {} ended:\n{}", self.store.name(), self.tails()))?
            .into_iter()
            .sum())
    }

    /// Starts a server that was killed again, with its data, and waits until all of them are ready.
    ///
    /// # Errors
    /// It does not get ready.
    pub fn restart(&mut self, position: usize) -> anyhow::Result<()> {
        match &mut self.servers {
            Servers::Region(region) => {
                region.kill(position)?;
                region.start_node(position)?;
                region.wait_ready().map(drop)
            }
            Servers::Processes(children) => {
                children[position].kill()?;
                children[position] = Child::start(children[position].launch().clone())?;
                match self.store {
                    Store::Etcd => etcd::wait_ready(self.target.addresses()),
                    other => bail!("{} is not restarted here", other.name()),
                }
            }
        }
    }

    /// How often each of its processes has synced, where that is counted.
    pub fn syncs(&self) -> Vec<u64> {
        self.processes().into_iter().filter_map(Child::syncs).collect()
    }

    /// The ends of all its logs.
    pub fn tails(&self) -> String {
        self.processes().iter().map(|child| format!("--- {}\n{}\n", child.name(), child.tail())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::can_sync_always;

    #[test]
    fn a_nats_that_cannot_sync_always_is_told_from_one_that_can() {
        for (version, can) in [
            ("nats-server: v2.9.10", false),
            ("nats-server: v2.10.0", true),
            ("nats-server: v2.11.0-RC.1", true),
            ("nats-server: v3.0.0", true),
            ("nats-server: v1.12.0", false),
            ("", false),
        ] {
            assert_eq!(can_sync_always(version), can, "{version}");
        }
    }
}
