//! etcd's API: `KV.Put`, linearizable `KV.Range` of one key, `Maintenance.Status`.
//!
//! The messages have the fields that are used, with the numbers of etcd's `rpc.proto`.

use super::{keys::KEY_BYTES, target::Refused};
use anyhow::ensure;
use bytes::Bytes;
use std::net::SocketAddr;
use tonic::{
    Code, Request, Response,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

const PUT: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Put");
const RANGE: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Range");
const STATUS: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");

/// A connection that asks one thing after another.
pub struct EtcdConnection(Grpc<Channel>);

impl EtcdConnection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        Ok(Self(Grpc::new(endpoint.connect().await?)))
    }

    async fn call<Q, R>(&mut self, path: PathAndQuery, request: Q) -> anyhow::Result<R>
    where
        Q: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        self.0.ready().await?;
        let answered = self.0.unary(Request::new(request), path, ProstCodec::<Q, R>::default()).await;
        answered.map(Response::into_inner).map_err(|status| match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => Refused(status.to_string()).into(),
            _ => status.into(),
        })
    }

    /// Writes a session.
    pub async fn put(&mut self, key: &[u8; KEY_BYTES], value: &[u8]) -> anyhow::Result<()> {
        let request = PutRequest { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) };
        let PutResponse {} = self.call(PUT, request).await?;
        Ok(())
    }

    /// Reads a session.
    pub async fn get(&mut self, key: &[u8; KEY_BYTES]) -> anyhow::Result<()> {
        let response: RangeResponse = self.call(RANGE, RangeRequest { key: Bytes::copy_from_slice(key) }).await?;
        ensure!(response.kvs.len() == 1, "a session that was written is not there");
        Ok(())
    }
}

/// What a member says of itself and of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EtcdStatus {
    /// Its id.
    pub member: u64,
    /// The leader's id, if it knows one.
    pub leader: Option<u64>,
}

/// Asks a member.
///
/// # Errors
/// It does not answer.
pub async fn status(address: SocketAddr) -> anyhow::Result<EtcdStatus> {
    let mut connection = EtcdConnection::open(address).await?;
    let response: StatusResponse = connection.call(STATUS, StatusRequest {}).await?;
    let member = response.header.unwrap_or_default().member_id;
    Ok(EtcdStatus { member, leader: (response.leader != 0).then_some(response.leader) })
}
