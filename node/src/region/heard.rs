//! Waits until this node has applied a change that the region's leader has: who changes something and looks at once, sees it.

use super::node::Inner;
use sojourn_core::{
    rebalancing::Rebalancing,
    region::{Member, RegionCommand, RegionState, WantedMove},
};
use std::time::Duration;

/// A follower hears of a commit with the next heartbeat; one that is cut off answers without having heard.
pub(super) const HEAR_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for what the world has agreed on: it comes to this region's voter first, then to who leads the region.
pub(super) const HEAR_WORLD_TIMEOUT: Duration = Duration::from_secs(3);

impl Inner {
    /// Completes when this node's copy of the region's state shows `command`, or when that takes too long.
    pub async fn hear_of(&self, command: &RegionCommand, patience: Duration) {
        let mut agreed = self.system.machine().watch();
        drop(tokio::time::timeout(patience, agreed.wait_for(|state| shows(state, command))).await);
    }
}

fn shows(state: &RegionState, command: &RegionCommand) -> bool {
    let member = |test: &dyn Fn(&Member) -> bool| state.members.values().any(test);
    match command {
        RegionCommand::Found { .. } => state.world != 0,
        RegionCommand::AddMember { name, .. } => member(&|member| member.name == *name),
        RegionCommand::AdmitMember { id, disk } => member(&|member| member.id == *id && member.disk == Some(*disk)),
        RegionCommand::MoveMember { id, addresses, .. } => {
            member(&|member| member.id == *id && member.addresses == *addresses)
        }
        RegionCommand::DrainMember { id, draining } => {
            member(&|member| member.id == *id && member.draining == *draining)
        }
        RegionCommand::RemoveMember { id } => !state.members.contains_key(id),
        RegionCommand::Place { group, voters, .. } => state.placement.get(group) == Some(voters),
        RegionCommand::Delegate { voter, .. } => state.delegate.is_some_and(|delegate| delegate.voter == *voter),
        RegionCommand::SetRebalancing { paused, bytes_per_s_max } => {
            let Rebalancing { paused: now_paused, bytes_per_s_max: now_bytes } = state.rebalancing;
            paused.is_none_or(|paused| paused == now_paused) && bytes_per_s_max.is_none_or(|bytes| bytes == now_bytes)
        }
        RegionCommand::CreateNamespace { name, .. } => state.namespace(name).is_ok(),
        RegionCommand::SetNamespace { name, policy } => {
            state.namespaces.values().any(|namespace| namespace.name == *name && namespace.policy == *policy)
        }
        RegionCommand::DropNamespace { name } => state.namespace(name).is_err(),
        RegionCommand::AdoptNamespaces { version, .. } => state.adopted.version >= *version,
        RegionCommand::ForgetNamespace { id } => !state.adopted.dropped.contains(id),
        // Whoever wants slots moved is told the number; it may be over before anybody looks.
        RegionCommand::MoveSlots { from, to, first, last } => {
            let wanted = || state.slot_moves.wanted.values();
            let is_this = |wanted: &WantedMove| wanted.from == *from && wanted.to == *to && wanted.left.contains(last);
            state.slots.shard(*first) == *to || wanted().any(is_this)
        }
        RegionCommand::ServeSlots { number, slots } => {
            let wanted = state.slot_moves.wanted.get(number);
            wanted.is_none_or(|wanted| slots.iter().all(|slot| state.slots.shard(*slot) == wanted.to))
        }
        RegionCommand::CloseSlots { number, slots } => {
            let wanted = state.slot_moves.wanted.get(number);
            wanted.is_none_or(|wanted| wanted.left.is_disjoint(slots))
        }
        RegionCommand::GiveSlotsUp { number } => {
            state.slot_moves.wanted.get(number).is_none_or(|wanted| wanted.given_up)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::policy::Policy;

    #[test]
    fn a_change_shows_once_it_is_applied() {
        let mut state = RegionState::default();
        let (name, policy) = ("shop".to_owned(), Policy { idle_timeout_ms: 5, ..Policy::default() });
        for command in [
            RegionCommand::CreateNamespace { name: name.clone(), policy: Policy::default() },
            RegionCommand::SetNamespace { name: name.clone(), policy },
            RegionCommand::DropNamespace { name },
        ] {
            assert!(!shows(&state, &command), "{command:?}");
            state.apply(command.clone());
            assert!(shows(&state, &command), "{command:?}");
        }
    }
}
