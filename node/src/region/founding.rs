//! How a region comes to be: the first entries of its system group, logged once.

use super::{machine, node::Inner};
use crate::env::Env;
use sojourn_core::{
    mint::{MINT_KEY_BYTES, MintKey},
    region::RegionCommand,
};
use std::{sync::Weak, time::Duration};

/// How often a founder looks whether it leads and has to found.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Logs the founding of the region, once, by whoever leads the system group first.
pub(super) async fn run_founding(node: Weak<Inner>) {
    loop {
        let Some(inner) = node.upgrade() else { return };
        if inner.system.machine().now().world != 0 {
            return;
        }
        if inner.system.raft().is_leader() {
            let options = &inner.options;
            let found = RegionCommand::Found {
                world: options.world,
                region: options.region,
                name: options.region_name.clone(),
                mint_key: options.mint_key.clone().unwrap_or_else(|| draw_mint_key(&inner.env)),
                shard_count: options.shard_count,
                replicas: options.replicas,
                members: options.founders.clone(),
            };
            // Whether it happened shows in the state.
            let _again = inner.system.propose(machine::encode(&found)).await;
        }
        let mut agreed = inner.system.machine().watch();
        drop(inner);
        let _changed = tokio::time::timeout(LOOK_EVERY, agreed.changed()).await;
    }
}

fn draw_mint_key(env: &Env) -> MintKey {
    let mut bytes = [0; MINT_KEY_BYTES];
    for chunk in bytes.chunks_mut(size_of::<u64>()) {
        chunk.copy_from_slice(&env.random.next_u64().to_le_bytes());
    }
    MintKey::new(bytes)
}
