//! What the endpoint says while the node comes in: that it lives, that it is not ready, and for what it waits.

use super::{Endpoint, admin::Refused, metrics, probes};
use crate::telemetry;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use std::sync::Arc;

pub(super) fn routes(endpoint: Arc<Endpoint>) -> Router {
    Router::new()
        .merge(probes::of_the_process())
        .route("/readyz", get(ready))
        .route("/metrics", get(async || metrics::written(telemetry::text_of_starting_node())))
        .fallback(not_yet)
        .with_state(endpoint)
}

async fn ready(State(endpoint): State<Arc<Endpoint>>) -> impl IntoResponse {
    probes::readiness(&[endpoint.missing()])
}

async fn not_yet(State(endpoint): State<Arc<Endpoint>>) -> Refused {
    let error = format!("the node is starting: {}", endpoint.missing());
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, &error, "ask another node, or again")
}
