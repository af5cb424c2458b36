//! Snapshots for others: made from a consistent view of the engine when a replica needs one, and kept while it may go on
//! asking for the rest of it.
//!
//! There is one at most. A transfer that was cut finds the same file again and goes on at its offset; when the last
//! transfer is complete, or the log no longer follows on the file, it is removed.

use super::{
    file::SnapshotWriter,
    keeper::position_of,
    snapshot::{PIECE_BYTES, SnapshotFile},
    types::{LogId, Types},
};
use crate::{
    engine::{Engine, View, blocking},
    env::{Disk, Env},
    log::{GroupId, GroupLog},
};
use openraft::alias::SnapshotMetaOf;
use parking_lot::Mutex;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// See the room's first lines.
pub struct Outgoing {
    env: Env,
    engine: Arc<dyn Engine>,
    group: GroupId,
    log: GroupLog,
    directory: PathBuf,
    /// What the file is of, as soon as that is known.
    pinned: Mutex<Option<SnapshotMetaOf<Types>>>,
    /// Held while it is made or removed.
    file: tokio::sync::Mutex<Option<SnapshotFile>>,
    sending: AtomicUsize,
}

fn prefix(group: GroupId) -> String {
    format!("group-{group:010}-")
}

/// One transfer under way.
pub struct Sending<'a>(&'a Outgoing);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The rows of a view reach up to here.
const ALL: &[u8] = &[crate::engine::KEY_FIRST_BYTE_MAX];

impl Outgoing {
    /// Keeps the group's file in `directory`, and removes what an earlier life left there.
    pub fn open(
        env: Env,
        engine: Arc<dyn Engine>,
        group: GroupId,
        log: GroupLog,
        directory: PathBuf,
    ) -> io::Result<Self> {
        env.disk.create_directory(&directory)?;
        for name in env.disk.list(&directory)?.iter().filter(|name| name.starts_with(&prefix(group))) {
            env.disk.remove(&directory.join(name))?;
        }
        let (pinned, file) = Default::default();
        Ok(Self { env, engine, group, log, directory, pinned, file, sending: AtomicUsize::new(0) })
    }

    /// Whether a transfer is under way.
    pub fn is_sending(&self) -> bool {
        self.sending.load(Ordering::Relaxed) > 0
    }

    /// Says that a transfer is under way, until what this returns is dropped.
    pub fn begin(&self) -> Sending<'_> {
        self.sending.fetch_add(1, Ordering::Relaxed);
        Sending(self)
    }

    /// What the file is of, if there is one that the log follows on.
    pub fn pinned(&self) -> Option<SnapshotMetaOf<Types>> {
        let pinned = self.pinned.lock().clone()?;
        self.follows_on(&pinned).then_some(pinned)
    }

    fn follows_on(&self, meta: &SnapshotMetaOf<Types>) -> bool {
        let purged = self.log.state().purged.map_or(0, |(index, _)| index);
        meta.last_log_id.map_or(0, |id| id.index) >= purged
    }

    /// A snapshot that covers `at_least`: the file that is there, or a new one.
    pub async fn file(&self, at_least: Option<LogId>) -> io::Result<(SnapshotMetaOf<Types>, SnapshotFile)> {
        let mut file = self.file.lock().await;
        if let (Some(pinned), Some(file)) = (self.pinned(), &*file)
            && pinned.last_log_id >= at_least
        {
            return Ok((pinned, file.clone()));
        }
        self.remove(&mut file).await?;
        let (engine, group) = (self.engine.clone(), self.group);
        let view = blocking(&self.env, "snapshot-view", async move {
            let view = engine.view(group)?;
            Ok((position_of(&*view)?, view))
        });
        let (meta, view) = view.await?;
        *self.pinned.lock() = Some(meta.clone());
        let index = meta.last_log_id.map_or(0, |id| id.index);
        // The random part tells apart the files of two senders, whose rows may be in another order of writes.
        let name = format!("{}{index:020}-{:016x}.snapshot", prefix(self.group), self.env.random.next_u64());
        let path = self.directory.join(name);
        let written = write(self.env.disk.clone(), path, meta.clone(), view);
        let made = blocking(&self.env, "snapshot-write", written).await.inspect_err(|_| *self.pinned.lock() = None)?;
        *file = Some(made.clone());
        Ok((meta, made))
    }

    /// The piece of the file at `offset`.
    pub async fn piece(&self, file: &SnapshotFile, offset: u64) -> io::Result<Vec<u8>> {
        let file = file.clone();
        blocking(&self.env, "snapshot-send", async move { file.read(offset, PIECE_BYTES) }).await
    }

    /// Removes the file after a complete transfer, unless another one goes on.
    pub async fn finish(&self, sending: Sending<'_>) -> io::Result<()> {
        drop(sending);
        if self.is_sending() {
            return Ok(());
        }
        self.remove(&mut *self.file.lock().await).await
    }

    /// Removes the file if nobody can use it any more.
    pub async fn sweep(&self) -> io::Result<()> {
        let useless = self.pinned.lock().as_ref().is_some_and(|meta| !self.follows_on(meta));
        if useless && !self.is_sending() {
            self.remove(&mut *self.file.lock().await).await?;
        }
        Ok(())
    }

    async fn remove(&self, file: &mut Option<SnapshotFile>) -> io::Result<()> {
        *self.pinned.lock() = None;
        let Some(file) = file.take() else { return Ok(()) };
        // Freeing a large file takes its time.
        blocking(&self.env, "snapshot-remove", async move { file.remove() }).await
    }
}

async fn write(
    disk: Arc<dyn Disk>,
    path: PathBuf,
    meta: SnapshotMetaOf<Types>,
    view: Box<dyn View>,
) -> io::Result<SnapshotFile> {
    write_rows(&*disk, &path, &meta, &*view).await.inspect_err(|_| {
        // Half a file is of no use, and the disk may be full for it.
        let _gone = disk.remove(&path);
    })?;
    SnapshotFile::open(&disk, &path)
}

async fn write_rows(disk: &dyn Disk, path: &Path, meta: &SnapshotMetaOf<Types>, view: &dyn View) -> io::Result<()> {
    let file = disk.open(path, true)?;
    let mut writer = SnapshotWriter::begin(&*file, meta)?;
    // The position is in the head.
    let mut from = vec![super::keeper::POSITION_KEY[0] + 1];
    loop {
        let mut stopped_at = None;
        let scanned = view.scan(&from, ALL, &mut |key, value| {
            if writer.wants_sync() {
                stopped_at = Some(key.to_vec());
                return Err(io::ErrorKind::Interrupted.into());
            }
            writer.put(key, value)
        });
        match stopped_at {
            Some(key) => from = key,
            None => {
                scanned?;
                return writer.finish().await;
            }
        }
        writer.sync().await?;
    }
}
