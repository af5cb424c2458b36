//! Who a node is: written into its data directory at the first start and checked at every other.
//!
//! The directory is locked for one process. What it holds may only be used by the node that wrote it: a log under another
//! number, or an empty log under an old number, could take back what was acknowledged.

use crate::{
    env::{Disk, DiskLock},
    log::Log,
};
use sojourn_core::{NodeId, RegionId};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The version of everything in a data directory.
pub const DIRECTORY_FORMAT: u32 = 2;

const FILE: &str = "identity";
const LOCK: &str = "lock";
const BYTES_MAX: usize = 4096;

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The world; 0 for a founder that has not heard of the founding yet.
    pub world: u128,
    /// The region's number.
    pub region: RegionId,
    /// The region's name.
    pub region_name: String,
    /// The node's number in the region.
    pub node: NodeId,
    /// Drawn when the directory was made.
    pub disk: u128,
    /// Whether the node took part in the founding, so that it may found groups.
    pub founder: bool,
}

/// Why a data directory is refused: what, and the mend.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process has it.
    #[error("another process uses the data directory {0}: stop it, or choose another `node.data_dir`")]
    InUse(PathBuf),
    /// It was written by another version.
    #[error(
        "the data directory {directory} has format {format}, this program writes {DIRECTORY_FORMAT}: use the version that wrote it"
    )]
    Format {
        /// The directory.
        directory: PathBuf,
        /// Its format.
        format: String,
    },
    /// The identity makes no sense.
    #[error(
        "{0}/identity is damaged: restore it from a backup, or let the node join again with an empty data directory"
    )]
    Damaged(PathBuf),
    /// It is another's.
    #[error(
        "the data directory {directory} is of {theirs}, the configuration says {ours}: correct `{key}`, or choose another \
         `node.data_dir`"
    )]
    Another {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who should use it.
        ours: String,
        /// The key of the configuration.
        key: &'static str,
    },
    /// There is a log and nobody whose it is.
    #[error(
        "{0} holds a log and no identity: restore the file `identity` from a backup, or empty the directory and let the node join again"
    )]
    NoIdentity(PathBuf),
    /// There is an identity and no log.
    #[error(
        "the log of node {} is gone from {directory}: with an empty one it must not vote. Run `sojourn cluster remove-node \
         {} --force` on another node, empty the directory, and start with `--join`", .node.0, .node.0
    )]
    NoLog {
        /// The directory.
        directory: PathBuf,
        /// The node.
        node: NodeId,
    },
    /// The disk failed.
    #[error("cannot use the data directory {directory}: {error}")]
    Disk {
        /// The directory.
        directory: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// A data directory, this process's alone until it is dropped.
pub struct DataDirectory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: DiskLock,
}

/// What a configuration says about who a node is, as far as it says anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The world.
    pub world: Option<u128>,
    /// The region's name.
    pub region_name: Option<String>,
    /// The node's number.
    pub node: Option<NodeId>,
}

impl DataDirectory {
    /// Takes the directory, making it if missing.
    ///
    /// # Errors
    /// Another process has it, or the disk fails.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, IdentityError> {
        let failed = |error| IdentityError::Disk { directory: path.to_owned(), error };
        disk.create_directory(path).map_err(failed)?;
        let lock = disk.lock(&path.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => IdentityError::InUse(path.to_owned()),
            _ => failed(error),
        })?;
        Ok(Self { disk, path: path.to_owned(), _lock: lock })
    }

    /// Who wrote the directory, checked against what is `expected`; `None` if nobody did.
    ///
    /// # Errors
    /// It is another's, of another version, or damaged.
    pub fn read(&self, expected: &Expected) -> Result<Option<NodeIdentity>, IdentityError> {
        let file = match self.disk.open(&self.path.join(FILE), false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let mut bytes = vec![0; BYTES_MAX];
        let read = file.read_at(0, &mut bytes).map_err(|error| self.failed(error))?;
        bytes.truncate(read);
        let text = String::from_utf8(bytes).map_err(|_| IdentityError::Damaged(self.path.clone()))?;
        let identity = self.parse(&text)?;
        self.compare(&identity, expected)?;
        Ok(Some(identity))
    }

    /// Writes who the node is, durable on return.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn write(&self, identity: &NodeIdentity) -> Result<(), IdentityError> {
        self.replace(print(identity).as_bytes()).await.map_err(|error| self.failed(error))
    }

    async fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let draft = self.path.join(format!("{FILE}.draft"));
        let file = self.disk.open(&draft, true)?;
        file.set_length(0)?;
        file.write_at(0, bytes)?;
        file.sync().await?;
        self.disk.rename(&draft, &self.path.join(FILE))?;
        self.disk.sync_directory(&self.path)
    }

    /// Checks that there is a log if the node is `known`, and none otherwise.
    ///
    /// # Errors
    /// One of the two was lost.
    pub fn check_log(&self, known: Option<&NodeIdentity>, log: &Log) -> Result<(), IdentityError> {
        match known {
            Some(identity) if log.was_created() => {
                Err(IdentityError::NoLog { directory: self.path.clone(), node: identity.node })
            }
            None if !log.groups().is_empty() => Err(IdentityError::NoIdentity(self.path.clone())),
            Some(_) | None => Ok(()),
        }
    }

    fn failed(&self, error: io::Error) -> IdentityError {
        IdentityError::Disk { directory: self.path.clone(), error }
    }

    fn parse(&self, text: &str) -> Result<NodeIdentity, IdentityError> {
        let (format, rest) = text.split_once('\n').unwrap_or((text, ""));
        if format != format!("sojourn {DIRECTORY_FORMAT}") {
            let format = format.strip_prefix("sojourn ").unwrap_or("unknown").to_owned();
            return Err(IdentityError::Format { directory: self.path.clone(), format });
        }
        parse_lines(rest).ok_or_else(|| IdentityError::Damaged(self.path.clone()))
    }

    fn compare(&self, identity: &NodeIdentity, expected: &Expected) -> Result<(), IdentityError> {
        let another = |key, theirs, ours| IdentityError::Another { directory: self.path.clone(), theirs, ours, key };
        if let Some(region_name) = expected.region_name.as_ref().filter(|name| **name != identity.region_name) {
            let theirs = format!("region {:?}", identity.region_name);
            return Err(another("region.name", theirs, format!("{region_name:?}")));
        }
        if let Some(node) = expected.node.filter(|node| *node != identity.node) {
            return Err(another("node.id", format!("node {}", identity.node.0), format!("node {}", node.0)));
        }
        if let Some(world) = expected.world.filter(|world| identity.world != 0 && *world != identity.world) {
            return Err(another("region.world", format!("world {:032x}", identity.world), format!("{world:032x}")));
        }
        Ok(())
    }
}

/// One `key value` a line, and a checksum over them.
fn print(identity: &NodeIdentity) -> String {
    let NodeIdentity { world, region, region_name, node, disk, founder } = identity;
    let lines = format!(
        "world {world:032x}\nregion {} {region_name}\nnode {}\ndisk {disk:032x}\nfounder {founder}\n",
        region.0, node.0
    );
    format!("sojourn {DIRECTORY_FORMAT}\n{lines}checksum {:08x}\n", crc32c::crc32c(lines.as_bytes()))
}

fn parse_lines(text: &str) -> Option<NodeIdentity> {
    let (lines, checksum) = text.split_at(text.rfind("checksum ")?);
    let checksum = u32::from_str_radix(checksum.trim_end().strip_prefix("checksum ")?, 16).ok()?;
    if crc32c::crc32c(lines.as_bytes()) != checksum {
        return None;
    }
    let mut lines = lines.lines();
    let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned);
    let world = u128::from_str_radix(&value("world")?, 16).ok()?;
    let region = value("region")?;
    let (region, region_name) = region.split_once(' ')?;
    Some(NodeIdentity {
        world,
        region: RegionId(region.parse().ok()?),
        region_name: region_name.to_owned(),
        node: NodeId(value("node")?.parse().ok()?),
        disk: u128::from_str_radix(&value("disk")?, 16).ok()?,
        founder: value("founder")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::SimulatedDisk;

    fn identity() -> NodeIdentity {
        NodeIdentity {
            world: 7,
            region: RegionId(1),
            region_name: "eu".to_owned(),
            node: NodeId(3),
            disk: 9,
            founder: true,
        }
    }

    #[tokio::test]
    async fn a_directory_knows_its_node_and_refuses_others() {
        let disk = Arc::new(SimulatedDisk::new(1));
        let path = Path::new("/data");
        let directory = DataDirectory::open(disk.clone(), path).expect("taken");
        assert!(matches!(DataDirectory::open(disk.clone(), path), Err(IdentityError::InUse(_))));
        assert_eq!(directory.read(&Expected::default()).expect("readable"), None);
        directory.write(&identity()).await.expect("written");
        let disk = Arc::new(disk.crash());
        let directory = DataDirectory::open(disk, path).expect("taken");
        let same = Expected { world: Some(7), region_name: Some("eu".to_owned()), node: Some(NodeId(3)) };
        assert_eq!(directory.read(&same).expect("readable"), Some(identity()));
        for (other, says) in [
            (Expected { world: Some(8), ..same.clone() }, "correct `region.world`"),
            (Expected { region_name: Some("na".to_owned()), ..same.clone() }, "correct `region.name`"),
            (Expected { node: Some(NodeId(2)), ..same.clone() }, "is of node 3, the configuration says node 2"),
        ] {
            let error = directory.read(&other).expect_err("another's").to_string();
            assert!(error.contains(says), "{error}");
        }
        let text = print(&identity());
        let another = text.replace(&format!("sojourn {DIRECTORY_FORMAT}"), "sojourn 99");
        directory.replace(another.as_bytes()).await.expect("written");
        assert!(matches!(directory.read(&same), Err(IdentityError::Format { format, .. }) if format == "99"));
        for cut in 10..text.len() - 1 {
            directory.replace(&text.as_bytes()[..cut]).await.expect("written");
            assert!(matches!(directory.read(&same), Err(IdentityError::Damaged(_))), "cut at {cut}");
        }
        directory.replace(text.replace("node 3", "node 4").as_bytes()).await.expect("written");
        assert!(matches!(directory.read(&same), Err(IdentityError::Damaged(_))));
    }
}
