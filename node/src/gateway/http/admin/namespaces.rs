//! Namespaces and their settings.

use super::{
    super::{
        Node,
        api::{Change, Create, Created, Done, Namespace, Namespaces},
    },
    Refused,
};
use crate::notation;
use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
};
use sojourn_core::{
    Command, Key, Op, Outcome, Request, Slot,
    ids::NEVER,
    mint::id_in,
    policy::{self, Policy},
    region::{RegionCommand, RegionOutcome, RegionRefusal},
};
use std::collections::BTreeMap;

pub async fn list(State(node): State<Node>) -> Json<Namespaces> {
    let namespaces = node.backend.topology().region.namespaces.values().map(Namespace::from).collect();
    Json(Namespaces { namespaces })
}

pub async fn show(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<Namespace>, Refused> {
    Ok(Json(Namespace::from(&find(&node, &name)?)))
}

pub async fn create(
    State(node): State<Node>,
    body: Result<Json<Create>, JsonRejection>,
) -> Result<Json<Created>, Refused> {
    let Json(Create { namespace: name, settings, password_hash }) = body?;
    tracing::info!(target: "audit", namespace = name, "a namespace is created");
    let policy = changed(Policy::default(), &settings, password_hash)?;
    match agree(&node, RegionCommand::CreateNamespace { name, policy }).await? {
        RegionOutcome::Namespace(id) => Ok(Json(Created { id: id.0 })),
        RegionOutcome::Done | RegionOutcome::Node(_) | RegionOutcome::SlotMove(_) | RegionOutcome::Refused(_) => {
            Err(crate::region::backend::Unavailable::Loading.into())
        }
    }
}

pub async fn set(
    State(node): State<Node>,
    Path(name): Path<String>,
    body: Result<Json<Change>, JsonRejection>,
) -> Result<Json<Namespace>, Refused> {
    let Json(Change { settings, password_hash }) = body?;
    let old = find(&node, &name)?;
    tracing::info!(target: "audit", namespace = name, settings = ?settings.keys(), "a namespace is changed");
    let policy = changed(old.policy, &settings, password_hash)?;
    agree(&node, RegionCommand::SetNamespace { name: name.clone(), policy: policy.clone() }).await?;
    Ok(Json(Namespace::from(&policy::Namespace { policy, ..old })))
}

pub async fn forget(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<Done>, Refused> {
    tracing::info!(target: "audit", namespace = name, "a namespace is dropped");
    let namespace = find(&node, &name)?;
    agree(&node, RegionCommand::DropNamespace { name }).await?;
    clear(&node, &namespace).await?;
    Ok(Json(Done { done: true }))
}

/// Sessions that one entry of the log destroys.
const CLEAR_COUNT: u64 = 1_000;

/// Destroys the sessions of a namespace that is gone.
async fn clear(node: &Node, namespace: &policy::Namespace) -> Result<(), Refused> {
    loop {
        let changes = node.backend.region().slot_moves.changes;
        clear_shards(node, namespace).await?;
        // What went from one shard to another meanwhile may have been in neither.
        if node.backend.region().slot_moves.changes == changes {
            return Ok(());
        }
    }
}

async fn clear_shards(node: &Node, namespace: &policy::Namespace) -> Result<(), Refused> {
    for (first, _, _) in node.backend.topology().slots().ranges() {
        let Some(key) = Slot::new(first).and_then(|slot| Key::new(namespace.id, &id_in(slot)).ok()) else { continue };
        let op = Op::Clear { namespace: namespace.id, before: NEVER, count_max: CLEAR_COUNT };
        let rules = namespace.policy.rules(false);
        let command = Command { request: Request::default(), key, rules, touched: None, op };
        while let Some(Outcome::Count(count)) = node.backend.write(vec![command.clone()]).await.pop().transpose()? {
            if count.unsigned_abs() < CLEAR_COUNT {
                break;
            }
        }
    }
    Ok(())
}

/// The namespace called `name`.
pub fn find(node: &Node, name: &str) -> Result<policy::Namespace, RegionRefusal> {
    let region = &node.backend.topology().region;
    let id = region.namespace(name)?;
    region.namespaces.get(&id).cloned().ok_or_else(|| RegionRefusal::UnknownNamespace(name.to_owned()))
}

fn changed(
    mut policy: Policy,
    settings: &BTreeMap<String, String>,
    password_hash: Option<String>,
) -> Result<Policy, Refused> {
    for (name, value) in settings {
        notation::change(&mut policy, name, value)?;
    }
    policy.password_hash = password_hash.unwrap_or(policy.password_hash);
    Ok(policy)
}

async fn agree(node: &Node, command: RegionCommand) -> Result<RegionOutcome, Refused> {
    match node.backend.change_region(command).await? {
        RegionOutcome::Refused(refusal) => Err(refusal.into()),
        outcome => Ok(outcome),
    }
}
