//! Writes of one session.

use super::{Api, Room};
use crate::{region::backend::Unavailable, world::guide::Wish};
use sojourn_core::{
    Command, Expiry, Fields, Key, Kind, Op, Outcome, Owner, Projection, Refusal, Request, Slot, Stamp, Token, Version,
    View, ids::SLOTS, mint::Minted, state::ANSWER_MS_MAX,
};
use sojourn_proto::sessions::{
    Failure,
    answers::{Destroyed, Named, Written},
    calls::{Create, One, Patch, Put, Rename, Update},
};

/// How far the time that a caller states may be from the node's: as long as a retry's answer is remembered.
const APART_MS_MAX: u64 = ANSWER_MS_MAX;

impl Api {
    /// Inserts a session under an id of its own or a minted one.
    ///
    /// # Errors
    /// Bad ids, refusals of the state machine, and when the region does not answer.
    pub async fn create(&self, room: &Room<'_>, call: Create) -> Result<Named, Failure> {
        let Create { request, id, fields, expiry, owner, made_at, slot } = call;
        let (key, minted) = match id {
            Some(id) => (room.foreign_key(&id)?, None),
            None => {
                let (key, minted) = self.mint(room, request, made_at, slot)?;
                (key, Some(minted))
            }
        };
        if self.quota.is_full(&self.backend, room.id(), room.policy()) {
            return Err(Failure::NamespaceFull { namespace: room.name().to_owned() });
        }
        let fields = self.sizes.kept(room, fields);
        let owner = self.owner(room, owner).await?;
        let kind = if is_plain(&fields) { Kind::String } else { Kind::Hash };
        let absolute_deadline = minted.map(|minted| minted.absolute_deadline);
        let op = Op::Create { kind, fields, expiry, absolute_deadline, owner };
        let written = written(self.write(room, request, &key, minted, op).await?)?;
        Ok(Named { id: key.id().into(), written })
    }

    /// Replaces all fields.
    ///
    /// # Errors
    /// As [`Api::create`].
    pub async fn put(&self, room: &Room<'_>, call: Put) -> Result<Written, Failure> {
        let Put { update, fields } = call;
        let fields = self.sizes.kept(room, fields);
        self.update(room, update, |if_version, expiry, owner| Op::Put { fields, if_version, expiry, owner }).await
    }

    /// Sets and removes fields.
    ///
    /// # Errors
    /// As [`Api::create`].
    pub async fn patch(&self, room: &Room<'_>, call: Patch) -> Result<Written, Failure> {
        let Patch { update, set, remove } = call;
        let set = self.sizes.kept(room, set);
        self.update(room, update, |if_version, expiry, owner| Op::Patch { set, remove, if_version, expiry, owner })
            .await
    }

    async fn update(
        &self,
        room: &Room<'_>,
        update: Update,
        op: impl FnOnce(Option<Version>, Expiry, Option<Box<Owner>>) -> Op,
    ) -> Result<Written, Failure> {
        let Update { request, id, if_version, expiry, owner } = update;
        let (key, minted) = room.key(&id)?;
        let owner = self.owner_of_update(room, &key, owner).await?;
        match self.write(room, request, &key, minted, op(if_version, expiry, owner)).await {
            Err(Failure::Refused(Refusal::Conflict { current })) => Err(Failure::Conflict { id, current }),
            outcome => written(outcome?),
        }
    }

    /// Moves the idle deadline on.
    ///
    /// # Errors
    /// As [`Api::create`].
    pub async fn touch(&self, room: &Room<'_>, call: One) -> Result<Written, Failure> {
        let One { request, id } = call;
        let (key, minted) = room.key(&id)?;
        written(self.write(room, request, &key, minted, Op::Touch).await?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As [`Api::create`].
    pub async fn destroy(&self, room: &Room<'_>, call: One) -> Result<Destroyed, Failure> {
        let One { request, id } = call;
        let (key, minted) = room.key(&id)?;
        // What it was says what is over.
        let before = (key.clone(), Op::Read { projection: Projection::Summary });
        let steps = vec![before, (key.clone(), Op::Destroy)];
        ended(self.write(room, request, &key, minted, Op::Exec { watched: Vec::new(), steps }).await?)
    }

    /// Gives a session another id, in the same slot and in one step.
    ///
    /// # Errors
    /// As [`Api::create`]; a new id in another slot is refused.
    pub async fn rename(&self, room: &Room<'_>, call: Rename) -> Result<Named, Failure> {
        let Rename { request, id, new_id, made_at } = call;
        let (key, minted) = room.key(&id)?;
        let to = match new_id {
            Some(new_id) => room.foreign_key(&new_id)?,
            None => self.mint_beside(room, request, made_at, &key, minted)?,
        };
        if to.slot() != key.slot() {
            return Err(Refusal::CrossSlot.into());
        }
        let steps = vec![
            (key.clone(), Op::Rename { to: to.clone(), replace: false }),
            (to.clone(), Op::Read { projection: Projection::Summary }),
        ];
        let outcome = self.write(room, request, &key, minted, Op::Exec { watched: Vec::new(), steps }).await?;
        let view = renamed(outcome)?;
        let deadline = view.idle_deadline.min(view.absolute_deadline);
        Ok(Named { id: to.id().into(), written: Written { token: Token::of(&view), deadline } })
    }

    async fn write(
        &self,
        room: &Room<'_>,
        request: Option<Request>,
        key: &Key,
        minted: Option<Minted>,
        op: Op,
    ) -> Result<Outcome, Failure> {
        let request = request.map_or_else(Request::default, |request| room.scoped(request));
        let rules = room.rules(minted.is_some());
        let command = Command { request, key: key.clone(), rules, touched: None, op };
        let outcome = self.backend.write(vec![command]).await.pop();
        match outcome.unwrap_or(Err(Unavailable::Loading))? {
            Outcome::Refused(refusal) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    /// A new id: a named request gets the same one through every node.
    fn mint(
        &self,
        room: &Room<'_>,
        request: Option<Request>,
        made_at: Option<Stamp>,
        slot: Option<Slot>,
    ) -> Result<(Key, Minted), Failure> {
        let made_at = self.made_at(made_at)?;
        let random = self.randomness(room, request, made_at);
        let slot = slot.or_else(|| Slot::new((random % u128::from(SLOTS)) as u16)).unwrap_or_default();
        // Where no region takes new sessions, the one that was asked does.
        let home = self.guide.home(room.address(), Wish::default()).map_or(room.here(), |decision| decision.region);
        let absolute_deadline = made_at.saturating_add(room.policy().absolute_ms);
        room.mint(Minted { region: home, absolute_deadline }, random, slot)
    }

    /// A new id in the slot of an old one, whose session it takes over with its absolute deadline.
    fn mint_beside(
        &self,
        room: &Room<'_>,
        request: Option<Request>,
        made_at: Option<Stamp>,
        old: &Key,
        minted: Option<Minted>,
    ) -> Result<Key, Failure> {
        // A foreign id's absolute deadline moved on with every write, the last time no later than now.
        let (made_at, absolute_deadline) = match minted {
            Some(minted) => (0, minted.absolute_deadline),
            None => {
                let made_at = self.made_at(made_at)?;
                (made_at, made_at.saturating_add(room.policy().foreign_absolute_ms))
            }
        };
        let random = self.randomness(room, request, made_at);
        let region = minted.map_or(room.here(), |minted| minted.region);
        Ok(room.mint(Minted { region, absolute_deadline }, random, old.slot())?.0)
    }

    fn made_at(&self, stated: Option<Stamp>) -> Result<Stamp, Failure> {
        let now = self.backend.now_ms();
        let made_at = stated.unwrap_or(now);
        let apart_ms = made_at.abs_diff(now);
        if apart_ms > APART_MS_MAX { Err(Failure::ClocksApart { apart_ms, now }) } else { Ok(made_at) }
    }

    fn randomness(&self, room: &Room<'_>, request: Option<Request>, made_at: Stamp) -> u128 {
        match request {
            Some(request) => room.randomness(request, made_at),
            None => u128::from(self.backend.random_u64()) << 64 | u128::from(self.backend.random_u64()),
        }
    }
}

fn is_plain(fields: &Fields) -> bool {
    fields.len() == 1 && fields.get(b"").is_some()
}

fn written(outcome: Outcome) -> Result<Written, Failure> {
    match outcome {
        Outcome::Written { incarnation, version, deadline } => {
            Ok(Written { token: Token { incarnation, version, ended: false }, deadline })
        }
        _other => Err(Failure::RequestReused),
    }
}

/// What became of a session that was read and destroyed in one step.
fn ended(outcome: Outcome) -> Result<Destroyed, Failure> {
    let Outcome::Many(outcomes) = outcome else { return Err(Failure::RequestReused) };
    match <[Outcome; 2]>::try_from(outcomes) {
        Ok([Outcome::Record(view), Outcome::Count(count)]) => {
            let token = view.map(|view| Token::of(&view).ended());
            Ok(Destroyed { destroyed: count > 0, token })
        }
        Ok([_, Outcome::Refused(refusal)]) => Err(refusal.into()),
        _other => Err(Failure::RequestReused),
    }
}

/// The session under its new id.
fn renamed(outcome: Outcome) -> Result<View, Failure> {
    let Outcome::Many(outcomes) = outcome else { return Err(Failure::RequestReused) };
    match <[Outcome; 2]>::try_from(outcomes) {
        Ok([Outcome::Count(1), Outcome::Record(Some(view))]) => Ok(*view),
        Ok([Outcome::Count(_), _]) => Err(Refusal::Exists.into()),
        Ok([Outcome::Refused(refusal), _]) => Err(refusal.into()),
        _other => Err(Failure::RequestReused),
    }
}
