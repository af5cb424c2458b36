//! A region whose every use is counted and timed.

use super::operations::{Became, Operations, became, kind_of_op, kind_of_query};
use crate::region::{
    backend::{Backend, Notice, Read, Topology, Unavailable},
    sweep::{Sweep, Swept},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use sojourn_core::{
    Answer, Command, NamespaceId, Outcome, RegionId, Stamp,
    region::{RegionCommand, RegionOutcome, RegionState},
};
use std::{sync::Arc, time::Instant};
use tokio::sync::broadcast;

/// See [`super::Metrics::measured`].
pub struct Measured {
    backend: Arc<dyn Backend>,
    operations: Arc<Operations>,
}

impl Measured {
    pub(super) fn new(backend: Arc<dyn Backend>, operations: Arc<Operations>) -> Self {
        Self { backend, operations }
    }
}

impl Backend for Measured {
    fn write(&self, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>> {
        let (operations, began) = (self.operations.clone(), Instant::now());
        let kinds: Vec<_> = commands.iter().map(|command| kind_of_op(&command.op)).collect();
        let written = self.backend.write(commands);
        Box::pin(async move {
            let outcomes = written.await;
            kinds.first().into_iter().for_each(|kind| operations.time(*kind, began.elapsed().as_secs_f64()));
            kinds.iter().zip(&outcomes).for_each(|(kind, outcome)| operations.count(*kind, became(outcome)));
            outcomes
        })
    }

    fn read(&self, reads: Vec<Read>) -> BoxFuture<'static, Vec<Result<Answer, Unavailable>>> {
        let (operations, began) = (self.operations.clone(), Instant::now());
        let kinds: Vec<_> = reads.iter().map(|read| kind_of_query(&read.query)).collect();
        let read = self.backend.read(reads);
        Box::pin(async move {
            let answers = read.await;
            kinds.first().into_iter().for_each(|kind| operations.time(*kind, began.elapsed().as_secs_f64()));
            for (kind, answer) in kinds.iter().zip(&answers) {
                operations.count(*kind, if answer.is_ok() { Became::Ok } else { Became::Unavailable });
            }
            answers
        })
    }

    fn sweep_abroad(&self, region: RegionId, sweep: Sweep) -> BoxFuture<'static, Result<Swept, Unavailable>> {
        self.backend.sweep_abroad(region, sweep)
    }

    fn regions_abroad(&self) -> Vec<RegionId> {
        self.backend.regions_abroad()
    }

    fn change_region(&self, command: RegionCommand) -> BoxFuture<'static, Result<RegionOutcome, Unavailable>> {
        self.backend.change_region(command)
    }

    fn topology(&self) -> Arc<Topology> {
        self.backend.topology()
    }

    fn region(&self) -> Arc<RegionState> {
        self.backend.region()
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.backend.subscribe()
    }

    fn publish(&self, namespace: NamespaceId, channel: Bytes, message: Bytes) {
        self.backend.publish(namespace, channel, message);
    }

    fn now_ms(&self) -> Stamp {
        self.backend.now_ms()
    }

    fn random_u64(&self) -> u64 {
        self.backend.random_u64()
    }
}
