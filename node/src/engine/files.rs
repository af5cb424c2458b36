//! An engine of whole files over the disk seam: each write is a new file with all rows of the group.
//!
//! Made for simulations, whose disks lose what was not synced, and for groups of a few rows. All rows are in memory too.

use super::{Engine, Replacement, Row, View, Visit};
use crate::{env::Disk, log::GroupId};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keeps each group in a file of its own.
#[derive(Clone)]
pub struct FileEngine {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    groups: Mutex<BTreeMap<GroupId, Content>>,
}

#[derive(Clone, Default)]
struct Content {
    rows: Arc<Rows>,
    /// The number of the file that holds them; each write makes the next.
    number: u64,
}

const EXTENSION: &str = ".rows";
const DRAFT: &str = ".draft";

fn name(group: GroupId, number: u64) -> String {
    format!("group-{group:010}-{number:020}{EXTENSION}")
}

fn parse(name: &str) -> Option<(GroupId, u64)> {
    let (group, number) = name.strip_prefix("group-")?.strip_suffix(EXTENSION)?.split_once('-')?;
    Some((group.parse().ok()?, number.parse().ok()?))
}

impl FileEngine {
    /// Opens what `directory` has, creating it if missing.
    ///
    /// # Errors
    /// Unreadable or damaged files: the text says what to do.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path) -> io::Result<Self> {
        disk.create_directory(directory)?;
        let mut groups: BTreeMap<GroupId, Content> = BTreeMap::new();
        for name in disk.list(directory)? {
            let path = directory.join(&name);
            match parse(&name) {
                // Names sort by number: a later file of the same group takes the place of an earlier one.
                Some((group, number)) => {
                    let rows = Arc::new(read(&*disk, &path)?);
                    if let Some(old) = groups.insert(group, Content { rows, number }) {
                        disk.remove(&directory.join(self::name(group, old.number)))?;
                    }
                }
                None if name.ends_with(DRAFT) => disk.remove(&path)?,
                None => {}
            }
        }
        Ok(Self { inner: Arc::new(Inner { disk, directory: directory.to_owned(), groups: Mutex::new(groups) }) })
    }
}

impl Inner {
    fn content(&self, group: GroupId) -> Content {
        self.groups.lock().get(&group).cloned().unwrap_or_default()
    }

    async fn store(&self, group: GroupId, rows: Rows) -> io::Result<()> {
        let old = self.content(group);
        let number = old.number + 1;
        let path = self.directory.join(name(group, number));
        let draft = self.directory.join(format!("{}{DRAFT}", name(group, number)));
        let file = self.disk.open(&draft, true)?;
        file.set_length(0)?;
        file.write_at(0, &encode(&rows))?;
        file.sync().await?;
        self.disk.rename(&draft, &path)?;
        self.disk.sync_directory(&self.directory)?;
        self.groups.lock().insert(group, Content { rows: Arc::new(rows), number });
        if old.number > 0 {
            self.disk.remove(&self.directory.join(name(group, old.number)))?;
        }
        Ok(())
    }
}

impl Engine for FileEngine {
    fn write(&self, group: GroupId, changes: Vec<Row>) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut rows = (*self.inner.content(group).rows).clone();
            for (key, value) in changes {
                match value {
                    Some(value) => drop(rows.insert(key, value)),
                    None => drop(rows.remove(&key)),
                }
            }
            self.inner.store(group, rows).await
        })
    }

    fn read(&self, group: GroupId, keys: &[Vec<u8>]) -> io::Result<Vec<Option<Vec<u8>>>> {
        let rows = self.inner.content(group).rows;
        Ok(keys.iter().map(|key| rows.get(key).cloned()).collect())
    }

    fn view(&self, group: GroupId) -> io::Result<Box<dyn View>> {
        Ok(Box::new(FileView(self.inner.content(group).rows)))
    }

    fn replace(&self, group: GroupId) -> io::Result<Box<dyn Replacement>> {
        Ok(Box::new(FileReplacement { inner: self.inner.clone(), group, rows: Rows::new() }))
    }
}

struct FileView(Arc<Rows>);

impl View for FileView {
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> io::Result<()> {
        let rows = self.0.range(from.to_vec()..).take_while(|(key, _)| key.as_slice() < to);
        rows.into_iter().try_for_each(|(key, value)| visit(key, value))
    }
}

struct FileReplacement {
    inner: Arc<Inner>,
    group: GroupId,
    rows: Rows,
}

impl Replacement for FileReplacement {
    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.rows.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move { self.inner.store(self.group, self.rows).await })
    }
}

/// `(key length u32 | value length u32 | key | value)* | crc u32`.
fn encode(rows: &Rows) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in rows {
        // Rows are far below 4 GiB.
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Rows> {
    let file = disk.open(path, false)?;
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    decode(&bytes).ok_or_else(|| {
        let text = format!(
            "the checkpoint {} is damaged; stop the node, remove it from the region with `sojourn cluster remove-node`, \
             and let it join again with an empty data directory",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

fn decode(bytes: &[u8]) -> Option<Rows> {
    let (mut rest, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut rows = Rows::new();
    while !rest.is_empty() {
        let (key_length, after) = rest.split_first_chunk::<4>()?;
        let (value_length, after) = after.split_first_chunk::<4>()?;
        let (key, after) = after.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
        let (value, after) = after.split_at_checked(u32::from_le_bytes(*value_length) as usize)?;
        rows.insert(key.to_vec(), value.to_vec());
        rest = after;
    }
    Some(rows)
}
