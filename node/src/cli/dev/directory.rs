//! The directory of a world: one running world at a time, and what it was founded as.

use super::plan::Plan;
use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What a world was founded as; its nodes remember the same and cannot be started as anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founded {
    /// The world's number in hexadecimal.
    pub world: String,
    /// The regions.
    pub regions: Vec<String>,
    /// The first port.
    pub base_port: u16,
    /// How many nodes.
    pub nodes: u16,
}

/// The directory, ours alone while this lives.
pub struct DataDir {
    path: PathBuf,
    _lock: fs::File,
}

/// Where requests from other shells arrive.
pub fn control_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

const RECORD: &str = "world.json";

impl DataDir {
    /// Takes the directory, making it if it is missing.
    ///
    /// # Errors
    /// It cannot be made, or another world runs in it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        let path = fs::canonicalize(path)?;
        let lock = fs::File::create(path.join("lock"))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "a world runs in {} already: end it with Ctrl-C where it was started, or choose another --data-dir and \
                 --base-port",
                path.display()
            ),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was founded here, if anything was.
    ///
    /// # Errors
    /// The record is not readable.
    pub fn founded(&self) -> anyhow::Result<Option<Founded>> {
        let record = self.path.join(RECORD);
        match fs::read(&record) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is damaged: start with --fresh", record.display()))?,
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", record.display())),
        }
    }

    /// Remembers what is being founded.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn found(&self, founded: &Founded) -> anyhow::Result<()> {
        let record = self.path.join(RECORD);
        fs::write(&record, serde_json::to_vec_pretty(founded)?)
            .with_context(|| format!("cannot write {}", record.display()))
    }

    /// Removes the world that `plan` describes; whatever else lies in the directory stays.
    ///
    /// # Errors
    /// Something of it cannot be removed.
    pub fn clear(&self, plan: &Plan) -> anyhow::Result<()> {
        let gone = |removed: io::Result<()>, path: &Path| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        };
        for node in &plan.nodes {
            let (directory, log) = (plan.directory(node), plan.log_file(node));
            gone(fs::remove_dir_all(&directory), &directory)?;
            gone(fs::remove_file(&log), &log)?;
        }
        let record = self.path.join(RECORD);
        gone(fs::remove_file(&record), &record)
    }
}

/// Refuses to start what was founded in one way in another.
///
/// # Errors
/// They differ: the text says how to go on.
pub fn check_same(founded: &Founded, asked: &Founded, data_dir: &Path) -> anyhow::Result<()> {
    let Founded { world: _, regions, base_port, nodes } = founded;
    ensure!(
        (regions, base_port, nodes) == (&asked.regions, &asked.base_port, &asked.nodes),
        "the world in {} was founded with --regions {} --nodes {nodes} --base-port {base_port}: start it so, start \
         with --fresh to throw it away, or choose another --data-dir",
        data_dir.display(),
        regions.join(","),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founded(nodes: u16) -> Founded {
        Founded { world: "7".to_owned(), regions: vec!["na".to_owned()], base_port: 7400, nodes }
    }

    #[test]
    fn one_world_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DataDir::take(directory.path()).expect("free");
        let error = DataDir::take(directory.path()).map(drop).expect_err("taken").to_string();
        assert!(error.contains("runs in") && error.contains("--data-dir"), "{error}");
        drop(first);
        assert!(DataDir::take(directory.path()).is_ok());
    }

    #[test]
    fn what_was_founded_is_remembered_and_cleared() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = DataDir::take(directory.path()).expect("free");
        assert_eq!(data_dir.founded().expect("readable"), None);
        data_dir.found(&founded(3)).expect("written");
        assert_eq!(data_dir.founded().expect("readable"), Some(founded(3)));
        let error = check_same(&founded(3), &founded(5), directory.path()).expect_err("another world").to_string();
        assert!(error.contains("--nodes 3") && error.contains("--fresh"), "{error}");
        let plan = Plan::new(directory.path(), 7, &["na".to_owned()], 7400, 3).expect("a plan");
        fs::create_dir_all(plan.directory(&plan.nodes[0])).expect("made");
        fs::write(directory.path().join("mine.txt"), "stays").expect("written");
        data_dir.clear(&plan).expect("cleared");
        assert_eq!(data_dir.founded().expect("readable"), None);
        assert!(!plan.directory(&plan.nodes[0]).exists() && directory.path().join("mine.txt").exists());
    }
}
