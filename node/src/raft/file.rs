//! A snapshot in a file: which position, then an engine's rows in their order, then a checksum of it all.
//!
//! Written and read in pieces of bounded size, whatever the snapshot's length.

use super::{
    snapshot::SnapshotFile,
    types::{Types, malformed},
};
use crate::{engine::Visit, env::DiskFile};
use openraft::alias::SnapshotMetaOf;
use std::io;

/// How many bytes are gathered before they are written or taken.
const GATHER_BYTES: usize = 256 << 10;

/// How many bytes are written before they are synced: a sync of much would hold up the log's.
pub(super) const SYNC_BYTES: u64 = 4 << 20;

const CHECKSUM_BYTES: u64 = 4;

/// The most that a snapshot's head may take: it holds a log id and a membership.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Closes the list of rows: no key is this long.
const END: u32 = u32::MAX;

/// Writes a snapshot: `head length u32 | head | (key length u32 | value length u32 | key | value)* | END | crc u32`.
pub(super) struct SnapshotWriter<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    unsynced: u64,
    buffer: Vec<u8>,
    crc: u32,
}

impl<'a> SnapshotWriter<'a> {
    pub fn begin(file: &'a dyn DiskFile, meta: &SnapshotMetaOf<Types>) -> io::Result<Self> {
        file.set_length(0)?;
        let mut writer = Self { file, offset: 0, unsynced: 0, buffer: Vec::with_capacity(GATHER_BYTES), crc: 0 };
        let head = postcard::to_stdvec(meta).map_err(io::Error::other)?;
        writer.number(head.len())?;
        writer.buffer.extend_from_slice(&head);
        Ok(writer)
    }

    fn number(&mut self, number: usize) -> io::Result<()> {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        self.buffer.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    pub fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.number(key.len())?;
        self.number(value.len())?;
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        if self.buffer.len() >= GATHER_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, &self.buffer);
        self.file.write_at(self.offset, &self.buffer)?;
        self.offset += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Whether it is time to sync what was written.
    pub fn wants_sync(&self) -> bool {
        self.unsynced >= SYNC_BYTES
    }

    pub async fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        self.file.sync().await
    }

    pub async fn finish(mut self) -> io::Result<()> {
        self.buffer.extend_from_slice(&END.to_le_bytes());
        self.write()?;
        self.file.write_at(self.offset, &self.crc.to_le_bytes())?;
        self.file.sync().await
    }
}

/// Reads a snapshot whose checksum held.
pub(super) struct SnapshotReader<'a> {
    file: &'a SnapshotFile,
    offset: u64,
    end: u64,
    buffer: Vec<u8>,
    taken: usize,
    meta: SnapshotMetaOf<Types>,
}

impl<'a> SnapshotReader<'a> {
    /// Checks the whole file before any of it is believed.
    pub fn open(file: &'a SnapshotFile) -> io::Result<Self> {
        let end = file.length().checked_sub(CHECKSUM_BYTES).ok_or_else(|| damaged(file, "cut short"))?;
        let (mut offset, mut crc) = (0, 0);
        while offset < end {
            let bytes = file.read(offset, gather(end - offset))?;
            if bytes.is_empty() {
                return Err(damaged(file, "cut short"));
            }
            crc = crc32c::crc32c_append(crc, &bytes);
            offset += bytes.len() as u64;
        }
        if file.read(end, CHECKSUM_BYTES as usize)? != crc.to_le_bytes() {
            return Err(damaged(file, "damaged: its checksum does not fit"));
        }
        let meta = SnapshotMetaOf::<Types>::default();
        let mut reader = Self { file, offset: 0, end, buffer: Vec::new(), taken: 0, meta };
        let length = reader.number()? as usize;
        if length > HEAD_BYTES_MAX {
            return Err(malformed("a snapshot with an impossible head"));
        }
        reader.meta = postcard::from_bytes(reader.take(length)?).map_err(io::Error::other)?;
        Ok(reader)
    }

    /// Which position it is of.
    pub fn meta(&self) -> &SnapshotMetaOf<Types> {
        &self.meta
    }

    /// Visits all rows.
    pub fn each(&mut self, visit: Visit<'_>) -> io::Result<()> {
        loop {
            let key_length = self.number()?;
            if key_length == END {
                return Ok(());
            }
            let value_length = self.number()? as usize;
            let (key, value) = self.take(key_length as usize + value_length)?.split_at(key_length as usize);
            visit(key, value)?;
        }
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next `length` bytes.
    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let left = self.buffer.len() - self.taken;
        if left < length {
            let missing = (length - left) as u64;
            if missing > self.end - self.offset {
                return Err(malformed("a snapshot whose rows are cut"));
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            let wanted = usize::try_from(missing).map_err(io::Error::other)?.max(gather(self.end - self.offset));
            let more = self.file.read(self.offset, wanted)?;
            self.offset += more.len() as u64;
            self.buffer.extend_from_slice(&more);
        }
        let from = self.taken;
        self.taken += length;
        self.buffer.get(from..self.taken).ok_or_else(|| malformed("a snapshot whose rows are cut"))
    }
}

fn gather(left: u64) -> usize {
    usize::try_from(left).map_or(GATHER_BYTES, |left| left.min(GATHER_BYTES))
}

fn damaged(file: &SnapshotFile, what: &str) -> io::Error {
    let text = format!("the snapshot {} that arrived is {what}; it will be asked for again", file.name());
    io::Error::new(io::ErrorKind::InvalidData, text)
}
