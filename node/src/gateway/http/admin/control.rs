//! What operators decide over regions.

use super::{
    super::{
        Node,
        api::{Done, DrainRegion, DrainWhatIf, Draining, FailBack, FailOver, LossPolicy, Regions},
    },
    Refused, conflicts,
};
use crate::world::control::{Agreement, Control, NotAgreed};
use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use sojourn_core::{
    RegionId,
    control::{Cause, ControlCommand, ControlState, FailoverMode, Region},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long the shards may take to say how many conflicts and sessions they know: who asks how the regions are must not wait for
/// them.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer<T> = Result<Json<T>, Refused>;

pub async fn status(State(node): State<Node>) -> Json<Regions> {
    let view = match &node.control {
        Some(control) => Some(control.view().await),
        None => None,
    };
    let region = node.backend.region();
    let contradictions =
        view.iter().filter_map(|view| view.state.as_ref()).flat_map(|world| region.contradictions(world));
    let contradictions = contradictions.map(|it| it.to_string()).collect();
    let regions = Regions::new(&region.name, region.region, view.as_ref());
    let (conflicts, homes) =
        tokio::join!(conflicts::count(&node, COUNT_TIMEOUT), timeout(COUNT_TIMEOUT, node.admin.homes()));
    let homes = homes.ok().and_then(Result::ok);
    Json(Regions { contradictions, conflicts, ..regions.with_homes(view.as_ref(), homes.as_ref()) })
}

pub async fn fail_over(State(node): State<Node>, body: Body<FailOver>) -> Answer<Done> {
    let Json(FailOver { region, force }) = body?;
    tracing::info!(target: "audit", region, force, "a region is failed over");
    let cause = Cause::Operator { force };
    agree(&node, &region, |region| ControlCommand::Fence { region, cause, at: node.backend.now_ms() }).await
}

pub async fn fail_back(State(node): State<Node>, body: Body<FailBack>) -> Answer<Done> {
    let Json(FailBack { region }) = body?;
    tracing::info!(target: "audit", region, "a region is failed back");
    agree(&node, &region, |region| ControlCommand::Failback { region, at: node.backend.now_ms() }).await
}

pub async fn drain(State(node): State<Node>, body: Body<DrainRegion>) -> Answer<Done> {
    let Json(DrainRegion { region, draining }) = body?;
    tracing::info!(target: "audit", region, draining, "a region is drained, or no longer");
    agree(&node, &region, |region| ControlCommand::Drain { region, draining }).await
}

pub async fn plan_drain(State(node): State<Node>, body: Body<DrainWhatIf>) -> Answer<Draining> {
    let Json(DrainWhatIf { region }) = body?;
    let (_, state) = world(&node)?;
    let from = named(&state, &region)?.id;
    let homes = node.admin.homes().await?;
    Ok(Json(Draining::of(&state, from, homes.get(&from).unwrap_or(&BTreeMap::new()))))
}

pub async fn set_policy(State(node): State<Node>, body: Body<LossPolicy>) -> Answer<Done> {
    let Json(LossPolicy { failover, lease_ms }) = body?;
    tracing::info!(target: "audit", failover, lease_ms, "how losses of regions are met is changed");
    let (control, state) = world(&node)?;
    let mode = match failover.as_deref() {
        None => state.failover.mode,
        Some("automatic") => FailoverMode::Automatic,
        Some("operator") => FailoverMode::Operator,
        Some(other) => {
            let error = format!("{other:?} says nobody who could decide over losses");
            return Err(Refused::new(StatusCode::BAD_REQUEST, &error, "use automatic or operator"));
        }
    };
    let lease_ms = lease_ms.unwrap_or(state.failover.lease_ms);
    propose(control, &state, ControlCommand::SetFailover { mode, lease_ms }).await
}

/// Has something agreed on that concerns the region called `name`.
async fn agree(node: &Node, name: &str, command: impl FnOnce(RegionId) -> ControlCommand) -> Answer<Done> {
    let (control, state) = world(node)?;
    propose(control, &state, command(named(&state, name)?.id)).await
}

/// The region called `name`.
pub(super) fn named<'a>(state: &'a ControlState, name: &str) -> Result<&'a Region, Refused> {
    state.regions.values().find(|region| region.name == name).ok_or_else(|| {
        let names: Vec<&str> = state.regions.values().map(|region| region.name.as_str()).collect();
        let error = format!("no region {name} in this world: it has {}", names.join(", "));
        Refused::new(StatusCode::NOT_FOUND, &error, "`sojourn region status` shows them")
    })
}

async fn propose(control: &Control, known: &ControlState, command: ControlCommand) -> Answer<Done> {
    control.propose(command).await?;
    // Who looks at once sees it.
    control.hear_of(known.version + 1).await;
    Ok(Json(Done { done: true }))
}

pub(super) fn world(node: &Node) -> Result<(&Control, Arc<ControlState>), Refused> {
    let control = node.control.as_ref().ok_or_else(|| {
        let error = "this world has one region: there is no other";
        Refused::new(StatusCode::CONFLICT, error, "list the others in `world.regions` of every node")
    })?;
    let state = control.watch().borrow().clone().ok_or(NotAgreed::NotFounded)?;
    Ok((control, state))
}

impl From<NotAgreed> for Refused {
    fn from(error: NotAgreed) -> Self {
        let (status, mend) = match &error {
            NotAgreed::Refused(_) => (StatusCode::CONFLICT, ""),
            NotAgreed::NoLeader => {
                (StatusCode::SERVICE_UNAVAILABLE, "`sojourn region status` shows whether it was done meanwhile")
            }
            NotAgreed::NotFounded => (StatusCode::SERVICE_UNAVAILABLE, "`sojourn region status` shows who is missing"),
        };
        Self::new(status, &error.to_string(), mend)
    }
}
