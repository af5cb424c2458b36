//! The simulated network: frames are delayed, lost and held back by seed, and connections can be cut one way.

use super::{Enquiry, FRAMES_IN_FLIGHT_MAX, Inbound, Lane, Network, NoAnswer, Receiver};
use crate::raft::{Life, simulated_u64, spawn};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sojourn_core::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

/// How a simulated network treats frames.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The shortest way, in microseconds.
    pub delay_us_min: u64,
    /// The longest, most of the time.
    pub delay_us_max: u64,
    /// One frame in so many breaks its connection and is lost; 0 for none.
    pub lose_one_in: u64,
    /// One frame in so many takes twenty times as long; 0 for none. Frames of one lane stay in order.
    pub stall_one_in: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self { delay_us_min: 50, delay_us_max: 500, lose_one_in: 0, stall_one_in: 0 }
    }
}

#[derive(Default)]
struct State {
    is_far: bool,
    weather: Weather,
    receivers: BTreeMap<NodeId, Arc<dyn Receiver>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    hushed: BTreeSet<(NodeId, NodeId)>,
    /// Ways by where they go, and who hears of it when that node ends.
    ways: Vec<(NodeId, Weak<Notify>)>,
}

/// How long frames wait on a way that is silent before their connection breaks.
const SILENT_MAX: Duration = Duration::from_secs(6);

/// How many frames a long way holds.
const FRAMES_ON_FAR_WAY_MAX: usize = 64;

/// How often they look whether it is mended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A network that all nodes of a simulation share. Cheap to clone.
#[derive(Clone, Default)]
pub struct SimulatedNetwork {
    state: Arc<Mutex<State>>,
}

impl SimulatedNetwork {
    /// One whose ways are long: what is sent meanwhile is on its way, too, instead of waiting for what was sent before to arrive.
    pub fn far() -> Self {
        let network = Self::default();
        network.state.lock().is_far = true;
        network
    }

    /// The network as one node sees it.
    pub fn node(&self, node: NodeId) -> SimulatedNode {
        SimulatedNode { network: self.clone(), node }
    }

    /// Frames for `node` go to `receiver` from now on; `None` while it is down. Connections end with their process, also those on
    /// which nothing is sent.
    pub fn attach(&self, node: NodeId, receiver: Option<Arc<dyn Receiver>>) {
        let mut state = self.state.lock();
        match receiver {
            Some(receiver) => {
                state.receivers.insert(node, receiver);
            }
            None => {
                state.receivers.remove(&node);
                state.ways.retain(|(_, ended)| ended.strong_count() > 0);
                let ways = state.ways.iter().filter(|(to, _)| *to == node);
                ways.filter_map(|(_, ended)| ended.upgrade()).for_each(|ended| ended.notify_one());
            }
        }
    }

    /// Cuts or mends the way from one node to another; the way back is its own.
    pub fn cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let mut state = self.state.lock();
        if cut {
            state.cut.insert((from, to))
        } else {
            state.cut.remove(&(from, to))
        };
    }

    /// Cuts or mends a way so that nobody is told: frames wait, and arrive late if it is mended in time.
    pub fn hush(&self, from: NodeId, to: NodeId, hushed: bool) {
        let mut state = self.state.lock();
        if hushed {
            state.hushed.insert((from, to))
        } else {
            state.hushed.remove(&(from, to))
        };
    }

    /// Mends all ways.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.hushed.clear();
    }

    /// Waits as long as a way is silent; whether it was mended in time.
    async fn speaks(&self, from: NodeId, to: NodeId) -> bool {
        let waiting = async {
            while self.state.lock().hushed.contains(&(from, to)) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(SILENT_MAX, waiting).await.is_ok()
    }

    /// Changes how frames are treated.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// How long the next frame takes; `None` if it is lost.
    fn fate(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        let state = self.state.lock();
        let Weather { delay_us_min, delay_us_max, lose_one_in, stall_one_in } = state.weather;
        let one_in = |chance: u64| chance != 0 && simulated_u64().unwrap_or(1).is_multiple_of(chance);
        if state.cut.contains(&(from, to)) || one_in(lose_one_in) {
            return None;
        }
        let spread = delay_us_max.saturating_sub(delay_us_min) + 1;
        let delay_us = delay_us_min + simulated_u64().unwrap_or(0) % spread;
        Some(Duration::from_micros(if one_in(stall_one_in) { delay_us * 20 } else { delay_us }))
    }

    fn receiver(&self, from: NodeId, to: NodeId) -> Option<Arc<dyn Receiver>> {
        let state = self.state.lock();
        if state.cut.contains(&(from, to)) { None } else { state.receivers.get(&to).cloned() }
    }
}

/// A receiver whose work is done on a node's life: later while the node is stopped, never once it has ended.
pub struct Living {
    /// The node.
    pub life: Life,
    /// What takes arrivals there.
    pub receiver: Arc<dyn Receiver>,
}

impl Receiver for Living {
    fn receive(&self, inbound: Inbound) {
        let receiver = self.receiver.clone();
        self.life.enter(move || receiver.receive(inbound));
    }

    fn asked(&self, question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
        let receiver = self.receiver.clone();
        // Nobody answers for a node that has ended.
        let answer = self.life.spawn(async move { receiver.asked(question).await });
        Box::pin(async move { answer.await.ok().flatten() })
    }
}

/// A way from one node to another.
struct Way {
    network: SimulatedNetwork,
    from: NodeId,
    to: NodeId,
    lane: Lane,
    /// Of the node that sends.
    receiver: Arc<dyn Receiver>,
    /// The node at the other end has ended.
    ended: Arc<Notify>,
}

/// What a way carries next.
enum Next {
    Frame(Bytes),
    /// The connection ends.
    End,
}

impl Way {
    /// What is next; none once nobody sends any more.
    async fn next(&self, frames: &mut mpsc::Receiver<Bytes>) -> Option<Next> {
        tokio::select! {
            biased;
            () = self.ended.notified() => Some(Next::End),
            frame = frames.recv() => frame.map(Next::Frame),
        }
    }

    /// When a frame arrives that leaves now; none if it is lost.
    fn due(&self) -> Option<Instant> {
        self.network.fate(self.from, self.to).map(|delay| Instant::now() + delay)
    }

    async fn deliver(&self, due: Option<Instant>, next: Next) {
        let Self { network, from, to, lane, receiver, ended: _ } = self;
        let arrived = match due {
            None => None,
            Some(due) => {
                tokio::time::sleep_until(due).await;
                if network.speaks(*from, *to).await { network.receiver(*from, *to) } else { None }
            }
        };
        match (next, arrived) {
            (Next::Frame(bytes), Some(there)) => there.receive(Inbound::Frame { from: *from, lane: *lane, bytes }),
            (Next::Frame(_), None) | (Next::End, _) => receiver.receive(Inbound::Lost { to: *to, lane: *lane }),
        }
    }

    /// Carries frames that are on their way at the same time; none arrives before an earlier one.
    async fn carry_together(self, mut frames: mpsc::Receiver<Bytes>) {
        let (departed, mut arriving) = mpsc::channel(FRAMES_ON_FAR_WAY_MAX);
        let departing = async {
            while let Some(next) = self.next(&mut frames).await {
                let due = self.due();
                // It is there as long as this is.
                let _arrives = departed.send((due, next)).await;
            }
            drop(departed);
        };
        let arriving = async {
            while let Some((due, next)) = arriving.recv().await {
                self.deliver(due, next).await;
            }
        };
        futures::future::join(departing, arriving).await;
    }
}

/// One node's side of a [`SimulatedNetwork`].
pub struct SimulatedNode {
    network: SimulatedNetwork,
    node: NodeId,
}

impl Network for SimulatedNode {
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes> {
        let (sender, mut frames) = mpsc::channel::<Bytes>(FRAMES_IN_FLIGHT_MAX);
        let ended = Arc::new(Notify::new());
        let is_far = {
            let mut state = self.network.state.lock();
            state.ways.push((peer, Arc::downgrade(&ended)));
            state.is_far
        };
        let way = Way { network: self.network.clone(), from: self.node, to: peer, lane, receiver, ended };
        drop(spawn(async move {
            if is_far {
                return way.carry_together(frames).await;
            }
            while let Some(next) = way.next(&mut frames).await {
                let due = way.due();
                way.deliver(due, next).await;
            }
        }));
        sender
    }

    fn ask(&self, peer: NodeId, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        Enquiry::ask(self, peer.0.to_string(), question)
    }
}

impl Enquiry for SimulatedNode {
    /// Asks the node whose number is the address.
    fn ask(&self, address: String, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        let (network, node) = (self.network.clone(), self.node);
        Box::pin(async move {
            let peer = address.parse().map(NodeId).ok();
            let asked = async {
                let peer = peer?;
                tokio::time::sleep(network.fate(node, peer)?).await;
                if !network.speaks(node, peer).await || !network.speaks(peer, node).await {
                    return None;
                }
                let answer = network.receiver(node, peer)?.asked(question).await?;
                tokio::time::sleep(network.fate(peer, node)?).await;
                Some(Bytes::from(answer))
            };
            asked.await.ok_or(NoAnswer { address, reason: "it is down or cut off".to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was told of lost connections.
    struct Ears(mpsc::UnboundedSender<(NodeId, Lane)>);

    impl Receiver for Ears {
        fn receive(&self, inbound: Inbound) {
            if let Inbound::Lost { to, lane } = inbound {
                self.0.send((to, lane)).unwrap();
            }
        }

        fn asked(&self, _question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
            Box::pin(std::future::ready(None))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_sent_ends_with_the_process_at_its_other_end() {
        for network in [SimulatedNetwork::default(), SimulatedNetwork::far()] {
            let (told, mut lost) = mpsc::unbounded_channel();
            let ears: Arc<dyn Receiver> = Arc::new(Ears(told));
            let [own, ends, stays] = [1, 2, 3].map(NodeId);
            for node in [own, ends, stays] {
                network.attach(node, Some(ears.clone()));
            }
            let _ways = [ends, stays].map(|peer| network.node(own).open(peer, Lane::Bulk, ears.clone()));
            network.attach(ends, None);
            let told = tokio::time::timeout(SILENT_MAX, lost.recv()).await;
            assert_eq!(told, Ok(Some((ends, Lane::Bulk))));
            let more = tokio::time::timeout(SILENT_MAX, lost.recv()).await;
            assert!(more.is_err(), "only that one, and once: {more:?}");
        }
    }
}
