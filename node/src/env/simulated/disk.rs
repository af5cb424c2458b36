//! A disk in memory that keeps only what was synced, tears what was not, and fails on request.

use crate::env::{Disk, DiskFile, DiskLock, SyncFuture};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How long each sync takes, in virtual time.
pub type SyncDelay = Box<dyn Fn() -> Duration + Send + Sync>;

/// What was done to the disk so far, over all crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulatedDiskCounts {
    /// Syncs asked for, of files.
    pub syncs: u64,
    /// Syncs that were made to fail.
    pub failed_syncs: u64,
    /// Crashes.
    pub crashes: u64,
    /// Sectors that a crash lost.
    pub sectors_lost: u64,
    /// Sectors that survived a crash although nobody had synced them.
    pub sectors_kept: u64,
}

/// What survives a crash or not, as a whole.
const SECTOR_BYTES: usize = 512;

/// A disk that a simulation crashes. Clones share it.
#[derive(Clone)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
    delay: Arc<Mutex<Option<SyncDelay>>>,
}

type FileRef = Arc<Mutex<Content>>;

struct Inner {
    random: u64,
    /// Raised by each crash: handles from before are dead.
    life: u64,
    names: BTreeMap<PathBuf, FileRef>,
    durable_names: BTreeMap<PathBuf, FileRef>,
    locks: BTreeSet<PathBuf>,
    capacity_bytes: u64,
    fail_sync_in: Option<u64>,
    crash_in: Option<u64>,
    counts: SimulatedDiskCounts,
}

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Sectors that differ from what is durable.
    dirty: BTreeSet<usize>,
}

impl SimulatedDisk {
    /// An empty disk whose crashes follow `seed`.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            random: seed,
            life: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            locks: BTreeSet::new(),
            capacity_bytes: u64::MAX,
            fail_sync_in: None,
            crash_in: None,
            counts: SimulatedDiskCounts::default(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), delay: Arc::default() }
    }

    /// Power off and on: what was not synced survives sector by sector as chance has it; open handles are dead.
    pub fn crash(&self) {
        let mut inner = self.inner.lock();
        inner.life += 1;
        inner.counts.crashes += 1;
        inner.locks.clear();
        inner.fail_sync_in = None;
        inner.crash_in = None;
        if inner.next_random().is_multiple_of(2) {
            inner.names = inner.durable_names.clone();
        } else {
            inner.durable_names = inner.names.clone();
        }
        let files: Vec<FileRef> = inner.names.values().cloned().collect();
        for file in files {
            let old = std::mem::take(&mut *file.lock());
            let kept = inner.tear(old);
            *file.lock() = kept;
        }
    }

    fn power_goes(&self) -> bool {
        let mut inner = self.inner.lock();
        let now = inner.crash_in == Some(0);
        inner.crash_in = inner.crash_in.and_then(|more| more.checked_sub(1));
        now
    }

    /// Makes the sync after `more` further ones fail, and what it should have kept be lost.
    pub fn fail_sync_after(&self, more: u64) {
        self.inner.lock().fail_sync_in = Some(more);
    }

    /// Crashes at the sync after `more` further ones, before it takes effect.
    pub fn crash_at_sync(&self, more: u64) {
        self.inner.lock().crash_in = Some(more);
    }

    /// Bounds what all files together may take.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner.lock().capacity_bytes = bytes;
    }

    /// Makes each sync take this long.
    pub fn set_sync_delay(&self, delay: Option<SyncDelay>) {
        *self.delay.lock() = delay;
    }

    /// What was done so far.
    pub fn counts(&self) -> SimulatedDiskCounts {
        self.inner.lock().counts
    }

    /// The bytes of a file as they are now, if it is there.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        self.inner.lock().names.get(path).map(|file| file.lock().current.clone())
    }

    /// Replaces a file by `bytes`, durable at once: damage on purpose.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let content = Content { durable: bytes.clone(), current: bytes, dirty: BTreeSet::new() };
        let file = Arc::new(Mutex::new(content));
        let mut inner = self.inner.lock();
        inner.names.insert(path.to_owned(), file.clone());
        inner.durable_names.insert(path.to_owned(), file);
    }
}

impl Inner {
    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn tear(&mut self, old: Content) -> Content {
        let Content { mut durable, current, dirty } = old;
        for sector in dirty {
            if self.next_random().is_multiple_of(2) {
                self.counts.sectors_lost += 1;
                continue;
            }
            self.counts.sectors_kept += 1;
            let start = sector * SECTOR_BYTES;
            let end = current.len().min(start + SECTOR_BYTES);
            if durable.len() < end {
                durable.resize(end, 0);
            }
            durable[start..end].copy_from_slice(&current[start..end]);
        }
        Content { current: durable.clone(), durable, dirty: BTreeSet::new() }
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|file| file.lock().current.len() as u64).sum()
    }

    fn alive(&self, life: u64) -> io::Result<()> {
        if self.life == life { Ok(()) } else { Err(io::Error::other("the machine has crashed since")) }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner.lock();
        if !create && !inner.names.contains_key(path) {
            return Err(not_found(path));
        }
        let content = inner.names.entry(path.to_owned()).or_default().clone();
        Ok(Box::new(SimulatedFile { disk: self.clone(), life: inner.life, content }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inner = self.inner.lock();
        let inside = inner.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let file = inner.names.remove(from).ok_or_else(|| not_found(from))?;
        inner.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.lock().names.remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let Inner { names, durable_names, .. } = &mut *inner;
        durable_names.retain(|path, _| path.parent() != Some(directory));
        let inside = names.iter().filter(|(path, _)| path.parent() == Some(directory));
        durable_names.extend(inside.map(|(path, file)| (path.clone(), file.clone())));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let mut inner = self.inner.lock();
        if !inner.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held { disk: self.clone(), life: inner.life, path: path.to_owned() }))
    }
}

struct Held {
    disk: SimulatedDisk,
    life: u64,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inner = self.disk.inner.lock();
        if inner.life == self.life {
            inner.locks.remove(&self.path);
        }
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    life: u64,
    content: FileRef,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.inner.lock().alive(self.life)?;
        let content = self.content.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.current.len());
        let length = buffer.len().min(content.current.len() - start);
        buffer[..length].copy_from_slice(&content.current[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let inner = self.disk.inner.lock();
        inner.alive(self.life)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start + bytes.len();
        let grows = end.saturating_sub(self.content.lock().current.len()) as u64;
        if grows > 0 && inner.used_bytes().saturating_add(grows) > inner.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut content = self.content.lock();
        if content.current.len() < end {
            content.current.resize(end, 0);
        }
        content.current[start..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            content.dirty.extend(start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
        }
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.write_at(0, &vec![0; length])?;
        let mut content = self.content.lock();
        content.durable = content.current.clone();
        content.dirty.clear();
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.inner.lock().alive(self.life)?;
        let mut content = self.content.lock();
        content.current.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        content.durable = content.current.clone();
        content.dirty.clear();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        self.disk.inner.lock().alive(self.life)?;
        Ok(self.content.lock().current.len() as u64)
    }

    fn sync(&self) -> SyncFuture<'_> {
        Box::pin(async {
            let pause = self.disk.delay.lock().as_ref().map(|delay| delay());
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            if self.disk.power_goes() {
                self.disk.crash();
            }
            let mut inner = self.disk.inner.lock();
            inner.alive(self.life)?;
            inner.counts.syncs += 1;
            let fails = inner.fail_sync_in == Some(0);
            inner.fail_sync_in = inner.fail_sync_in.and_then(|more| more.checked_sub(1));
            let mut content = self.content.lock();
            if fails {
                inner.counts.failed_syncs += 1;
                // As Linux does: the pages count as clean from here on, whatever became of them.
                content.dirty.clear();
                return Err(io::Error::other("the disk failed a sync"));
            }
            let Content { durable, current, dirty } = &mut *content;
            durable.resize(current.len(), 0);
            for sector in std::mem::take(dirty) {
                let start = sector * SECTOR_BYTES;
                let end = current.len().min(start + SECTOR_BYTES);
                durable[start..end].copy_from_slice(&current[start..end]);
            }
            Ok(())
        })
    }
}
