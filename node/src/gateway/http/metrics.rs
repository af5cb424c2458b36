//! `/metrics`, as Prometheus reads it.

use super::{Node, admin::Refused};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

pub(super) fn routes() -> Router<Node> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(node): State<Node>) -> Result<impl IntoResponse, Refused> {
    written(node.metrics.text())
}

/// The answer that carries figures.
pub(super) fn written(text: prometheus::Result<String>) -> Result<impl IntoResponse, Refused> {
    let text = text.map_err(|error| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, &format!("the figures cannot be written: {error}"), "")
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
