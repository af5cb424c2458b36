//! What can go wrong with the log, and what the operator does about it.

use std::{io, path::PathBuf};

/// What to do about a log that cannot be trusted; part of the texts below.
const REJOIN: &str = "a node must not start with a shortened log: remove this node from the cluster, delete its data \
                      directory and let it join again under a new identity";

/// Why a log did not open. Nothing was changed on the disk that a later attempt could miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk said no.
    #[error("log: cannot {doing} {}: {source}; check the disk and the directory's permissions", path.display())]
    Disk {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Another process, or another log of this one, has the directory.
    #[error("log: {} is in use by another process; stop it, or choose another data directory", directory.display())]
    Locked {
        /// The log's directory.
        directory: PathBuf,
    },
    /// A segment was written by another version of the format.
    #[error(
        "log: {} has format version {found}, this build reads version {supported}; start it with the build that wrote it",
        file.display()
    )]
    Version {
        /// The segment.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The one version this build reads.
        supported: u32,
    },
    /// The log is damaged before its end: what it acknowledged is no longer all there.
    #[error("log: {} is damaged at byte {offset}: {what}; {REJOIN}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in the segment, in bytes.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// The options contradict each other.
    #[error("log: {0}")]
    Options(&'static str),
}

impl OpenError {
    pub(super) fn disk(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { doing, path, source }
    }
}

/// The log lost the trust of its disk: it acknowledges nothing any more, and the node has to stop.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "log: cannot {doing} {}: {error}; whether the data is on the disk is unknown, and a later success would prove \
     nothing, so the node stops: check the disk, then start it again",
    file.display()
)]
pub struct LogFailure {
    /// What was being done, as a verb.
    pub doing: &'static str,
    /// The file or directory.
    pub file: PathBuf,
    /// The kind of the disk's error.
    pub kind: io::ErrorKind,
    /// What the disk said.
    pub error: String,
}

impl LogFailure {
    pub(super) fn new(doing: &'static str, file: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self { doing, file: file.into(), kind: error.kind(), error: error.to_string() }
    }

    pub(super) fn as_io(&self) -> io::Error {
        io::Error::new(self.kind, self.clone())
    }
}

/// Why an operation was refused without harm to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("log: no room in the reserved space; free disk space or raise the log's cap, it recovers by itself")]
    NoRoom,
    #[error("log: too many bytes wait to be written; try again when earlier appends are durable")]
    QueueFull,
    #[error("log: an entry is larger than half a segment; raise the segment size or send smaller entries")]
    TooLarge,
    #[error("log: vote, committed and purged values are limited to {} bytes", super::STATE_VALUE_BYTES_MAX)]
    StateTooLarge,
    #[error("log: entries must follow the last one without a hole")]
    Hole,
    #[error("log: entries up to this index were purged")]
    Purged,
    #[error("log: closed")]
    Closed,
}

impl Refused {
    pub(super) fn as_io(self) -> io::Error {
        let kind = match self {
            Self::NoRoom => io::ErrorKind::StorageFull,
            Self::QueueFull => io::ErrorKind::WouldBlock,
            Self::TooLarge | Self::StateTooLarge | Self::Hole => io::ErrorKind::InvalidInput,
            Self::Purged => io::ErrorKind::NotFound,
            Self::Closed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, self)
    }
}
