//! `sojourn region conflicts`: the journal of what went apart.

use crate::{
    cli::{
        client::Client,
        output::{self, Align, Format, table},
    },
    gateway::http::api::{Conflict, Conflicts, ListConflicts},
    notation::about,
};
use clap::Args;

/// Which entries, and how they are shown.
#[derive(Clone, Debug, Args)]
pub struct ConflictsArgs {
    /// Only of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only sessions that were this user's on either side
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// How many at most; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u64,
    /// Show ids as they are; each is a credential
    #[arg(long)]
    show_ids: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Names of what differs that a line has room for.
const NAMES_SHOWN_MAX: usize = 4;

/// Does what was asked.
///
/// # Errors
/// What went wrong and what to do.
pub async fn run(client: &Client, args: ConflictsArgs) -> anyhow::Result<()> {
    let ConflictsArgs { namespace, user, limit, show_ids, output } = args;
    let left = if limit == 0 { u64::MAX } else { limit };
    let values = output == Format::Json;
    let list = ListConflicts { namespace, user, limit: None, from: None, show_ids, values };
    match output {
        Format::Json => export(client, list, left).await,
        Format::Table => {
            let mut all = Conflicts { conflicts: Vec::new(), now: 0, next: None };
            let mut pages = Pages { client, list, left, begun: false };
            while let Some(page) = pages.next().await? {
                all.conflicts.extend(page.conflicts);
                (all.now, all.next) = (page.now, page.next);
            }
            output::print(&lines(all))
        }
    }
}

/// Prints all as one JSON list, a page at a time: both values of many sessions are more than memory should hold.
async fn export(client: &Client, list: ListConflicts, left: u64) -> anyhow::Result<()> {
    let mut pages = Pages { client, list, left, begun: false };
    let mut first = true;
    while let Some(page) = pages.next().await? {
        output::print(&listed(&page.conflicts, first)?)?;
        first &= page.conflicts.is_empty();
    }
    output::print(if first { "[]\n" } else { "\n]\n" })
}

/// A piece of a JSON list.
fn listed(conflicts: &[Conflict], mut first: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    for conflict in conflicts {
        text.push_str(if first { "[\n" } else { ",\n" });
        first = false;
        let lines = serde_json::to_string_pretty(conflict)?;
        text.push_str(&lines.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"));
    }
    Ok(text)
}

/// Asks for one page after the other until there are enough or no more.
struct Pages<'a> {
    client: &'a Client,
    list: ListConflicts,
    left: u64,
    begun: bool,
}

impl Pages<'_> {
    async fn next(&mut self) -> anyhow::Result<Option<Conflicts>> {
        if self.left == 0 || self.begun && self.list.from.is_none() {
            return Ok(None);
        }
        self.begun = true;
        self.list.limit = Some(self.left);
        let page: Conflicts = self.client.post("/v1/regions/conflicts", &self.list).await?;
        self.left = self.left.saturating_sub(page.conflicts.len() as u64);
        self.list.from = page.next;
        Ok(Some(page))
    }
}

fn lines(mut page: Conflicts) -> String {
    if page.conflicts.is_empty() {
        return "No conflicts.\n".to_owned();
    }
    let columns = [
        ("WHEN", Align::Right),
        ("HOME", Align::Left),
        ("NAMESPACE", Align::Left),
        ("SESSION", Align::Left),
        ("USER", Align::Left),
        ("KEPT", Align::Left),
        ("DIFFERS", Align::Left),
    ];
    // Each shard tells its own in order.
    page.conflicts.sort_by_key(|conflict| conflict.at);
    let rows = page.conflicts.iter().map(|conflict| row(page.now, conflict));
    let more = if page.next.is_some() { "There are more: give a larger --limit, or 0 for all.\n" } else { "" };
    format!("{}{more}", table(&columns, rows))
}

fn row(now: u64, conflict: &Conflict) -> Vec<String> {
    let Conflict { at, namespace, session, home, epoch: _, kept, differs, mine, theirs } = conflict;
    let theirs_user = theirs.as_ref().and_then(|theirs| theirs.user.clone());
    let mut names = differs.iter().take(NAMES_SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if differs.len() > NAMES_SHOWN_MAX {
        names.push_str(&format!(" and {} more", differs.len() - NAMES_SHOWN_MAX));
    }
    vec![
        format!("{} ago", about(now.saturating_sub(*at))),
        home.clone(),
        namespace.clone(),
        session.clone(),
        mine.user.clone().or(theirs_user).unwrap_or_else(|| "-".to_owned()),
        if kept == "mine" { format!("what {home} had") } else { "what the others had".to_owned() },
        if names.is_empty() { "-".to_owned() } else { names },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::http::api::{Place, Side};
    use clap::Parser;
    use std::collections::BTreeMap;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ConflictsArgs,
    }

    fn conflict(at: u64, kept: &str, differs: &[&str]) -> Conflict {
        let side = Side {
            home: "na".to_owned(),
            life: "live".to_owned(),
            kind: "hash".to_owned(),
            created_at: 1,
            written_at: 2,
            version: "1.0.5".to_owned(),
            user: Some("7".to_owned()),
            labels: BTreeMap::new(),
            fields: None,
        };
        Conflict {
            at,
            namespace: "default".to_owned(),
            session: "#00ff".to_owned(),
            home: "na".to_owned(),
            epoch: 4,
            kept: kept.to_owned(),
            differs: differs.iter().map(|name| (*name).to_owned()).collect(),
            mine: side,
            theirs: None,
        }
    }

    #[test]
    fn each_entry_has_a_line_and_the_earliest_is_first() {
        let conflicts =
            vec![conflict(60_000, "mine", &["value"]), conflict(1_000, "theirs", &["a", "b", "c", "d", "e", "f"])];
        let page = Conflicts { conflicts, now: 61_000, next: Some(Place::default()) };
        assert_eq!(
            lines(page),
            "  WHEN  HOME  NAMESPACE  SESSION  USER  KEPT                 DIFFERS\n\
             1m ago  na    default    #00ff    7     what the others had  a, b, c, d and 2 more\n\
             1s ago  na    default    #00ff    7     what na had          value\n\
             There are more: give a larger --limit, or 0 for all.\n"
        );
        assert_eq!(lines(Conflicts { conflicts: Vec::new(), now: 1, next: None }), "No conflicts.\n");
    }

    #[test]
    fn pieces_of_a_list_are_one_document() {
        let one = || conflict(1, "mine", &[]);
        let pieces = [listed(&[one()], true), listed(&[], false), listed(&[one(), one()], false)];
        let text: String = pieces.into_iter().map(|piece| piece.expect("JSON")).collect();
        let read: Vec<Conflict> = serde_json::from_str(&format!("{text}\n]\n")).expect("one list");
        assert_eq!(read, [one(), one(), one()]);
    }

    #[test]
    fn what_is_asked_for_is_understood() {
        let line = ["conflicts", "-n", "shop", "--user", "7", "--limit", "0", "-o", "json"];
        let ConflictsArgs { namespace, user, limit, show_ids, output } =
            Line::try_parse_from(line).expect("understood").args;
        assert_eq!((namespace.as_deref(), user.as_deref(), limit), (Some("shop"), Some("7"), 0));
        assert!(!show_ids && output == Format::Json);
        assert!(Line::try_parse_from(["conflicts", "--limit", "many"]).is_err());
    }
}
