//! Whose a session is: which revocation epoch its owner carries.

use super::{Api, Room};
use sojourn_core::{Answer, Key, Owner, Projection, Query, Slot};
use sojourn_proto::sessions::{
    Failure,
    answers::UserEpoch,
    calls::{OwnerGiven, User},
};

impl Api {
    /// A user's revocation epoch, as a login should read it at its beginning.
    ///
    /// # Errors
    /// The region does not answer.
    pub async fn read_user(&self, room: &Room<'_>, call: User) -> Result<UserEpoch, Failure> {
        let User { user } = call;
        // Every shard has it once a revocation was acknowledged; one of them is asked, the same for the same user.
        let shard = self.backend.region().slots.shard(Slot::of(&user));
        match self.read(Some(shard), Query::RevocationEpoch { namespace: room.id(), user }).await? {
            Answer::Epoch(epoch) => Ok(UserEpoch(epoch)),
            Answer::Record(_)
            | Answer::Seen { .. }
            | Answer::Elsewhere(_)
            | Answer::Page { .. }
            | Answer::Total { .. }
            | Answer::SlotMoved { .. }
            | Answer::Slots(_) => Err(Failure::Loading),
        }
    }

    /// The owner of a new session.
    pub(super) async fn owner(
        &self,
        room: &Room<'_>,
        given: Option<OwnerGiven>,
    ) -> Result<Option<Box<Owner>>, Failure> {
        let Some(given) = given else { return Ok(None) };
        let epoch = match given.revocation_epoch {
            Some(epoch) => epoch,
            None if given.user.is_empty() => 0,
            None => self.read_user(room, User { user: given.user.clone() }).await?.0,
        };
        Ok(Some(Box::new(given.at_epoch(epoch))))
    }

    /// The owner that an update gives to a session. While the user stays the same so does the epoch: a session whose labels
    /// change must not outlive a revocation that is under way.
    pub(super) async fn owner_of_update(
        &self,
        room: &Room<'_>,
        key: &Key,
        given: Option<OwnerGiven>,
    ) -> Result<Option<Box<Owner>>, Failure> {
        let Some(given) = given else { return Ok(None) };
        if given.revocation_epoch.is_some() || given.user.is_empty() {
            return self.owner(room, Some(given)).await;
        }
        let query = Query::Get { key: key.clone(), projection: Projection::Summary };
        let Answer::Record(view) = self.read(None, query).await? else { return Err(Failure::Loading) };
        let current = view.and_then(|view| view.owner).filter(|owner| owner.user == given.user);
        let revocation_epoch = current.map(|owner| owner.revocation_epoch);
        self.owner(room, Some(OwnerGiven { revocation_epoch, ..given })).await
    }
}
