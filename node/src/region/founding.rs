//! How a region comes to be: the first entries of its groups, logged once.

use super::{
    machine,
    node::{Inner, RegionNode},
};
use crate::env::Env;
use sojourn_core::{
    NodeId,
    mint::{MINT_KEY_BYTES, MintKey},
    region::RegionCommand,
};
use std::{io, sync::Weak, time::Duration};

impl RegionNode {
    /// Founds the groups that this node has and nobody has founded.
    pub(super) async fn found(&self) -> io::Result<()> {
        let voters: Vec<NodeId> = self.inner.options.founders.iter().map(|member| member.id).collect();
        self.inner.system.found(voters.iter().copied()).await?;
        for (_, shard) in self.inner.shards.all() {
            shard.group.found(voters.iter().copied()).await?;
        }
        Ok(())
    }
}

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
                mint_key: draw_mint_key(&inner.env),
                shard_count: options.shard_count,
                members: options.founders.clone(),
            };
            // Whether it happened shows in the state.
            let _again = inner.system.propose(machine::encode(&found)).await;
        }
        let mut agreed = inner.system.machine().watch();
        drop(inner);
        let _changed = tokio::time::timeout(Duration::from_millis(100), agreed.changed()).await;
    }
}

fn draw_mint_key(env: &Env) -> MintKey {
    let mut bytes = [0; MINT_KEY_BYTES];
    for chunk in bytes.chunks_mut(size_of::<u64>()) {
        chunk.copy_from_slice(&env.random.next_u64().to_le_bytes());
    }
    MintKey::new(bytes)
}
