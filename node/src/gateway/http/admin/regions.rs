//! Regions, and the way to them.

use super::{
    super::{
        Node,
        api::{Route, RouteOf},
    },
    Refused,
};
use crate::world::origin::parse_address;
use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};

pub async fn route(
    State(node): State<Node>,
    body: Result<Json<RouteOf>, JsonRejection>,
) -> Result<Json<Route>, Refused> {
    let Json(RouteOf { address }) = body?;
    let refused = |error: &dyn std::fmt::Display| Refused::new(StatusCode::BAD_REQUEST, &error.to_string(), "");
    let address = parse_address(&address).map_err(|error| refused(&error))?;
    Ok(Json(node.guide.explain(address).into()))
}
