//! Other regions in figures: how far this one's copies of theirs are behind, and what goes to and fro.

use super::scrape::raise;
use crate::{
    peers::{AbroadRoster, Traffic},
    region::{RegionNode, copies::Lag, led::Sweeps},
    world::guide::Regions,
};
use prometheus::{
    GaugeVec, IntGaugeVec, Opts, Registry,
    core::{AtomicU64, GenericCounterVec},
};
use sojourn_core::{RegionId, state::Tombs};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// What a node knows of the other regions.
pub struct Abroad {
    /// Their names.
    pub regions: Arc<dyn Regions>,
    /// What went to and fro.
    pub roster: Arc<AbroadRoster>,
}

/// Figures of other regions.
pub(super) struct AbroadFigures {
    abroad: Abroad,
    lag_seconds: GaugeVec,
    lag_entries: IntGaugeVec,
    tombstones: IntGaugeVec,
    known_until: GaugeVec,
    sweeps: GenericCounterVec<AtomicU64>,
    sent: GenericCounterVec<AtomicU64>,
    received: GenericCounterVec<AtomicU64>,
}

impl AbroadFigures {
    pub fn new(registry: &Registry, abroad: Abroad) -> prometheus::Result<Self> {
        let lag = |name, help| (Opts::new(name, help), ["region", "shard"]);
        let (opts, labels) = lag(
            "stream_lag_seconds",
            "The age of a led shard's copies of a region's sessions, by this node's clock: all that was committed before is here.",
        );
        let lag_seconds = GaugeVec::new(opts, &labels)?;
        let (opts, labels) = lag(
            "stream_lag_entries",
            "Log entries of a region's shards that a led shard knows of and has not taken in.",
        );
        let lag_entries = IntGaugeVec::new(opts, &labels)?;
        let bytes = |name, help| GenericCounterVec::new(Opts::new(name, help), &["region"]);
        let sent = bytes("abroad_sent_bytes_total", "Bytes sent to a region's nodes.")?;
        let received = bytes("abroad_received_bytes_total", "Bytes received from a region's nodes.")?;
        let of_shard = |name, help| Opts::new(name, help);
        let tombstones =
            of_shard("tombstones", "Notes of a led shard that sessions are over, which keep them from coming back.");
        let tombstones = IntGaugeVec::new(tombstones, &["shard"])?;
        let known_until = of_shard(
            "tombstones_known_until_seconds",
            "Tombstones of a led shard that were made by this Unix time are known in all regions; 0 if that was never found out.",
        );
        let known_until = GaugeVec::new(known_until, &["shard"])?;
        let sweeps = Opts::new(
            "tombstone_sweeps_total",
            "How often this node tried to find out which tombstones are known in all regions; `left` if one did not answer or was not so far.",
        );
        let sweeps = GenericCounterVec::new(sweeps, &["outcome"])?;
        registry.register(Box::new(tombstones.clone()))?;
        registry.register(Box::new(known_until.clone()))?;
        registry.register(Box::new(sweeps.clone()))?;
        registry.register(Box::new(lag_seconds.clone()))?;
        registry.register(Box::new(lag_entries.clone()))?;
        registry.register(Box::new(sent.clone()))?;
        registry.register(Box::new(received.clone()))?;
        Ok(Self { abroad, lag_seconds, lag_entries, tombstones, known_until, sweeps, sent, received })
    }

    pub fn take(&self, node: &RegionNode) {
        let Self { abroad: Abroad { regions, roster }, lag_seconds, lag_entries, sent, received, .. } = self;
        self.take_tombs(node);
        let regions = regions.regions();
        let name = |id: RegionId| {
            let known = regions.iter().find(|region| region.id == id);
            known.map_or_else(|| id.0.to_string(), |region| region.name.clone())
        };
        // Leads come and go.
        lag_seconds.reset();
        lag_entries.reset();
        for (shard, Lag { region, age, entries }) in node.stream_lags() {
            let labels = [name(region), shard.0.to_string()];
            let labels = [labels[0].as_str(), labels[1].as_str()];
            lag_seconds.with_label_values(&labels).set(age.as_secs_f64());
            lag_entries.with_label_values(&labels).set(i64::try_from(entries).unwrap_or(i64::MAX));
        }
        for (region, Traffic { sent_bytes, received_bytes }) in roster.traffic() {
            let region = name(region);
            raise(&sent.with_label_values(&[region.as_str()]), sent_bytes);
            raise(&received.with_label_values(&[region.as_str()]), received_bytes);
        }
    }

    fn take_tombs(&self, node: &RegionNode) {
        self.tombstones.reset();
        self.known_until.reset();
        for (shard, Tombs { count, swept, .. }) in node.tombs() {
            let shard = shard.0.to_string();
            let labels = [shard.as_str()];
            self.tombstones.with_label_values(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            self.known_until.with_label_values(&labels).set(Duration::from_millis(swept.through).as_secs_f64());
        }
        let Sweeps { ended, left } = &**node.sweeps();
        for (outcome, count) in [("ended", ended), ("left", left)] {
            raise(&self.sweeps.with_label_values(&[outcome]), count.load(Ordering::Relaxed));
        }
    }
}
