//! Requests and answers over the frames of a [`Network`].

use super::{
    FRAMES_IN_FLIGHT_MAX, Inbound, Lane, Network, NoAnswer, Receiver, Throttle,
    frame::{self, Kind, Message},
};
use crate::env::Env;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sojourn_core::{NodeId, region::RegionState};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

/// Why a call has no answer. Whether the other side acted on it is unknown, except for `Overloaded`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke while the call was under way.
    #[error("node {0} cannot be reached")]
    Unreachable(u64),
    /// No answer in time.
    #[error("node {0} did not answer in time")]
    TimedOut(u64),
    /// More waits for that node than may; nothing was sent.
    #[error("more than {outbox_bytes_max} bytes wait to be sent to node {node}")]
    Overloaded {
        /// The peer.
        node: u64,
        /// The bound.
        outbox_bytes_max: usize,
    },
    /// The other side said why it cannot.
    #[error("{0}")]
    Refused(String),
}

/// Bounds of the calls of one node.
#[derive(Clone, Debug)]
pub struct RpcOptions {
    /// Bytes that may wait for one peer and lane.
    pub outbox_bytes_max: usize,
    /// Bytes collected into one frame, unless a single message is larger.
    pub frame_bytes_target: usize,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self { outbox_bytes_max: 64 << 20, frame_bytes_target: 1 << 20 }
    }
}

/// Answers requests of other nodes. Called in the order of arrival per peer and lane; must not block.
pub trait Service: Send + Sync + 'static {
    /// Takes one request; answers through `reply` now or later. Notices come with a reply that goes nowhere.
    fn handle(&self, from: NodeId, service: u8, body: Bytes, reply: Reply);

    /// The connection to a peer broke.
    fn lost(&self, _peer: NodeId) {}

    /// Answers a question of a node that may be no member yet.
    fn asked(&self, _question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }
}

/// Where an answer goes.
pub struct Reply {
    rpc: Option<Rpc>,
    to: NodeId,
    lane: Lane,
    call: u64,
}

impl Reply {
    /// Answers.
    pub fn send(self, parts: &[&[u8]]) {
        if let Some(rpc) = &self.rpc {
            rpc.post(self.to, self.lane, Kind::Answer, self.call, 0, parts);
        }
    }

    /// Says why there is no answer.
    pub fn refuse(self, reason: &str) {
        if let Some(rpc) = &self.rpc {
            rpc.post(self.to, self.lane, Kind::Failure, self.call, 0, &[reason.as_bytes()]);
        }
    }
}

/// The calls of one node. Cheap to clone.
#[derive(Clone)]
pub struct Rpc {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    network: Arc<dyn Network>,
    options: RpcOptions,
    service: Mutex<Option<Arc<dyn Service>>>,
    ways: Mutex<HashMap<(NodeId, Lane), Arc<Way>>>,
    calls: Mutex<Calls>,
    bulk: Arc<Throttle>,
}

#[derive(Default)]
struct Calls {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    to: NodeId,
    lane: Lane,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

/// What waits to be sent to one peer on one lane.
struct Way {
    outbox: Mutex<BytesMut>,
    filled: Notify,
}

impl Rpc {
    /// Calls over `network`; requests of others are refused until [`Rpc::serve`].
    pub fn new(env: Env, network: Arc<dyn Network>, options: RpcOptions) -> Self {
        let bulk = Arc::new(Throttle::new(env.clone()));
        let inner = Inner {
            bulk,
            env,
            network,
            options,
            service: Mutex::new(None),
            ways: Mutex::new(HashMap::new()),
            calls: Mutex::new(Calls::default()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Answers requests of others with `service` from now on.
    pub fn serve(&self, service: Arc<dyn Service>) {
        *self.inner.service.lock() = Some(service);
    }

    /// What snapshots, and what learners missed, wait for before they are sent.
    pub fn bulk(&self) -> &Arc<Throttle> {
        &self.inner.bulk
    }

    /// Where the network puts what arrives.
    pub fn receiver(&self) -> Arc<dyn Receiver> {
        Arc::new(WeakReceiver(Arc::downgrade(&self.inner)))
    }

    /// Asks `to` and waits for the answer, at most `timeout`. The request is queued before this returns its future, so
    /// that calls made one after the other arrive in that order.
    pub fn call(
        &self,
        to: NodeId,
        lane: Lane,
        service: u8,
        parts: &[&[u8]],
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let call = {
            let mut calls = self.inner.calls.lock();
            calls.last += 1;
            let call = calls.last;
            calls.waiting.insert(call, Waiting { to, lane, answer });
            call
        };
        if !self.post(to, lane, Kind::Request, call, service, parts) {
            let outbox_bytes_max = self.inner.options.outbox_bytes_max;
            self.finish(call, Err(CallError::Overloaded { node: to.0, outbox_bytes_max }));
        }
        let guard = CallGuard { inner: Arc::downgrade(&self.inner), call };
        async move {
            let result = tokio::time::timeout(timeout, answered).await;
            drop(guard);
            match result {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(CallError::Unreachable(to.0)),
                Err(_) => Err(CallError::TimedOut(to.0)),
            }
        }
    }

    /// Tells `to` something and waits for nothing.
    pub fn notify(&self, to: NodeId, lane: Lane, service: u8, parts: &[&[u8]]) {
        self.post(to, lane, Kind::Notice, 0, service, parts);
    }

    /// Asks `to` as a node that may be no member any more: see [`Network::ask`].
    pub fn ask(&self, to: NodeId, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        self.inner.network.ask(to, question)
    }

    fn finish(&self, call: u64, result: Result<Bytes, CallError>) {
        let waiting = self.inner.calls.lock().waiting.remove(&call);
        if let Some(waiting) = waiting {
            // A caller that no longer waits is no error.
            let _gone = waiting.answer.send(result);
        }
    }

    fn post(&self, to: NodeId, lane: Lane, kind: Kind, call: u64, service: u8, parts: &[&[u8]]) -> bool {
        let way = self.way(to, lane);
        let mut outbox = way.outbox.lock();
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if outbox.len() + length > self.inner.options.outbox_bytes_max {
            return false;
        }
        let was_empty = outbox.is_empty();
        frame::put(&mut outbox, kind, call, service, parts);
        drop(outbox);
        if was_empty {
            way.filled.notify_one();
        }
        true
    }

    fn way(&self, to: NodeId, lane: Lane) -> Arc<Way> {
        let mut ways = self.inner.ways.lock();
        if let Some(way) = ways.get(&(to, lane)) {
            return way.clone();
        }
        let way = Arc::new(Way { outbox: Mutex::new(BytesMut::new()), filled: Notify::new() });
        ways.insert((to, lane), way.clone());
        let frames = self.inner.network.open(to, lane, self.receiver());
        debug_assert!(frames.max_capacity() <= FRAMES_IN_FLIGHT_MAX);
        self.inner.env.spawn("peers-send", send_frames(Arc::downgrade(&way), frames));
        way
    }

    /// Opens the ways to a node before anything is sent there, and keeps them open: what comes first need not wait for that.
    pub fn keep_open(&self, to: NodeId) {
        for lane in Lane::ALL {
            drop(self.way(to, lane));
        }
    }

    /// Takes note of where the members are and who may call.
    pub fn learn(&self, region: &RegionState) {
        if region.world == 0 {
            return;
        }
        self.inner.network.learn(region);
        let ways: Vec<NodeId> = self.inner.ways.lock().keys().map(|(peer, _)| *peer).collect();
        for peer in ways.into_iter().filter(|peer| !region.members.contains_key(peer)) {
            self.forget(peer);
        }
    }

    /// Forgets a node that left the region.
    pub fn forget(&self, peer: NodeId) {
        for lane in Lane::ALL {
            let way = self.inner.ways.lock().remove(&(peer, lane));
            if let Some(way) = way {
                way.filled.notify_one();
            }
            self.inner.lost(peer, lane);
        }
    }
}

/// Waits for room in the network before it takes the outbox: what is posted meanwhile shares the frame.
async fn send_frames(way: Weak<Way>, frames: tokio::sync::mpsc::Sender<Bytes>) {
    loop {
        let Ok(room) = frames.reserve().await else { return };
        let frame = loop {
            let Some(way) = way.upgrade() else { return };
            let waiting = std::mem::take(&mut *way.outbox.lock());
            if !waiting.is_empty() {
                break waiting.freeze();
            }
            let filled = way.filled.notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            if way.outbox.lock().is_empty() {
                filled.await;
                // What else is ready to run now may have something to say too, and shares the frame.
                tokio::task::yield_now().await;
            }
        };
        room.send(frame);
    }
}

/// Removes a call whose caller went away.
struct CallGuard {
    inner: Weak<Inner>,
    call: u64,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.calls.lock().waiting.remove(&self.call);
        }
    }
}

struct WeakReceiver(Weak<Inner>);

impl Receiver for WeakReceiver {
    fn asked(&self, question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
        let service = self.0.upgrade().and_then(|inner| inner.service.lock().clone());
        service.map_or_else(|| Box::pin(std::future::ready(None)) as BoxFuture<'static, _>, |it| it.asked(question))
    }

    fn receive(&self, inbound: Inbound) {
        let Some(inner) = self.0.upgrade() else { return };
        match inbound {
            Inbound::Lost { to, lane } => {
                inner.lost(to, lane);
                let service = inner.service.lock().clone();
                if let (Some(service), Lane::Fast) = (service, lane) {
                    service.lost(to);
                }
            }
            Inbound::Frame { from, lane, bytes } => inner.dispatch(from, lane, bytes),
        }
    }
}

impl Inner {
    fn lost(&self, peer: NodeId, lane: Lane) {
        let lost: Vec<Waiting> = {
            let mut calls = self.calls.lock();
            let gone: Vec<u64> =
                calls.waiting.iter().filter(|(_, w)| w.to == peer && w.lane == lane).map(|(call, _)| *call).collect();
            gone.iter().filter_map(|call| calls.waiting.remove(call)).collect()
        };
        for waiting in lost {
            let _gone = waiting.answer.send(Err(CallError::Unreachable(peer.0)));
        }
    }

    fn dispatch(self: &Arc<Self>, from: NodeId, lane: Lane, mut bytes: Bytes) {
        let service = self.service.lock().clone();
        let rpc = Rpc { inner: self.clone() };
        loop {
            match frame::take(&mut bytes) {
                Ok(None) => return,
                Ok(Some(Message::Answer { call, body })) => rpc.finish(call, Ok(body)),
                Ok(Some(Message::Failure { call, body })) => {
                    let reason = String::from_utf8_lossy(&body).into_owned();
                    rpc.finish(call, Err(CallError::Refused(reason)));
                }
                Ok(Some(Message::Request { call, service: number, body })) => {
                    let reply = Reply { rpc: Some(rpc.clone()), to: from, lane, call };
                    match &service {
                        Some(service) => service.handle(from, number, body, reply),
                        None => reply.refuse("the node is starting"),
                    }
                }
                Ok(Some(Message::Notice { service: number, body })) => {
                    let reply = Reply { rpc: None, to: from, lane, call: 0 };
                    if let Some(service) = &service {
                        service.handle(from, number, body, reply);
                    }
                }
                Err(frame::Malformed) => {
                    tracing::warn!(
                        from = from.0,
                        "dropped a malformed frame from a peer; do both nodes run one version?"
                    );
                    return;
                }
            }
        }
    }
}
