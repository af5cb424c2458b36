//! What is malformed, too large or half done harms nobody else.

use crate::{
    raw::{self, bytes, request},
    region::{SOON, client, shared},
};
use bytes::Bytes;
use sojourn_client::NewSession;
use sojourn_core::policy::Policy;
use sojourn_proto::sessions::{MESSAGE_BYTES_MAX, detail_of, v1};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request, codegen::http::uri::PathAndQuery};

async fn still_serves(namespace: &str) {
    let region = shared().await;
    let client = region.builder(namespace).connect().await.expect("connected");
    client.create(NewSession::new()).await.expect("created");
}

#[tokio::test]
async fn noise_ends_the_connection_and_nothing_else() {
    client("noise", Policy::default()).await;
    let address = shared().await.address(0);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let noise: Vec<u8> = (0..4_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for bytes in [noise.clone(), [preface, &noise].concat(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 100]] {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        // The node may have closed it before all was written.
        let _closed = stream.write_all(&bytes).await;
        let _closed = stream.shutdown().await;
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the node closes the connection");
    }
    still_serves("noise").await;
}

#[tokio::test]
async fn idle_and_half_open_connections_cost_others_nothing() {
    client("idle", Policy::default()).await;
    let address = shared().await.address(1);
    let mut idle = Vec::new();
    for at in 0..300 {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        if at % 2 == 0 {
            stream.write_all(b"PRI * HTTP/2.0\r\n").await.expect("half a preface");
        }
        idle.push(stream);
    }
    still_serves("idle").await;
    drop(idle);
}

#[tokio::test]
async fn a_message_that_is_none_is_refused() {
    client("wrong", Policy::default()).await;
    let region = shared().await;
    let address = format!("http://{}", region.address(0));
    let channel = tonic::transport::Endpoint::from_shared(address).expect("an address").connect().await;
    let mut grpc = tonic::client::Grpc::new(channel.expect("connected"));
    grpc.ready().await.expect("ready");
    // A field of bytes where a message should be, and it is none.
    let message = v1::Field { name: Bytes::from_static(&[0xff; 64]), value: Bytes::from_static(&[0xff; 64]) };
    let codec = tonic_prost::ProstCodec::<v1::Field, v1::WriteResponse>::default();
    let path = PathAndQuery::from_static("/sojourn.sessions.v1.Sessions/Put");
    let refused = grpc.unary(Request::new(message), path, codec).await.expect_err("no message");
    assert!(matches!(refused.code(), Code::Internal | Code::InvalidArgument), "{refused}");
    still_serves("wrong").await;
}

#[tokio::test]
async fn too_large_a_message_is_refused_before_it_is_read() {
    client("oversize", Policy::default()).await;
    let mut node = raw::client(shared().await, 0).await;
    let value = Bytes::from(vec![b'x'; MESSAGE_BYTES_MAX + 1]);
    let fields = vec![v1::Field { name: bytes("a"), value }];
    let message = v1::CreateRequest { fields, ..Default::default() };
    let refused = node.create(request("oversize", message)).await.expect_err("too large");
    assert!(!refused.message().is_empty(), "{refused}");
    still_serves("oversize").await;
}

#[tokio::test]
async fn a_stranger_is_refused_before_its_message_is_read() {
    client("before", Policy::default()).await;
    let address = format!("http://{}", shared().await.address(0));
    let channel = tonic::transport::Endpoint::from_shared(address).expect("an address").connect().await;
    let mut grpc = tonic::client::Grpc::new(channel.expect("connected"));
    grpc.ready().await.expect("ready");
    // Its message never comes: who waits for that before asking who calls waits for ever.
    let never = futures::stream::pending::<v1::CreateRequest>();
    let codec = tonic_prost::ProstCodec::<v1::CreateRequest, v1::CreateResponse>::default();
    let path = PathAndQuery::from_static("/sojourn.sessions.v1.Sessions/Create");
    let call = grpc.client_streaming(request("no such namespace", never), path, codec);
    let refused = tokio::time::timeout(SOON, call).await.expect("an answer in time").expect_err("a stranger");
    assert_eq!(detail_of(&refused).map(|detail| detail.reason()), Some(v1::Reason::Locked), "{refused}");
}

#[tokio::test]
async fn requests_without_sense_are_told_the_mend() {
    let named = client("mended", Policy::default()).await;
    let id = Bytes::copy_from_slice(named.create(NewSession::new()).await.expect("created").id.expose());
    let mut node = raw::client(shared().await, 2).await;
    let nameless = v1::RequestId { origin: 0, sequence: 1, settled: 1 };
    let touch = v1::TouchRequest { request: Some(nameless), id: id.clone() };
    let refused = node.touch(request("mended", touch)).await.expect_err("no origin");
    let reason = detail_of(&refused).map(|detail| detail.reason());
    assert_eq!((refused.code(), reason), (Code::InvalidArgument, Some(v1::Reason::Malformed)));
    assert!(refused.message().contains("draw a random origin"));

    let late = v1::CreateRequest { made_at_ms: Some(1), ..Default::default() };
    let refused = node.create(request("mended", late)).await.expect_err("long ago");
    let detail = detail_of(&refused).expect("a detail");
    assert!(detail.reason() == v1::Reason::ClocksApart && detail.now_ms > 1, "{detail:?}");

    let wide = v1::WatchRequest { ids: vec![id.clone(); 1_001], ..Default::default() };
    assert_eq!(node.watch(request("mended", wide)).await.expect_err("too many").code(), Code::InvalidArgument);
    let token = v1::WatchRequest { resume_token: bytes("nonsense"), ..Default::default() };
    let refused = node.watch(request("mended", token)).await.expect_err("no token");
    assert_eq!(detail_of(&refused).map(|detail| detail.reason()), Some(v1::Reason::BadToken));

    let seen = v1::GetRequest { id: id.clone(), token: "nonsense".to_owned(), ..Default::default() };
    let refused = node.get(request("mended", seen)).await.expect_err("no token");
    assert_eq!(detail_of(&refused).map(|detail| detail.reason()), Some(v1::Reason::BadToken));

    // One name for two writes.
    let name = Some(v1::RequestId { origin: 77, sequence: 1, settled: 1 });
    node.touch(request("mended", v1::TouchRequest { request: name, id: id.clone() })).await.expect("touched");
    let reused = node.destroy(request("mended", v1::DestroyRequest { request: name, id })).await.expect_err("reused");
    assert_eq!(detail_of(&reused).map(|detail| detail.reason()), Some(v1::Reason::RequestReused));
}
