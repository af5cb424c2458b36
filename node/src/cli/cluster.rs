//! `sojourn cluster`: the region, its nodes, its Raft groups.

use super::{
    client::{Client, NodeArgs},
    output::{self, Align, Format, json, table},
    rebalance::{self, RebalanceArgs},
    slots::{self, MoveSlotsArgs},
    watch::WatchArgs,
};
use crate::{
    gateway::http::api::{AddMember, Added, Addresses, Done, Drain, Member, Remove, Replica, Status, Transfer, WhatIf},
    notation::about,
};
use clap::{Args, Subcommand};

/// Look at the region's nodes and Raft groups, and change them.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show the Raft groups: who leads, who follows, how far behind
    Status(Shown),
    /// Show the nodes: their state, what they lead, where they are
    Members(Shown),
    /// Reserve a number for a node that joins
    ///
    /// The node is then started on its own machine, as the answer says.
    AddNode {
        /// The new node's name, such as na-3
        name: String,
        /// Where other nodes will reach it
        #[arg(long, value_name = "HOST:PORT")]
        peers: String,
        /// Where Redis clients will reach it
        #[arg(long, value_name = "HOST:PORT")]
        resp: String,
        /// Where gRPC clients will reach it
        #[arg(long, value_name = "HOST:PORT")]
        grpc: String,
        /// Where its probes and administration will be
        #[arg(long, value_name = "HOST:PORT")]
        http: String,
        /// Only show what would be moved to it
        #[arg(long)]
        dry_run: bool,
    },
    /// Move leads and replicas away from a node, so that it can be stopped or removed
    ///
    /// `cluster members --watch` shows what is left.
    Drain {
        /// The node's name or number
        name: String,
        /// Stop draining: the node takes leads and replicas again
        #[arg(long)]
        undo: bool,
        /// Only show what would be moved away
        #[arg(long, conflicts_with = "undo")]
        dry_run: bool,
    },
    /// Show what is moved between nodes and shards, and what will be; hold it up, or bound how fast
    Rebalance(RebalanceArgs),
    /// Move slots from one shard to another while they are used
    MoveSlots(MoveSlotsArgs),
    /// Say how many nodes the region should have by its load, for autoscalers
    Advice {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Forget a node for good, after it was drained
    RemoveNode {
        /// The node's name or number
        name: String,
        /// Also if it still has votes, because it is lost and will not come back
        #[arg(long)]
        force: bool,
    },
    /// Give the lead of a Raft group to another node
    TransferLeader {
        /// `system`, or a shard's number
        group: String,
        /// The name or number of the node that shall lead
        to: String,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Shown {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Does what was asked.
///
/// # Errors
/// What went wrong and what to do.
pub async fn run(args: ClusterArgs) -> anyhow::Result<()> {
    let client = Client::new(&args.node);
    match args.act {
        Act::Status(shown) => show(client, shown, groups).await,
        Act::Members(shown) => show(client, shown, members).await,
        Act::AddNode { name, dry_run: true, .. } => {
            rebalance::plan(&client, WhatIf { joining: Some(name), drained: None }).await
        }
        Act::AddNode { name, peers, resp, grpc, http, dry_run: false } => {
            let body = AddMember { node: name.clone(), addresses: Addresses { peers, resp, grpc, http } };
            let Added { id } = client.post("/v1/members", &body).await?;
            output::print(&format!(
                "{name} will be node {id}. Start it on its machine:\n  {}\n",
                joining(&client, &name, &body.addresses).await?
            ))
        }
        Act::Drain { name, dry_run: true, .. } => {
            rebalance::plan(&client, WhatIf { drained: Some(name), joining: None }).await
        }
        Act::Rebalance(args) => rebalance::run(&client, args).await,
        Act::MoveSlots(args) => slots::run(&client, args).await,
        Act::Advice { output } => rebalance::advise(&client, output).await,
        Act::Drain { name, undo, dry_run: false } => {
            let body = Drain { node: name.clone(), draining: !undo };
            let Done { .. } = client.post("/v1/members/drain", &body).await?;
            output::print(&if undo {
                format!("{name} takes leads and replicas again\n")
            } else {
                format!("{name} is being drained; `sojourn cluster members --watch` shows what is left\n")
            })
        }
        Act::RemoveNode { name, force } => {
            let Done { .. } = client.post("/v1/members/remove", &Remove { node: name.clone(), force }).await?;
            output::print(&format!("{name} is forgotten; its number is never used again\n"))
        }
        Act::TransferLeader { group, to } => {
            let body = Transfer { group: group.clone(), to: to.clone() };
            let Done { .. } = client.post("/v1/groups/transfer", &body).await?;
            output::print(&format!("{to} leads {}\n", group_label(&group)))
        }
    }
}

/// The command that starts a node whose number is reserved.
async fn joining(client: &Client, name: &str, addresses: &Addresses) -> anyhow::Result<String> {
    let Addresses { peers, resp, grpc, http } = addresses;
    let status: Status = client.get("/v1/status").await?;
    let running = status.members.iter().find(|member| member.state == "ready" && member.node != name);
    let join = running.map_or("HOST:PORT", |member| member.addresses.peers.as_str());
    Ok(format!(
        "sojourn serve --join {join} --node-name {name} --listen-peers {peers} --listen-resp {resp} --listen-grpc {grpc} \
         --listen-http {http}"
    ))
}

async fn show(mut client: Client, shown: Shown, page: fn(&Status) -> String) -> anyhow::Result<()> {
    // The node that was named may die while it is watched.
    let known: Status = client.get("/v1/status").await?;
    client.learn(known.members.into_iter().map(|member| member.addresses.http));
    let (client, format) = (&client, shown.output);
    let answer = async || {
        let status: Status = client.get("/v1/status").await?;
        Ok(if format == Format::Json { json(&status)? } else { page(&status) })
    };
    shown.watch.run(answer).await
}

fn groups(status: &Status) -> String {
    let columns = [
        ("GROUP", Align::Left),
        ("LEADER", Align::Left),
        ("TERM", Align::Right),
        ("ENTRIES", Align::Right),
        ("SLOTS", Align::Right),
        ("FOLLOWERS", Align::Left),
    ];
    let rows = status.groups.iter().map(|group| {
        let followers: Vec<String> = group
            .replicas
            .iter()
            .filter(|replica| Some(&replica.node) != group.leader.as_ref())
            .map(follower)
            .collect();
        vec![
            group_label(&group.group),
            group.leader.clone().unwrap_or_else(|| "none".to_owned()),
            group.term.to_string(),
            group.last.map_or_else(|| "-".to_owned(), |last| (last + 1).to_string()),
            group.slots.map_or_else(|| "-".to_owned(), |slots| slots.to_string()),
            followers.join(", "),
        ]
    });
    format!("{}{}\n{}", headline(status), slots::moves(&status.slot_moves), table(&columns, rows))
}

fn headline(status: &Status) -> String {
    let up = status.members.iter().filter(|member| member.state == "ready").count();
    let without: Vec<String> =
        status.groups.iter().filter(|group| group.leader.is_none()).map(|group| group_label(&group.group)).collect();
    let trouble = match (without.as_slice(), status.members.len() - up) {
        ([], 0) => String::new(),
        ([], down) => format!("; {down} not ready: sojourn cluster members"),
        // Within a second or two they elect one.
        (without, down) if down < up => format!("; no leader for {} at the moment", without.join(", ")),
        (without, _) => format!("; no leader for {}: start more of its nodes", without.join(", ")),
    };
    format!("Region {}: {up} of {} nodes ready{trouble}\n", status.region, status.members.len())
}

fn group_label(group: &str) -> String {
    if group == "system" { group.to_owned() } else { format!("shard {group}") }
}

/// Heartbeats are far more frequent than this.
const SILENT_MS_MAX: u64 = 1_000;

fn follower(replica: &Replica) -> String {
    let Replica { node, votes, applied: _, behind_entries, silent_ms } = replica;
    let mut notes = Vec::new();
    if !votes {
        notes.push("learns".to_owned());
    }
    if let Some(behind) = behind_entries.filter(|behind| *behind > 0) {
        notes.push(format!("{behind} behind"));
    }
    if let Some(silent) = silent_ms.filter(|silent| *silent > SILENT_MS_MAX) {
        notes.push(format!("silent for {}", about(silent)));
    }
    if notes.is_empty() { node.clone() } else { format!("{node} ({})", notes.join(", ")) }
}

fn members(status: &Status) -> String {
    let columns = [
        ("NODE", Align::Left),
        ("ID", Align::Right),
        ("STATE", Align::Left),
        ("UP", Align::Right),
        ("BUSY", Align::Right),
        ("LEADS", Align::Left),
        ("VOTES", Align::Right),
        ("DISK", Align::Left),
        ("REDIS CLIENTS", Align::Left),
        ("GRPC", Align::Left),
        ("HTTP", Align::Left),
    ];
    let dash = || "-".to_owned();
    let rows = status.members.iter().map(|member| {
        let Member { node, id, state, draining, addresses, up_ms, busy_percent, leads, votes_in, log, .. } = member;
        let state = if *draining { format!("{state}, draining") } else { state.clone() };
        vec![
            node.clone(),
            id.to_string(),
            state,
            up_ms.map_or_else(dash, about),
            busy_percent.map_or_else(dash, |busy| format!("{busy:.1} %")),
            if leads.is_empty() { dash() } else { leads.join(" ") },
            votes_in.len().to_string(),
            log.map_or_else(dash, |log| if log.space_refused { "full" } else { "ok" }.to_owned()),
            addresses.resp.clone(),
            addresses.grpc.clone(),
            addresses.http.clone(),
        ]
    });
    format!("{}\n{}", headline(status), table(&columns, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::http::api::Group;

    fn status() -> Status {
        let member = |node: &str, id, state: &str| Member {
            node: node.to_owned(),
            id,
            state: state.to_owned(),
            draining: false,
            addresses: Addresses {
                peers: "a:3".to_owned(),
                resp: "a:1".to_owned(),
                grpc: "a:0".to_owned(),
                http: "a:2".to_owned(),
            },
            version: None,
            up_ms: (state != "down").then_some(61_000),
            busy_percent: None,
            leads: vec![],
            votes_in: vec!["0".to_owned()],
            learns: vec![],
            log: None,
        };
        let replica = |node: &str, behind_entries, silent_ms| Replica {
            node: node.to_owned(),
            votes: true,
            applied: Some(9),
            behind_entries: Some(behind_entries),
            silent_ms: Some(silent_ms),
        };
        Status {
            region: "na".to_owned(),
            world: "7".to_owned(),
            advice: None,
            slot_moves: vec![],
            answered_by: "na-0".to_owned(),
            members: vec![member("na-0", 1, "ready"), member("na-1", 2, "down")],
            groups: vec![Group {
                group: "0".to_owned(),
                leader: Some("na-0".to_owned()),
                term: 2,
                last: Some(9),
                changing: false,
                slots: Some(4_096),
                replicas: vec![replica("na-0", 0, 0), replica("na-1", 4, 75_000)],
            }],
        }
    }

    #[test]
    fn groups_say_who_lags() {
        let text = groups(&status());
        assert!(text.starts_with("Region na: 1 of 2 nodes ready; 1 not ready: sojourn cluster members\n"), "{text}");
        assert!(text.contains("shard 0  na-0       2       10   4096  na-1 (4 behind, silent for 1m15s)\n"), "{text}");
    }

    #[test]
    fn a_group_without_a_leader_is_the_first_thing_said() {
        let mut status = status();
        status.groups[0].leader = None;
        assert!(groups(&status).contains("no leader for shard 0: start more of its nodes"));
        status.members.iter_mut().for_each(|member| "ready".clone_into(&mut member.state));
        assert!(groups(&status).contains("2 of 2 nodes ready; no leader for shard 0 at the moment"));
    }

    #[test]
    fn members_line_up() {
        let text = members(&status());
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "NODE  ID  STATE    UP  BUSY  LEADS  VOTES  DISK  REDIS CLIENTS  GRPC  HTTP");
        assert_eq!(lines[2], "na-1   2  down      -     -  -          1  -     a:1            a:0   a:2");
    }
}
