//! A disk in memory that keeps, at a crash, what was synced and whatever it likes of the rest.
//!
//! - Written data is durable after a `sync` that began after the write; before, a crash keeps or loses each 512-byte
//!   sector by itself. A file's length likewise.
//! - Creations, renames and removals are durable after `sync_directory`; before, a crash keeps some prefix of them, as
//!   a journaling file system does. Directories themselves are durable at once.
//! - A failed sync loses an arbitrary part of the data and counts it as clean: the next sync succeeds and proves nothing.
//!
//! All choices come from the seed, so a run can be repeated.

use super::sectors::Content;
use crate::env::{Disk, DiskFile, DiskLock, SyncFuture};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

/// Called with the number of a sync, returns a wait in virtual time.
pub type SyncDelay = Arc<dyn Fn(u64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A handle on the disk for one life of the machine; clones are of the same life.
#[derive(Clone)]
pub struct SimulatedDisk {
    machine: Arc<Mutex<Machine>>,
    life: u64,
}

/// How often what happened, so that a run can prove that it tested something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulatedDiskCounts {
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Syncs that were made to fail.
    pub syncs_failed: u64,
    /// Writes and allocations refused because the disk was full.
    pub full: u64,
    /// Crashes.
    pub crashes: u64,
    /// Unsynced sectors that crashes lost.
    pub sectors_lost: u64,
    /// Unsynced changes of directories that crashes lost.
    pub names_lost: u64,
}

type FileId = u64;
type Names = BTreeMap<PathBuf, FileId>;

struct Machine {
    random: StdRng,
    life: u64,
    files: BTreeMap<FileId, Content>,
    next_file: FileId,
    names: Names,
    durable_names: Names,
    /// Changes of names that are not durable, in order, each with its directory.
    name_changes: Vec<(PathBuf, NameChange)>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    capacity_bytes: u64,
    sync_delay: Option<SyncDelay>,
    syncs_begun: u64,
    fail_sync_at: Option<u64>,
    counts: SimulatedDiskCounts,
}

#[derive(Clone)]
enum NameChange {
    Add(PathBuf, FileId),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl SimulatedDisk {
    /// An empty disk without a limit, on a machine that is on.
    pub fn new(seed: u64) -> Self {
        let machine = Machine {
            random: StdRng::seed_from_u64(seed),
            life: 0,
            files: BTreeMap::new(),
            next_file: 0,
            names: Names::new(),
            durable_names: Names::new(),
            name_changes: Vec::new(),
            directories: BTreeSet::new(),
            locks: BTreeSet::new(),
            capacity_bytes: u64::MAX,
            sync_delay: None,
            syncs_begun: 0,
            fail_sync_at: None,
            counts: SimulatedDiskCounts::default(),
        };
        Self { machine: Arc::new(Mutex::new(machine)), life: 0 }
    }

    /// Cuts the power and starts the machine again. Handles and files from before return errors from now on; the
    /// returned handle sees what the disk kept.
    #[must_use]
    pub fn crash(&self) -> Self {
        self.machine.lock().crash();
        self.reopen()
    }

    /// Ends every process but not the machine: handles and files from before are dead, but nothing is lost, not even
    /// what only the page cache has.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut machine = self.machine.lock();
        machine.life += 1;
        machine.locks.clear();
        drop(machine);
        self.reopen()
    }

    /// A handle for the current life.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self { machine: self.machine.clone(), life: self.machine.lock().life }
    }

    /// Makes the `nth` sync from now on fail; 1 is the next.
    pub fn fail_sync(&self, nth: u64) {
        let mut machine = self.machine.lock();
        machine.fail_sync_at = Some(machine.syncs_begun + nth);
    }

    /// Limits the bytes of all files together; those there stay.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.machine.lock().capacity_bytes = capacity_bytes;
    }

    /// Makes each sync wait; it promises only what was written before it began.
    pub fn set_sync_delay(&self, delay: Option<SyncDelay>) {
        self.machine.lock().sync_delay = delay;
    }

    /// Takes back every fault that was asked for and has not happened yet: limit, delay, failing sync.
    pub fn clear_faults(&self) {
        let mut machine = self.machine.lock();
        (machine.capacity_bytes, machine.sync_delay, machine.fail_sync_at) = (u64::MAX, None, None);
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.machine.lock().used_bytes()
    }

    /// What happened so far, over all lives.
    pub fn counts(&self) -> SimulatedDiskCounts {
        self.machine.lock().counts
    }

    /// The whole content of a file as programs see it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut machine = self.machine.lock();
        let file = machine.file_named(path)?;
        Ok(machine.content(file)?.visible.clone())
    }

    /// Replaces a file's content, durably, behind everybody's back.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn tamper(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) -> io::Result<()> {
        let mut machine = self.machine.lock();
        let file = machine.file_named(path)?;
        machine.content(file)?.tamper(change);
        Ok(())
    }

    /// An independent disk with the same files as programs see them, all durable: for trying many kinds of damage.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        {
            let (from, mut to) = (self.machine.lock(), copy.machine.lock());
            to.next_file = from.next_file;
            to.names = from.names.clone();
            to.durable_names = from.names.clone();
            to.directories = from.directories.clone();
            for (id, content) in &from.files {
                to.files.entry(*id).or_default().tamper(|bytes| bytes.clone_from(&content.visible));
            }
        }
        copy
    }

    fn alive<T>(&self, action: impl FnOnce(&mut Machine) -> io::Result<T>) -> io::Result<T> {
        let mut machine = self.machine.lock();
        if machine.life != self.life {
            return Err(io::Error::other("simulated: this machine was switched off"));
        }
        action(&mut machine)
    }
}

impl Machine {
    fn crash(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.counts.crashes += 1;
        let changes = std::mem::take(&mut self.name_changes);
        let kept = self.random.random_range(0..=changes.len());
        changes[..kept].iter().for_each(|(_, change)| change.apply(&mut self.durable_names));
        self.counts.names_lost += (changes.len() - kept) as u64;
        self.names.clone_from(&self.durable_names);
        for content in self.files.values_mut() {
            self.counts.sectors_lost += content.crash(&mut self.random);
        }
        let named: BTreeSet<FileId> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
    }

    fn change_names(&mut self, path: &Path, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push((path.parent().unwrap_or(path).to_owned(), change));
    }

    fn file_named(&self, path: &Path) -> io::Result<FileId> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn content(&mut self, file: FileId) -> io::Result<&mut Content> {
        self.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Removed files that are still open take no space here, which is kinder than a real disk.
    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(file)).map(|content| content.visible.len() as u64).sum()
    }

    fn reserve(&mut self, file: FileId, length: u64) -> io::Result<()> {
        let more = length.saturating_sub(self.content(file)?.visible.len() as u64);
        if more > 0 && self.used_bytes() + more > self.capacity_bytes {
            self.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        self.alive(|machine| {
            let file = match machine.file_named(path) {
                Ok(file) => file,
                Err(error) if !create => return Err(error),
                Err(_) => {
                    let file = machine.next_file;
                    machine.next_file += 1;
                    machine.files.insert(file, Content::default());
                    machine.change_names(path, NameChange::Add(path.to_owned(), file));
                    file
                }
            };
            Ok(Box::new(SimulatedFile { disk: self.clone(), file }) as Box<dyn DiskFile>)
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.alive(|machine| {
            if !machine.directories.contains(directory) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let inside = machine.names.keys().filter(|path| path.parent() == Some(directory));
            Ok(inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
        })
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.alive(|machine| {
            machine.directories.extend(path.ancestors().map(Path::to_owned));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive(|machine| {
            machine.file_named(from)?;
            machine.change_names(to, NameChange::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive(|machine| {
            machine.file_named(path)?;
            machine.change_names(path, NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.alive(|machine| {
            let changes = std::mem::take(&mut machine.name_changes);
            for (inside, change) in changes {
                if inside == directory {
                    change.apply(&mut machine.durable_names);
                } else {
                    machine.name_changes.push((inside, change));
                }
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        self.alive(|machine| {
            if !machine.locks.insert(path.to_owned()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned() }) as DiskLock)
        })
    }
}

struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        // A lock of an earlier life has gone with it.
        let _ = self.disk.alive(|machine| Ok(machine.locks.remove(&self.path)));
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: FileId,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.alive(|machine| {
            let visible = &machine.content(self.file)?.visible;
            let start = usize::try_from(offset).map_or(visible.len(), |offset| offset.min(visible.len()));
            let length = buffer.len().min(visible.len() - start);
            buffer[..length].copy_from_slice(&visible[start..start + length]);
            Ok(length)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.alive(|machine| {
            machine.reserve(self.file, offset + bytes.len() as u64)?;
            machine.content(self.file)?.write(usize::try_from(offset).map_err(io::Error::other)?, bytes);
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.disk.alive(|machine| {
            machine.reserve(self.file, length)?;
            let content = machine.content(self.file)?;
            content.write(0, &vec![0; usize::try_from(length).map_err(io::Error::other)?]);
            let pending = content.begin_sync();
            content.finish_sync(pending);
            Ok(())
        })
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.alive(|machine| {
            machine.reserve(self.file, length)?;
            machine.content(self.file)?.set_length(usize::try_from(length).map_err(io::Error::other)?);
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.disk.alive(|machine| Ok(machine.content(self.file)?.visible.len() as u64))
    }

    fn sync(&self) -> SyncFuture<'_> {
        Box::pin(async {
            let (pending, delay, fails) = self.disk.alive(|machine| {
                machine.syncs_begun += 1;
                let fails = machine.fail_sync_at == Some(machine.syncs_begun);
                let delay = machine.sync_delay.as_ref().map(|delay| delay(machine.syncs_begun));
                Ok((machine.content(self.file)?.begin_sync(), delay, fails))
            })?;
            if let Some(delay) = delay {
                delay.await;
            }
            self.disk.alive(|machine| {
                let Machine { files, random, counts, .. } = machine;
                let content = files.get_mut(&self.file).ok_or(io::ErrorKind::NotFound)?;
                if fails {
                    counts.syncs_failed += 1;
                    content.fail_sync(pending, random);
                    return Err(io::Error::other("simulated: input/output error"));
                }
                counts.syncs += 1;
                content.finish_sync(pending);
                Ok(())
            })
        })
    }
}
