//! The endpoint's counters as Prometheus reads them.

use super::server::Server;
use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Puts the figures of `server` into `registry`, as long as it lives.
///
/// # Errors
/// Another endpoint has put its figures there.
pub fn register(server: &Arc<Server>, registry: &Registry) -> prometheus::Result<()> {
    registry.register(Box::new(Figures::new(Arc::downgrade(server))?))
}

struct Figures {
    server: Weak<Server>,
    open: IntGauge,
    connections: IntCounterVec,
    commands: IntCounter,
    bytes: IntCounterVec,
    reads: IntCounterVec,
    large: IntCounterVec,
}

impl Figures {
    fn new(server: Weak<Server>) -> prometheus::Result<Self> {
        let vec = |name: &str, label: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        Ok(Self {
            server,
            open: IntGauge::new("resp_connections", "Connections of Redis clients that are open.")?,
            connections: vec("resp_connections_total", "result", "Connections, accepted, rejected or cut.")?,
            commands: IntCounter::new("resp_commands_total", "Commands that were answered.")?,
            bytes: vec("resp_bytes_total", "direction", "Bytes read from clients and written to them.")?,
            reads: vec("resp_reads_total", "result", "Reads of a session, by whether one was found.")?,
            large: vec("resp_large_values_total", "level", "Values above the sizes that their namespace names.")?,
        })
    }

    fn parts(&self) -> [&dyn Collector; 6] {
        [&self.open, &self.connections, &self.commands, &self.bytes, &self.reads, &self.large]
    }

    fn take(&self, server: &Server) {
        let stats = &server.stats;
        self.open.set(i64::try_from(server.clients.len()).unwrap_or(i64::MAX));
        raise(&self.commands, &stats.commands);
        for (counter, label, source) in [
            (&self.connections, "accepted", &stats.connections),
            (&self.connections, "rejected", &stats.rejected),
            (&self.connections, "cut", &stats.cut_unread),
            (&self.bytes, "in", &stats.bytes_in),
            (&self.bytes, "out", &stats.bytes_out),
            (&self.reads, "hit", &stats.hits),
            (&self.reads, "miss", &stats.misses),
            (&self.large, "warn", &stats.size_warnings),
            (&self.large, "error", &stats.size_errors),
            (&self.large, "refused", &stats.size_refusals),
        ] {
            raise(&counter.with_label_values(&[label]), source);
        }
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(server) = self.server.upgrade() {
            self.take(&server);
        }
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

/// Brings a counter up to its source; after `CONFIG RESETSTAT` it waits until the source has caught up.
fn raise(counter: &IntCounter, source: &AtomicU64) {
    counter.inc_by(source.load(Relaxed).saturating_sub(counter.get()));
}
