//! Who is connected: what `CLIENT LIST` shows, and the way to reach a connection from outside.

use super::reply::Protocol;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};
use tokio::{sync::mpsc, task::AbortHandle};

/// The most bytes of messages that may wait for a subscriber; beyond it the connection is cut.
pub const UNREAD_BYTES_MAX: usize = 64 << 20;

/// Something that reaches a connection from elsewhere than its client.
#[derive(Clone, Debug)]
pub enum Push {
    /// A message on a channel it subscribed to.
    Message {
        /// The channel.
        channel: Bytes,
        /// What was said.
        message: Bytes,
    },
    /// A message on a channel that matches a pattern it subscribed to.
    Matched {
        /// The pattern.
        pattern: Bytes,
        /// The channel.
        channel: Bytes,
        /// What was said.
        message: Bytes,
    },
    /// A line of `MONITOR`.
    Monitored(Bytes),
    /// The node stops: finish what was asked and close.
    Stop,
}

impl Push {
    fn bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 64;
        OVERHEAD_BYTES
            + match self {
                Self::Message { channel, message } => channel.len() + message.len(),
                Self::Matched { pattern, channel, message } => pattern.len() + channel.len() + message.len(),
                Self::Monitored(line) => line.len(),
                Self::Stop => 0,
            }
    }
}

/// One connection, as others see it.
#[derive(Debug)]
pub struct Client {
    /// Counts from 1 on each node.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it came in.
    pub local: SocketAddr,
    /// When.
    pub connected: Instant,
    /// Milliseconds from `connected` to its last request.
    pub used_ms: AtomicU64,
    /// The index of its last command.
    pub command: AtomicU16,
    /// What changes rarely.
    pub details: Mutex<Details>,
    inbox: mpsc::UnboundedSender<Arc<Push>>,
    waiting_bytes: AtomicUsize,
    cut: AtomicBool,
    task: OnceLock<AbortHandle>,
}

/// What a client says of itself, and what it is doing.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
    /// The number that it knows its namespace by.
    pub database: u32,
    /// The namespace's name.
    pub user: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Channels that it subscribed to.
    pub channels: usize,
    /// Patterns that it subscribed to.
    pub patterns: usize,
    /// Commands that wait in its `MULTI`.
    pub queued: Option<usize>,
    /// Whether it monitors.
    pub monitors: bool,
    /// Whether it asked to read from replicas.
    pub readonly: bool,
}

impl Client {
    /// A client and the inbox of its connection.
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr) -> (Arc<Self>, mpsc::UnboundedReceiver<Arc<Push>>) {
        let (inbox, receiver) = mpsc::unbounded_channel();
        let client = Self {
            id,
            peer,
            local,
            connected: Instant::now(),
            used_ms: AtomicU64::new(0),
            command: AtomicU16::new(u16::MAX),
            details: Mutex::default(),
            inbox,
            waiting_bytes: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
            task: OnceLock::new(),
        };
        (Arc::new(client), receiver)
    }

    /// Sends to the connection; one that reads too slowly is cut. Returns whether it was taken.
    pub fn push(&self, push: &Arc<Push>) -> bool {
        let bytes = push.bytes();
        if self.waiting_bytes.fetch_add(bytes, Relaxed) + bytes > UNREAD_BYTES_MAX {
            if !self.cut.swap(true, Relaxed) {
                tracing::warn!(client = self.id, peer = %self.peer, unread_bytes_max = UNREAD_BYTES_MAX,
                    "cutting a subscriber that does not read what it subscribed to");
                self.kill();
            }
            return false;
        }
        self.inbox.send(Arc::clone(push)).is_ok()
    }

    /// Tells that the connection took `push` off its inbox.
    pub fn taken(&self, push: &Push) {
        self.waiting_bytes.fetch_sub(push.bytes(), Relaxed);
    }

    /// Lets [`Client::kill`] end this task.
    pub fn runs_in(&self, task: AbortHandle) {
        // Set once, by whoever spawned the connection.
        let _ = self.task.set(task);
    }

    /// Closes the connection at once.
    pub fn kill(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Notes a request.
    pub fn note_use(&self, now: Instant, command: usize) {
        let since = now.saturating_duration_since(self.connected);
        self.used_ms.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Relaxed);
        self.command.store(u16::try_from(command).unwrap_or(u16::MAX), Relaxed);
    }

    /// One line of `CLIENT LIST`, without a line break.
    pub fn line(&self) -> String {
        let details = self.details.lock().clone();
        let age = self.connected.elapsed();
        let idle_ms = (age.as_millis() as u64).saturating_sub(self.used_ms.load(Relaxed));
        let command = super::commands::name(usize::from(self.command.load(Relaxed))).unwrap_or("NULL");
        let mut flags = String::new();
        for (set, letter) in [
            (details.monitors, 'O'),
            (details.channels + details.patterns > 0, 'P'),
            (details.queued.is_some(), 'x'),
            (details.readonly, 'r'),
        ] {
            flags.extend(set.then_some(letter));
        }
        if flags.is_empty() {
            flags.push('N');
        }
        format!(
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={flags} db={} sub={} psub={} ssub=0 multi={} \
             qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={} tot-mem=0 events=r cmd={command} \
             user={} redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.peer,
            self.local,
            details.name,
            age.as_secs(),
            idle_ms / 1000,
            details.database,
            details.channels,
            details.patterns,
            details.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX)),
            self.waiting_bytes.load(Relaxed),
            details.user,
            details.protocol.number(),
            details.library,
            details.library_version,
        )
    }
}

/// All connections of an endpoint.
#[derive(Debug, Default)]
pub struct Clients {
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
    next_id: AtomicU64,
}

impl Clients {
    /// A number for the next connection.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed) + 1
    }

    /// Adds a connection; it is taken off when the guard is dropped.
    pub fn add(self: &Arc<Self>, client: Arc<Client>) -> Connected {
        let id = client.id;
        self.all.lock().insert(id, client);
        Connected { clients: Arc::clone(self), id }
    }

    /// All, oldest first.
    pub fn list(&self) -> Vec<Arc<Client>> {
        self.all.lock().values().cloned().collect()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Stands for a connection in [`Clients`].
#[derive(Debug)]
pub struct Connected {
    clients: Arc<Clients>,
    id: u64,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.clients.all.lock().remove(&self.id);
    }
}
