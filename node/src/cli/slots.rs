//! `sojourn cluster move-slots`: slots go from one shard to another while they are used.

use super::{
    client::Client,
    output::{self, Align, table},
};
use crate::gateway::http::api::{Done, MoveSlots, ShardSlots, SlotMove, SlotsPlan, SlotsWanted, StopSlots};
use clap::Args;

/// What `move-slots` takes.
#[derive(Debug, Args)]
pub struct MoveSlotsArgs {
    /// The number of the shard that holds them
    #[arg(long, value_name = "SHARD", required_unless_present = "stop")]
    from: Option<u32>,
    /// The number of the shard that shall hold them
    #[arg(long, value_name = "SHARD", required_unless_present = "stop")]
    to: Option<u32>,
    /// Which slots, as 0-4095, or one of them
    #[arg(long, value_name = "FIRST-LAST", value_parser = range, required_unless_present = "stop")]
    slots: Option<(u16, u16)>,
    /// Only show how many slots each shard would hold
    #[arg(long, conflicts_with = "stop")]
    dry_run: bool,
    /// Leave where they are the slots of this move that have not arrived yet
    #[arg(long, value_name = "MOVE", conflicts_with_all = ["from", "to", "slots"])]
    stop: Option<u64>,
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let numbers = first.parse().ok().zip(last.parse().ok());
    let told = |(first, last): &(u16, u16)| first <= last && *last < sojourn_core::ids::SLOTS;
    numbers.filter(told).ok_or_else(|| "say a range of slots between 0 and 16383, such as 0-4095".to_owned())
}

/// Has slots moved, or shows what that would come to.
///
/// # Errors
/// What went wrong and what to do.
pub async fn run(client: &Client, args: MoveSlotsArgs) -> anyhow::Result<()> {
    let MoveSlotsArgs { from, to, slots, dry_run, stop } = args;
    if let Some(number) = stop {
        let Done { .. } = client.post("/v1/slots/stop", &StopSlots { number }).await?;
        return output::print(&format!("move {number} is stopped; what has arrived stays where it is\n"));
    }
    // Without a move to be stopped, all three were asked for.
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let (first, last) = slots.unwrap_or_default();
    let wanted = MoveSlots { from, to, first, last };
    if dry_run {
        let plan: SlotsPlan = client.post("/v1/slots/plan", &wanted).await?;
        return output::print(&format!("Nothing was changed. This is what would come of it:\n\n{}", page(&plan)));
    }
    let SlotsWanted { number } = client.post("/v1/slots/move", &wanted).await?;
    output::print(&format!(
        "Slots {first} to {last} go from shard {from} to shard {to} as move {number}; `sojourn cluster status --watch` shows how \
         far they are, and `sojourn cluster rebalance --pause` holds them up.\n"
    ))
}

fn page(SlotsPlan { shards }: &SlotsPlan) -> String {
    let columns = [("SHARD", Align::Right), ("SLOTS NOW", Align::Right), ("THEN", Align::Right)];
    let row = |ShardSlots { shard, now, then }: &ShardSlots| vec![shard.to_string(), now.to_string(), then.to_string()];
    table(&columns, shards.iter().map(row))
}

/// The moves that are under way or wait, a line each.
pub(super) fn moves(moves: &[SlotMove]) -> String {
    let line = |SlotMove { number, from, to, slots, left, stopped, waits }: &SlotMove| {
        let why = match (stopped, waits) {
            (true, _) => "; stopped, the others stay",
            (false, true) => "; the others wait until every region acts for itself (`sojourn region status`)",
            (false, false) => "",
        };
        format!(
            "Slots on their way, move {number}: {} of {slots} from shard {from} to shard {to} have arrived{why}\n",
            slots - left
        )
    };
    moves.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_ends_in_order_and_within_bounds() {
        assert_eq!(range("0-4095"), Ok((0, 4_095)));
        assert_eq!(range("7"), Ok((7, 7)));
        for bad in ["", "-", "5-4", "0-16384", "a-b", "1-2-3"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_move_says_how_far_it_is() {
        let one = SlotMove { number: 3, from: 0, to: 1, slots: 10, left: 4, stopped: true, waits: true };
        let text =
            "Slots on their way, move 3: 6 of 10 from shard 0 to shard 1 have arrived; stopped, the others stay\n";
        assert_eq!(moves(std::slice::from_ref(&one)), text);
        let waiting = moves(&[SlotMove { stopped: false, ..one }]);
        assert!(
            waiting.ends_with(
                "have arrived; the others wait until every region acts for itself (`sojourn region status`)\n"
            )
        );
        let plan = SlotsPlan { shards: vec![ShardSlots { shard: 0, now: 4_096, then: 4_000 }] };
        assert!(page(&plan).contains("    0       4096  4000"), "{}", page(&plan));
    }
}
