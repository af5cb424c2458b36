//! Frames over real sockets.

use super::*;
use crate::{
    env::RealEnv,
    peers::{Calling, Enquiry, Network, TcpEnquiry, TcpNetwork},
    security::certificates::samples::{Authority, Says},
};
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
    secured_server(roster, None).await
}

async fn secured_server(
    roster: Roster,
    certificates: Option<Arc<Certificates>>,
) -> (String, mpsc::UnboundedReceiver<Inbound>) {
    let (ears, heard) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let identity = Identity { region: "na".to_owned(), node: NodeId(1), disk: 1 };
    let server = PeersServer::new(identity, Arc::new(roster), Arc::new(Ears(ears)));
    let server = server.with_certificates(certificates);
    tokio::spawn(server.serve(listener, std::future::pending()));
    (address, heard)
}

fn caller(region: &str, address: &str) -> TcpNetwork {
    secured_caller(region, address, None)
}

fn secured_caller(region: &str, address: &str, certificates: Option<Arc<Certificates>>) -> TcpNetwork {
    let roster = Roster::new(0);
    roster.expect(NodeId(1), address.to_owned());
    TcpNetwork::new(
        Identity { region: region.to_owned(), node: NodeId(2), disk: 2 },
        Arc::new(roster),
        Calling { certificates, ..Calling::default() },
    )
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
    let asked = TcpEnquiry::default().ask(address.clone(), Bytes::from_static(b"who")).await;
    assert_eq!(asked.map(|answer| answer.to_vec()), Ok(b"you asked who".to_vec()));
    let mut stranger = TcpStream::connect(&address).await.expect("connected");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    assert_eq!(stranger.read(&mut [0; 16]).await.unwrap_or(0), 0, "the connection ends");
}

fn certified(authority: &Authority) -> Option<Arc<Certificates>> {
    let directory = tempfile::tempdir().expect("a directory");
    let files = authority.certify(directory.path(), &Says::default());
    Some(Certificates::open(&RealEnv::current(), &files).expect("good files"))
}

#[tokio::test]
async fn frames_go_over_tls_between_nodes_of_one_authority() {
    let authority = Authority::draw();
    let (address, mut heard) = secured_server(Roster::new(0), certified(&authority)).await;
    let (ears, mut own) = mpsc::unbounded_channel();
    let way = secured_caller("na", &address, certified(&authority)).open(NodeId(1), Lane::Bulk, Arc::new(Ears(ears)));
    for number in 0..100u32 {
        way.send(Bytes::from(number.to_le_bytes().repeat(10_000))).await.expect("a way");
    }
    for number in 0..100u32 {
        let came = tokio::time::timeout(GREETING_TIMEOUT * 5, heard.recv()).await.expect("in time");
        let Some(Inbound::Frame { from, lane, bytes }) = came else { panic!("a frame") };
        assert_eq!((from, lane, &bytes[..4]), (NodeId(2), Lane::Bulk, &number.to_le_bytes()[..]));
    }
    assert!(own.try_recv().is_err(), "nothing was lost");
}

#[tokio::test]
async fn whoever_shows_no_certificate_of_the_authority_is_told_why_it_is_refused() {
    let (authority, other) = (Authority::draw(), Authority::draw());
    let (address, mut heard) = secured_server(Roster::new(0), certified(&authority)).await;
    let (plain_address, _) = server(Roster::new(0)).await;
    let question = Bytes::from_static(b"who");
    let ask = async |certificates, address: &str| {
        let enquiry = TcpEnquiry(Calling { certificates, ..Calling::default() });
        enquiry.ask(address.to_owned(), question.clone()).await.map_err(|error| error.to_string())
    };
    assert!(ask(certified(&authority), &address).await.is_ok());
    let plain = ask(None, &address).await.expect_err("refused");
    assert!(plain.contains("tls.certificate") && plain.contains("caller"), "{plain}");
    let stranger = ask(certified(&other), &address).await.expect_err("refused");
    assert!(stranger.contains("another authority"), "{stranger}");
    let alone = ask(certified(&authority), &plain_address).await.expect_err("refused");
    assert!(alone.contains("does not speak TLS"), "{alone}");
    assert!(heard.try_recv().is_err(), "no frame came through");
}
