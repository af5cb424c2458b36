//! A shard's sessions as entries are applied to them.

use super::batch;
use crate::{
    raft::{Applied, Frozen, Machine, Proposal, malformed},
    region::backend::Notice,
};
use parking_lot::RwLock;
use sojourn_core::{Answer, Effect, Key, Query, Record, RegionId, ShardId, Stamp, State, state::Meta};
use sojourn_proto::wire::{FORMAT_VERSION, Reader, Wire};
use std::{io, sync::Arc};
use tokio::sync::broadcast;

/// The sessions of one shard.
pub struct Sessions {
    shard: ShardId,
    state: RwLock<State>,
    notices: broadcast::Sender<Arc<Notice>>,
}

impl Sessions {
    /// An empty shard; what is applied is told to `notices`.
    pub fn new(shard: ShardId, region: RegionId, epoch: u32, notices: broadcast::Sender<Arc<Notice>>) -> Self {
        Self { shard, state: RwLock::new(State::new(region, epoch)), notices }
    }

    /// Answers a read at `now`, and the session that it hid because its deadline has passed without being logged.
    pub fn query(&self, now: Stamp, query: &Query) -> (Answer, Vec<Key>) {
        let (answer, hidden) = self.state.read().query(now, &|_, _| None, query);
        (answer, hidden.into_iter().collect())
    }

    /// The last stamp that was applied.
    pub fn last_stamp(&self) -> Stamp {
        self.state.read().last_stamp()
    }

    /// Sessions whose deadline has passed at `now`, at most `count_max`.
    pub fn due(&self, now: Stamp, count_max: usize) -> Vec<(Key, Arc<Record>)> {
        self.state.read().due(now, count_max)
    }

    /// The record under `key` as it is.
    pub fn record(&self, key: &Key) -> Option<Arc<Record>> {
        self.state.read().record(key).cloned()
    }

    fn tell(&self, index: u64, effects: Vec<Effect>) {
        if self.notices.receiver_count() == 0 {
            return;
        }
        for Effect { key, event, record } in effects {
            let notice = Notice::Changed { key, event, shard: self.shard, index, record };
            // Nobody may be listening any more.
            let _listeners = self.notices.send(Arc::new(notice));
        }
    }
}

impl Machine for Sessions {
    fn apply(&self, index: u64, proposal: &Proposal) -> Applied {
        let (stamp, commands) = match batch::decode(proposal) {
            Ok(decoded) => decoded,
            Err(error) => {
                // Applying a part would make this replica differ from the others.
                tracing::error!(%error, shard = self.shard.0, index, "cannot read a committed entry; stopping");
                std::process::abort();
            }
        };
        let mut effects = Vec::with_capacity(commands.len());
        let outcomes = {
            let mut state = self.state.write();
            commands.into_iter().map(|command| state.apply(stamp, command, &mut effects)).collect()
        };
        self.tell(index, effects);
        Applied::Sessions(outcomes)
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        let state = self.state.read();
        let records = state.records(None).map(|(key, record)| (key.clone(), record.clone())).collect();
        Box::new(FrozenSessions { meta: state.meta(), records })
    }

    fn restore(&self, source: &mut dyn io::Read) -> io::Result<()> {
        let mut version = [0];
        source.read_exact(&mut version)?;
        if version[0] != FORMAT_VERSION {
            return Err(malformed(&format!("a snapshot of format {}", version[0])));
        }
        let meta: Meta = take_sized(source)?.ok_or_else(|| malformed("a snapshot without a head"))?;
        let mut records = Vec::new();
        while let Some(record) = take_sized::<(Key, Record)>(source)? {
            records.push(record);
        }
        *self.state.write() = State::restore(meta, records);
        Ok(())
    }
}

struct FrozenSessions {
    meta: Meta,
    records: Vec<(Key, Arc<Record>)>,
}

impl Frozen for FrozenSessions {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(&[FORMAT_VERSION])?;
        let mut buffer = Vec::new();
        self.meta.put(&mut buffer);
        put_sized(out, &mut buffer)?;
        for (key, record) in &self.records {
            key.put(&mut buffer);
            Record::put(record, &mut buffer);
            put_sized(out, &mut buffer)?;
        }
        out.write_all(&END.to_le_bytes())
    }
}

/// Closes the list of records: no record is this long.
const END: u32 = u32::MAX;

fn put_sized(out: &mut dyn io::Write, buffer: &mut Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(buffer)?;
    buffer.clear();
    Ok(())
}

fn take_sized<T: Wire>(source: &mut dyn io::Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    source.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length == END {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = io::Read::read_to_end(&mut io::Read::take(source, u64::from(length)), &mut bytes)?;
    if read != length as usize {
        return Err(malformed("a cut snapshot"));
    }
    let mut reader = Reader::new(&bytes);
    let value = T::take(&mut reader).and_then(|value| reader.finish().map(|()| value));
    value.map(Some).map_err(|error| malformed(&error.to_string()))
}
