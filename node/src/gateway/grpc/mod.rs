//! The endpoint for gRPC clients: the `Sessions` service.
//!
//! Who may not call is turned away before that. Each call is three moves: decode it into what a caller asks, ask the [`Api`], encode what it answers.

mod caller;
mod door;
mod service;
mod topology;

use super::connections::Connections;
use crate::api::Api;
use door::Door;
use service::SessionsService;
use sojourn_proto::sessions::{MESSAGE_BYTES_MAX, v1::sessions_server::SessionsServer};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::Server;

/// What an operator decides about an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct GrpcOptions {
    /// The most connections; more wait to be accepted.
    pub connections_max: usize,
    /// Calls under way on one connection; more wait at the client.
    pub calls_per_connection_max: u32,
    /// How long calls may take to finish when the node stops.
    pub stop_within: Duration,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self { connections_max: 20_000, calls_per_connection_max: 256, stop_within: Duration::from_secs(2) }
    }
}

/// Bytes on their way to the node that it has not asked for, per call and per connection.
const CALL_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// The most bytes of the metadata of one call.
const METADATA_BYTES_MAX: u32 = 16 << 10;

/// Clients that vanished are noticed by a ping without an answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves gRPC clients on `listener` until `closing` is set; then lets calls finish and returns.
///
/// # Errors
/// The server failed.
pub async fn serve(
    listener: TcpListener,
    api: Arc<Api>,
    options: GrpcOptions,
    closing: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let service = SessionsServer::new(SessionsService::new(api.clone(), closing.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let connections = Connections::new(listener, options.connections_max);
    let server = Server::builder()
        .max_concurrent_streams(options.calls_per_connection_max)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(METADATA_BYTES_MAX)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_service(Door::new(service, api))
        .serve_with_incoming_shutdown(connections.stream(), is_set(closing.clone()));
    tokio::pin!(server);
    tokio::select! {
        served = &mut server => return served,
        () = is_set(closing) => {}
    }
    // Calls that go on are cut off with their connections.
    tokio::time::timeout(options.stop_within, server).await.unwrap_or(Ok(()))
}

/// Completes when the flag is set, or when nobody can set it any more.
async fn is_set(mut flag: watch::Receiver<bool>) {
    let _set_or_closed = flag.wait_for(|set| *set).await;
}
