//! openraft's state machine over anything that applies proposals: applying, snapshots, restart.
//!
//! What a machine holds is rebuilt at a restart from the newest snapshot on disk and the log after it; the log is purged
//! only up to a snapshot that is on disk.

use super::{
    snapshot::SnapshotFile,
    types::{Applied, LogId, Proposal, StoredMembership, Types},
};
use crate::{
    env::{Disk, DiskFile},
    log::GroupId,
};
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{SnapshotMetaOf, SnapshotOf},
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// State that entries are applied to. Applying is deterministic; nothing here waits.
pub trait Machine: Send + Sync + 'static {
    /// Applies the proposal at log index `index`.
    fn apply(&self, index: u64, proposal: &Proposal) -> Applied;

    /// A consistent view of the state as it is now, written out later while new entries are applied.
    fn freeze(&self) -> Box<dyn Frozen>;

    /// Replaces the state by what a frozen view wrote, read from `source` in order.
    ///
    /// # Errors
    /// Malformed or unreadable bytes; the state is then as before.
    fn restore(&self, source: &mut dyn io::Read) -> io::Result<()>;
}

/// A view of a machine at one log index.
pub trait Frozen: Send + Sync {
    /// Writes everything that [`Machine::restore`] needs.
    ///
    /// # Errors
    /// Whatever `out` says.
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()>;
}

/// Where the snapshots of one group are.
#[derive(Clone)]
pub struct SnapshotPlace {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// A directory for all groups, which exists.
    pub directory: PathBuf,
    /// Whose snapshots.
    pub group: GroupId,
}

/// How many bytes are gathered before they are written to a snapshot file.
const WRITE_BYTES: usize = 256 << 10;

impl SnapshotPlace {
    fn name(&self, id: Option<&LogId>) -> String {
        let index = id.map_or(0, |id| id.index);
        // Fixed width, so that names sort by index.
        format!("group-{:010}-{index:020}.snapshot", self.group)
    }

    /// This group's snapshot files, oldest first.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = format!("group-{:010}-", self.group);
        let names = self.disk.list(&self.directory)?;
        let ours = names.into_iter().filter(|name| name.starts_with(&prefix) && name.ends_with(".snapshot"));
        Ok(ours.map(|name| self.directory.join(name)).collect())
    }

    /// Removes all snapshots of this group but `keep`.
    fn retire(&self, keep: &str) -> io::Result<()> {
        for path in self.files()? {
            if path.file_name().is_some_and(|name| name.to_string_lossy() != keep) {
                self.disk.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Writes `frozen` under its final name, durable on return.
    async fn save(&self, meta: &SnapshotMetaOf<Types>, frozen: &dyn Frozen) -> io::Result<SnapshotFile> {
        let name = self.name(meta.last_log_id.as_ref());
        let draft = self.directory.join(format!("{name}.draft"));
        let file = self.disk.open(&draft, true)?;
        file.set_length(0)?;
        let mut out = Out { file: &*file, offset: 0, buffer: Vec::with_capacity(WRITE_BYTES), crc: 0 };
        let head = postcard::to_stdvec(meta).map_err(io::Error::other)?;
        io::Write::write_all(&mut out, &(head.len() as u64).to_le_bytes())?;
        io::Write::write_all(&mut out, &head)?;
        frozen.write(&mut out)?;
        out.finish()?;
        file.sync().await?;
        let path = self.directory.join(&name);
        self.disk.rename(&draft, &path)?;
        self.disk.sync_directory(&self.directory)?;
        SnapshotFile::open(&self.disk, &path)
    }

    /// The newest snapshot, if there is one.
    fn newest(&self) -> io::Result<Option<SnapshotOf<Types, SnapshotFile>>> {
        let Some(path) = self.files()?.pop() else { return Ok(None) };
        let snapshot = SnapshotFile::open(&self.disk, &path)?;
        let meta = read_meta(&mut In::new(&snapshot, &path)?)?;
        Ok(Some(SnapshotOf::<Types, SnapshotFile> { meta, snapshot }))
    }
}

/// Writes a snapshot file and its closing checksum.
struct Out<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    buffer: Vec<u8>,
    crc: u32,
}

impl io::Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.file.write_at(self.offset, &self.buffer)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Out<'_> {
    fn finish(mut self) -> io::Result<()> {
        io::Write::flush(&mut self)?;
        self.file.write_at(self.offset, &self.crc.to_le_bytes())
    }
}

const CHECKSUM_BYTES: u64 = 4;

/// Reads a snapshot file whose checksum held.
struct In<'a> {
    file: &'a SnapshotFile,
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    taken: usize,
}

impl<'a> In<'a> {
    /// Checks the whole file before any of it is believed.
    fn new(file: &'a SnapshotFile, path: &Path) -> io::Result<Self> {
        let damaged = |what: &str| {
            let text = format!(
                "the snapshot {} is {what}; stop the node, remove it from the region with `sojourn cluster remove-node`, \
                 and let it join again with an empty data directory",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let end = file.length().checked_sub(CHECKSUM_BYTES).ok_or_else(|| damaged("cut short"))?;
        let (mut offset, mut crc) = (0, 0);
        while offset < end {
            let step = usize::try_from(end - offset).map_or(WRITE_BYTES, |left| left.min(WRITE_BYTES));
            let bytes = file.read(offset, step)?;
            if bytes.is_empty() {
                return Err(damaged("cut short"));
            }
            crc = crc32c::crc32c_append(crc, &bytes);
            offset += bytes.len() as u64;
        }
        if file.read(end, 4)? != crc.to_le_bytes() {
            return Err(damaged("damaged: its checksum does not fit"));
        }
        Ok(Self { file, offset: 0, end, buffer: Vec::new(), taken: 0 })
    }
}

impl io::Read for In<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buffer.len() {
            let step = usize::try_from(self.end - self.offset).map_or(WRITE_BYTES, |left| left.min(WRITE_BYTES));
            self.buffer = self.file.read(self.offset, step)?;
            self.offset += self.buffer.len() as u64;
            self.taken = 0;
        }
        let step = out.len().min(self.buffer.len() - self.taken);
        out[..step].copy_from_slice(&self.buffer[self.taken..self.taken + step]);
        self.taken += step;
        Ok(step)
    }
}

/// The most that a snapshot's head may take: it holds a log id and a membership.
const HEAD_BYTES_MAX: u64 = 1 << 20;

fn read_meta(source: &mut dyn io::Read) -> io::Result<SnapshotMetaOf<Types>> {
    let mut length = [0; 8];
    source.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEAD_BYTES_MAX {
        return Err(super::malformed("a snapshot with an impossible head"));
    }
    let mut head = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(source, length), &mut head)?;
    postcard::from_bytes(&head).map_err(io::Error::other)
}

#[derive(Clone, Default)]
struct Position {
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// A machine as openraft drives it.
pub struct Adapter<M> {
    machine: Arc<M>,
    place: SnapshotPlace,
    // The machine changes only together with its position, under this lock.
    position: Arc<Mutex<Position>>,
}

impl<M: Machine> Adapter<M> {
    /// Drives `machine`, whose snapshots are kept at `place`.
    pub fn new(machine: Arc<M>, place: SnapshotPlace) -> Self {
        Self { machine, place, position: Arc::new(Mutex::new(Position::default())) }
    }
}

impl<M: Machine> RaftStateMachine<Types> for Adapter<M> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let position = self.position.lock().clone();
        Ok((position.applied, position.membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let applied = {
                let mut position = self.position.lock();
                position.applied = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => Applied::Nothing,
                    EntryPayload::Normal(proposal) => self.machine.apply(entry.log_id.index, &proposal),
                    EntryPayload::Membership(membership) => {
                        position.membership = StoredMembership::new(Some(entry.log_id), membership);
                        Applied::Nothing
                    }
                }
            };
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        let position = self.position.lock();
        let meta =
            SnapshotMetaOf::<Types> { last_log_id: position.applied, last_membership: position.membership.clone() };
        Builder { meta, frozen: self.machine.freeze(), place: self.place.clone(), machine: std::marker::PhantomData }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let path = self.place.directory.join(snapshot.name());
        let mut source = In::new(&snapshot, &path)?;
        let written = read_meta(&mut source)?;
        if written.last_log_id != meta.last_log_id {
            return Err(super::malformed("a snapshot of another position than its sender says"));
        }
        let mut position = self.position.lock();
        self.machine.restore(&mut source)?;
        *position = Position { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        self.place.retire(&snapshot.name())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, SnapshotFile>>, io::Error> {
        self.place.newest()
    }
}

/// Writes one snapshot while entries go on being applied.
pub struct Builder<M> {
    meta: SnapshotMetaOf<Types>,
    frozen: Box<dyn Frozen>,
    place: SnapshotPlace,
    machine: std::marker::PhantomData<fn() -> M>,
}

impl<M: Machine> RaftSnapshotBuilder<Types> for Builder<M> {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, SnapshotFile>, io::Error> {
        let snapshot = self.place.save(&self.meta, &*self.frozen).await?;
        self.place.retire(&snapshot.name())?;
        Ok(SnapshotOf::<Types, SnapshotFile> { meta: self.meta.clone(), snapshot })
    }
}
