//! Snapshots on their way: a file on the sender, sent in pieces from where the receiver says it is.
//!
//! One piece is under way at a time and travels on the bulk lane: appends never wait behind a snapshot.

use super::{
    network::{Link, decode, network_error, rpc_error, service},
    outgoing::Outgoing,
    types::{Types, Vote, malformed},
};
use crate::{
    env::{Disk, DiskFile},
    peers::Lane,
};
use openraft::{
    alias::{SnapshotMetaOf, SnapshotOf},
    errors::{RPCError, ReplicationClosed, StreamingError},
    raft::SnapshotResponse,
};
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Bytes in one piece.
pub const PIECE_BYTES: usize = 1 << 20;

/// How long one piece may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the last one may take, after which the snapshot is installed.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// A snapshot as openraft hands it on.
#[derive(Clone)]
pub enum Snapshot {
    /// On the sender: made when it is sent.
    Promised(Arc<Outgoing>),
    /// On the receiver: the file that came.
    Arrived(SnapshotFile),
}

/// A whole snapshot on this node's disk.
#[derive(Clone)]
pub struct SnapshotFile {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    length: u64,
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SnapshotFile({}, {} bytes)", self.inner.path.display(), self.inner.length)
    }
}

impl SnapshotFile {
    /// Opens the complete snapshot at `path`.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn open(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        let file = disk.open(path, false)?;
        let length = file.length()?;
        Ok(Self { inner: Arc::new(Inner { disk: disk.clone(), path: path.to_owned(), file, length }) })
    }

    /// Removes the file; who has it open may go on reading.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn remove(&self) -> io::Result<()> {
        self.inner.disk.remove(&self.inner.path)
    }

    /// Its name, the same on sender and receiver.
    pub fn name(&self) -> String {
        self.inner.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.inner.length
    }

    /// Up to `bytes_max` bytes from `offset` on; fewer only at the end.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn read(&self, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes_max];
        let read = self.inner.file.read_at(offset, &mut buffer)?;
        buffer.truncate(read);
        Ok(buffer)
    }
}

/// What comes with each piece.
#[derive(Serialize, Deserialize)]
pub struct PieceHead {
    /// The sender's vote.
    pub vote: Vote,
    /// What the snapshot holds.
    pub meta: SnapshotMetaOf<Types>,
    /// The snapshot's name.
    pub name: String,
    /// Its length.
    pub length: u64,
    /// Where this piece goes; an empty piece asks where to go on.
    pub offset: u64,
}

/// What a receiver answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum PieceAnswer {
    /// Go on at this offset.
    Continue(u64),
    /// Installed, or refused for a higher vote, which this carries.
    Finished(Vote),
}

/// Sends a snapshot and waits until it is installed.
pub(super) async fn send(
    link: &Link,
    vote: Vote,
    snapshot: SnapshotOf<Types, Snapshot>,
    cancel: impl Future<Output = ReplicationClosed>,
) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
    let transfer = async {
        let Snapshot::Promised(outgoing) = &snapshot.snapshot else {
            return Err(StreamingError::from(network_error(&malformed("a snapshot of another node"))));
        };
        let failed = |error: io::Error| StreamingError::from(network_error(&error));
        let sending = outgoing.begin();
        let (meta, file) = outgoing.file(snapshot.meta.last_log_id).await.map_err(failed)?;
        let mut offset = None;
        loop {
            match send_piece(link, outgoing, &vote, &meta, &file, offset).await.map_err(StreamingError::from)? {
                PieceAnswer::Continue(next) => offset = Some(next),
                PieceAnswer::Finished(vote) => {
                    outgoing.finish(sending).await.map_err(failed)?;
                    return Ok(SnapshotResponse::new(vote));
                }
            }
        }
    };
    tokio::select! {
        biased;
        closed = cancel => Err(StreamingError::Closed(closed)),
        result = transfer => result,
    }
}

async fn send_piece(
    link: &Link,
    outgoing: &Outgoing,
    vote: &Vote,
    meta: &SnapshotMetaOf<Types>,
    file: &SnapshotFile,
    offset: Option<u64>,
) -> Result<PieceAnswer, RPCError<Types>> {
    let piece = match offset {
        None => Vec::new(),
        Some(offset) => outgoing.piece(file, offset).await.map_err(|error| network_error(&error))?,
    };
    let head_offset = offset.unwrap_or(0);
    let head =
        PieceHead { vote: *vote, meta: meta.clone(), name: file.name(), length: file.length(), offset: head_offset };
    let head = postcard::to_stdvec(&head).map_err(|error| network_error(&error))?;
    link.rpc.bulk().pass(piece.len()).await;
    let group = link.group.to_le_bytes();
    let head_length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes();
    let parts: [&[u8]; 4] = [&group, &head_length, &head, &piece];
    let is_last = head_offset + piece.len() as u64 >= file.length();
    let timeout = if is_last { INSTALL_TIMEOUT } else { PIECE_TIMEOUT };
    let answer = link.rpc.call(link.target, Lane::Bulk, service::SNAPSHOT, &parts, timeout).await;
    decode(&answer.map_err(rpc_error)?).map_err(|error| network_error(&error))
}
