//! Frames over real sockets.

use super::*;
use crate::peers::{Enquiry, Network, TcpEnquiry, TcpNetwork};
use futures::future::BoxFuture;
use tokio::{io::AsyncWriteExt, sync::mpsc};

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
