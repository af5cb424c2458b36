//! The administration in JSON under `/v1`: each handler decodes, calls the region, encodes.

mod cluster;
mod conflicts;
mod control;
mod guard;
mod namespaces;
mod rebalance;
mod refused;
mod regions;
mod sessions;
mod slots;
mod travel;

pub(super) use refused::{Refused, unknown_path};

use super::{HttpOptions, Node};
use axum::{
    Router, middleware,
    routing::{get, post},
};

/// All routes; strangers are turned away before any of them.
pub(super) fn routes(options: HttpOptions) -> Router<Node> {
    Router::new()
        .route("/status", get(cluster::status))
        .route("/members", post(cluster::add))
        .route("/members/drain", post(cluster::drain))
        .route("/members/remove", post(cluster::remove))
        .route("/groups/transfer", post(cluster::transfer))
        .route("/regions", get(control::status))
        .route("/regions/conflicts", post(conflicts::list))
        .route("/regions/failover", post(control::fail_over))
        .route("/regions/failback", post(control::fail_back))
        .route("/regions/drain", post(control::drain))
        .route("/regions/drain/plan", post(control::plan_drain))
        .route("/regions/policy", post(control::set_policy))
        .route("/rebalance", get(rebalance::show).post(rebalance::set))
        .route("/rebalance/plan", post(rebalance::plan))
        .route("/slots/move", post(slots::move_slots))
        .route("/slots/plan", post(slots::plan))
        .route("/slots/stop", post(slots::stop))
        .route("/regions/route", post(regions::route))
        .route("/sessions/get", post(sessions::get))
        .route("/sessions/list", post(sessions::list))
        .route("/sessions/count", post(sessions::count))
        .route("/sessions/ttl", post(sessions::ttl))
        .route("/sessions/move", post(travel::move_session))
        .route("/sessions/destroy", post(sessions::destroy))
        .route("/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/namespaces/{name}", get(namespaces::show).patch(namespaces::set).delete(namespaces::forget))
        .layer(middleware::from_fn_with_state(options, guard::only_operators))
}
