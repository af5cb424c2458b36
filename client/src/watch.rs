//! Watching: a stream of changes that goes on at another node where one fails, and says so when something was missed.

use crate::{
    Client, Error, Owner, SessionId, Version,
    client::unavailable,
    error::Tried,
    retry::{Step, Trouble},
};
use bytes::Bytes;
use sojourn_proto::sessions::v1;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tonic::Streaming;

/// How often a node gives a sign of life, and for how long it may be silent.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The watch has begun: what is written from now on is told. Read what you keep now, not earlier.
    Started,
    /// A session changed. Changes of one session come in their order, each once unless the watch lagged.
    Changed(Change),
    /// Changes were missed, since the application or the connection was too slow: read again what you keep.
    Lagged,
}

/// A change of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which session.
    pub id: SessionId,
    /// What happened.
    pub kind: ChangeKind,
    /// Its version after it.
    pub version: Version,
    /// When it ends or did, in ms since the Unix epoch.
    pub deadline_ms: u64,
    /// Whose it is; `None` once it was destroyed.
    pub owner: Option<Owner>,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// Created or written.
    Written,
    /// Its deadline was moved.
    Touched,
    /// Destroyed or revoked.
    Destroyed,
    /// Expired.
    Expired,
    /// Lives under another id.
    RenamedAway,
    /// Lives under this id.
    RenamedTo,
    /// Something that this version of the crate does not know.
    Other,
}

/// Changes as they come.
pub struct Changes {
    client: Client,
    ids: Vec<Bytes>,
    token: Bytes,
    events: VecDeque<Event>,
    stream: Option<(String, Streaming<v1::WatchResponse>)>,
    started: bool,
}

impl Changes {
    pub(crate) fn new(client: Client, ids: Vec<Bytes>) -> Self {
        Self { client, ids, token: Bytes::new(), events: VecDeque::new(), stream: None, started: false }
    }

    /// Goes on where a watch of the same sessions was, see [`Changes::token`].
    #[must_use]
    pub fn resume(mut self, token: Bytes) -> Self {
        self.token = token;
        self
    }

    /// Where to go on after the message whose events were last begun.
    pub fn token(&self) -> &Bytes {
        &self.token
    }

    /// Waits for the next event. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// No node took the watch for as long as a call may take; calling again tries on. Also what every call may meet.
    pub async fn next(&mut self) -> Result<Event, Error> {
        let mut silent_since = Instant::now();
        let mut tries = 0;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let (trouble, text) = match self.hear().await {
                Ok(()) => {
                    (silent_since, tries) = (Instant::now(), 0);
                    continue;
                }
                Err(Tried::Final(error, _)) => return Err(error),
                Err(Tried::Trouble(trouble, text)) => (trouble, text),
            };
            tries += 1;
            let left = self.client.deadline().saturating_sub(silent_since.elapsed());
            match self.client.retry().step(tries, self.client.nodes().count(), trouble, left, rand::random()) {
                Step::Again { after } => tokio::time::sleep(after).await,
                Step::GiveUp => return Err(unavailable(self.client.deadline(), tries, text)),
            }
        }
    }

    /// Takes the next message, connecting first if need be.
    async fn hear(&mut self) -> Result<(), Tried> {
        if self.stream.is_none() {
            self.stream = Some(self.open().await?);
        }
        // Kept in place, so that cancelling loses nothing.
        let Some((address, stream)) = &mut self.stream else { return Ok(()) };
        let (tried, address) = match tokio::time::timeout(SILENCE_MAX, stream.message()).await {
            Ok(Ok(Some(message))) => {
                self.take(message);
                return Ok(());
            }
            Ok(Ok(None)) => (unreachable("the watch ended"), address.clone()),
            Ok(Err(status)) => (Tried::of(&status), address.clone()),
            Err(_) => (unreachable("no sign of life came"), address.clone()),
        };
        self.stream = None;
        self.client.nodes().failed(&address);
        Err(tried)
    }

    fn take(&mut self, message: v1::WatchResponse) {
        let v1::WatchResponse { changes, lagged, resume_token } = message;
        if !std::mem::replace(&mut self.started, true) {
            self.events.push_back(Event::Started);
        }
        if lagged {
            self.events.push_back(Event::Lagged);
        }
        self.events.extend(changes.into_iter().map(|change| Event::Changed(change.into())));
        self.token = resume_token;
    }

    async fn open(&self) -> Result<(String, Streaming<v1::WatchResponse>), Tried> {
        let nodes = self.client.nodes();
        self.client.refresh_if_old();
        let address = nodes.order(None).into_iter().next().ok_or_else(|| unreachable("there is no node to ask"))?;
        let mut client = nodes.client(&address).map_err(|text| unreachable(&text))?;
        let keep_alive_ms = u32::try_from(KEEP_ALIVE.as_millis()).unwrap_or(u32::MAX);
        let message = v1::WatchRequest { ids: self.ids.clone(), resume_token: self.token.clone(), keep_alive_ms };
        let opened = client.watch(self.client.request(message));
        match tokio::time::timeout(self.client.retry().try_time, opened).await {
            Ok(Ok(response)) => Ok((address, response.into_inner())),
            Ok(Err(status)) => {
                nodes.failed(&address);
                Err(Tried::of(&status))
            }
            Err(_) => {
                nodes.failed(&address);
                Err(unreachable("no answer in time"))
            }
        }
    }
}

fn unreachable(text: &str) -> Tried {
    Tried::Trouble(Trouble::Unreachable, text.to_owned())
}

impl From<v1::Change> for Change {
    fn from(change: v1::Change) -> Self {
        let kind = match change.kind() {
            v1::ChangeKind::Written => ChangeKind::Written,
            v1::ChangeKind::Touched => ChangeKind::Touched,
            v1::ChangeKind::Destroyed => ChangeKind::Destroyed,
            v1::ChangeKind::Expired => ChangeKind::Expired,
            v1::ChangeKind::RenamedAway => ChangeKind::RenamedAway,
            v1::ChangeKind::RenamedTo => ChangeKind::RenamedTo,
            v1::ChangeKind::Unspecified => ChangeKind::Other,
        };
        let v1::Change { id, kind: _, version, deadline_ms, owner } = change;
        let (version, owner) = (version.unwrap_or_default().into(), owner.map(Owner::from));
        Self { id: SessionId::from_wire(id), kind, version, deadline_ms, owner }
    }
}
