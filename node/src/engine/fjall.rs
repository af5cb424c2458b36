//! The engine of real nodes: fjall, a log-structured tree with large values apart.
//!
//! What a group changed is written as sorted tables at once, past fjall's journal and memtables: one such write is atomic
//! and durable, costs a fraction of single upserts, and leaves nothing to recover at a restart.
//!
//! A group's rows are in a keyspace of their own, named by the group and a generation. A replacement fills the next
//! generation and ends with a mark: the highest generation with the mark is the group's content, others are leftovers.

use super::{Engine, KEY_FIRST_BYTE_MAX, Replacement, Row, View, Visit};
use crate::log::GroupId;
use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, Readable, Snapshot};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{collections::BTreeMap, io, path::Path, sync::Arc};

/// Keeps groups in one fjall database.
#[derive(Clone)]
pub struct FjallEngine {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    groups: Mutex<BTreeMap<GroupId, Generation>>,
}

#[derive(Clone)]
struct Generation {
    number: u64,
    keyspace: Keyspace,
}

/// The last row of a complete generation.
const MARK: &[u8] = &[KEY_FIRST_BYTE_MAX];

/// Blocks that were read lately, in bytes: cold sessions are mostly read once, and then are in memory.
const CACHE_BYTES: u64 = 16 << 20;

/// Rows of a replacement that are gathered before they are written, in bytes.
const GATHER_BYTES_MAX: usize = 4 << 20;

/// Values from this size on are kept apart from the tree, so that sorting it does not rewrite them.
const APART_BYTES_MIN: u32 = 1024;

fn name(group: GroupId, number: u64) -> String {
    format!("group-{group}-{number}")
}

fn parse(name: &str) -> Option<(GroupId, u64)> {
    let (group, number) = name.strip_prefix("group-")?.split_once('-')?;
    Some((group.parse().ok()?, number.parse().ok()?))
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .with_kv_separation(Some(KvSeparationOptions::default().separation_threshold(APART_BYTES_MIN)))
}

fn io_error(error: ::fjall::Error) -> io::Error {
    match error {
        ::fjall::Error::Io(error) | ::fjall::Error::Storage(::fjall::LsmError::Io(error)) => error,
        other => {
            io::Error::other(format!("the engine fjall failed: {other}; check the disk, then start the node again"))
        }
    }
}

impl FjallEngine {
    /// Opens the database in `directory`, creating it if missing.
    ///
    /// # Errors
    /// Whatever fjall says: another process has it, or it is damaged.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let database =
            Database::builder(directory).cache_size(CACHE_BYTES).worker_threads(1).open().map_err(io_error)?;
        let mut groups: BTreeMap<GroupId, Generation> = BTreeMap::new();
        let mut leftovers = Vec::new();
        for found in database.list_keyspace_names() {
            let Some((group, number)) = parse(&found) else { continue };
            let keyspace = database.keyspace(&found, options).map_err(io_error)?;
            let complete = keyspace.contains_key(MARK).map_err(io_error)?;
            let newest = groups.get(&group).is_none_or(|other| other.number < number);
            let loser = match (complete, newest) {
                (true, true) => groups.insert(group, Generation { number, keyspace }).map(|old| old.keyspace),
                (true, false) | (false, _) => Some(keyspace),
            };
            leftovers.extend(loser);
        }
        leftovers.into_iter().try_for_each(|keyspace| database.delete_keyspace(keyspace)).map_err(io_error)?;
        Ok(Self { inner: Arc::new(Inner { database, groups: Mutex::new(groups) }) })
    }
}

impl Inner {
    fn generation(&self, group: GroupId) -> Option<Generation> {
        self.groups.lock().get(&group).cloned()
    }

    fn create(&self, group: GroupId, number: u64) -> io::Result<Generation> {
        let keyspace = self.database.keyspace(&name(group, number), options).map_err(io_error)?;
        Ok(Generation { number, keyspace })
    }

    fn write(&self, group: GroupId, mut rows: Vec<Row>) -> io::Result<()> {
        let generation = match self.generation(group) {
            Some(generation) => generation,
            None => {
                rows.push((MARK.to_vec(), Some(Vec::new())));
                self.create(group, 0)?
            }
        };
        rows.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        ingest(&generation.keyspace, rows)?;
        self.groups.lock().insert(group, generation);
        Ok(())
    }
}

/// Writes sorted rows as one.
fn ingest(keyspace: &Keyspace, rows: Vec<Row>) -> io::Result<()> {
    let mut ingestion = keyspace.start_ingestion().map_err(io_error)?;
    for (key, value) in rows {
        match value {
            Some(value) => ingestion.write(key, value),
            None => ingestion.write_tombstone(key),
        }
        .map_err(io_error)?;
    }
    ingestion.finish().map_err(io_error)
}

impl Engine for FjallEngine {
    fn write(&self, group: GroupId, rows: Vec<Row>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.inner.write(group, rows) })
    }

    fn read(&self, group: GroupId, keys: &[Vec<u8>]) -> io::Result<Vec<Option<Vec<u8>>>> {
        let Some(Generation { keyspace, .. }) = self.inner.generation(group) else { return Ok(vec![None; keys.len()]) };
        keys.iter().map(|key| Ok(keyspace.get(key).map_err(io_error)?.map(|value| value.to_vec()))).collect()
    }

    fn view(&self, group: GroupId) -> io::Result<Box<dyn View>> {
        let keyspace = self.inner.generation(group).map(|generation| generation.keyspace);
        Ok(Box::new(FjallView { snapshot: self.inner.database.snapshot(), keyspace }))
    }

    fn replace(&self, group: GroupId) -> io::Result<Box<dyn Replacement>> {
        let number = self.inner.generation(group).map_or(0, |generation| generation.number) + 1;
        let leftover = self.inner.create(group, number)?;
        // A replacement that was given up may have left something there.
        self.inner.database.delete_keyspace(leftover.keyspace).map_err(io_error)?;
        let generation = Some(self.inner.create(group, number)?);
        Ok(Box::new(FjallReplacement { inner: self.inner.clone(), group, generation, rows: Vec::new(), bytes: 0 }))
    }
}

struct FjallView {
    snapshot: Snapshot,
    keyspace: Option<Keyspace>,
}

impl View for FjallView {
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> io::Result<()> {
        let Some(keyspace) = &self.keyspace else { return Ok(()) };
        for row in self.snapshot.range(keyspace, from..to) {
            let (key, value) = row.into_inner().map_err(io_error)?;
            visit(&key, &value)?;
        }
        Ok(())
    }
}

struct FjallReplacement {
    inner: Arc<Inner>,
    group: GroupId,
    generation: Option<Generation>,
    rows: Vec<Row>,
    bytes: usize,
}

impl FjallReplacement {
    fn flush(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        self.generation.as_ref().map_or(Ok(()), |generation| ingest(&generation.keyspace, rows))
    }

    fn commit(&mut self) -> io::Result<()> {
        self.rows.push((MARK.to_vec(), Some(Vec::new())));
        self.flush()?;
        let Some(generation) = self.generation.take() else { return Ok(()) };
        let old = self.inner.groups.lock().insert(self.group, generation);
        old.map_or(Ok(()), |old| self.inner.database.delete_keyspace(old.keyspace)).map_err(io_error)
    }
}

impl Replacement for FjallReplacement {
    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.bytes += key.len() + value.len();
        self.rows.push((key.to_vec(), Some(value.to_vec())));
        if self.bytes >= GATHER_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn commit(mut self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move { Self::commit(&mut self) })
    }
}

impl Drop for FjallReplacement {
    fn drop(&mut self) {
        if let Some(given_up) = self.generation.take()
            && let Err(error) = self.inner.database.delete_keyspace(given_up.keyspace)
        {
            tracing::warn!(%error, "cannot remove a replacement that was given up; the next start does");
        }
    }
}
