//! The calling side of the real network: one TCP connection per peer, direction and lane.
//!
//! After the greeting frames go from the caller to the called and nothing comes back: the end of the connection is all that the
//! caller reads.

use super::{
    Calling, Enquiry, FRAMES_IN_FLIGHT_MAX, Inbound, Lane, Network, NoAnswer, Receiver, Roster,
    abroad::{AbroadRoster, AbroadStranger, Traffic},
    greeting::{Identity, Purpose, Welcome, greet},
    secure::Connection,
};
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use sojourn_core::{NodeId, region::RegionState};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The same to another region, which is two ways there and back.
const CONNECT_ABROAD_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a question to a node may take: the answer may need the region's agreement.
const ASK_TIMEOUT: Duration = Duration::from_secs(8);
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// The network of one real node.
pub struct TcpNetwork {
    identity: Identity,
    roster: Arc<Roster>,
    calling: Calling,
}

impl TcpNetwork {
    /// A network that finds peers in `roster` and opens connections as `calling` says.
    pub fn new(identity: Identity, roster: Arc<Roster>, calling: Calling) -> Self {
        Self { identity, roster, calling }
    }
}

impl Network for TcpNetwork {
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes> {
        let (sender, frames) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        let directory = Directory::Region(self.identity.clone(), self.roster.clone());
        let calling = self.calling.clone();
        tokio::spawn(Way { directory, calling, peer, lane, receiver }.run(frames));
        sender
    }

    fn ask(&self, peer: NodeId, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        TcpEnquiry(self.calling.clone()).ask(self.roster.address(peer).unwrap_or_default(), question)
    }

    fn learn(&self, region: &RegionState) {
        self.roster.learn(region);
    }
}

/// The network to the nodes of other regions, whose numbers are those of [`AbroadRoster`].
pub struct AbroadNetwork {
    roster: Arc<AbroadRoster>,
    calling: Calling,
}

impl AbroadNetwork {
    /// A network that finds nodes in `roster` and opens connections as `calling` says.
    pub fn new(roster: Arc<AbroadRoster>, calling: Calling) -> Self {
        Self { roster, calling }
    }
}

impl Network for AbroadNetwork {
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes> {
        let (sender, frames) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        let directory = Directory::World(self.roster.clone());
        let calling = self.calling.clone();
        tokio::spawn(Way { directory, calling, peer, lane, receiver }.run(frames));
        sender
    }

    fn ask(&self, peer: NodeId, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        TcpEnquiry(self.calling.clone()).ask(self.roster.address(peer).unwrap_or_default(), question)
    }
}

/// Where peers are, and as whom they are called.
enum Directory {
    /// Those of the same region.
    Region(Identity, Arc<Roster>),
    /// Those of others.
    World(Arc<AbroadRoster>),
}

impl Directory {
    fn address(&self, peer: NodeId) -> Option<String> {
        match self {
            Self::Region(_, roster) => roster.address(peer),
            Self::World(roster) => roster.address(peer),
        }
    }

    /// How long it may take to open a connection.
    fn timeout(&self) -> Duration {
        match self {
            Self::Region(..) => CONNECT_TIMEOUT,
            Self::World(_) => CONNECT_ABROAD_TIMEOUT,
        }
    }

    /// The greeting of this node; none while it does not know who it is.
    fn purpose(&self, lane: Lane) -> Option<Purpose> {
        match self {
            Self::Region(identity, roster) => {
                let Identity { region, node, disk } = identity.clone();
                Some(Purpose::Frames { lane, world: roster.world(), region, node: node.0, disk })
            }
            Self::World(roster) => roster.identity().map(|identity| Purpose::Abroad { lane, identity }),
        }
    }
}

/// Whether the other side does not know yet who it is: that passes, and nobody has to do anything.
fn is_starting(error: &io::Error) -> bool {
    error.to_string() == AbroadStranger::Starting.to_string()
}

/// One direction to one peer on one lane, connected again and again.
struct Way {
    directory: Directory,
    calling: Calling,
    peer: NodeId,
    lane: Lane,
    receiver: Arc<dyn Receiver>,
}

impl Way {
    async fn run(self, mut frames: mpsc::Receiver<Bytes>) {
        let (mut retry, mut refused) = (RETRY_MIN, None);
        loop {
            match self.connect().await {
                Ok(connected) => {
                    (retry, refused) = (RETRY_MIN, None);
                    if !self.carry(connected, &mut frames).await {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_starting(&error) => {
                    let reason = Some(error.to_string());
                    // Once for each reason, not with every try.
                    if reason != refused {
                        let address = self.directory.address(self.peer).unwrap_or_default();
                        tracing::error!(peer = self.peer.0, address, reason = %error, "a peer and this node do not talk");
                        refused = reason;
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

    async fn connect(&self) -> io::Result<Connection> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "its address is not known");
        let address = self.directory.address(self.peer).ok_or_else(unknown)?;
        let purpose = self.directory.purpose(self.lane).ok_or_else(unknown)?;
        match greet((&self.calling, &address), purpose, self.directory.timeout()).await? {
            (stream, Welcome::Frames) => Ok(stream),
            (_, Welcome::Refused(reason)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, reason)),
            (_, Welcome::Answer(_)) => Err(io::Error::other("the peer answered a question that was not asked")),
        }
    }

    /// Carries frames until the connection breaks; `false` once nobody sends any more.
    async fn carry(&self, stream: Connection, frames: &mut mpsc::Receiver<Bytes>) -> bool {
        let (mut back, mut out) = tokio::io::split(stream);
        let mut nothing = [0];
        loop {
            let frame = tokio::select! {
                biased;
                // Nothing is ever said on the way back: whatever this reads is the end.
                _ended = back.read(&mut nothing) => return true,
                frame = frames.recv() => frame,
            };
            let Some(body) = frame else { return false };
            // Bounded by the outbox.
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
            let mut whole = Buf::chain(&length[..], body);
            let sent_bytes = whole.remaining() as u64;
            if out.write_all_buf(&mut whole).await.is_err() || out.flush().await.is_err() {
                return true;
            }
            if let Directory::World(roster) = &self.directory {
                roster.count(self.peer, Traffic { sent_bytes, received_bytes: 0 });
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

/// Asks nodes by their address, over a connection for each question.
#[derive(Clone, Debug, Default)]
pub struct TcpEnquiry(pub Calling);

impl Enquiry for TcpEnquiry {
    fn ask(&self, address: String, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        let calling = self.0.clone();
        Box::pin(async move {
            let reason = match greet((&calling, &address), Purpose::Question(question.into()), ASK_TIMEOUT).await {
                Ok((_, Welcome::Answer(answer))) => return Ok(answer.into()),
                Ok((_, Welcome::Refused(reason))) => reason,
                Ok((_, Welcome::Frames)) => "it did not understand the question".to_owned(),
                Err(error) => error.to_string(),
            };
            Err(NoAnswer { address, reason })
        })
    }
}
