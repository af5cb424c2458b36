//! A node's engine with what belongs to it, and the part of it that one group has.

use super::{Engine, FileEngine, FjallEngine, Memory, MemoryShare, Readers, blocking};
use crate::{env::Env, log::GroupId};
use std::{io, path::PathBuf, sync::Arc};

/// Which engine, where, and how much memory sessions may take beside it.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Which engine.
    pub kind: EngineKind,
    /// Its directory.
    pub directory: PathBuf,
    /// The most that the fields of sessions may take in memory, in bytes; the least recently used beyond it are on disk
    /// only. What finds a session (its key, times and owner) stays in memory and comes on top.
    pub memory_bytes_max: u64,
}

/// The engines that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// fjall.
    #[default]
    Fjall,
    /// Whole files over the disk seam, for simulations.
    Files,
}

impl StorageOptions {
    /// For simulations: whole files, and no bound on memory.
    pub fn simulated(directory: impl Into<PathBuf>) -> Self {
        Self { kind: EngineKind::Files, directory: directory.into(), memory_bytes_max: u64::MAX }
    }
}

/// A node's engine. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    env: Env,
    engine: Arc<dyn Engine>,
    readers: Readers,
    memory: Arc<Memory>,
}

impl Storage {
    /// Opens the engine, blocking the caller.
    ///
    /// # Errors
    /// Unreadable or damaged files, or another process that has them.
    pub fn open(env: &Env, options: &StorageOptions) -> io::Result<Self> {
        let engine: Arc<dyn Engine> = match options.kind {
            EngineKind::Fjall => Arc::new(FjallEngine::open(&options.directory)?),
            EngineKind::Files => Arc::new(FileEngine::open(env.disk.clone(), &options.directory)?),
        };
        let memory = Memory::new(options.memory_bytes_max);
        Ok(Self { env: env.clone(), engine, readers: Readers::start(env), memory })
    }

    /// Lets go of the engine's files: whoever holds groups still is told that it is closed.
    pub async fn close(&self) {
        let engine = self.engine.clone();
        let closed = blocking(&self.env, "engine-close", async move {
            engine.close();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the engine did not close cleanly");
        }
    }

    /// The engine itself.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// What sessions take in memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The part of one group.
    pub fn part(&self, group: GroupId) -> Part {
        let memory = MemoryShare::new(self.memory.clone());
        Part { engine: self.engine.clone(), readers: self.readers.clone(), memory, group }
    }
}

/// One group's part of the engine.
pub struct Part {
    engine: Arc<dyn Engine>,
    readers: Readers,
    memory: MemoryShare,
    group: GroupId,
}

impl Part {
    /// Reads values without blocking the caller's thread.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub async fn read(&self, keys: Vec<Vec<u8>>) -> io::Result<Vec<Option<Vec<u8>>>> {
        let (engine, group) = (self.engine.clone(), self.group);
        self.readers.read(move || engine.read(group, &keys)).await
    }

    /// Its share of the memory for fields.
    pub fn memory(&self) -> &MemoryShare {
        &self.memory
    }
}
