//! Fields that are on disk only: fetched before somebody needs them, let go of when memory is short.

use super::{Sessions, rows};
use crate::engine::Part;
use sojourn_core::{
    Answer, Command, Fields, Key, NamespaceId, Query, Record, Stamp, State, query::Filter, state::ColdSession,
};
use std::{io, sync::Arc};
use tokio::sync::RwLock;

/// A shard's part of the engine, and the lock that keeps it from being replaced while it is read.
pub(super) struct Shelf {
    pub part: Part,
    pub replaced: RwLock<()>,
}

/// Records that one round looks at to find fields to let go of: it holds up the shard for less than a millisecond.
const LOOKS_MAX: usize = 2_048;

impl Shelf {
    /// A shelf over `part`.
    pub fn new(part: Part) -> Self {
        Self { part, replaced: RwLock::default() }
    }

    /// Lets go of fields if the node holds more than it may.
    pub fn make_room(&self, state: &mut State) {
        let excess = self.part.memory().report(state.hot_bytes());
        if excess > 0 {
            state.cool(excess, LOOKS_MAX);
            self.part.memory().report(state.hot_bytes());
        }
    }
}

impl Sessions {
    /// Answers a read at `now`, and the session that it hid because its deadline has passed without being logged.
    ///
    /// # Errors
    /// The engine does not give back what it has.
    pub async fn query(&self, now: Stamp, query: &Query) -> io::Result<(Answer, Option<Key>)> {
        if let Query::Count { namespace, filter } = query
            && *filter != Filter::default()
        {
            return Ok((self.count(now, *namespace, filter).await, None));
        }
        if let Query::Slots { .. } = query {
            return Ok((self.slots(now, query).await?, None));
        }
        loop {
            let cold = {
                let known = self.touches.known();
                let state = self.state.read();
                let cold = state.cold_for_queries([query]);
                if cold.is_empty() {
                    return Ok(state.query(now, &|key, record| known.deadline(now, key, record), query));
                }
                cold
            };
            let _as_it_is = self.shelf.replaced.read().await;
            let fetched = self.fetch(&cold).await?;
            let known = self.touches.known();
            let mut state = self.state.write();
            warm(&mut state, &cold, fetched)?;
            // Answered before room is made: for one session at a time there always is some.
            let answer = state
                .cold_for_queries([query])
                .is_empty()
                .then(|| state.query(now, &|key, record| known.deadline(now, key, record), query));
            self.shelf.make_room(&mut state);
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
    }

    /// What there is of slots that are on their way, with all fields.
    async fn slots(&self, now: Stamp, query: &Query) -> io::Result<Answer> {
        let answer = self.state.read().query(now, &|_, _| None, query).0;
        let Answer::Slots(mut page) = answer else { return Ok(answer) };
        for (key, record) in std::mem::take(&mut page.records) {
            let record =
                if record.is_cold() { self.whole(&key).await?.map(Arc::unwrap_or_clone) } else { Some(record) };
            page.records.extend(record.map(|record| (key, record)));
        }
        Ok(Answer::Slots(page))
    }

    /// Counts page by page, so that writes need not wait for all of it.
    async fn count(&self, now: Stamp, namespace: NamespaceId, filter: &Filter) -> Answer {
        let (mut sessions, mut bytes, mut from) = (0, 0, None);
        loop {
            let (counted, next) = {
                let known = self.touches.known();
                let touched = |key: &Key, record: &Record| known.deadline(now, key, record);
                self.state.read().count_page(now, &touched, namespace, filter, from)
            };
            sessions += counted.sessions;
            bytes += counted.bytes;
            if next.is_none() {
                return Answer::Total { sessions, bytes };
            }
            from = next;
            tokio::task::yield_now().await;
        }
    }

    /// Fetches what `commands` need and memory does not hold. It stays in memory until they are applied, whatever the bound:
    /// what an entry needs is always admitted.
    pub(super) async fn fetch_for(&self, commands: &[Command]) -> io::Result<()> {
        let cold = self.state.read().cold_for_commands(commands);
        if cold.is_empty() {
            return Ok(());
        }
        let _as_it_is = self.shelf.replaced.read().await;
        let fetched = self.fetch(&cold).await?;
        let mut state = self.state.write();
        warm(&mut state, &cold, fetched)?;
        state.hold(cold.into_iter().map(|session| session.key));
        Ok(())
    }

    pub(super) async fn fetch(&self, cold: &[ColdSession]) -> io::Result<Vec<Option<Fields>>> {
        let keys = cold.iter().map(|session| rows::fields_key(&session.key)).collect();
        let found = self.shelf.part.read(keys).await?;
        found.into_iter().map(|value| value.map(|value| rows::fields_of(&value)).transpose()).collect()
    }
}

fn warm(state: &mut State, cold: &[ColdSession], fetched: Vec<Option<Fields>>) -> io::Result<()> {
    for (session, fields) in cold.iter().zip(fetched) {
        match fields {
            Some(fields) => state.warm(session, fields),
            None if state.is_still(session) => return Err(lost()),
            None => {}
        }
    }
    Ok(())
}

pub(super) fn lost() -> io::Error {
    let text = "the engine lacks the fields of a session that it should have; stop the node, remove it from the region with \
                `sojourn cluster remove-node`, and let it join again with an empty data directory";
    io::Error::new(io::ErrorKind::InvalidData, text)
}
