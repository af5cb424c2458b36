//! Finds the programs that are run: our own, never a stale one, and those of others.

use anyhow::{Context, bail};
use std::{
    env, fs,
    io::{Write, stderr},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// How a binary was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Quickly.
    Debug,
    /// For speed: what is measured.
    Release,
}

impl Profile {
    /// The profile of this process.
    pub fn own() -> Self {
        if cfg!(debug_assertions) { Self::Debug } else { Self::Release }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// The workspace that this crate was built from.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The `sojourn` binary, at least as new as its sources: the one that `SOJOURN_BIN` names, or the workspace's own, built
/// now if need be.
///
/// # Errors
/// A stale `SOJOURN_BIN`, or sources that do not build.
pub fn sojourn_binary(profile: Profile) -> anyhow::Result<PathBuf> {
    let changed = sources_changed()?;
    if let Some(given) = env::var_os("SOJOURN_BIN") {
        let given = PathBuf::from(given);
        if built(&given).is_none_or(|built| built < changed) {
            bail!("SOJOURN_BIN={} is missing or older than the sources: build it again", given.display());
        }
        return Ok(given);
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let binary = target.join(profile.directory()).join("sojourn");
    if built(&binary).is_none_or(|built| built < changed) {
        build(profile)?;
    }
    Ok(binary)
}

fn build(profile: Profile) -> anyhow::Result<()> {
    // It may take minutes, and whoever waits should know for what.
    let _unread = writeln!(stderr(), "`sojourn` is older than its sources: it is built first");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The whole workspace is named so that dependencies keep the features, and so the builds, that tests have.
    command.current_dir(workspace()).args(["build", "--quiet", "--workspace", "--bin", "sojourn"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`sojourn` does not build ({status})");
    }
    Ok(())
}

fn built(binary: &Path) -> Option<SystemTime> {
    fs::metadata(binary).and_then(|metadata| metadata.modified()).ok()
}

/// When a source of the binary changed last.
fn sources_changed() -> anyhow::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut ahead = vec![workspace().join("node"), workspace().join("proto")];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                ahead.push(path);
            } else {
                newest = newest.max(fs::metadata(&path)?.modified()?);
            }
        }
    }
    Ok(newest)
}

/// Another's program: from the folder that `SOJOURN_PEERS` names (default `target/peers`), from `PATH`, or from where
/// Debian puts servers.
pub fn tool(name: &str) -> Option<PathBuf> {
    let own = env::var_os("SOJOURN_PEERS").map_or_else(|| workspace().join("target/peers"), PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(own).chain(env::split_paths(&path)).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    places.map(|place| place.join(name)).find(|program| program.is_file())
}
