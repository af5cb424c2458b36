//! Asks other regions for sessions that they order: any node of theirs answers, the shard's leader soonest.

use super::{
    calls::{self, Told},
    contacts::Contacts,
};
use crate::{
    peers::{CallError, Lane, Rpc},
    region::{
        abroad::Abroad,
        backend::{REQUEST_TIMEOUT, Unavailable},
        sweep::{Sweep, Swept},
    },
};
use bytes::Bytes;
use futures::future::BoxFuture;
use sojourn_core::{Answer, Command, Key, Outcome, Projection, RegionId, Slot};
use sojourn_proto::wire::{Wire, decode_all, encode};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What callers are advised when a region does not answer.
const RETRY_AFTER_MS: u64 = 1_000;

/// How long one node of another region may take before the next is asked.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions of other regions.
pub(super) struct Homes {
    rpc: Rpc,
    contacts: Arc<Contacts>,
}

impl Homes {
    pub fn new(rpc: Rpc, contacts: Arc<Contacts>) -> Self {
        Self { rpc, contacts }
    }
}

/// Asks the nodes of a region for what belongs to a slot, one after the other, as long as the request may take.
async fn ask<T: Wire>(
    (rpc, contacts): (&Rpc, &Contacts),
    (region, slot): (RegionId, Slot),
    (service, body): (u8, &[u8]),
) -> Result<T, Unavailable> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    for node in contacts.nodes_for(region, slot) {
        let left = deadline.saturating_duration_since(Instant::now()).min(TRY_TIMEOUT);
        if left.is_zero() {
            break;
        }
        let answer: Result<Bytes, CallError> = rpc.call(node, Lane::Fast, service, &[body], left).await;
        match answer.map(|bytes| decode_all(&bytes)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => tracing::warn!(region = region.0, %error, "a node of another region answers strangely"),
            Err(error) => tracing::debug!(region = region.0, %error, "a node of another region does not answer"),
        }
    }
    Err(Unavailable::HomeAway { region: region.0, retry_after_ms: RETRY_AFTER_MS })
}

impl Abroad for Homes {
    fn write(&self, home: RegionId, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>> {
        let (rpc, contacts) = (self.rpc.clone(), self.contacts.clone());
        Box::pin(async move {
            let Some(slot) = commands.first().map(|command| command.key.slot()) else { return Vec::new() };
            let (body, count) = (encode(&commands), commands.len());
            let told: Result<Vec<Told<Outcome>>, _> = ask((&rpc, &contacts), (home, slot), (calls::WRITE, &body)).await;
            match told {
                Ok(told) if told.len() == count => told.into_iter().map(|Told(outcome)| outcome).collect(),
                Ok(_) => vec![Err(Unavailable::Loading); count],
                Err(error) => vec![Err(error); count],
            }
        })
    }

    fn read(
        &self,
        home: RegionId,
        key: Key,
        projection: Projection,
    ) -> BoxFuture<'static, Result<Answer, Unavailable>> {
        let (rpc, contacts) = (self.rpc.clone(), self.contacts.clone());
        Box::pin(async move {
            let (slot, body) = (key.slot(), encode(&(key, projection)));
            let Told(answer) = ask((&rpc, &contacts), (home, slot), (calls::READ, &body)).await?;
            answer
        })
    }

    fn sweep(&self, region: RegionId, sweep: Sweep) -> BoxFuture<'static, Result<Swept, Unavailable>> {
        let (rpc, contacts) = (self.rpc.clone(), self.contacts.clone());
        Box::pin(async move {
            // Any node will do.
            let Told(swept) =
                ask((&rpc, &contacts), (region, Slot::default()), (calls::SWEEP, &encode(&sweep))).await?;
            swept
        })
    }

    fn settled(&self, region: RegionId, origins: Vec<u64>) -> BoxFuture<'static, Vec<(u64, u64)>> {
        let (rpc, contacts) = (self.rpc.clone(), self.contacts.clone());
        Box::pin(async move {
            // Any node will do: it asks the others.
            let told = ask((&rpc, &contacts), (region, Slot::default()), (calls::SETTLED, &encode(&origins))).await;
            told.unwrap_or_default()
        })
    }

    fn regions(&self) -> Vec<RegionId> {
        self.contacts.others()
    }
}
