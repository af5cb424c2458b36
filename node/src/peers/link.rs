//! The real network: one gRPC stream per peer, direction and lane.

use super::{FRAMES_IN_FLIGHT_MAX, Inbound, Lane, Network, Receiver};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use sojourn_core::NodeId;
use sojourn_proto::peers::{Frame, peers_client::PeersClient, peers_server};
use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{AsciiMetadataValue, MetadataMap},
    transport::{Channel, Endpoint},
};

/// The version of what is inside frames; nodes of different versions do not talk.
pub const FRAME_FORMAT: u32 = 1;

/// The largest frame: a whole outbox and a little.
const FRAME_BYTES_MAX: usize = 80 << 20;

/// HTTP/2 windows, so that a frame seldom waits for the peer's permission.
const WINDOW_BYTES: u32 = 8 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Who a node is, shown and checked at every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The world; nodes of another are refused.
    pub world: u128,
    /// The region; likewise.
    pub region: String,
    /// The node.
    pub node: NodeId,
}

/// Where peers are, as far as the region knows; changes as members move.
#[derive(Default)]
pub struct AddressBook {
    addresses: Mutex<HashMap<NodeId, String>>,
}

impl AddressBook {
    /// Notes where `node` listens for peers, as `host:port`.
    pub fn set(&self, node: NodeId, address: String) {
        self.addresses.lock().insert(node, address);
    }

    /// Forgets a node.
    pub fn remove(&self, node: NodeId) {
        self.addresses.lock().remove(&node);
    }

    fn get(&self, node: NodeId) -> Option<String> {
        self.addresses.lock().get(&node).cloned()
    }
}

/// The network of one real node.
pub struct GrpcNetwork {
    identity: Identity,
    book: Arc<AddressBook>,
}

impl GrpcNetwork {
    /// A network that finds peers in `book`.
    pub fn new(identity: Identity, book: Arc<AddressBook>) -> Self {
        Self { identity, book }
    }
}

impl Network for GrpcNetwork {
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes> {
        let (sender, frames) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        let way = Way { identity: self.identity.clone(), book: self.book.clone(), peer, lane, receiver };
        tokio::spawn(way.run(frames));
        sender
    }
}

/// One direction to one peer on one lane, connected again and again.
struct Way {
    identity: Identity,
    book: Arc<AddressBook>,
    peer: NodeId,
    lane: Lane,
    receiver: Arc<dyn Receiver>,
}

impl Way {
    async fn run(self, mut frames: mpsc::Receiver<Bytes>) {
        let mut retry = RETRY_MIN;
        loop {
            match self.connect().await {
                Ok(connected) => {
                    retry = RETRY_MIN;
                    if !self.carry(connected, &mut frames).await {
                        return;
                    }
                }
                Err(error) => tracing::debug!(peer = self.peer.0, %error, "cannot connect to a peer yet"),
            }
            self.receiver.receive(Inbound::Lost { to: self.peer, lane: self.lane });
            if !self.refuse_for(retry, &mut frames).await {
                return;
            }
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    async fn connect(&self) -> anyhow::Result<PeersClient<Channel>> {
        let address = self.book.get(self.peer).ok_or_else(|| anyhow::anyhow!("its address is not known"))?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        Ok(PeersClient::new(endpoint.connect().await?))
    }

    /// Carries frames until the connection breaks; `false` once nobody sends any more.
    async fn carry(&self, mut client: PeersClient<Channel>, frames: &mut mpsc::Receiver<Bytes>) -> bool {
        let (feed, fed) = mpsc::channel::<Frame>(FRAMES_IN_FLIGHT_MAX);
        let outgoing = stream::unfold(fed, |mut fed| async move { Some((fed.recv().await?, fed)) });
        let mut request = Request::new(outgoing);
        if let Err(error) = self.identity.write(request.metadata_mut(), self.lane) {
            tracing::error!(%error, "the region's name cannot be sent; use letters, digits, `-` and `_` in it");
            return true;
        }
        let mut back = match client.link(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                if status.code() == tonic::Code::FailedPrecondition {
                    tracing::error!(peer = self.peer.0, reason = status.message(), "a peer refused this node");
                }
                return true;
            }
        };
        loop {
            tokio::select! {
                biased;
                _ended = back.next() => return true,
                frame = frames.recv() => {
                    let Some(body) = frame else { return false };
                    if feed.send(Frame { body }).await.is_err() {
                        return true;
                    }
                }
            }
        }
    }

    /// Drops frames for a while, telling each time that they are lost; `false` once nobody sends any more.
    async fn refuse_for(&self, pause: Duration, frames: &mut mpsc::Receiver<Bytes>) -> bool {
        let until = tokio::time::Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(until, frames.recv()).await {
                Ok(Some(_frame)) => self.receiver.receive(Inbound::Lost { to: self.peer, lane: self.lane }),
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }
}

const WORLD: &str = "sojourn-world";
const REGION: &str = "sojourn-region";
const NODE: &str = "sojourn-node";
const FORMAT: &str = "sojourn-format";
const LANE: &str = "sojourn-lane";

impl Identity {
    fn write(
        &self,
        metadata: &mut MetadataMap,
        lane: Lane,
    ) -> Result<(), tonic::metadata::errors::InvalidMetadataValue> {
        let lane = match lane {
            Lane::Fast => "fast",
            Lane::Bulk => "bulk",
        };
        metadata.insert(WORLD, AsciiMetadataValue::try_from(format!("{:032x}", self.world))?);
        metadata.insert(REGION, AsciiMetadataValue::try_from(self.region.as_str())?);
        metadata.insert(NODE, AsciiMetadataValue::try_from(self.node.0.to_string())?);
        metadata.insert(FORMAT, AsciiMetadataValue::try_from(FRAME_FORMAT.to_string())?);
        metadata.insert(LANE, AsciiMetadataValue::try_from(lane)?);
        Ok(())
    }

    /// Who calls, if it may.
    fn check(&self, metadata: &MetadataMap) -> Result<(NodeId, Lane), Status> {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let refuse = |what: String| Err(Status::failed_precondition(what));
        if text(FORMAT) != FRAME_FORMAT.to_string() {
            return refuse(format!(
                "the caller speaks frame format {:?}, this node {FRAME_FORMAT}: upgrade the older of the two",
                text(FORMAT)
            ));
        }
        if text(WORLD) != format!("{:032x}", self.world) {
            return refuse(format!(
                "the caller is of world {}, this node of {:032x}: check the addresses in both configurations",
                text(WORLD),
                self.world
            ));
        }
        if text(REGION) != self.region {
            return refuse(format!("the caller is of region {:?}, this node of {:?}", text(REGION), self.region));
        }
        let lane = if text(LANE) == "bulk" { Lane::Bulk } else { Lane::Fast };
        match text(NODE).parse() {
            Ok(node) => Ok((NodeId(node), lane)),
            Err(_) => refuse(format!("{:?} is no node number", text(NODE))),
        }
    }
}

/// Takes the frames that other nodes send.
pub struct PeersService {
    identity: Identity,
    receiver: Arc<dyn Receiver>,
    stopped: watch::Receiver<bool>,
}

impl PeersService {
    /// A gRPC service that gives frames to `receiver` until `stopped` is set: then it ends its streams, so that peers look
    /// for the node that takes its place.
    pub fn server(
        identity: Identity,
        receiver: Arc<dyn Receiver>,
        stopped: watch::Receiver<bool>,
    ) -> peers_server::PeersServer<Self> {
        peers_server::PeersServer::new(Self { identity, receiver, stopped }).max_decoding_message_size(FRAME_BYTES_MAX)
    }

    /// What a server for [`PeersService::server`] should be built with.
    pub fn transport() -> tonic::transport::Server {
        tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
    }
}

#[tonic::async_trait]
impl peers_server::Peers for PeersService {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn link(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::LinkStream>, Status> {
        let (from, lane) = self.identity.check(request.metadata())?;
        let receiver = self.receiver.clone();
        let frames = request.into_inner();
        // Driven by the stream back, so that the end of either ends both.
        let back = frames.filter_map(move |frame| {
            let passed = match frame {
                Ok(Frame { body }) => {
                    receiver.receive(Inbound::Frame { from, lane, bytes: body });
                    None
                }
                Err(status) => Some(Err(status)),
            };
            std::future::ready(passed)
        });
        let mut stopped = self.stopped.clone();
        let end = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
        Ok(Response::new(Box::pin(back.take_until(Box::pin(end)))))
    }
}
