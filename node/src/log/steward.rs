//! Keeps segments ready ahead of the writer, and takes back those that nobody needs.
//!
//! A segment gets its final name only with a durable header, and segments leave from the oldest on, one durable step at
//! a time: so a chain of names without a hole is all that recovery ever has to accept.

use super::{LogFailure, LogOptions, OpenError, Shared, TaskGuard, format::SegmentHeader, state::Segment};
use crate::env::{Disk, DiskFile, Env};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// Recycled files kept for later; more are removed.
const SPARES_MAX: usize = 2;

pub(super) async fn run(shared: Arc<Shared>) {
    let guard = TaskGuard { shared: &shared, name: "prepare" };
    let mut spares = Vec::new();
    loop {
        match next(&shared, spares.len() as u64) {
            Job::Wait => shared.steward_wake.notified().await,
            Job::End => break,
            Job::Recycle(segment) => {
                if let Err(failure) = recycle(&shared, *segment, &mut spares) {
                    shared.poison(failure);
                }
                shared.counts.space_refused.store(false, Relaxed);
            }
            Job::Prepare(sequence) => match prepare(&shared.env, &shared.options, sequence, spares.pop()).await {
                Ok(segment) => take_in(&shared, segment),
                Err(NotPrepared::Refused(error)) => {
                    tracing::warn!(%error, "no room for another log segment; appends are refused when the last is full");
                    shared.counts.space_refused.store(true, Relaxed);
                }
                Err(NotPrepared::Failed(failure)) => shared.poison(failure),
            },
        }
    }
    drop(guard);
}

enum Job {
    Wait,
    End,
    Recycle(Box<Segment>),
    Prepare(u64),
}

fn next(shared: &Shared, spares: u64) -> Job {
    let mut state = shared.state.lock();
    if state.closing || state.failure.is_some() {
        return Job::End;
    }
    if let Some(segment) = state.retired.pop_front() {
        return Job::Recycle(Box::new(segment));
    }
    if state.ahead.len() >= shared.options.segments_ahead || shared.counts.space_refused.load(Relaxed) {
        return Job::Wait;
    }
    let segment_bytes = shared.options.segment_bytes;
    let used: u64 = state.segments.values().chain(&state.ahead).map(|segment| segment.header.capacity_bytes).sum();
    // A spare is already part of what the cap allows; without one a new file has to fit beside the rest.
    let spares_beside = spares.saturating_sub(1);
    if used + (1 + spares_beside) * segment_bytes > shared.options.log_bytes_max {
        shared.counts.space_refused.store(true, Relaxed);
        return Job::Wait;
    }
    let last = state.ahead.back().or(state.segments.values().next_back());
    Job::Prepare(last.map_or(1, |segment| segment.header.sequence + 1))
}

fn take_in(shared: &Shared, segment: Segment) {
    let mut state = shared.state.lock();
    state.ahead.push_back(segment);
    state.queue_owed_purges(&shared.options);
    drop(state);
    shared.writer_wake.notify_one();
}

/// Takes a retired segment out of the chain. A file that somebody still reads from is removed, never written again.
fn recycle(shared: &Shared, segment: Segment, spares: &mut Vec<PathBuf>) -> Result<(), LogFailure> {
    let disk = &*shared.env.disk;
    let directory = &shared.options.directory;
    let Segment { header, path, file, .. } = segment;
    let reusable = Arc::strong_count(&file) == 1 && header.capacity_bytes == shared.options.segment_bytes;
    drop(file);
    if reusable && spares.len() < SPARES_MAX {
        let spare = directory.join(format!("{SPARE_PREFIX}{:016x}", header.sequence));
        disk.rename(&path, &spare).map_err(|error| LogFailure::new("rename", &path, &error))?;
        spares.push(spare);
    } else {
        disk.remove(&path).map_err(|error| LogFailure::new("remove", &path, &error))?;
    }
    shared.counts.recycled.fetch_add(1, Relaxed);
    disk.sync_directory(directory).map_err(|error| LogFailure::new("sync", directory, &error))
}

const SPARE_PREFIX: &str = "spare-";
const SEGMENT_SUFFIX: &str = ".segment";

/// A file of the log's directory, by its name.
pub(super) enum FileName {
    Segment(u64),
    Spare,
    Other,
}

impl FileName {
    pub fn parse(name: &str) -> Self {
        if name.starts_with(SPARE_PREFIX) {
            return Self::Spare;
        }
        let digits = name.strip_suffix(SEGMENT_SUFFIX).filter(|digits| digits.len() == 16);
        match digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            Some(sequence) => Self::Segment(sequence),
            None => Self::Other,
        }
    }
}

pub(super) fn segment_path(directory: &Path, sequence: u64) -> PathBuf {
    directory.join(format!("{sequence:016x}{SEGMENT_SUFFIX}"))
}

/// Why there is no further segment.
pub(super) enum NotPrepared {
    /// No space for a new file. Nothing depends on it yet, so it can be tried again.
    Refused(io::Error),
    /// A write inside reserved space, or the directory itself, failed.
    Failed(LogFailure),
}

impl NotPrepared {
    pub fn into_open_error(self, path: PathBuf) -> OpenError {
        match self {
            Self::Refused(error) => OpenError::disk("allocate", path)(error),
            Self::Failed(failure) => {
                OpenError::Disk { doing: failure.doing, path: failure.file.clone(), source: failure.as_io() }
            }
        }
    }
}

/// Makes the next segment of the chain, out of a recycled file if there is one.
pub(super) async fn prepare(
    env: &Env,
    options: &LogOptions,
    sequence: u64,
    spare: Option<PathBuf>,
) -> Result<Segment, NotPrepared> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| NotPrepared::Failed(LogFailure::new(doing, path, &error))
    };
    let (disk, directory, capacity_bytes) = (&*env.disk, &*options.directory, options.segment_bytes);
    let (source, file) = match spare {
        Some(spare) => {
            let file = disk.open(&spare, false).map_err(failed("open", &spare))?;
            (spare, file)
        }
        None => allocate(disk, directory, capacity_bytes).map_err(NotPrepared::Refused)?,
    };
    let header = SegmentHeader { sequence, salt: env.random.next_u64(), capacity_bytes };
    file.write_at(0, &header.encode()).map_err(failed("write", &source))?;
    file.sync().await.map_err(failed("sync", &source))?;
    let path = segment_path(directory, sequence);
    disk.rename(&source, &path).map_err(failed("rename", &source))?;
    disk.sync_directory(directory).map_err(failed("sync", directory))?;
    Ok(Segment { header, path, file: file.into(), highest: Default::default() })
}

fn allocate(disk: &dyn Disk, directory: &Path, bytes: u64) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
    let path = directory.join(format!("{SPARE_PREFIX}new"));
    let file = disk.open(&path, true)?;
    if let Err(error) = file.allocate(bytes) {
        // Gives back what was taken, for whatever else shares the disk; a leftover is overwritten by the next attempt.
        drop(file);
        let _ = disk.remove(&path);
        return Err(error);
    }
    Ok((path, file))
}
