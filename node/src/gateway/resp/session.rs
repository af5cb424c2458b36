//! What one connection remembers: who it is, which namespace it works in, and what it has begun.

use super::{
    args::OwnedArgs,
    clients::Client,
    error::{self, Error},
    hub::{Hub, Topic},
    reply::Protocol,
};
use bytes::Bytes;
use sojourn_core::{
    Key, NamespaceId, Rules, Version,
    mint::MintKey,
    policy::{FieldsFormat, Namespace, Policy},
    region::{DEFAULT_NAMESPACE, RegionState},
};
use std::{collections::BTreeSet, sync::Arc};

/// The most commands of one `MULTI`.
pub const QUEUED_COMMANDS_MAX: usize = 65_536;

/// The most bytes of the commands of one `MULTI`.
pub const QUEUED_BYTES_MAX: usize = 64 << 20;

/// The most channels and patterns that one connection subscribes to.
pub const SUBSCRIPTIONS_MAX: usize = 16_384;

/// The most bytes of a client's name and what it says of itself.
pub const NAME_BYTES_MAX: usize = 256;

/// The namespace that a connection works in, with what the edge needs of its policy.
#[derive(Debug)]
pub struct Room {
    /// Its number.
    pub id: NamespaceId,
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// What decides writes to foreign ids.
    pub rules: Rules,
    /// What decides writes to ids that Sojourn minted.
    pub minted_rules: Rules,
    /// By which those are known.
    pub mint_key: MintKey,
    /// Whether values are JSON that the edge reads.
    pub json: bool,
}

impl Room {
    /// The room of `namespace` in a region that mints with `mint_key`.
    pub fn new(namespace: &Namespace, mint_key: &MintKey) -> Self {
        Self {
            id: namespace.id,
            name: namespace.name.clone(),
            policy: namespace.policy.clone(),
            rules: namespace.policy.rules(false),
            minted_rules: namespace.policy.rules(true),
            mint_key: mint_key.clone(),
            json: namespace.policy.fields == FieldsFormat::Json,
        }
    }

    /// The number that clients know it by.
    pub fn database(&self) -> u32 {
        self.policy.database.unwrap_or(0)
    }
}

/// Which replies a client wants (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None.
    Off,
    /// All but that of the next command.
    SkipNext,
}

/// Commands between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub struct Transaction {
    /// What to do.
    pub queue: Vec<OwnedArgs>,
    /// The bytes of all of them.
    pub bytes: usize,
    /// Whether a command was refused, so that `EXEC` must be too.
    pub broken: bool,
}

/// A connection's state.
pub struct Session {
    /// How others see it.
    pub client: Arc<Client>,
    /// Its namespace; none before it has authenticated.
    pub room: Option<Arc<Room>>,
    /// Namespaces that its password opened.
    pub granted: Vec<NamespaceId>,
    /// Its protocol.
    pub protocol: Protocol,
    /// Which replies it wants.
    pub reply_mode: ReplyMode,
    /// What `MULTI` began.
    pub transaction: Option<Box<Transaction>>,
    /// What `WATCH` saw.
    pub watched: Vec<(Key, Option<Version>)>,
    /// Channels, with the namespace in which they were subscribed to.
    pub channels: BTreeSet<(NamespaceId, Bytes)>,
    /// Patterns.
    pub patterns: BTreeSet<(NamespaceId, Bytes)>,
    /// Whether it sees every command.
    pub monitors: bool,
    /// Whether reads of sessions that other nodes lead are answered without `-MOVED` (`READONLY`).
    pub reads_anywhere: bool,
    /// Whether to close it when everything is answered.
    pub closing: bool,
    /// Whether it comes from the machine itself.
    pub from_loopback: bool,
    /// The region as it was when `room` was last looked up.
    region: Arc<RegionState>,
}

impl Session {
    /// The state of a new connection: in the default namespace if that is open to it.
    pub fn new(client: Arc<Client>, region: Arc<RegionState>) -> Self {
        let from_loopback = client.peer.ip().to_canonical().is_loopback();
        let mut session = Self {
            client,
            room: None,
            granted: Vec::new(),
            protocol: Protocol::Resp2,
            reply_mode: ReplyMode::On,
            transaction: None,
            watched: Vec::new(),
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            monitors: false,
            reads_anywhere: false,
            closing: false,
            from_loopback,
            region,
        };
        session.enter_default();
        session
    }

    /// Looks the namespace up anew if the region has changed.
    pub fn refresh(&mut self, region: &Arc<RegionState>) {
        if Arc::ptr_eq(&self.region, region) {
            return;
        }
        self.region = Arc::clone(region);
        match &self.room {
            None => self.enter_default(),
            Some(room) => match self.region.namespaces.get(&room.id) {
                Some(namespace) if self.may_enter(namespace) => {
                    self.room = Some(Arc::new(Room::new(namespace, &self.region.mint_key)));
                }
                Some(_) | None => self.room = None,
            },
        }
    }

    /// The region as this connection last saw it.
    pub fn region(&self) -> &Arc<RegionState> {
        &self.region
    }

    /// Whether this connection may work in a namespace: its password did, or it has none and the client is local.
    pub fn may_enter(&self, namespace: &Namespace) -> bool {
        self.granted.contains(&namespace.id) || namespace.policy.password_hash.is_empty() && self.from_loopback
    }

    /// Works in a namespace from now on.
    pub fn enter(&mut self, namespace: &Namespace) {
        let room = Arc::new(Room::new(namespace, &self.region.mint_key));
        let mut details = self.client.details.lock();
        details.database = room.database();
        details.user.clone_from(&room.name);
        drop(details);
        self.room = Some(room);
    }

    fn enter_default(&mut self) {
        let region = Arc::clone(&self.region);
        match region.namespaces.get(&DEFAULT_NAMESPACE) {
            Some(namespace) if self.may_enter(namespace) => self.enter(namespace),
            Some(_) | None => self.room = None,
        }
    }

    /// Works in the namespace that `SELECT number` names.
    ///
    /// # Errors
    /// There is none, or the password did not open it.
    pub fn select(&mut self, number: u32) -> Result<(), Error> {
        let region = Arc::clone(&self.region);
        let named = region.namespaces.values().find(|namespace| namespace.policy.database == Some(number));
        let current = self.room.as_ref().map(|room| (room.id, room.policy.database));
        match (named, current) {
            (Some(namespace), _) if self.may_enter(namespace) => self.enter(namespace),
            // A namespace without a number is 0 to those whom their password brought there.
            (_, Some((_, None))) if number == 0 => {}
            (Some(_), _) => return Err(OTHER_PASSWORD),
            (None, _) => return Err(error::BAD_DATABASE),
        }
        Ok(())
    }

    /// The namespace.
    ///
    /// # Errors
    /// `NOAUTH` before there is one.
    pub fn room(&self) -> Result<&Arc<Room>, Error> {
        self.room.as_ref().ok_or(error::NO_AUTH)
    }

    /// How many channels and patterns it is subscribed to.
    pub fn subscription_count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Whether only commands about subscriptions are answered: RESP2 cannot tell replies from messages.
    pub fn is_subscriber_only(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.subscription_count() > 0
    }

    /// Forgets what `MULTI` and `WATCH` began.
    pub fn end_transaction(&mut self) {
        self.transaction = None;
        self.watched.clear();
        self.client.details.lock().queued = None;
    }

    /// Ends all subscriptions and monitoring.
    pub fn leave(&mut self, hub: &Hub) {
        let id = self.client.id;
        for (namespace, name) in std::mem::take(&mut self.channels) {
            hub.unsubscribe(Topic::Channel, namespace, &name, id);
        }
        for (namespace, name) in std::mem::take(&mut self.patterns) {
            hub.unsubscribe(Topic::Pattern, namespace, &name, id);
        }
        if std::mem::take(&mut self.monitors) {
            hub.stop_monitor(id);
        }
        let mut details = self.client.details.lock();
        (details.channels, details.patterns, details.monitors) = (0, 0, false);
    }

    /// As if newly connected (`RESET`).
    pub fn reset(&mut self, hub: &Hub) {
        self.leave(hub);
        self.end_transaction();
        self.protocol = Protocol::Resp2;
        self.reply_mode = ReplyMode::On;
        self.reads_anywhere = false;
        self.granted.clear();
        let mut details = self.client.details.lock();
        (details.name, details.protocol, details.readonly) = (String::new(), Protocol::Resp2, false);
        drop(details);
        self.enter_default();
    }
}

const OTHER_PASSWORD: Error =
    Error::new("NOPERM the password of this connection does not open the namespace of this database number");
