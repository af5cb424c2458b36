//! How many nodes a region should have, judged by its load: an advice for autoscalers, no action.
//!
//! It follows the load slowly and by one node at a time, and never to and fro: a node more at once when the region is busy, one
//! less only when it has been idle several times in a row, and nothing while replicas are on their way, since that is load
//! too. What was advised and not done is advised again as long as the reason holds.

/// How often it is judged, in ms, each time by the averages of the last minute.
pub const JUDGE_EVERY_MS: u64 = 300_000;

/// From this share of the processors on, in thousandths, a node is missing.
pub const BUSY_PERMILLE: u16 = 700;

/// Below this share one may be too many.
pub const IDLE_PERMILLE: u16 = 200;

/// How many times in a row before it is.
pub const IDLE_TIMES: u32 = 5;

/// A region at the time of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Nodes that are there to stay.
    pub nodes: u32,
    /// How many voters each group should have: fewer nodes are never advised.
    pub replicas: u32,
    /// The share of its processors that the average node used in the last minute, in thousandths; `None` if not all have said so.
    pub busy_permille: Option<u16>,
    /// Whether all replicas are where they should be and every node is ready.
    pub settled: bool,
}

/// What should become of the number of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// How many nodes there should be.
    pub wanted: u32,
    /// What it was judged by.
    pub situation: Situation,
    /// Why.
    pub reason: Reason,
}

/// Why a number of nodes is advised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A node more: above [`BUSY_PERMILLE`].
    Busy,
    /// A node less: below [`IDLE_PERMILLE`] for [`IDLE_TIMES`] judgements in a row.
    Idle,
    /// As many as there are.
    Steady,
    /// As many as there are, until replicas are where they should be and all nodes have told their load.
    Settling,
    /// As many as there are replicas.
    Least,
}

/// What is remembered between judgements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advisor {
    nodes: u32,
    idle_times: u32,
}

impl Advisor {
    /// Judges; to be asked every [`JUDGE_EVERY_MS`].
    pub fn judge(&mut self, situation: Situation) -> Advice {
        let Situation { nodes, replicas, busy_permille, settled } = situation;
        let is_idle = settled && busy_permille.is_some_and(|busy| busy < IDLE_PERMILLE);
        // A node that came or went makes the earlier averages those of another region.
        self.idle_times =
            if is_idle && nodes == self.nodes { self.idle_times.saturating_add(1) } else { u32::from(is_idle) };
        self.nodes = nodes;
        let (wanted, reason) = match busy_permille {
            _ if nodes < replicas => (replicas, Reason::Least),
            Some(_) | None if !settled => (nodes, Reason::Settling),
            None => (nodes, Reason::Settling),
            Some(busy) if busy > BUSY_PERMILLE => (nodes.saturating_add(1), Reason::Busy),
            Some(_) if self.idle_times < IDLE_TIMES => (nodes, Reason::Steady),
            Some(_) if nodes == replicas => (nodes, Reason::Least),
            Some(_) => (nodes - 1, Reason::Idle),
        };
        Advice { wanted, situation, reason }
    }
}

#[cfg(test)]
mod tests;
