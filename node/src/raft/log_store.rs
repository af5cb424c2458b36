//! openraft's log storage over one group of the node's shared log.

use super::{
    network::{decode, encode},
    types::{LogEntry, LogId, Types, Vote, decode_entry, encode_entry},
};
use crate::log::{GroupLog, LogEntry as StoredEntry};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
};
use tokio::sync::oneshot;

/// Entries read for one message to a follower, in bytes, unless a single one is larger.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log of one Raft group.
#[derive(Clone)]
pub struct LogStore {
    log: GroupLog,
}

impl LogStore {
    /// Storage over `log`.
    pub fn new(log: GroupLog) -> Self {
        Self { log }
    }

    fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.log.read(from, to_exclusive, bytes_max)?.iter().map(|entry| decode_entry(&entry.bytes)).collect()
    }
}

/// Waits for a `done` callback of the log.
async fn durable(start: impl FnOnce(crate::log::Done)) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    start(Box::new(move |result| {
        // Nobody waits any more when the group was shut down meanwhile.
        let _gone = sender.send(result);
    }));
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log was closed")))
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<LogEntry>, io::Error> {
        let state = self.log.state();
        let (Some(first), Some(last)) = (state.first_index, state.last_index) else { return Ok(Vec::new()) };
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to_exclusive = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        let (mut from, to_exclusive) = (from.max(first), to_exclusive.min(last + 1));
        let mut entries = Vec::new();
        while from < to_exclusive {
            let some = self.read(from, to_exclusive, READ_BYTES_MAX)?;
            if some.is_empty() {
                return Err(io::Error::other(format!("the log lacks entry {from} although it ends at {last}")));
            }
            from += some.len() as u64;
            entries.extend(some);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.log.vote().map(|vote| decode(&vote)).transpose()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.log.state();
        let last_purged_log_id: Option<LogId> = state.purged.as_ref().map(|(_, id)| decode(id)).transpose()?;
        let last_log_id = match state.last_index {
            Some(last) => self.read(last, last + 1, READ_BYTES_MAX)?.pop().map(|entry| entry.log_id),
            None => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let bytes = encode(vote)?.into();
        durable(|done| self.log.save_vote(bytes, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.log.save_committed(encode(&committed)?.into());
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        match &self.log.state().committed {
            Some(bytes) => decode(bytes),
            None => Ok(None),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let stored: io::Result<Vec<StoredEntry>> = entries
            .into_iter()
            .map(|entry| Ok(StoredEntry { index: entry.log_id.index, bytes: encode_entry(&entry)? }))
            .collect();
        self.log.append(stored?, Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        durable(|done| self.log.truncate_after(last_log_id.map(|id| id.index), done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.log.purge(log_id.index, encode(&log_id)?.into());
        Ok(())
    }
}
