//! Namespaces of a region: its own while it is alone, the world's where it is one of several.
//!
//! A region takes over what the world agrees on. What it had of its own before is never overwritten by that: the world takes it in,
//! or, where it contradicts what the world has, it stays as it is until a person has decided ([`Contradiction`]).

#[cfg(test)]
mod tests;

use super::{DEFAULT_NAMESPACE, DEFAULT_NAMESPACE_NAME, RegionCommand, RegionOutcome, RegionRefusal, RegionState};
use crate::{
    control::{ControlCommand, ControlOutcome, ControlState, Residency, WorldNamespace, WorldPolicy},
    ids::NamespaceId,
    policy::{self, Namespace, Policy},
};
use std::collections::{BTreeMap, BTreeSet};

/// What a region has taken over of the world's namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// The version of the world's state that was taken over; 0 for none.
    pub version: u64,
    /// Which namespaces are the world's; all others are the region's own. With the version of each that was taken over, or over
    /// which the region keeps what it had.
    pub versions: BTreeMap<NamespaceId, u64>,
    /// Dropped by the world; their sessions here are still to be destroyed.
    pub dropped: BTreeSet<NamespaceId>,
}

/// Why a namespace is not in this region as it is in the world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Two namespaces cannot have one number, name or database.
    #[error(
        "the namespace {own} was created before this region joined the world, and has the number, the name or the database of the \
         world's {theirs}, which is therefore missing here. Drop one of the two with `sojourn namespace drop`: {own} through a node \
         of this region, {theirs} through a node of another one; its sessions end with it"
    )]
    InTheWay {
        /// The region's.
        own: String,
        /// The world's.
        theirs: String,
    },
    /// Numbers are never used again.
    #[error(
        "the namespace {own} was created before this region joined the world, and has the number of one that the world has \
         dropped, so other regions do not have it. Drop it here with `sojourn namespace drop {own}`, which ends its sessions, and \
         create it again"
    )]
    NumberUsed {
        /// The region's.
        own: String,
    },
    /// A password or another setting.
    #[error(
        "the namespace {name} had other settings or another password in this region before it joined the world, and keeps them: \
         say what shall hold everywhere with `sojourn namespace set {name}`"
    )]
    Policy {
        /// Of both.
        name: String,
    },
}

/// The namespace that exists from the start, as nobody has changed it.
pub(super) fn default_namespace() -> Namespace {
    let policy = Policy { database: Some(0), ..Policy::default() };
    Namespace { id: DEFAULT_NAMESPACE, name: DEFAULT_NAMESPACE_NAME.to_owned(), policy }
}

impl RegionState {
    pub(super) fn create_namespace(&mut self, name: String, policy: Policy) -> Result<RegionOutcome, RegionRefusal> {
        if !policy::is_namespace_name(&name) {
            return Err(RegionRefusal::BadNamespaceName(name));
        }
        if self.namespace(&name).is_ok() {
            return Err(RegionRefusal::NamespaceExists(name));
        }
        let id = NamespaceId(self.next_namespace);
        self.check_database(id, &policy)?;
        self.next_namespace += 1;
        self.namespaces.insert(id, Namespace { id, name, policy });
        Ok(RegionOutcome::Namespace(id))
    }

    pub(super) fn set_namespace(&mut self, name: String, policy: Policy) -> Result<RegionOutcome, RegionRefusal> {
        let id = self.namespace(&name)?;
        self.check_database(id, &policy)?;
        self.namespaces.insert(id, Namespace { id, name, policy });
        Ok(RegionOutcome::Namespace(id))
    }

    pub(super) fn drop_namespace(&mut self, name: &str) -> Result<RegionOutcome, RegionRefusal> {
        let id = self.namespace(name)?;
        if id == DEFAULT_NAMESPACE {
            return Err(RegionRefusal::DefaultNamespace);
        }
        self.namespaces.remove(&id);
        self.adopted.versions.remove(&id);
        Ok(RegionOutcome::Namespace(id))
    }

    /// Takes over the namespaces that the world has in `version` of its state. What comes late or again changes nothing.
    pub(super) fn adopt_namespaces(&mut self, version: u64, theirs: BTreeMap<NamespaceId, WorldNamespace>) {
        if version < self.adopted.version {
            return;
        }
        self.adopted.version = version;
        let is_gone = |id: &NamespaceId| !theirs.contains_key(id);
        for id in self.adopted.versions.keys().copied().filter(is_gone).collect::<Vec<_>>() {
            self.adopted.versions.remove(&id);
            self.namespaces.remove(&id);
            self.adopted.dropped.insert(id);
        }
        for theirs in theirs.into_values() {
            self.next_namespace = self.next_namespace.max(theirs.id.0.saturating_add(1));
            self.adopt_namespace(&theirs);
        }
    }

    fn adopt_namespace(&mut self, theirs: &WorldNamespace) {
        if self.in_the_way(theirs).is_some() {
            return;
        }
        let known = self.adopted.versions.insert(theirs.id, theirs.version);
        let keeps = self.namespaces.get(&theirs.id).is_some_and(|ours| match known {
            Some(known) => known >= theirs.version,
            // It had one of the same number and name before: what holds in it is for a person to say.
            None => *ours != default_namespace(),
        });
        if !keeps {
            self.namespaces.insert(theirs.id, theirs.local());
        }
    }

    /// The region's own namespace that cannot be where that one of the world is.
    fn in_the_way(&self, theirs: &WorldNamespace) -> Option<&Namespace> {
        let database = theirs.policy.policy.database;
        self.own_namespaces().find(|own| match (own.id == theirs.id, own.name == theirs.name) {
            (true, true) => false,
            (true, false) | (false, true) => true,
            (false, false) => database.is_some() && own.policy.database == database,
        })
    }

    /// Those that are not the world's.
    fn own_namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values().filter(|namespace| !self.adopted.versions.contains_key(&namespace.id))
    }

    /// Whether the region is in a world and has a namespace of this name that is not the world's.
    pub fn is_own_namespace(&self, name: &str) -> bool {
        self.adopted.version != 0 && self.own_namespaces().any(|own| own.name == name)
    }

    /// What the world should take in of this region, which it does not have and would not refuse.
    pub fn next_to_bring(&self, world: &ControlState) -> Option<ControlCommand> {
        let accepted = |command: &ControlCommand| {
            let outcome = world.clone().apply(command.clone());
            !matches!(outcome, ControlOutcome::Refused(_))
        };
        let bring = |own: &Namespace| match world.namespaces.get(&own.id) {
            None => Some(ControlCommand::BringNamespace { namespace: Box::new(own.clone()) }),
            // The one that exists from the start, as nobody in the world has changed it yet.
            Some(theirs) if theirs.version == 0 && theirs.policy.policy != own.policy => {
                let policy = WorldPolicy { policy: own.policy.clone(), residency: Residency::default() };
                let (name, over) = (own.name.clone(), Some(theirs.version));
                Some(ControlCommand::SetNamespace { name, over, policy: Box::new(policy) })
            }
            Some(_) => None,
        };
        self.own_namespaces().filter_map(bring).find(accepted)
    }

    /// What takes over the world's namespaces, if that changes anything.
    pub fn next_adoption(&self, world: &ControlState) -> Option<RegionCommand> {
        let mut after = self.clone();
        after.adopt_namespaces(world.version, world.namespaces.clone());
        // A later state with the same namespaces is no news.
        after.adopted.version = self.adopted.version;
        let (version, namespaces) = (world.version, world.namespaces.clone());
        (after != *self).then_some(RegionCommand::AdoptNamespaces { version, namespaces })
    }

    /// What a person has to decide before all namespaces are here as they are in the world.
    pub fn contradictions(&self, world: &ControlState) -> Vec<Contradiction> {
        if self.adopted.version == 0 {
            return Vec::new();
        }
        let in_the_way = world.namespaces.values().filter_map(|theirs| {
            let own = self.in_the_way(theirs)?.name.clone();
            Some(Contradiction::InTheWay { own, theirs: theirs.name.clone() })
        });
        let used = self.own_namespaces().filter(|own| world.dropped_namespaces.contains(&own.id));
        let differs = |theirs: &&WorldNamespace| {
            let is_known = self.adopted.versions.get(&theirs.id) == Some(&theirs.version);
            is_known && self.namespaces.get(&theirs.id).is_some_and(|ours| ours.policy != theirs.policy.policy)
        };
        let policies = world.namespaces.values().filter(differs);
        in_the_way
            .chain(used.map(|own| Contradiction::NumberUsed { own: own.name.clone() }))
            .chain(policies.map(|theirs| Contradiction::Policy { name: theirs.name.clone() }))
            .collect()
    }

    fn check_database(&self, id: NamespaceId, policy: &Policy) -> Result<(), RegionRefusal> {
        let Some(database) = policy.database else { return Ok(()) };
        let taken = self.namespaces.values().find(|other| other.id != id && other.policy.database == Some(database));
        match taken {
            Some(owner) => Err(RegionRefusal::DatabaseTaken { database, owner: owner.name.clone() }),
            None => Ok(()),
        }
    }

    /// The number of the namespace called `name`.
    ///
    /// # Errors
    /// There may be none.
    pub fn namespace(&self, name: &str) -> Result<NamespaceId, RegionRefusal> {
        let found = self.namespaces.values().find(|namespace| namespace.name == name);
        found.map(|namespace| namespace.id).ok_or_else(|| RegionRefusal::UnknownNamespace(name.to_owned()))
    }
}
