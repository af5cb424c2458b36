//! A node's region as the world sees it: who the node is, which shards it leads, what it takes into them.

use super::{
    abroad::{Abroad, Ways},
    acks::Acks,
    arrivals::Arrivals,
    copies::{Copies, Lag},
    node::{Inner, NodeOptions, RegionNode},
    shards::Shard,
};
use crate::{
    env::{Env, Heard},
    shard::{Bundle, Leases, NotProposed, Sessions},
};
use sojourn_core::{
    Command, Key, NamespaceId, NodeId, Op, Outcome, RegionId, Request, ShardId, State,
    control::{ControlState, EPOCH_ALONE},
    policy::Policy,
    state::Tombs,
    stream::Absorbed,
};
use std::sync::{Arc, atomic::AtomicU64};

/// How often a node has found out which tombstones are known everywhere, as long as it runs.
#[derive(Default)]
pub struct Sweeps {
    /// With success.
    pub ended: AtomicU64,
    /// In vain: a region did not answer, did not act for itself, or was not so far.
    pub left: AtomicU64,
}

/// A shard that this node leads.
#[derive(Clone)]
pub struct Led {
    /// Which.
    pub shard: ShardId,
    /// The term that it leads in.
    pub term: u64,
    held: Arc<Shard>,
}

impl Led {
    /// Its sessions.
    pub fn sessions(&self) -> &Arc<Sessions> {
        self.held.group.machine()
    }

    /// How far other regions have logged what it orders.
    pub fn acks(&self) -> &Arc<Acks> {
        &self.held.acks
    }

    /// Whether it still leads in that term, as far as it knows.
    pub fn leads(&self) -> bool {
        self.held.group.leading_term() == Some(self.term)
    }

    /// Waits until this replica holds all that was acknowledged before; `false` if it leads no more.
    pub async fn confirm(&self) -> bool {
        self.held.reads.confirm().await && self.leads()
    }

    /// Takes in what another region changed. Queued before this returns; logged a moment later if nobody there waits for it.
    pub fn absorb(
        &self,
        absorbed: Absorbed,
        is_awaited: bool,
    ) -> impl Future<Output = Result<Outcome, NotProposed>> + Send + use<> {
        // The key says only which shard is meant; any will do.
        let command = Key::new(NamespaceId(0), b"absorb").map(|key| Command {
            request: Request::default(),
            key,
            rules: Policy::default().rules(false),
            touched: None,
            op: Op::Absorb { absorbed: Box::new(absorbed) },
        });
        let written = command.map(|command| {
            let bundle = Bundle::new(&[command]);
            self.held.proposer.enqueue(if is_awaited { bundle } else { bundle.patient() })
        });
        async move { written.map_err(|_| NotProposed::Stopped)?.await?.pop().ok_or(NotProposed::Stopped) }
    }

    /// Says what is known of the copies from now on.
    pub fn know(&self, copies: Arc<Copies>) {
        *self.held.copies.lock() = Some(copies);
    }
}

impl RegionNode {
    /// Reaches the other regions through `abroad` from now on, those that act as `world` says.
    pub fn open(&self, abroad: Arc<dyn Abroad>, world: Heard<Option<Arc<ControlState>>>) {
        let Inner { env, options, system, ways, .. } = &*self.inner;
        // Opened once.
        let (here, agreed, plants) = (options.region, system.clone(), env.plants);
        let _open = ways.set(Arc::new(Ways { here, agreed, abroad, world, arrivals: Arrivals::default(), plants }));
    }

    /// Whether a shard of this node has acted under an epoch that the world gave its region: others may act by now.
    pub fn may_be_fenced(&self) -> bool {
        let acts_alone = |state: &State| state.acts_for(state.region()) == Some(EPOCH_ALONE);
        self.inner.shards.all().iter().any(|(_, held)| !held.group.machine().audit(acts_alone))
    }

    /// The leases that this node answers by.
    pub fn leases(&self) -> &Arc<Leases> {
        &self.inner.leases
    }

    /// The region's number and name, and this node's number in it.
    pub fn identity(&self) -> (RegionId, String, NodeId) {
        let NodeOptions { region, region_name, node, .. } = &self.inner.options;
        (*region, region_name.clone(), *node)
    }

    /// The shards that this node leads, as far as it knows.
    pub fn led(&self) -> Vec<Led> {
        let held = self.inner.shards.all().into_iter();
        let led = held.filter_map(|(shard, held)| Some(Led { shard, term: held.group.leading_term()?, held }));
        led.collect()
    }

    /// How far the shards that this node leads are behind those of other regions.
    pub fn stream_lags(&self) -> Vec<(ShardId, Lag)> {
        let led = self.inner.shards.all().into_iter().filter_map(|(shard, held)| Some((shard, held.copies()?)));
        led.flat_map(|(shard, copies)| copies.lags().into_iter().map(move |lag| (shard, lag))).collect()
    }

    /// Counts copies of other regions' sessions that this node, as leader, found to differ and mended.
    pub fn mended(&self) -> Arc<AtomicU64> {
        self.inner.mended.clone()
    }

    /// Counts what came of finding out which tombstones are known everywhere.
    pub fn sweeps(&self) -> &Arc<Sweeps> {
        &self.inner.sweeps
    }

    /// The tombstones of the shards that this node leads.
    pub fn tombs(&self) -> Vec<(ShardId, Tombs)> {
        // At no time any of them is due, so none is looked at.
        self.led().into_iter().map(|led| (led.shard, led.sessions().audit(|state| state.tombs(0)))).collect()
    }

    /// The seams that this node runs on.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Who leads a shard, as far as this node knows.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.inner.leader(shard)
    }
}
