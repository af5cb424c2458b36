//! Namespaces of the whole world, and what of their policy concerns more than one region.

use super::{ControlOutcome, ControlRefusal, ControlState};
use crate::{
    ids::{NamespaceId, RegionId},
    policy::{self, Namespace, Policy},
    region::{DEFAULT_NAMESPACE, DEFAULT_NAMESPACE_NAME},
};
use std::collections::BTreeSet;

/// Which regions may hold what sessions contain. The others get existence, deadline and revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// All.
    #[default]
    Anywhere,
    /// These only.
    Only(BTreeSet<RegionId>),
}

impl Residency {
    /// Whether `region` may hold it.
    pub fn allows(&self, region: RegionId) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Only(regions) => regions.contains(&region),
        }
    }
}

/// A namespace's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorldPolicy {
    /// What holds within a region.
    pub policy: Policy,
    /// Who may hold what they contain.
    pub residency: Residency,
}

impl WorldPolicy {
    /// Whether one of those who answered must hold every acknowledged write, if `unheard` are the ones who did not.
    pub fn is_covered(&self, unheard: &BTreeSet<RegionId>) -> bool {
        let may_hold = unheard.iter().filter(|region| self.residency.allows(**region)).count();
        let ack_regions = self.policy.ack_regions;
        ack_regions == 0 || may_hold < usize::from(ack_regions)
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldNamespace {
    /// Its number, never used again.
    pub id: NamespaceId,
    /// Its name, as in `AUTH name password`.
    pub name: String,
    /// What holds in it.
    pub policy: WorldPolicy,
    /// Raised with each change of the policy.
    pub version: u64,
}

impl WorldNamespace {
    /// The namespace as a region's shards know it.
    pub fn local(&self) -> Namespace {
        Namespace { id: self.id, name: self.name.clone(), policy: self.policy.policy.clone() }
    }
}

/// The namespace that exists from the start.
pub(super) fn default_namespace() -> WorldNamespace {
    let policy = WorldPolicy { policy: Policy { database: Some(0), ..Policy::default() }, ..WorldPolicy::default() };
    WorldNamespace { id: DEFAULT_NAMESPACE, name: DEFAULT_NAMESPACE_NAME.to_owned(), policy, version: 0 }
}

impl ControlState {
    pub(super) fn create_namespace(
        &mut self,
        name: String,
        policy: WorldPolicy,
    ) -> Result<ControlOutcome, ControlRefusal> {
        if !policy::is_namespace_name(&name) {
            return Err(ControlRefusal::BadNamespaceName(name));
        }
        if self.namespace(&name).is_ok() {
            return Err(ControlRefusal::NamespaceExists(name));
        }
        let id = NamespaceId(self.next_namespace);
        self.check_policy(id, &policy)?;
        self.next_namespace += 1;
        self.namespaces.insert(id, WorldNamespace { id, name, policy, version: 1 });
        Ok(ControlOutcome::Namespace(id))
    }

    pub(super) fn set_namespace(
        &mut self,
        name: String,
        over: Option<u64>,
        policy: WorldPolicy,
    ) -> Result<ControlOutcome, ControlRefusal> {
        let WorldNamespace { id, version, .. } = *self.namespace(&name)?;
        if over.is_some_and(|over| over != version) {
            return Err(ControlRefusal::Changed { now: version });
        }
        self.check_policy(id, &policy)?;
        self.namespaces.insert(id, WorldNamespace { id, name, policy, version: version + 1 });
        Ok(ControlOutcome::Namespace(id))
    }

    /// Takes in what a region had before it joined, under the number that its sessions have there.
    pub(super) fn bring_namespace(&mut self, namespace: Namespace) -> Result<ControlOutcome, ControlRefusal> {
        let Namespace { id, name, policy } = namespace;
        if self.namespaces.get(&id).is_some_and(|known| known.name == name && known.policy.policy == policy) {
            return Ok(ControlOutcome::Namespace(id));
        }
        if self.namespaces.contains_key(&id) || self.dropped_namespaces.contains(&id) {
            return Err(ControlRefusal::NamespaceNumberUsed(id));
        }
        if !policy::is_namespace_name(&name) {
            return Err(ControlRefusal::BadNamespaceName(name));
        }
        if self.namespace(&name).is_ok() {
            return Err(ControlRefusal::NamespaceExists(name));
        }
        let policy = WorldPolicy { policy, residency: Residency::default() };
        self.check_policy(id, &policy)?;
        self.next_namespace = self.next_namespace.max(id.0.saturating_add(1));
        self.namespaces.insert(id, WorldNamespace { id, name, policy, version: 1 });
        Ok(ControlOutcome::Namespace(id))
    }

    pub(super) fn drop_namespace(&mut self, name: &str) -> Result<ControlOutcome, ControlRefusal> {
        let id = self.namespace(name)?.id;
        if id == DEFAULT_NAMESPACE {
            return Err(ControlRefusal::DefaultNamespace);
        }
        self.namespaces.remove(&id);
        self.dropped_namespaces.insert(id);
        Ok(ControlOutcome::Namespace(id))
    }

    /// The namespace called `name`.
    ///
    /// # Errors
    /// There may be none.
    pub fn namespace(&self, name: &str) -> Result<&WorldNamespace, ControlRefusal> {
        let found = self.namespaces.values().find(|namespace| namespace.name == name);
        found.ok_or_else(|| ControlRefusal::UnknownNamespace(name.to_owned()))
    }

    fn check_policy(&self, id: NamespaceId, policy: &WorldPolicy) -> Result<(), ControlRefusal> {
        if let Residency::Only(regions) = &policy.residency {
            regions.iter().try_for_each(|region| self.region(*region).map(|_| ()))?;
            let (more, others) = (policy.policy.ack_regions, (regions.len() as u64).saturating_sub(1));
            if u64::from(more) > others {
                return Err(ControlRefusal::AckBeyondResidency { more, others });
            }
        }
        let Some(database) = policy.policy.database else { return Ok(()) };
        let mut others = self.namespaces.values().filter(|other| other.id != id);
        match others.find(|other| other.policy.policy.database == Some(database)) {
            Some(owner) => Err(ControlRefusal::DatabaseTaken { database, owner: owner.name.clone() }),
            None => Ok(()),
        }
    }
}
