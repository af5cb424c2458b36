//! The disk as the log needs it: positioned reads and writes into files, and an honest sync.

use std::{any::Any, future::Future, io, path::Path, pin::Pin};

/// Completes when the file's data is on stable storage, or says why not.
pub type SyncFuture<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// Held for as long as a directory is in use; dropping it lets others in.
pub type DiskLock = Box<dyn Any + Send + Sync>;

/// Tells two states of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// The length in bytes.
    pub length_bytes: u64,
    /// Another number after each change: when real, of which file it is and of when it was written.
    pub state: u128,
}

/// A directory tree that files live in.
pub trait Disk: Send + Sync + 'static {
    /// Opens `path` for reading and writing, creating it empty if `create` and missing.
    ///
    /// # Errors
    /// `NotFound` without `create`, and whatever the file system says.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;

    /// All of a file that somebody else writes, which needs to be readable only.
    ///
    /// # Errors
    /// `FileTooLarge` beyond `bytes_max`, and whatever the file system says.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, false)?;
        let length = file.length()?;
        let mut bytes = match usize::try_from(length) {
            Ok(bytes) if length <= bytes_max => vec![0; bytes],
            Ok(_) | Err(_) => return Err(io::ErrorKind::FileTooLarge.into()),
        };
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// How such a file is now, to notice when it is another one. Cheap when real.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn mark(&self, path: &Path) -> io::Result<FileMark> {
        let bytes = self.read(path, u64::MAX)?;
        Ok(FileMark { length_bytes: bytes.len() as u64, state: u128::from(crc32c::crc32c(&bytes)) })
    }

    /// The names (not paths) in a directory, sorted.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory and its parents.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Renames atomically; durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// Whatever the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// Whatever the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals inside a directory durable.
    ///
    /// # Errors
    /// Whatever the file system says; the caller must stop the node.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Takes the lock file `path` for this holder alone, creating it if missing.
    ///
    /// # Errors
    /// `WouldBlock` while another holder has it, in this process or another.
    fn lock(&self, path: &Path) -> io::Result<DiskLock>;
}

/// One open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. Durable only after a later [`DiskFile::sync`].
    ///
    /// # Errors
    /// Whatever the file system says; `StorageFull` when there is no room.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reserves and zeroes the first `length` bytes, so that later writes inside need no new space.
    ///
    /// # Errors
    /// `StorageFull` when there is no room.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts or extends (with zeroes) to `length` bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn length(&self) -> io::Result<u64>;

    /// Makes what was written durable (`fdatasync`). When real this blocks the calling thread.
    fn sync(&self) -> SyncFuture<'_>;
}
