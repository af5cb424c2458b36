//! The seams as the operating system provides them.

use super::{Clock, Disk, DiskFile, DiskLock, Env, FileMark, Plants, Random, Spawn, SyncFuture, Work};
use rand::TryRngCore;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Builds the [`Env`] of a real node.
pub struct RealEnv;

impl RealEnv {
    /// Seams on the operating system; tasks run on the tokio runtime that calls this.
    pub fn current() -> Env {
        Env {
            clock: Arc::new(RealClock { workers: tokio::runtime::Handle::current().metrics().num_workers() }),
            disk: Arc::new(RealDisk),
            spawn: Arc::new(TokioSpawn { handle: tokio::runtime::Handle::current() }),
            random: Arc::new(OsRandom),
            plants: Plants::default(),
        }
    }
}

/// `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
pub struct RealClock {
    /// Threads that serve.
    workers: usize,
}

impl Clock for RealClock {
    fn wall_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn boot(&self) -> Duration {
        read(rustix::time::ClockId::Boottime)
    }

    fn processor_time(&self) -> Option<Duration> {
        Some(read(rustix::time::ClockId::ProcessCPUTime))
    }

    fn processors(&self) -> usize {
        self.workers
    }
}

fn read(clock: rustix::time::ClockId) -> Duration {
    let reading = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(reading.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(reading.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds)
}

/// The bytes of memory that this process has resident; 0 where the system does not tell.
pub fn memory_bytes() -> u64 {
    // proc(5): the second number is the resident pages.
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.as_deref().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

/// How much memory there is for this process: the machine's, or its control group's if that is less.
pub fn machine_memory_bytes() -> u64 {
    // proc(5): "MemTotal:  16314492 kB".
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    let machine = machine.map_or(FALLBACK_MEMORY_BYTES, |kilobytes| kilobytes.saturating_mul(1024));
    // The second version of control groups, then the first; "max" and absurd numbers are no bound.
    let bounds = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let bound = bounds.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    bound.map_or(machine, |bound| bound.min(machine))
}

/// What is assumed where the machine does not say.
const FALLBACK_MEMORY_BYTES: u64 = 1 << 30;

/// Lets this process open as many files as its system allows it: connections are files. Returns how many.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    reached.unwrap_or(u64::MAX)
}

struct OsRandom;

impl Random for OsRandom {
    fn next_u64(&self) -> u64 {
        // A machine without randomness must not hand out session ids.
        #[allow(clippy::expect_used)]
        rand::rngs::OsRng.try_next_u64().expect("the operating system has no random numbers")
    }
}

struct TokioSpawn {
    handle: tokio::runtime::Handle,
}

impl Spawn for TokioSpawn {
    fn spawn(&self, _name: &'static str, work: Work) {
        drop(self.handle.spawn(work));
    }

    fn spawn_blocking(&self, name: &'static str, work: Work) {
        let started =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || futures::executor::block_on(work));
        if let Err(error) = started {
            tracing::error!(%error, name, "cannot start a thread; raise the process's thread limit");
            std::process::abort();
        }
    }

    fn discard(&self, what: Box<dyn Send>) {
        self.spawn_blocking("discard", Box::pin(async move { drop(what) }));
    }
}

/// Files of the operating system.
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = fs::File::open(path)?;
        if file.metadata()?.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn mark(&self, path: &Path) -> io::Result<FileMark> {
        let metadata = fs::metadata(path)?;
        // A file that is moved into the place of another one may be as old and as long.
        let written = metadata.mtime().cast_unsigned().wrapping_mul(1_000_000_000);
        let written = written.wrapping_add(metadata.mtime_nsec().cast_unsigned());
        Ok(FileMark { length_bytes: metadata.len(), state: u128::from(metadata.ino()) << 64 | u128::from(written) })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        // Written, not only reserved: a write into an unwritten extent costs a journal commit at each sync.
        const ZEROES: &[u8] = &[0; 1 << 16];
        // Synced piece by piece: all at once, it would keep every other sync of the disk waiting.
        const PIECE_BYTES: u64 = 1 << 20;
        let mut offset = 0;
        while offset < length {
            let step = usize::try_from(length - offset).map_or(ZEROES.len(), |left| left.min(ZEROES.len()));
            self.0.write_all_at(&ZEROES[..step], offset)?;
            offset += step as u64;
            if offset.is_multiple_of(PIECE_BYTES) {
                self.0.sync_data()?;
            }
        }
        self.0.sync_all()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> SyncFuture<'_> {
        Box::pin(async { self.0.sync_data() })
    }
}
