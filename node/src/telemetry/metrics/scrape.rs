//! How the node is at the moment of a scrape: groups, log, sessions, process.

use super::process::Process;
use crate::region::{RegionNode, backend::Backend, status::NodeStatus};
use prometheus::{
    Gauge, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Atomic, AtomicF64, AtomicU64, GenericCounter},
};
use std::sync::atomic::Ordering;

/// Gauges that are set anew at each scrape.
pub struct Scraped {
    ready: IntGauge,
    busy: Gauge,
    nodes_wanted: IntGauge,
    groups: Groups,
    log: LogGauges,
    sessions: IntGaugeVec,
    session_bytes: IntGaugeVec,
    copies_mended: GenericCounter<AtomicU64>,
    process: ProcessGauges,
}

struct Groups {
    is_leader: IntGaugeVec,
    has_leader: IntGaugeVec,
    term: IntGaugeVec,
    applied: IntGaugeVec,
    lag: IntGaugeVec,
}

struct LogGauges {
    syncs: GenericCounter<AtomicU64>,
    sync_seconds: GenericCounter<AtomicF64>,
    sync_seconds_max: Gauge,
    records: GenericCounter<AtomicU64>,
    entries: GenericCounter<AtomicU64>,
    bytes: GenericCounter<AtomicU64>,
    segments: IntGauge,
    queue_bytes: IntGauge,
    room_bytes: IntGauge,
    space_refused: IntGauge,
}

struct ProcessGauges {
    memory: IntGauge,
    cpu: GenericCounter<AtomicF64>,
    files: IntGauge,
    threads: IntGauge,
}

/// Makes figures and registers them.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let gauge = IntGauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn gauges(&self, name: &str, labels: &[&str], help: &str) -> prometheus::Result<IntGaugeVec> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn number(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        let gauge = Gauge::new(name, help)?;
        self.0.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn counter<P: Atomic + 'static>(&self, name: &str, help: &str) -> prometheus::Result<GenericCounter<P>> {
        let counter = GenericCounter::new(name, help)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }
}

impl Scraped {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let make = Maker(registry);
        Ok(Self {
            busy: make.number("node_busy_ratio", "Share of its processors that the node used in the last minute.")?,
            nodes_wanted: make.gauge(
                "region_nodes_wanted",
                "How many nodes the region should have, told by who leads the system group; 0 by others.",
            )?,
            ready: make.gauge("ready", "Whether the node can serve sessions.")?,
            groups: Groups {
                is_leader: make.gauges("raft_is_leader", &["group"], "Whether this node leads the group.")?,
                has_leader: make.gauges("raft_has_leader", &["group"], "Whether this node knows a leader.")?,
                term: make.gauges("raft_term", &["group"], "The term.")?,
                applied: make.gauges("raft_applied_index", &["group"], "The last entry applied here.")?,
                lag: make.gauges("raft_unapplied_entries", &["group"], "Entries here that are not applied yet.")?,
            },
            log: LogGauges {
                syncs: make.counter("log_syncs_total", "Syncs of the log; each made one batch durable.")?,
                sync_seconds: make.counter("log_sync_seconds_total", "Time spent in syncs.")?,
                sync_seconds_max: make.number("log_sync_seconds_max", "The longest sync since the start.")?,
                records: make.counter("log_records_total", "Records made durable.")?,
                entries: make.counter("log_entries_total", "Raft entries made durable.")?,
                bytes: make.counter("log_written_bytes_total", "Bytes written to the log.")?,
                segments: make.gauge("log_segments", "Segments that hold records.")?,
                queue_bytes: make.gauge("log_queue_bytes", "Bytes accepted and not yet durable.")?,
                room_bytes: make.gauge("log_room_bytes", "Bytes that can still be appended.")?,
                space_refused: make.gauge("log_space_refused", "Whether the disk or the cap refused more space.")?,
            },
            sessions: make.gauges(
                "sessions",
                &["namespace", "shard"],
                "Live sessions of the shards that this node leads.",
            )?,
            session_bytes: make.gauges(
                "session_bytes",
                &["namespace", "shard"],
                "Their size; the quotient is the average.",
            )?,
            copies_mended: make.counter(
                "copies_mended_total",
                "Copies of other regions' sessions that differed from what their region has, and were taken anew.",
            )?,
            process: ProcessGauges {
                memory: make.gauge("process_resident_memory_bytes", "Resident memory.")?,
                cpu: make.counter("process_cpu_seconds_total", "Processor time in user and system mode.")?,
                files: make.gauge("process_open_fds", "Open files and sockets.")?,
                threads: make.gauge("process_threads", "Threads.")?,
            },
        })
    }

    pub fn take(&self, node: &RegionNode) {
        let status = node.node_status();
        self.ready.set(i64::from(status.ready));
        self.busy.set(status.busy_permille.map_or(0.0, |permille| f64::from(permille) / 1_000.0));
        self.nodes_wanted.set(status.advice.map_or(0, |advice| advice.wanted.into()));
        self.take_groups(&status);
        self.take_log(node, &status);
        self.take_sessions(node);
        raise(&self.copies_mended, node.mended().load(Ordering::Relaxed));
        self.take_process();
    }

    pub fn take_process(&self) {
        let process = Process::read();
        self.process.memory.set(signed(process.memory_bytes));
        self.process.files.set(signed(process.open_files));
        self.process.threads.set(signed(process.threads));
        raise(&self.process.cpu, process.cpu_seconds);
    }

    fn take_groups(&self, status: &NodeStatus) {
        let Groups { is_leader, has_leader, term, applied, lag } = &self.groups;
        // Groups come and go.
        [is_leader, has_leader, term, applied, lag].into_iter().for_each(IntGaugeVec::reset);
        for (name, group) in &status.replicas {
            let name = name.to_string();
            let label = [name.as_str()];
            is_leader.with_label_values(&label).set(i64::from(group.leader == Some(group.node)));
            has_leader.with_label_values(&label).set(i64::from(group.leader.is_some()));
            term.with_label_values(&label).set(signed(group.term));
            applied.with_label_values(&label).set(signed(group.applied.unwrap_or(0)));
            let behind = group.last.unwrap_or(0).saturating_sub(group.applied.unwrap_or(0));
            lag.with_label_values(&label).set(signed(behind));
        }
    }

    fn take_log(&self, node: &RegionNode, status: &NodeStatus) {
        let log = node.log().statistics();
        raise(&self.log.syncs, log.syncs_total);
        raise(&self.log.sync_seconds, log.sync_time_total.as_secs_f64());
        self.log.sync_seconds_max.set(log.sync_time_max.as_secs_f64());
        raise(&self.log.records, log.records_total);
        raise(&self.log.entries, log.entries_total);
        raise(&self.log.bytes, log.bytes_total);
        self.log.segments.set(signed(log.segments as u64));
        self.log.queue_bytes.set(signed(log.queue_bytes));
        self.log.room_bytes.set(signed(status.log.room_bytes));
        self.log.space_refused.set(i64::from(log.space_refused));
    }

    fn take_sessions(&self, node: &RegionNode) {
        self.sessions.reset();
        self.session_bytes.reset();
        let topology = node.topology();
        // Only what this node leads, so that the sum over all nodes counts each session once.
        let led = topology.shards.iter().filter(|(_, place)| place.leader == Some(topology.this_node));
        for (shard, sessions) in led.filter_map(|(shard, _)| Some((shard, node.sessions(*shard)?))) {
            let shard = shard.0.to_string();
            for (namespace, usage) in sessions.usages() {
                let known = topology.region.namespaces.get(&namespace);
                let name = known.map_or_else(|| namespace.0.to_string(), |namespace| namespace.name.clone());
                let labels = [name.as_str(), shard.as_str()];
                self.sessions.with_label_values(&labels).set(signed(usage.sessions));
                self.session_bytes.with_label_values(&labels).set(signed(usage.bytes));
            }
        }
    }
}

/// Brings a counter up to what its source says; a source never goes back.
pub(super) fn raise<P: Atomic>(counter: &GenericCounter<P>, total: P::T)
where
    P::T: PartialOrd + std::ops::Sub<Output = P::T>,
{
    if total > counter.get() {
        counter.inc_by(total - counter.get());
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
