//! Who decides over namespaces: the region where it is alone, the world where it is one of several. A number that meant one
//! namespace here and another one elsewhere would bring the sessions of the one to light in the other.

use super::{
    backend::Unavailable,
    heard::{HEAR_TIMEOUT, HEAR_WORLD_TIMEOUT},
    node::Inner,
};
use sojourn_core::{
    control::{ControlCommand, ControlOutcome, ControlRefusal, Residency, WorldPolicy},
    policy::Policy,
    region::{RegionCommand, RegionOutcome, RegionRefusal},
};
use std::sync::Weak;

impl Inner {
    /// Makes a change that somebody wishes, by the world's word where it concerns all regions. Who looks here afterwards sees it.
    pub(super) async fn change_as_wished(&self, command: RegionCommand) -> Result<RegionOutcome, Unavailable> {
        let (outcome, patience) = match self.wish(&command) {
            Some(wish) => (self.have_agreed(wish).await?, HEAR_WORLD_TIMEOUT),
            None => (self.change(command.clone()).await?, HEAR_TIMEOUT),
        };
        if !matches!(outcome, RegionOutcome::Refused(_)) {
            self.hear_of(&command, patience).await;
        }
        Ok(outcome)
    }

    /// What the world is asked for; none if the region decides by itself.
    fn wish(&self, command: &RegionCommand) -> Option<ControlCommand> {
        self.ways.get()?;
        let region = self.system.machine().now();
        // What contradicts the world is the region's alone: changing or dropping it is how that ends.
        let is_worlds = |name: &str| !region.is_own_namespace(name);
        match command {
            RegionCommand::CreateNamespace { name, policy } if is_worlds(name) => {
                let policy = self.in_world(name, policy);
                Some(ControlCommand::CreateNamespace { name: name.clone(), policy })
            }
            RegionCommand::SetNamespace { name, policy } if is_worlds(name) => {
                // The version of what whoever wishes it has seen here.
                let over = region.namespace(name).ok().and_then(|id| region.adopted.versions.get(&id).copied());
                let policy = self.in_world(name, policy);
                Some(ControlCommand::SetNamespace { name: name.clone(), over, policy })
            }
            RegionCommand::DropNamespace { name } if is_worlds(name) => {
                Some(ControlCommand::DropNamespace { name: name.clone() })
            }
            _ => None,
        }
    }

    /// A policy with what of it concerns several regions, as that is now.
    fn in_world(&self, name: &str, policy: &Policy) -> Box<WorldPolicy> {
        let world = self.ways.get().and_then(|ways| ways.world.borrow().clone());
        let known = world.as_ref().and_then(|world| world.namespace(name).ok());
        let residency = known.map_or(Residency::Anywhere, |known| known.policy.residency.clone());
        Box::new(WorldPolicy { policy: policy.clone(), residency })
    }

    async fn have_agreed(&self, wish: ControlCommand) -> Result<RegionOutcome, Unavailable> {
        let counsel = self.counsel.get().and_then(Weak::upgrade).ok_or(Unavailable::Loading)?;
        match counsel.have_agreed(wish).await? {
            ControlOutcome::Namespace(id) => Ok(RegionOutcome::Namespace(id)),
            ControlOutcome::Done | ControlOutcome::Region(_) => Ok(RegionOutcome::Done),
            ControlOutcome::Refused(refusal) => refused(refusal).map(RegionOutcome::Refused),
        }
    }
}

/// The world's refusal as the region would say it.
fn refused(refusal: ControlRefusal) -> Result<RegionRefusal, Unavailable> {
    match refusal {
        ControlRefusal::UnknownNamespace(name) => Ok(RegionRefusal::UnknownNamespace(name)),
        ControlRefusal::NamespaceExists(name) => Ok(RegionRefusal::NamespaceExists(name)),
        ControlRefusal::BadNamespaceName(name) => Ok(RegionRefusal::BadNamespaceName(name)),
        ControlRefusal::DatabaseTaken { database, owner } => Ok(RegionRefusal::DatabaseTaken { database, owner }),
        ControlRefusal::DefaultNamespace => Ok(RegionRefusal::DefaultNamespace),
        other => Err(Unavailable::Refused(other.to_string())),
    }
}
