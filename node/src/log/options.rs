//! The log's settings and its figures.

use super::{
    OpenError,
    format::{ALIGNMENT, SEGMENT_HEADER_BYTES},
    state::State,
};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Settings of a [`super::Log`].
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where the segments are; nothing else should be there.
    pub directory: PathBuf,
    /// Size of a segment file, a multiple of 4096 from 128 KiB to below 4 GiB; an entry may take up to half of it.
    pub segment_bytes: u64,
    /// How many segments are kept ready beyond the current one, so that no append waits for the file system.
    pub segments_ahead: usize,
    /// Recent entries kept in memory, over all groups, in bytes; those not yet durable come on top.
    pub cache_bytes_max: usize,
    /// Cap of all segment files together, in bytes; at least two segments.
    pub log_bytes_max: u64,
    /// Most bytes in one write and sync; an entry above it goes alone.
    pub batch_bytes_max: usize,
    /// Most bytes of appends that wait to be written.
    pub queue_bytes_max: usize,
}

impl LogOptions {
    /// The defaults for a log in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_bytes: 64 << 20,
            segments_ahead: 2,
            cache_bytes_max: 16 << 20,
            log_bytes_max: 4 << 30,
            batch_bytes_max: 4 << 20,
            queue_bytes_max: 64 << 20,
        }
    }

    pub(super) fn check(&self) -> Result<(), OpenError> {
        let fault = if self.segment_bytes < 128 << 10 || self.segment_bytes >= 1 << 32 {
            "segment_bytes must be from 128 KiB to below 4 GiB"
        } else if !self.segment_bytes.is_multiple_of(ALIGNMENT) {
            "segment_bytes must be a multiple of 4096"
        } else if self.log_bytes_max < 2 * self.segment_bytes {
            "log_bytes_max must hold at least two segments"
        } else if self.segments_ahead == 0 {
            "segments_ahead must be at least 1"
        } else if self.batch_bytes_max < 4096 || self.batch_bytes_max as u64 >= 1 << 32 {
            "batch_bytes_max must be from 4 KiB to below 4 GiB"
        } else if self.queue_bytes_max == 0 {
            "queue_bytes_max must be at least 1"
        } else {
            return Ok(());
        };
        Err(OpenError::Options(fault))
    }

    /// Room that appends leave to votes, truncations and purges, so that a full log can still make itself room; half
    /// of it is for purges alone. Each costs a frame, so the defaults leave a thousand votes to a full log.
    pub(super) fn reserve_bytes(&self) -> u64 {
        ((self.segment_bytes - SEGMENT_HEADER_BYTES) / 8).min(8 << 20)
    }
}

/// Figures of a log; those that end in `_total` only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStatistics {
    /// Syncs that succeeded; each made one batch durable.
    pub syncs_total: u64,
    /// Records made durable.
    pub records_total: u64,
    /// Entries among them.
    pub entries_total: u64,
    /// Bytes written, padding included.
    pub bytes_total: u64,
    /// Time spent in syncs.
    pub sync_time_total: Duration,
    /// The longest sync.
    pub sync_time_max: Duration,
    /// Segments that were given up because all in them was obsolete.
    pub segments_recycled_total: u64,
    /// Segments that hold records.
    pub segments: usize,
    /// Segments ready to be written into.
    pub segments_ahead: usize,
    /// Bytes of accepted operations that are not durable yet.
    pub queue_bytes: u64,
    /// Bytes of recent entries in memory.
    pub cache_bytes: usize,
    /// Whether the last attempt to reserve space found none.
    pub space_refused: bool,
}

#[derive(Default)]
pub(super) struct Counts {
    pub syncs: AtomicU64,
    pub records: AtomicU64,
    pub entries: AtomicU64,
    pub bytes: AtomicU64,
    pub sync_microseconds: AtomicU64,
    pub sync_microseconds_max: AtomicU64,
    pub recycled: AtomicU64,
    pub space_refused: AtomicBool,
}

impl Counts {
    pub fn read(&self, state: &State) -> LogStatistics {
        LogStatistics {
            syncs_total: self.syncs.load(Relaxed),
            records_total: self.records.load(Relaxed),
            entries_total: self.entries.load(Relaxed),
            bytes_total: self.bytes.load(Relaxed),
            sync_time_total: Duration::from_micros(self.sync_microseconds.load(Relaxed)),
            sync_time_max: Duration::from_micros(self.sync_microseconds_max.load(Relaxed)),
            segments_recycled_total: self.recycled.load(Relaxed),
            segments: state.segments.len(),
            segments_ahead: state.ahead.len(),
            queue_bytes: state.queue_bytes,
            cache_bytes: state.cached_bytes,
            space_refused: self.space_refused.load(Relaxed),
        }
    }
}
