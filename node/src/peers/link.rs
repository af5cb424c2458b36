//! The real network: one TCP connection per peer, direction and lane.
//!
//! A connection begins with a greeting: who calls, of which world, with which disk, and what for. The called node welcomes
//! the caller or says why not. Then frames go from the caller to the called and nothing comes back: the end of the
//! connection is all that the caller reads. Nodes that do not know the region yet ask it one question the same way.

use super::{
    Enquiry, FRAMES_IN_FLIGHT_MAX, Inbound, Lane, Network, NoAnswer, Receiver, Roster,
    abroad::{AbroadIdentity, AbroadRoster},
};
use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sojourn_core::{NodeId, region::RegionState};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// The version of what is inside frames; nodes of different versions do not talk.
pub const FRAME_FORMAT: u32 = 2;

/// The largest frame: a whole outbox and a little.
const FRAME_BYTES_MAX: usize = 80 << 20;

/// The longest greeting, welcome or question.
const GREETING_BYTES_MAX: usize = 64 << 10;

/// The size of a connection's read buffer, unless a frame is larger.
const READ_BYTES: usize = 64 << 10;

/// Connections from other nodes: two lanes and a question for each of some hundred nodes.
const CONNECTIONS_MAX: usize = 1_024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a caller may take to say who it is.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a question to a node may take: the answer may need the region's agreement.
const ASK_TIMEOUT: Duration = Duration::from_secs(8);
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(500);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// How long the system waits for what was sent to arrive before it calls the connection broken.
const UNHEARD_MS_MAX: u32 = 3_000;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Who a node is, shown and checked at every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The region; nodes of another are refused.
    pub region: String,
    /// The node.
    pub node: NodeId,
    /// Its disk: a node that comes with another one than before is refused.
    pub disk: u128,
}

/// The first words of a connection.
#[derive(Serialize, Deserialize)]
struct Greeting {
    format: u32,
    purpose: Purpose,
}

#[derive(Serialize, Deserialize)]
enum Purpose {
    Frames {
        lane: Lane,
        world: u128,
        region: String,
        node: u64,
        disk: u128,
    },
    Question(Vec<u8>),
    /// Frames from a node of another region.
    Abroad {
        lane: Lane,
        identity: AbroadIdentity,
    },
}

/// What the called node says to them.
#[derive(Serialize, Deserialize)]
enum Welcome {
    Frames,
    Answer(Vec<u8>),
    Refused(String),
}

/// The network of one real node.
pub struct TcpNetwork {
    identity: Identity,
    roster: Arc<Roster>,
}

impl TcpNetwork {
    /// A network that finds peers in `roster`.
    pub fn new(identity: Identity, roster: Arc<Roster>) -> Self {
        Self { identity, roster }
    }
}

impl Network for TcpNetwork {
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes> {
        let (sender, frames) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        let directory = Directory::Region(self.identity.clone(), self.roster.clone());
        tokio::spawn(Way { directory, peer, lane, receiver }.run(frames));
        sender
    }

    fn ask(&self, peer: NodeId, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        TcpEnquiry.ask(self.roster.address(peer).unwrap_or_default(), question)
    }

    fn learn(&self, region: &RegionState) {
        self.roster.learn(region);
    }
}

/// The network to the nodes of other regions, whose numbers are those of [`AbroadRoster`].
pub struct AbroadNetwork {
    roster: Arc<AbroadRoster>,
}

impl AbroadNetwork {
    /// A network that finds nodes in `roster`.
    pub fn new(roster: Arc<AbroadRoster>) -> Self {
        Self { roster }
    }
}

impl Network for AbroadNetwork {
    fn open(&self, peer: NodeId, lane: Lane, receiver: Arc<dyn Receiver>) -> mpsc::Sender<Bytes> {
        let (sender, frames) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        let directory = Directory::World(self.roster.clone());
        tokio::spawn(Way { directory, peer, lane, receiver }.run(frames));
        sender
    }

    fn ask(&self, peer: NodeId, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        TcpEnquiry.ask(self.roster.address(peer).unwrap_or_default(), question)
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

/// One direction to one peer on one lane, connected again and again.
struct Way {
    directory: Directory,
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
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::error!(peer = self.peer.0, reason = %error, "a peer refused this node");
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

    async fn connect(&self) -> io::Result<TcpStream> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "its address is not known");
        let address = self.directory.address(self.peer).ok_or_else(unknown)?;
        let purpose = self.directory.purpose(self.lane).ok_or_else(unknown)?;
        match greet(&address, purpose, CONNECT_TIMEOUT).await? {
            (stream, Welcome::Frames) => Ok(stream),
            (_, Welcome::Refused(reason)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, reason)),
            (_, Welcome::Answer(_)) => Err(io::Error::other("the peer answered a question that was not asked")),
        }
    }

    /// Carries frames until the connection breaks; `false` once nobody sends any more.
    async fn carry(&self, mut stream: TcpStream, frames: &mut mpsc::Receiver<Bytes>) -> bool {
        let (mut back, mut out) = stream.split();
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
            if out.write_all_buf(&mut whole).await.is_err() {
                return true;
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

/// Connects, says who and what for, and hears whether that is welcome.
async fn greet(address: &str, purpose: Purpose, timeout: Duration) -> io::Result<(TcpStream, Welcome)> {
    let greeting = async {
        let mut stream = TcpStream::connect(address).await?;
        tune(&stream)?;
        say(&mut stream, &Greeting { format: FRAME_FORMAT, purpose }).await?;
        let welcome = hear(&mut stream).await?;
        Ok((stream, welcome))
    };
    tokio::time::timeout(timeout, greeting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A peer that vanished is noticed within seconds, whether or not something is on its way to it.
fn tune(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(stream, UNHEARD_MS_MAX)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, 2)?;
    Ok(())
}

/// What both sides begin with, so that a stranger's protocol is told from ours.
const MAGIC: &[u8; 8] = b"sojourn\n";

/// `magic | length u32 | postcard`.
async fn say<T: Serialize>(stream: &mut TcpStream, words: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(words).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&[MAGIC, &length.to_le_bytes()[..], &body].concat()).await
}

async fn hear<T: for<'de> Deserialize<'de>>(stream: &mut TcpStream) -> io::Result<T> {
    let mut head = [0; MAGIC.len() + 4];
    stream.read_exact(&mut head).await?;
    let (magic, mut length) = head.split_at(MAGIC.len());
    let length = length.get_u32_le() as usize;
    if magic != MAGIC || length > GREETING_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other side is no Sojourn node"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}

/// Takes the frames that other nodes send.
#[derive(Clone)]
pub struct PeersServer {
    identity: Identity,
    roster: Arc<Roster>,
    receiver: Arc<dyn Receiver>,
    abroad: Option<(Arc<AbroadRoster>, Arc<dyn Receiver>)>,
}

impl PeersServer {
    /// A server that gives frames to `receiver`.
    pub fn new(identity: Identity, roster: Arc<Roster>, receiver: Arc<dyn Receiver>) -> Self {
        Self { identity, roster, receiver, abroad: None }
    }

    /// Takes nodes of other regions too, and gives their frames to `receiver`.
    #[must_use]
    pub fn with_abroad(self, roster: Arc<AbroadRoster>, receiver: Arc<dyn Receiver>) -> Self {
        Self { abroad: Some((roster, receiver)), ..self }
    }

    /// Serves other nodes on `listener` until `shutdown` completes; then closes their connections.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(self.clone().connection(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a peer; raise the limit of open files if it says so");
                        // The connection stays in the listener's queue, so the error would return at once.
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    async fn connection(self, mut stream: TcpStream) {
        let greeting = async {
            tune(&stream)?;
            hear::<Greeting>(&mut stream).await
        };
        let Ok(Ok(Greeting { format, purpose })) = tokio::time::timeout(GREETING_TIMEOUT, greeting).await else {
            return;
        };
        let (from, receiver) = match self.check(format, purpose) {
            Ok(Checked::Frames(from, receiver)) => (from, receiver),
            Ok(Checked::Question(question)) => {
                let welcome = match self.receiver.asked(question.into()).await {
                    Some(answer) => Welcome::Answer(answer),
                    None => Welcome::Refused("the node is starting".to_owned()),
                };
                // Whoever asked may have given up.
                let _gone = say(&mut stream, &welcome).await;
                return;
            }
            Err(reason) => {
                let _gone = say(&mut stream, &Welcome::Refused(reason)).await;
                return;
            }
        };
        if say(&mut stream, &Welcome::Frames).await.is_ok()
            && let Err(error) = take_frames(&*receiver, from, stream).await
        {
            tracing::debug!(peer = from.0.0, %error, "a peer's connection broke");
        }
    }

    /// Who calls, if it may.
    fn check(&self, format: u32, purpose: Purpose) -> Result<Checked, String> {
        if format != FRAME_FORMAT {
            return Err(format!(
                "the caller speaks frame format {format}, this node {FRAME_FORMAT}: upgrade the older of the two"
            ));
        }
        let (lane, world, region, node, disk) = match purpose {
            Purpose::Question(question) => return Ok(Checked::Question(question)),
            Purpose::Abroad { lane, identity } => {
                let Some((roster, receiver)) = &self.abroad else {
                    return Err(
                        "this node knows of no other region: say `world.regions` in its configuration".to_owned()
                    );
                };
                let from = roster.check(&identity).map_err(|stranger| stranger.to_string())?;
                return Ok(Checked::Frames((from, lane), receiver.clone()));
            }
            Purpose::Frames { lane, world, region, node, disk } => (lane, world, region, NodeId(node), disk),
        };
        if region != self.identity.region {
            return Err(format!("the caller is of region {region:?}, this node of {:?}", self.identity.region));
        }
        self.roster.check(node, world, disk).map_err(|stranger| stranger.to_string())?;
        Ok(Checked::Frames((node, lane), self.receiver.clone()))
    }
}

async fn take_frames(receiver: &dyn Receiver, (from, lane): (NodeId, Lane), mut stream: TcpStream) -> io::Result<()> {
    let mut input = BytesMut::new();
    loop {
        while let Some(bytes) = take_frame(&mut input)? {
            receiver.receive(Inbound::Frame { from, lane, bytes });
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

enum Checked {
    Frames((NodeId, Lane), Arc<dyn Receiver>),
    Question(Vec<u8>),
}

/// The first whole frame of `input`; makes room for the rest of one that has not come whole.
fn take_frame(input: &mut BytesMut) -> io::Result<Option<Bytes>> {
    const LENGTH_BYTES: usize = 4;
    let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else {
        make_room(input, LENGTH_BYTES);
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame above the bound"));
    }
    if rest.len() < length {
        let missing = length - rest.len();
        make_room(input, missing);
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    Ok(Some(input.split_to(length).freeze()))
}

/// Makes room for `wanted` bytes more. Frames that are still in use hold on to the buffer they came in, so it is filled
/// nearly to its end before there is another.
fn make_room(input: &mut BytesMut, wanted: usize) {
    if input.capacity() - input.len() < wanted.max(READ_BYTES / 8) {
        input.reserve(wanted.max(READ_BYTES));
    }
}

/// Asks nodes by their address, over a connection for each question.
pub struct TcpEnquiry;

impl Enquiry for TcpEnquiry {
    fn ask(&self, address: String, question: Bytes) -> BoxFuture<'static, Result<Bytes, NoAnswer>> {
        Box::pin(async move {
            let reason = match greet(&address, Purpose::Question(question.into()), ASK_TIMEOUT).await {
                Ok((_, Welcome::Answer(answer))) => return Ok(answer.into()),
                Ok((_, Welcome::Refused(reason))) => reason,
                Ok((_, Welcome::Frames)) => "it did not understand the question".to_owned(),
                Err(error) => error.to_string(),
            };
            Err(NoAnswer { address, reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let frames: Vec<Vec<u8>> = [0, 1, 5, 70_000, 3].iter().map(|length| vec![*length as u8; *length]).collect();
        let wire: Vec<u8> =
            frames.iter().flat_map(|frame| [&(frame.len() as u32).to_le_bytes(), &frame[..]].concat()).collect();
        for step in [1, 2, 3, 7, 4_096, wire.len()] {
            let (mut input, mut found) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(step) {
                input.extend_from_slice(piece);
                while let Some(frame) = take_frame(&mut input).expect("frames") {
                    found.push(frame.to_vec());
                }
            }
            assert!(found == frames && input.is_empty(), "in steps of {step}");
        }
    }

    #[test]
    fn a_frame_above_the_bound_is_refused_before_it_is_read() {
        let mut input = BytesMut::from(&(FRAME_BYTES_MAX as u32 + 1).to_le_bytes()[..]);
        assert!(take_frame(&mut input).is_err());
    }

    struct Ears(mpsc::UnboundedSender<Inbound>);

    impl Receiver for Ears {
        fn receive(&self, inbound: Inbound) {
            let _gone = self.0.send(inbound);
        }
        fn asked(&self, question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
            Box::pin(std::future::ready(Some([b"you asked ", &question[..]].concat())))
        }
    }

    async fn server(roster: Roster) -> (String, mpsc::UnboundedReceiver<Inbound>) {
        let (ears, heard) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let identity = Identity { region: "na".to_owned(), node: NodeId(1), disk: 1 };
        let server = PeersServer::new(identity, Arc::new(roster), Arc::new(Ears(ears)));
        tokio::spawn(server.serve(listener, std::future::pending()));
        (address, heard)
    }

    fn caller(region: &str, address: &str) -> TcpNetwork {
        let roster = Roster::new(0);
        roster.expect(NodeId(1), address.to_owned());
        TcpNetwork::new(Identity { region: region.to_owned(), node: NodeId(2), disk: 2 }, Arc::new(roster))
    }

    #[tokio::test]
    async fn frames_arrive_in_order_and_a_loss_is_told() {
        let (address, mut heard) = server(Roster::new(0)).await;
        let (ears, mut own) = mpsc::unbounded_channel();
        let way = caller("na", &address).open(NodeId(1), Lane::Bulk, Arc::new(Ears(ears)));
        for number in 0..100u32 {
            way.send(Bytes::from(number.to_le_bytes().repeat(1_000))).await.expect("a way");
        }
        for number in 0..100u32 {
            let Some(Inbound::Frame { from, lane, bytes }) = heard.recv().await else { panic!("a frame") };
            assert_eq!((from, lane, &bytes[..4]), (NodeId(2), Lane::Bulk, &number.to_le_bytes()[..]));
        }
        drop(heard);
        assert!(own.try_recv().is_err(), "nothing was lost");
    }

    #[tokio::test]
    async fn strangers_are_refused_and_frames_to_them_are_lost() {
        let (address, _heard) = server(Roster::new(0)).await;
        let (ears, mut own) = mpsc::unbounded_channel();
        let _way = caller("eu", &address).open(NodeId(1), Lane::Fast, Arc::new(Ears(ears)));
        assert!(matches!(own.recv().await, Some(Inbound::Lost { to: NodeId(1), lane: Lane::Fast })));
        let asked = TcpEnquiry.ask(address.clone(), Bytes::from_static(b"who")).await;
        assert_eq!(asked.map(|answer| answer.to_vec()), Ok(b"you asked who".to_vec()));
        let mut stranger = TcpStream::connect(&address).await.expect("connected");
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        assert_eq!(stranger.read(&mut [0; 16]).await.unwrap_or(0), 0, "the connection ends");
    }
}
