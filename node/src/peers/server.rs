//! The called side of the real network: lets callers in, and takes their frames.

use super::{
    Inbound, Lane, Receiver, Roster,
    abroad::AbroadRoster,
    greeting::{FRAME_FORMAT, Greeting, Identity, MAGIC, Purpose, Welcome, hear, say, tune},
    secure::{Connection, explained},
};
use crate::security::certificates::Certificates;
use bytes::{Buf, Bytes, BytesMut};
use sojourn_core::NodeId;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The largest frame: a whole outbox and a little.
const FRAME_BYTES_MAX: usize = 80 << 20;

/// The size of a connection's read buffer, unless a frame is larger.
const READ_BYTES: usize = 64 << 10;

/// Connections from other nodes: two lanes and a question for each of some hundred nodes. Half of the files that a node keeps for
/// itself, for anybody may open them.
const CONNECTIONS_MAX: usize = 512;

/// How long a caller may take to say who it is.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// What a node is told that calls without TLS.
const WANTS_TLS: &str = "nodes of this world speak TLS with each other: set `tls.certificate`, `tls.key` and `tls.authority` \
                         on the caller too";

/// Takes the frames that other nodes send.
#[derive(Clone)]
pub struct PeersServer {
    identity: Identity,
    roster: Arc<Roster>,
    receiver: Arc<dyn Receiver>,
    abroad: Option<(Arc<AbroadRoster>, Arc<dyn Receiver>)>,
    certificates: Option<Arc<Certificates>>,
}

impl PeersServer {
    /// A server that gives frames to `receiver`.
    pub fn new(identity: Identity, roster: Arc<Roster>, receiver: Arc<dyn Receiver>) -> Self {
        Self { identity, roster, receiver, abroad: None, certificates: None }
    }

    /// Takes nodes of other regions too, and gives their frames to `receiver`.
    #[must_use]
    pub fn with_abroad(self, roster: Arc<AbroadRoster>, receiver: Arc<dyn Receiver>) -> Self {
        Self { abroad: Some((roster, receiver)), ..self }
    }

    /// Takes nobody who does not show a certificate that is good here, if there are some.
    #[must_use]
    pub fn with_certificates(self, certificates: Option<Arc<Certificates>>) -> Self {
        Self { certificates, ..self }
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

    async fn connection(self, stream: TcpStream) {
        let greeting = async {
            tune(&stream)?;
            let mut stream = self.secured(stream).await?;
            let greeting = hear::<Greeting>(&mut stream).await?;
            Ok::<_, io::Error>((stream, greeting))
        };
        let (mut stream, Greeting { format, purpose }) = match tokio::time::timeout(GREETING_TIMEOUT, greeting).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => return tracing::debug!(%error, "a caller was not let in"),
            Err(_late) => return,
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

    /// The connection as nodes of this world have it among themselves.
    async fn secured(&self, mut stream: TcpStream) -> io::Result<Connection> {
        let Some(certificates) = &self.certificates else { return Ok(Connection::Plain(stream)) };
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first[0] == MAGIC[0] {
            // It would not understand a refusal of TLS. Heard to its end, or the system would drop what it is told.
            hear::<Greeting>(&mut stream).await?;
            say(&mut stream, &Welcome::Refused(WANTS_TLS.to_owned())).await?;
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it speaks without TLS"));
        }
        let accepted = certificates.called().accept(stream).await.map_err(explained)?;
        Ok(Connection::Secured(Box::new(accepted.into())))
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

async fn take_frames(receiver: &dyn Receiver, (from, lane): (NodeId, Lane), mut stream: Connection) -> io::Result<()> {
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

#[cfg(test)]
mod tests;
