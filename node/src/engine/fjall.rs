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
    /// `None` once it was closed.
    open: Mutex<Option<Open>>,
}

struct Open {
    database: Database,
    groups: BTreeMap<GroupId, Generation>,
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

/// Tables that stay open to be read from: beside those that are written. Connections need files, too.
const CACHED_FILES_MAX: usize = 256;

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
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(CACHED_FILES_MAX))
            .worker_threads(1)
            .open()
            .map_err(io_error)?;
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
        Ok(Self { inner: Arc::new(Inner { open: Mutex::new(Some(Open { database, groups })) }) })
    }
}

impl Inner {
    /// The database and what it has of a group now.
    fn look(&self, group: GroupId) -> io::Result<(Database, Option<Generation>)> {
        let open = self.open.lock();
        let open = open.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "the engine is closed"))?;
        Ok((open.database.clone(), open.groups.get(&group).cloned()))
    }

    /// From now on this is what there is of the group. Returns what was.
    fn take_over(&self, group: GroupId, generation: Generation) -> Option<Generation> {
        self.open.lock().as_mut().and_then(|open| open.groups.insert(group, generation))
    }

    fn write(&self, group: GroupId, mut rows: Vec<Row>) -> io::Result<()> {
        let (database, generation) = self.look(group)?;
        let generation = match generation {
            Some(generation) => generation,
            None => {
                rows.push((MARK.to_vec(), Some(Vec::new())));
                create(&database, group, 0)?
            }
        };
        rows.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        ingest(&generation.keyspace, rows)?;
        self.take_over(group, generation);
        Ok(())
    }
}

fn create(database: &Database, group: GroupId, number: u64) -> io::Result<Generation> {
    let keyspace = database.keyspace(&name(group, number), options).map_err(io_error)?;
    Ok(Generation { number, keyspace })
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
        let (_, generation) = self.inner.look(group)?;
        let Some(Generation { keyspace, .. }) = generation else { return Ok(vec![None; keys.len()]) };
        keys.iter().map(|key| Ok(keyspace.get(key).map_err(io_error)?.map(|value| value.to_vec()))).collect()
    }

    fn view(&self, group: GroupId) -> io::Result<Box<dyn View>> {
        let (database, generation) = self.inner.look(group)?;
        let keyspace = generation.map(|generation| generation.keyspace);
        Ok(Box::new(FjallView { snapshot: database.snapshot(), keyspace }))
    }

    fn replace(&self, group: GroupId) -> io::Result<Box<dyn Replacement>> {
        let (database, generation) = self.inner.look(group)?;
        let number = generation.map_or(0, |generation| generation.number) + 1;
        let leftover = create(&database, group, number)?;
        // A replacement that was given up may have left something there.
        database.delete_keyspace(leftover.keyspace).map_err(io_error)?;
        let generation = Some(create(&database, group, number)?);
        let inner = self.inner.clone();
        Ok(Box::new(FjallReplacement { inner, database, group, generation, rows: Vec::new(), bytes: 0 }))
    }

    fn close(&self) {
        drop(self.inner.open.lock().take());
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
    database: Database,
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
        let old = self.inner.take_over(self.group, generation);
        old.map_or(Ok(()), |old| self.database.delete_keyspace(old.keyspace)).map_err(io_error)
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
            && let Err(error) = self.database.delete_keyspace(given_up.keyspace)
        {
            tracing::warn!(%error, "cannot remove a replacement that was given up; the next start does");
        }
    }
}
