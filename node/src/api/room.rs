//! Who may work in which namespace, and what an id means there.

use super::Api;
use sojourn_core::{
    Key, NamespaceId, RegionId, Request, Rules, Slot, Stamp,
    mint::{Minted, Provenance},
    policy::{Namespace, Policy},
    region::{DEFAULT_NAMESPACE_NAME, RegionState},
};
use sojourn_proto::sessions::Failure;
use std::net::IpAddr;

/// Who calls, as the protocol found out.
pub struct Caller {
    /// The namespace that it names; `None` for the default one.
    pub namespace: Option<String>,
    /// The password that it gave.
    pub password: Option<Box<[u8]>>,
    /// Whether it is on the node's own machine.
    pub is_local: bool,
    /// Where the client is for whom it calls, if that is known.
    pub address: Option<IpAddr>,
}

/// A namespace that a caller may work in.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    region: &'a RegionState,
    namespace: &'a Namespace,
    address: Option<IpAddr>,
}

impl Api {
    /// Lets a caller into the namespace that it names. Unknown names and wrong passwords look alike.
    ///
    /// # Errors
    /// [`Failure::Locked`], and [`Failure::Loading`] before the region was founded.
    pub async fn enter<'a>(&self, region: &'a RegionState, caller: &Caller) -> Result<Room<'a>, Failure> {
        let Caller { namespace, password, is_local, address } = caller;
        if region.world == 0 {
            return Err(Failure::Loading);
        }
        let name = namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE_NAME);
        let namespace = region.namespaces.values().find(|namespace| namespace.name == name).ok_or(Failure::Locked)?;
        let stored = &namespace.policy.password_hash;
        let may_enter = match password {
            _ if stored.is_empty() => *is_local,
            Some(password) => self.passwords.check(password, stored).await,
            None => false,
        };
        if may_enter { Ok(Room { region, namespace, address: *address }) } else { Err(Failure::Locked) }
    }
}

impl<'a> Room<'a> {
    /// The room of somebody who entered it before, in the region as it was then.
    pub fn of(region: &'a RegionState, namespace: NamespaceId, address: Option<IpAddr>) -> Option<Self> {
        Some(Self { region, namespace: region.namespaces.get(&namespace)?, address })
    }

    /// The namespace's number.
    pub fn id(&self) -> NamespaceId {
        self.namespace.id
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.namespace.name
    }

    /// Its policy.
    pub fn policy(&self) -> &'a Policy {
        &self.namespace.policy
    }

    /// The key of an existing session's id, and what the id says of itself if it was minted.
    ///
    /// # Errors
    /// Ids of a bad length, and forged ones: they cost no read.
    pub fn key(&self, id: &[u8]) -> Result<(Key, Option<Minted>), Failure> {
        let key = Key::new(self.id(), id)?;
        match self.region.mint_key.provenance(self.id(), id) {
            Provenance::Minted(minted) => Ok((key, Some(minted))),
            Provenance::Foreign => Ok((key, None)),
            Provenance::Forged => Err(Failure::ForgedId),
        }
    }

    /// The key of an id that an application chose for a session to come.
    ///
    /// # Errors
    /// As [`Room::key`], and where the namespace takes only minted ids. One that was minted before is never taken again.
    pub fn foreign_key(&self, id: &[u8]) -> Result<Key, Failure> {
        match self.key(id)? {
            (key, None) if self.policy().foreign_ids => Ok(key),
            (_, None | Some(_)) => Err(Failure::ForeignId),
        }
    }

    /// The region that was asked.
    pub fn here(&self) -> RegionId {
        self.region.region
    }

    /// Where the client is, if that is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// A new id, the same for the same `random`.
    ///
    /// # Errors
    /// None: minted ids have a good length.
    pub fn mint(&self, minted: Minted, random: u128, slot: Slot) -> Result<(Key, Minted), Failure> {
        let id = self.region.mint_key.mint(self.id(), minted, random, slot);
        Ok((Key::new(self.id(), &id)?, minted))
    }

    /// The randomness of the id that a named request asks for.
    pub fn randomness(&self, request: Request, made_at: Stamp) -> u128 {
        self.region.mint_key.randomness(self.id(), request, made_at)
    }

    /// The request as the region remembers it.
    pub fn scoped(&self, request: Request) -> Request {
        Request { origin: self.region.mint_key.scoped_origin(self.id(), request.origin), ..request }
    }

    /// What decides writes.
    pub fn rules(&self, is_minted: bool) -> Rules {
        self.policy().rules(is_minted)
    }
}
