//! Probes, metrics and administration over HTTP.

mod admin;
pub mod api;
mod metrics;
mod probes;
mod starting;

use super::connections::{Connections, Peer};
use crate::{
    region::{RegionNode, admin::Admin, backend::Backend},
    telemetry::Metrics,
    world::{control::Control, guide::Guide},
};
use axum::{Router, extract::Request, response::Response};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
};
use tokio::net::TcpListener;
use tower_service::Service;

/// What the handlers call.
#[derive(Clone)]
struct Node {
    backend: Arc<dyn Backend>,
    admin: Arc<dyn Admin>,
    metrics: Arc<Metrics>,
    guide: Arc<Guide>,
    /// None in a world of one region.
    control: Option<Control>,
}

/// How the endpoint behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Whether administration is open beyond this machine.
    pub open: bool,
}

/// The endpoint: it answers from before the node comes in, which may take long where that depends on others.
pub struct Endpoint {
    /// Set once there is a node to ask.
    node: OnceLock<Router>,
    missing: Mutex<String>,
}

impl Endpoint {
    /// An endpoint of a node that is not in yet.
    pub fn new(missing: &str) -> Arc<Self> {
        Arc::new(Self { node: OnceLock::new(), missing: Mutex::new(missing.to_owned()) })
    }

    /// Says for what the node waits from now on.
    pub fn waits_for(&self, missing: String) {
        *self.missing.lock() = missing;
    }

    /// Lets requests through to the node.
    pub fn open(
        &self,
        node: RegionNode,
        control: Option<Control>,
        metrics: Arc<Metrics>,
        guide: Arc<Guide>,
        options: HttpOptions,
    ) {
        let node = Node { backend: Arc::new(node.clone()), admin: Arc::new(node), metrics, guide, control };
        let router = Router::new()
            .merge(probes::of_the_process())
            .merge(probes::routes())
            .merge(metrics::routes())
            .nest("/v1", admin::routes(options))
            .with_state(node)
            .fallback(admin::unknown_path);
        // The first one stays.
        let _opened = self.node.set(router);
    }

    /// Serves so many connections at a time until `stop` completes.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        connections_max: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let starting = starting::routes(self.clone());
        let routes = Router::new().fallback(async move |request| self.answer(&starting, request).await);
        let service = routes.into_make_service_with_connect_info::<Peer>();
        axum::serve(Connections::new(listener, connections_max), service).with_graceful_shutdown(stop).await
    }

    async fn answer(&self, starting: &Router, request: Request) -> Result<Response, Infallible> {
        // A router is always ready to be called.
        self.node.get().unwrap_or(starting).clone().call(request).await
    }

    fn missing(&self) -> String {
        self.missing.lock().clone()
    }
}
