//! The nodes that a client may ask: connections, and which of them did not answer lately.

use crate::map::{Map, order};
use parking_lot::Mutex;
use sojourn_core::Slot;
use sojourn_proto::sessions::{MESSAGE_BYTES_MAX, v1, v1::sessions_client::SessionsClient};
use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};
use tonic::transport::{Channel, Endpoint};

/// How long a node that did not answer is asked last.
const DOWN_FOR: Duration = Duration::from_secs(1);

/// How old the map may get before it is asked for again.
const MAP_AGE_MAX: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Nodes {
    /// Where the application said that nodes are.
    given: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    map: Map,
    learned_at: Option<Instant>,
    /// Whether somebody is asking for the map.
    asking: bool,
    channels: HashMap<String, Channel>,
    down: HashMap<String, Instant>,
    turn: usize,
}

impl Nodes {
    /// Nodes of which nothing is known but that some are at `given`. The map is being asked for from the start.
    pub fn new(given: Vec<String>) -> Self {
        Self { given, state: Mutex::new(State { asking: true, ..State::default() }) }
    }

    /// Whom to ask for a session in `slot`, or for anything, in this order.
    pub fn order(&self, slot: Option<Slot>) -> Vec<String> {
        let mut state = self.state.lock();
        state.turn = state.turn.wrapping_add(1);
        let mut nodes: Vec<String> = state.map.addresses().map(str::to_owned).collect();
        let turn = state.turn.checked_rem(nodes.len()).unwrap_or(0);
        nodes.rotate_left(turn);
        // What the region does not list comes last.
        let unlisted: Vec<String> = self.given.iter().filter(|given| !nodes.contains(given)).cloned().collect();
        nodes.extend(unlisted);
        let leader = slot.and_then(|slot| state.map.leader(slot));
        order(leader, &nodes, |address| state.down.get(address).is_some_and(|at| at.elapsed() < DOWN_FOR))
    }

    /// The way to a node. Connects when it is first used; an address that is none fails like a node that is not there.
    pub fn client(&self, address: &str) -> Result<SessionsClient<Channel>, String> {
        let mut state = self.state.lock();
        let channel = match state.channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
                let channel = endpoint
                    .connect_timeout(CONNECT_TIMEOUT)
                    .tcp_nodelay(true)
                    .http2_keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_TIMEOUT)
                    .connect_lazy();
                state.channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        let client = SessionsClient::new(channel);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Notes that a node did not answer: it is asked last for a while, and the map is out of date.
    pub fn failed(&self, address: &str) {
        let mut state = self.state.lock();
        state.down.insert(address.to_owned(), Instant::now());
        state.learned_at = None;
    }

    /// Notes that a node answered.
    pub fn answered(&self, address: &str) {
        let mut state = self.state.lock();
        if !state.down.is_empty() {
            state.down.remove(address);
        }
    }

    /// Notes that a leader is not where the map says.
    pub fn is_outdated(&self) {
        self.state.lock().learned_at = None;
    }

    /// Whether the caller should ask for the map; it must tell [`Nodes::asked`] afterwards.
    pub fn should_ask(&self) -> bool {
        let mut state = self.state.lock();
        let is_old = state.learned_at.is_none_or(|at| at.elapsed() > MAP_AGE_MAX);
        is_old && !std::mem::replace(&mut state.asking, true)
    }

    /// Ends what [`Nodes::should_ask`] began.
    pub fn asked(&self) {
        self.state.lock().asking = false;
    }

    /// Takes over what a node said of the region.
    pub fn learn(&self, topology: &v1::TopologyResponse) {
        let mut state = self.state.lock();
        state.map.learn(topology);
        state.learned_at = Some(Instant::now());
        let known: BTreeSet<String> = state.map.addresses().map(str::to_owned).collect();
        state.channels.retain(|address, _| known.contains(address) || self.given.contains(address));
    }

    /// How many nodes there are to ask.
    pub fn count(&self) -> usize {
        self.state.lock().map.addresses().count().max(self.given.len())
    }
}
