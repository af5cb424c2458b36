//! The snapshot that a group is being sent.
//!
//! What has come stays under the snapshot's name, so that a transfer that was cut goes on at its offset.

use super::{
    file::SYNC_BYTES,
    snapshot::{PieceHead, SnapshotFile},
};
use crate::{
    engine::blocking,
    env::{DiskFile, Env},
};
use bytes::Bytes;
use std::{io, path::PathBuf, sync::Arc};

/// Collects one group's incoming snapshot.
pub struct Incoming {
    env: Env,
    directory: PathBuf,
    partial: Option<Partial>,
}

#[derive(Clone)]
struct Partial {
    name: String,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    received: u64,
    synced: u64,
}

impl Partial {
    async fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_at(self.received, piece)?;
        self.received += piece.len() as u64;
        // Bit by bit: a sync of much would hold up the log's.
        if self.received - self.synced >= SYNC_BYTES {
            self.file.sync().await?;
            self.synced = self.received;
        }
        Ok(())
    }
}

impl Incoming {
    /// Keeps pieces in `directory`, which exists.
    pub fn new(env: Env, directory: PathBuf) -> Self {
        Self { env, directory, partial: None }
    }

    /// Takes a piece. Returns where to go on, or the whole snapshot.
    ///
    /// # Errors
    /// Whatever the disk says; a name with a path in it is refused.
    pub async fn take(&mut self, head: &PieceHead, piece: Bytes) -> io::Result<Result<SnapshotFile, u64>> {
        if head.name.is_empty() || head.name.contains(['/', '\\']) || head.name.starts_with('.') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a snapshot with an impossible name"));
        }
        let mut partial = match &self.partial {
            Some(partial) if partial.name == head.name => partial.clone(),
            Some(_) | None => self.begin(&head.name)?,
        };
        if head.offset == partial.received && !piece.is_empty() {
            partial = blocking(&self.env, "snapshot-receive", async move {
                partial.add(&piece).await?;
                Ok(partial)
            })
            .await?;
        }
        if partial.received < head.length {
            let next = partial.received;
            self.partial = Some(partial);
            return Ok(Err(next));
        }
        self.partial = None;
        self.complete(partial, head.length).await.map(Ok)
    }

    fn begin(&mut self, name: &str) -> io::Result<Partial> {
        if let Some(given_up) = self.partial.take() {
            self.env.disk.remove(&given_up.path)?;
        }
        let path = self.directory.join(format!("{name}.partial"));
        let file = self.env.disk.open(&path, true)?.into();
        let partial = Partial { name: name.to_owned(), path, file, received: 0, synced: 0 };
        self.partial = Some(partial.clone());
        Ok(partial)
    }

    async fn complete(&self, partial: Partial, length: u64) -> io::Result<SnapshotFile> {
        let (disk, directory) = (self.env.disk.clone(), self.directory.clone());
        blocking(&self.env, "snapshot-receive", async move {
            partial.file.set_length(length)?;
            partial.file.sync().await?;
            let whole = directory.join(&partial.name);
            disk.rename(&partial.path, &whole)?;
            disk.sync_directory(&directory)?;
            SnapshotFile::open(&disk, &whole)
        })
        .await
    }
}
