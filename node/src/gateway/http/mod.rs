//! Probes, metrics and administration over HTTP.

mod admin;
pub mod api;
mod metrics;
mod probes;

use crate::{
    region::{RegionNode, admin::Admin, backend::Backend},
    telemetry::Metrics,
};
use axum::Router;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// What the handlers call.
#[derive(Clone)]
struct Node {
    backend: Arc<dyn Backend>,
    admin: Arc<dyn Admin>,
    metrics: Arc<Metrics>,
}

/// How the endpoint behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Whether administration is open beyond this machine.
    pub open: bool,
}

/// Serves until `stop` completes.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    node: RegionNode,
    metrics: Arc<Metrics>,
    options: HttpOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let node = Node { backend: Arc::new(node.clone()), admin: Arc::new(node), metrics };
    let router = Router::new()
        .merge(probes::routes())
        .merge(metrics::routes())
        .nest("/v1", admin::routes(options))
        .with_state(node)
        .fallback(admin::unknown_path);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}
