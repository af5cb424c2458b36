//! Probes and metrics over HTTP.

use crate::region::RegionNode;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

/// Serves until `stop` completes.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    node: RegionNode,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn ready(State(node): State<RegionNode>) -> (StatusCode, &'static str) {
    if node.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: a shard has no leader that this node knows\n")
    }
}

async fn metrics(State(node): State<RegionNode>) -> String {
    let log = node.log().statistics();
    let figures: [(&str, &str, &str, u64); 6] = [
        ("sojourn_log_syncs_total", "counter", "Syncs of the log.", log.syncs_total),
        ("sojourn_log_records_total", "counter", "Records made durable.", log.records_total),
        ("sojourn_log_entries_total", "counter", "Raft entries made durable.", log.entries_total),
        ("sojourn_log_written_bytes_total", "counter", "Bytes written to the log.", log.bytes_total),
        ("sojourn_log_segments", "gauge", "Log segments that hold records.", log.segments as u64),
        ("sojourn_log_queue_bytes", "gauge", "Bytes accepted and not yet durable.", log.queue_bytes),
    ];
    let lines = figures
        .iter()
        .map(|(name, kind, help, value)| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    lines.collect()
}
