//! What the comparison is for: Sojourn beside each peer.

use super::{Report, rates::Rate};
use crate::peers::Store;
use std::collections::BTreeMap;

/// Ratios by name. Those of rates are better when higher, those of times and memory when lower.
pub type Ratios = BTreeMap<String, f64>;

pub(super) fn of(report: &Report) -> Ratios {
    let mut ratios = Ratios::new();
    let peers = [
        ("etcd", Store::Etcd),
        ("redis_wait", Store::RedisWait),
        ("redis_aof_always", Store::RedisAlone),
        ("valkey_waitaof", Store::ValkeyWaitaof),
        ("nats_r3", Store::Nats),
    ];
    for (name, peer) in peers {
        add(&mut ratios, format!("write_vs_{name}"), rate(report, "update", peer, |rate| rate.operations_per_s));
        add(&mut ratios, format!("write_p99_vs_{name}"), rate(report, "update", peer, |rate| rate.p99_ms));
        add(&mut ratios, format!("create_vs_{name}"), rate(report, "create", peer, |rate| rate.operations_per_s));
    }
    for (name, peer) in [("etcd", Store::Etcd), ("redis", Store::RedisAlone)] {
        add(&mut ratios, format!("read_vs_{name}"), rate(report, "get", peer, |rate| rate.operations_per_s));
        add(&mut ratios, format!("read_p99_vs_{name}"), rate(report, "get", peer, |rate| rate.p99_ms));
    }
    let gap = |store: Store| report.failover.iter().find(|one| one.store == store.name()).map(|one| one.median_s);
    add(&mut ratios, "failover_vs_etcd".to_owned(), divided(gap(Store::Sojourn), gap(Store::Etcd)));
    let memory =
        |store: Store| report.memory.iter().find(|one| one.store == store.name()).map(|one| one.bytes_per_session);
    add(&mut ratios, "memory_vs_redis".to_owned(), divided(memory(Store::Sojourn), memory(Store::RedisAlone)));
    add(&mut ratios, "restart_s".to_owned(), report.restart.as_ref().map(|restart| restart.seconds));
    if let Some(join) = &report.join {
        let (before, joining) = (join.before, join.joining);
        ratios.insert("write_p50_while_joining".to_owned(), joining.p50_ms / before.p50_ms);
        ratios.insert("write_p99_while_joining".to_owned(), joining.p99_ms / before.p99_ms);
    }
    ratios
}

fn add(ratios: &mut Ratios, name: String, ratio: Option<f64>) {
    ratios.extend(ratio.map(|ratio| (name, ratio)));
}

fn divided(own: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(own? / other?)
}

/// Sojourn's figure divided by a peer's, of one operation under the headline load.
fn rate(report: &Report, operation: &str, peer: Store, figure: impl Fn(&Rate) -> f64) -> Option<f64> {
    let of = |store: Store| {
        let fits = |rate: &&Rate| rate.headline && rate.operation == operation && rate.store == store.name();
        report.rates.iter().find(fits).map(&figure)
    };
    divided(of(Store::Sojourn), of(peer))
}
