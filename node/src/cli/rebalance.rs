//! `sojourn cluster rebalance` and `advice`: what is moved between nodes and shards, what would be, and how many nodes there should
//! be.

use super::{
    client::Client,
    output::{self, Align, Format, json, table},
    watch::WatchArgs,
};
use crate::{
    gateway::http::api::{Coming, Done, Lead, Move, Rebalance, SetRebalancing, SlotMove, Status, WhatIf},
    notation::{parse_size, show_size},
};
use clap::Args;

/// What `rebalance` takes.
#[derive(Debug, Args)]
pub struct RebalanceArgs {
    /// Move no replica from now on to even them out or to drain a node; what is under way is finished
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Move them again
    #[arg(long)]
    resume: bool,
    /// Send new replicas at most so many bytes a second from each node, as 10MiB; 0 for as fast as it goes
    #[arg(long, value_name = "SIZE", value_parser = size)]
    limit: Option<u64>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    watch: WatchArgs,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "say a size, such as 10MiB".to_owned())
}

/// Changes what is asked, then shows how it is.
///
/// # Errors
/// What went wrong and what to do.
pub async fn run(client: &Client, args: RebalanceArgs) -> anyhow::Result<()> {
    let RebalanceArgs { pause, resume, limit, output: format, watch } = args;
    if pause || resume || limit.is_some() {
        let set = SetRebalancing { paused: (pause || resume).then_some(pause), bytes_per_s_max: limit };
        let Done { .. } = client.post("/v1/rebalance", &set).await?;
    }
    let answer = async || {
        let rebalance: Rebalance = client.get("/v1/rebalance").await?;
        Ok(if format == Format::Json { json(&rebalance)? } else { page(&rebalance) })
    };
    watch.run(answer).await
}

/// Shows what would be moved after what is only thought of.
///
/// # Errors
/// What went wrong and what to do.
pub async fn plan(client: &Client, what_if: WhatIf) -> anyhow::Result<()> {
    let rebalance: Rebalance = client.post("/v1/rebalance/plan", &what_if).await?;
    output::print(&format!("Nothing was changed. This is what would happen:\n\n{}", page(&rebalance)))
}

/// Says how many nodes there should be.
///
/// # Errors
/// What went wrong and what to do.
pub async fn advise(client: &Client, format: Format) -> anyhow::Result<()> {
    let Status { region, advice, .. } = client.get("/v1/status").await?;
    if format == Format::Json {
        return output::print(&json(&advice)?);
    }
    let Some(advice) = advice else {
        return output::print(&format!(
            "Region {region}: not judged yet. The load is judged every five minutes by the leader of the system group, anew \
             after that one changes.\n"
        ));
    };
    let busy =
        advice.busy_percent.map_or_else(|| "unknown".to_owned(), |busy| format!("{busy:.1} % of its processors"));
    output::print(&format!(
        "Region {region}: {} nodes wanted, {} there ({}). The average node used {busy} in the minute before.\n",
        advice.wanted,
        advice.nodes,
        match advice.reason.as_str() {
            "busy" => "above 70 %: one more",
            "idle" => "below 20 % five times in a row: one less",
            "settling" => "waiting until replicas are where they should be and all nodes have told their load",
            "least" => "no fewer than a group has replicas",
            _ => "as it should be",
        },
    ))
}

fn page(rebalance: &Rebalance) -> String {
    let Rebalance { paused, bytes_per_s_max, coming, moves, leads, slot_moves } = rebalance;
    let state = if *paused { "held up (`sojourn cluster rebalance --resume` goes on)" } else { "going on" };
    let limit = bytes_per_s_max.map_or_else(String::new, |bytes| format!(", {} a second at most", show_size(bytes)));
    let mut rows = Vec::new();
    rows.extend(coming.iter().map(|Coming { group, node, behind_entries }| {
        let lacks =
            behind_entries.map_or_else(|| "catching up".to_owned(), |behind| format!("{behind} entries behind"));
        vec!["now".to_owned(), label(group), format!("{node} joins it, {lacks}")]
    }));
    rows.extend(moves.iter().map(|Move { group, from, to }| {
        let only_in = |nodes: &[String], others: &[String]| {
            let only: Vec<&str> = nodes.iter().filter(|node| !others.contains(node)).map(String::as_str).collect();
            only.join(", ")
        };
        let (gone, new) = (only_in(from, to), only_in(to, from));
        let text = match (gone.as_str(), new.as_str()) {
            ("", new) => format!("a replica more, at {new}"),
            (gone, "") => format!("a replica less, at {gone}"),
            (gone, new) => format!("a replica from {gone} to {new}"),
        };
        vec!["next".to_owned(), label(group), text]
    }));
    rows.extend(leads.iter().map(|Lead { group, from, to }| {
        let from = from.as_ref().map_or_else(String::new, |from| format!("from {from} "));
        vec!["then".to_owned(), label(group), format!("the lead {from}to {to}")]
    }));
    rows.extend(slot_moves.iter().map(|SlotMove { number, from, to, slots, left, stopped: _, waits }| {
        let when = if *waits || *paused { "waits" } else { "now" };
        let gone = slots - left;
        vec![
            when.to_owned(),
            format!("shard {from}"),
            format!("move {number}: {gone} of {slots} slots are at shard {to}"),
        ]
    }));
    if rows.is_empty() {
        return format!("Rebalancing: {state}{limit}. All is where it should be.\n");
    }
    let columns = [("WHEN", Align::Left), ("GROUP", Align::Left), ("WHAT", Align::Left)];
    format!("Rebalancing: {state}{limit}.\n\n{}", table(&columns, rows.into_iter()))
}

fn label(group: &str) -> String {
    if group == "system" { group.to_owned() } else { format!("shard {group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_page_says_what_moves_when() {
        let rebalance = Rebalance {
            paused: true,
            bytes_per_s_max: Some(10 << 20),
            coming: vec![Coming { group: "2".to_owned(), node: "na-3".to_owned(), behind_entries: Some(7) }],
            moves: vec![Move {
                group: "0".to_owned(),
                from: names(&["na-0", "na-1", "na-2"]),
                to: names(&["na-1", "na-2", "na-3"]),
            }],
            leads: vec![Lead { group: "0".to_owned(), from: Some("na-0".to_owned()), to: "na-3".to_owned() }],
            slot_moves: vec![SlotMove { number: 5, from: 0, to: 2, slots: 9, left: 2, stopped: false, waits: false }],
        };
        let text = page(&rebalance);
        assert!(text.starts_with(
            "Rebalancing: held up (`sojourn cluster rebalance --resume` goes on), 10MiB a second at most.\n"
        ));
        for line in [
            "now    shard 2  na-3 joins it, 7 entries behind",
            "next   shard 0  a replica from na-0 to na-3",
            "then   shard 0  the lead from na-0 to na-3",
            "waits  shard 0  move 5: 7 of 9 slots are at shard 2",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let idle = Rebalance {
            paused: false,
            bytes_per_s_max: None,
            coming: vec![],
            moves: vec![],
            leads: vec![],
            slot_moves: vec![],
        };
        assert_eq!(page(&idle), "Rebalancing: going on. All is where it should be.\n");
    }
}
