//! Publish and subscribe: hears what the region tells and hands it to the connections that asked.
//!
//! One task per node listens to the region, and only while somebody is subscribed; a connection never looks at a change
//! that it did not subscribe to. Channels belong to a namespace: one application does not hear another.

use super::{
    clients::{Client, Push},
    events::{self, Classes},
};
use crate::region::backend::{Backend, Notice};
use bytes::Bytes;
use parking_lot::Mutex;
use sojourn_core::{NamespaceId, glob, region::RegionState};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::sync::broadcast::{self, error::RecvError};

type Subscribers = BTreeMap<u64, Arc<Client>>;

/// Subscriptions of all connections of an endpoint.
#[derive(Default)]
pub struct Hub {
    subscriptions: Mutex<Subscriptions>,
    monitors: Mutex<Subscribers>,
    monitor_count: AtomicUsize,
}

#[derive(Default)]
struct Subscriptions {
    channels: HashMap<(NamespaceId, Bytes), Subscribers>,
    patterns: BTreeMap<(NamespaceId, Bytes), Subscribers>,
    classes: HashMap<NamespaceId, Classes>,
    listening: bool,
}

/// What is subscribed to: a channel or a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Exactly this channel.
    Channel,
    /// All channels that match.
    Pattern,
}

impl Hub {
    /// Subscribes `client`. From now on it hears everything.
    pub fn subscribe(
        self: &Arc<Self>,
        backend: &Arc<dyn Backend>,
        topic: Topic,
        namespace: NamespaceId,
        name: Bytes,
        client: &Arc<Client>,
    ) {
        let mut subscriptions = self.subscriptions.lock();
        let key = (namespace, name);
        let subscribers = match topic {
            Topic::Channel => subscriptions.channels.entry(key).or_default(),
            Topic::Pattern => subscriptions.patterns.entry(key).or_default(),
        };
        subscribers.insert(client.id, Arc::clone(client));
        if !subscriptions.listening {
            subscriptions.listening = true;
            tokio::spawn(listen(Arc::clone(self), Arc::clone(backend), backend.subscribe()));
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, topic: Topic, namespace: NamespaceId, name: &Bytes, client: u64) {
        let mut subscriptions = self.subscriptions.lock();
        let key = (namespace, name.clone());
        match topic {
            Topic::Channel => leave_channel(&mut subscriptions.channels, key, client),
            Topic::Pattern => {
                if let Some(subscribers) = subscriptions.patterns.get_mut(&key) {
                    subscribers.remove(&client);
                    if subscribers.is_empty() {
                        subscriptions.patterns.remove(&key);
                    }
                }
            }
        }
    }

    /// Which events are told in a namespace.
    pub fn classes(&self, namespace: NamespaceId) -> Classes {
        self.subscriptions.lock().classes.get(&namespace).copied().unwrap_or_default()
    }

    /// Changes which events this node tells in a namespace.
    pub fn set_classes(&self, namespace: NamespaceId, classes: Classes) {
        self.subscriptions.lock().classes.insert(namespace, classes);
    }

    /// How many of this node's connections would get a message on `channel`.
    pub fn receivers(&self, namespace: NamespaceId, channel: &[u8]) -> usize {
        let subscriptions = self.subscriptions.lock();
        let key = (namespace, Bytes::copy_from_slice(channel));
        let exact = subscriptions.channels.get(&key).map_or(0, BTreeMap::len);
        let matching = subscriptions.patterns.iter();
        let matching = matching.filter(|((of, pattern), _)| *of == namespace && glob::matches(pattern, channel));
        exact + matching.map(|(_, subscribers)| subscribers.len()).sum::<usize>()
    }

    /// Channels of a namespace that somebody subscribed to, and how many did.
    pub fn channels(&self, namespace: NamespaceId) -> BTreeMap<Bytes, usize> {
        let subscriptions = self.subscriptions.lock();
        let channels = subscriptions.channels.iter().filter(|((of, _), _)| *of == namespace);
        channels.map(|((_, channel), subscribers)| (channel.clone(), subscribers.len())).collect()
    }

    /// How many patterns of a namespace somebody subscribed to.
    pub fn pattern_count(&self, namespace: NamespaceId) -> usize {
        self.subscriptions.lock().patterns.keys().filter(|(of, _)| *of == namespace).count()
    }

    /// Lets `client` see every command of this endpoint.
    pub fn monitor(&self, client: &Arc<Client>) {
        let mut monitors = self.monitors.lock();
        monitors.insert(client.id, Arc::clone(client));
        self.monitor_count.store(monitors.len(), Relaxed);
    }

    /// Ends that.
    pub fn stop_monitor(&self, client: u64) {
        let mut monitors = self.monitors.lock();
        monitors.remove(&client);
        self.monitor_count.store(monitors.len(), Relaxed);
    }

    /// Whether anybody monitors. Costs nothing to ask.
    pub fn is_monitored(&self) -> bool {
        self.monitor_count.load(Relaxed) > 0
    }

    /// Tells the monitors of a command.
    pub fn tell_monitors(&self, line: &Bytes) {
        let push = Arc::new(Push::Monitored(line.clone()));
        for client in self.monitors.lock().values() {
            client.push(&push);
        }
    }

    fn deliver(&self, namespace: NamespaceId, channel: &Bytes, message: &Bytes) {
        let subscriptions = self.subscriptions.lock();
        if let Some(subscribers) = subscriptions.channels.get(&(namespace, channel.clone())) {
            let push = Arc::new(Push::Message { channel: channel.clone(), message: message.clone() });
            for client in subscribers.values() {
                client.push(&push);
            }
        }
        for ((of, pattern), subscribers) in &subscriptions.patterns {
            if *of != namespace || !glob::matches(pattern, channel) {
                continue;
            }
            let (pattern, channel, message) = (pattern.clone(), channel.clone(), message.clone());
            let push = Arc::new(Push::Matched { pattern, channel, message });
            for client in subscribers.values() {
                client.push(&push);
            }
        }
    }

    fn handle(&self, notice: &Notice, region: &RegionState) {
        match notice {
            Notice::Skipped { shard } => {
                tracing::warn!(shard = shard.0, "subscribers of this node missed messages: it took over a snapshot");
            }
            Notice::Published { namespace, channel, message } => self.deliver(*namespace, channel, message),
            Notice::Changed { key, event, record, .. } => {
                let namespace = key.namespace();
                let database = region.namespaces.get(&namespace).and_then(|known| known.policy.database);
                let (name, class) = events::name_and_class(*event, record.kind);
                self.tell_event(namespace, database.unwrap_or(0), key.id(), name, class);
            }
        }
    }

    fn tell_event(&self, namespace: NamespaceId, database: u32, id: &[u8], name: &'static str, class: char) {
        let classes = self.classes(namespace);
        if classes.tells_keyspace(class) {
            let channel = [format!("__keyspace@{database}__:").as_bytes(), id].concat();
            self.deliver(namespace, &Bytes::from(channel), &Bytes::from_static(name.as_bytes()));
        }
        if classes.tells_keyevent(class) {
            let channel = format!("__keyevent@{database}__:{name}");
            self.deliver(namespace, &Bytes::from(channel), &Bytes::copy_from_slice(id));
        }
    }

    /// Whether to go on listening; if not, the next subscription starts anew.
    fn is_wanted(&self) -> bool {
        let mut subscriptions = self.subscriptions.lock();
        subscriptions.listening = !subscriptions.channels.is_empty() || !subscriptions.patterns.is_empty();
        subscriptions.listening
    }

    fn give_up(&self) {
        self.subscriptions.lock().listening = false;
    }
}

fn leave_channel(channels: &mut HashMap<(NamespaceId, Bytes), Subscribers>, key: (NamespaceId, Bytes), client: u64) {
    if let Some(subscribers) = channels.get_mut(&key) {
        subscribers.remove(&client);
        if subscribers.is_empty() {
            channels.remove(&key);
        }
    }
}

async fn listen(hub: Arc<Hub>, backend: Arc<dyn Backend>, mut notices: broadcast::Receiver<Arc<Notice>>) {
    while hub.is_wanted() {
        match notices.recv().await {
            Ok(notice) => hub.handle(&notice, &backend.region()),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "subscribers of this node missed messages: more changed than it could tell");
            }
            Err(RecvError::Closed) => return hub.give_up(),
        }
    }
}
