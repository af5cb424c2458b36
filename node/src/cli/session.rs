//! `sojourn session`: look at sessions and end them.

use super::{
    client::{Client, NodeArgs},
    output::{self, Align, Format, json, table},
    watch::WatchArgs,
};
use crate::{
    gateway::http::api::{
        Counted, Destroyed, Find, Found, List, MoveSession, MovedSession, Page, Session, SetTtl, Which,
    },
    notation::{about, about_bytes, parse_duration},
};
use anyhow::bail;
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  sojourn session list --user 7
  sojourn session count --label role=admin --expiring-within 1h
  sojourn session list --pattern 'sess:*' --watch
  sojourn session destroy sess:5f2c...";

/// Look at sessions and end them.
///
/// An id is a credential: whoever has it is logged in. Lists show a stand-in, the same on every node, unless --show-ids is
/// given; ids are never in URLs or logs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SessionArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The namespace to look in
    #[arg(short, long, global = true, value_name = "NAME", default_value = "default")]
    namespace: String,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Show one session
    Get {
        /// Its id; bytes that are no text as \xNN
        id: String,
        /// Show its fields too
        #[arg(long)]
        values: bool,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// List sessions
    List {
        #[command(flatten)]
        which: Filters,
        /// How many at most; 0 for all
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: u64,
        /// Show ids as they are; each is a credential
        #[arg(long)]
        show_ids: bool,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Count sessions
    Count {
        #[command(flatten)]
        which: Filters,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// End a session for good; whoever had it is logged out
    Destroy {
        /// Its id
        id: String,
    },
    /// Give a session another home: the region that orders its writes
    ///
    /// It is read and written all the while, in every region. Done when the new region orders it.
    Move {
        /// Its id
        id: String,
        /// The region's name
        #[arg(long, value_name = "REGION")]
        to: String,
    },
    /// Show in how long a session ends, or set that
    Ttl {
        /// Its id
        id: String,
        /// End it in this long unless it is used, such as 30m
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        set: Option<u64>,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Which sessions.
#[derive(Clone, Debug, Args)]
struct Filters {
    /// Only of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only with this label at this value, such as role=admin
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    /// Only those that end within this time unless they are used, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expiring_within: Option<u64>,
    /// Only ids that match this glob, such as 'sess:*'
    #[arg(long, value_name = "GLOB")]
    pattern: Option<String>,
}

fn duration(text: &str) -> Result<u64, String> {
    parse_duration(text).ok_or_else(|| "give a duration such as 30m, 1h30m or 14d".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give a name and a value such as role=admin")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Filters {
    fn within(self, namespace: &str) -> Which {
        let Self { user, label, expiring_within, pattern } = self;
        Which { namespace: namespace.to_owned(), user, label, expiring_within_ms: expiring_within, pattern }
    }
}

/// Does what was asked.
///
/// # Errors
/// What went wrong and what to do.
pub async fn run(args: SessionArgs) -> anyhow::Result<()> {
    let SessionArgs { node, namespace, act } = args;
    let client = &Client::new(&node);
    match act {
        Act::Get { id, values, output } => {
            let session = find(client, &namespace, id, values).await?;
            output::print(&if output == Format::Json { json(&session)? } else { details(&session) })
        }
        Act::List { which, limit, show_ids, output, watch } => {
            let list = List { which: which.within(&namespace), limit: None, from: None, show_ids };
            let limit = if limit == 0 { u64::MAX } else { limit };
            let answer = async || {
                let page = collect(client, list.clone(), limit).await?;
                Ok(if output == Format::Json { json(&page.sessions)? } else { lines(&page) })
            };
            watch.run(answer).await
        }
        Act::Count { which, output, watch } => {
            let which = which.within(&namespace);
            let answer = async || {
                let counted: Counted = client.post("/v1/sessions/count", &which).await?;
                Ok(if output == Format::Json { json(&counted)? } else { count_line(counted) })
            };
            watch.run(answer).await
        }
        Act::Destroy { id } => {
            let body = Find { namespace: namespace.clone(), id, values: false };
            let Destroyed { destroyed } = client.post("/v1/sessions/destroy", &body).await?;
            if destroyed == 0 {
                bail!(no_session(&namespace));
            }
            output::print("The session is destroyed.\n")
        }
        Act::Move { id, to } => {
            let body = MoveSession { namespace, id, to: to.clone() };
            let MovedSession { moved } = client.post("/v1/sessions/move", &body).await?;
            output::print(&if moved {
                format!("The session is at home in {to} now.\n")
            } else {
                format!("The session was at home in {to} already.\n")
            })
        }
        Act::Ttl { id, set, output } => {
            let session = match set {
                None => find(client, &namespace, id, false).await?,
                Some(ttl_ms) => {
                    let body = SetTtl { namespace: namespace.clone(), id, ttl_ms };
                    let Found { session } = client.post("/v1/sessions/ttl", &body).await?;
                    session.ok_or_else(|| anyhow::anyhow!(no_session(&namespace)))?
                }
            };
            output::print(&if output == Format::Json { json(&session)? } else { format!("{}\n", ends(&session)) })
        }
    }
}

async fn find(client: &Client, namespace: &str, id: String, values: bool) -> anyhow::Result<Session> {
    let body = Find { namespace: namespace.to_owned(), id, values };
    let Found { session } = client.post("/v1/sessions/get", &body).await?;
    session.ok_or_else(|| anyhow::anyhow!(no_session(namespace)))
}

fn no_session(namespace: &str) -> String {
    format!(
        "no session with this id lives in namespace {namespace}: it was destroyed, has expired, or never existed\n  \
         --namespace looks in another one; `sojourn session list --show-ids` lists ids"
    )
}

/// Pages until there are `limit` sessions or no more.
async fn collect(client: &Client, mut list: List, limit: u64) -> anyhow::Result<Page> {
    let mut sessions: Vec<Session> = Vec::new();
    loop {
        list.limit = Some(limit - sessions.len() as u64);
        let page: Page = client.post("/v1/sessions/list", &list).await?;
        sessions.extend(page.sessions);
        if page.next.is_none() || sessions.len() as u64 >= limit {
            return Ok(Page { sessions, next: page.next });
        }
        list.from = page.next;
    }
}

fn lines(page: &Page) -> String {
    if page.sessions.is_empty() {
        return "No sessions.\n".to_owned();
    }
    let columns = [
        ("SESSION", Align::Left),
        ("USER", Align::Left),
        ("LABELS", Align::Left),
        ("KIND", Align::Left),
        ("SIZE", Align::Right),
        ("AGE", Align::Right),
        ("ENDS IN", Align::Right),
    ];
    let rows = page.sessions.iter().map(|session| {
        let now = session.ends_at.saturating_sub(session.ttl_ms);
        vec![
            session.id.clone(),
            session.user.clone().unwrap_or_else(|| "-".to_owned()),
            labels(session),
            session.kind.clone(),
            about_bytes(session.bytes),
            about(now.saturating_sub(session.created_at)),
            about(session.ttl_ms),
        ]
    });
    let more = if page.next.is_some() { "There are more: give a larger --limit, or 0 for all.\n" } else { "" };
    format!("{}{more}", table(&columns, rows))
}

fn labels(session: &Session) -> String {
    let pairs: Vec<String> = session.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(" ") }
}

fn count_line(Counted { sessions, bytes }: Counted) -> String {
    let average = bytes.checked_div(sessions).map(|average| format!(", {} each", about_bytes(average)));
    let noun = if sessions == 1 { "session" } else { "sessions" };
    format!("{sessions} {noun}, {}{}\n", about_bytes(bytes), average.unwrap_or_default())
}

fn ends(session: &Session) -> String {
    let latest = session.ends_at_latest.saturating_sub(session.ends_at);
    let idle = session.idle_timeout_ms.map(|ms| format!(" unless it is used (idle timeout {})", about(ms)));
    let latest = if idle.is_some() && latest > 0 {
        format!(", at the latest in {}", about(session.ttl_ms.saturating_add(latest)))
    } else {
        String::new()
    };
    format!("ends in {}{}{latest}", about(session.ttl_ms), idle.unwrap_or_default())
}

fn details(session: &Session) -> String {
    let now = session.ends_at.saturating_sub(session.ttl_ms);
    let ago = |stamp: u64| format!("{} ago", about(now.saturating_sub(stamp)));
    let s = if session.field_count == 1 { "" } else { "s" };
    let facts = [
        ("session", session.id.clone()),
        ("user", session.user.clone().unwrap_or_else(|| "-".to_owned())),
        ("labels", labels(session)),
        ("kind", session.kind.clone()),
        ("size", format!("{} in {} field{s}", about_bytes(session.bytes), session.field_count)),
        ("created", ago(session.created_at)),
        ("written", ago(session.written_at)),
        ("life", ends(session)),
        ("version", session.version.clone()),
        ("home", session.home.clone()),
    ];
    let facts: String = facts.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect();
    let fields = session.fields.iter().flatten().map(|(name, value)| match name.as_str() {
        "" => format!("\n{value}\n"),
        name => format!("  {name}: {value}\n"),
    });
    let fields: String = fields.collect();
    let heading = if session.fields.is_some() { "fields\n" } else { "" };
    format!("{facts}{heading}{fields}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn session() -> Session {
        Session {
            id: "#00ff".to_owned(),
            kind: "hash".to_owned(),
            user: Some("7".to_owned()),
            labels: BTreeMap::from([("role".to_owned(), "admin".to_owned())]),
            created_at: 1_000_000,
            written_at: 1_050_000,
            ends_at: 2_900_000,
            ttl_ms: 1_754_000,
            ends_at_latest: 90_000_000,
            idle_timeout_ms: Some(1_800_000),
            version: "1.0.5".to_owned(),
            home: "eu".to_owned(),
            field_count: 2,
            bytes: 1_536,
            fields: None,
        }
    }

    #[test]
    fn a_list_lines_up_and_says_when_there_is_more() {
        let page = Page { sessions: vec![session()], next: Some(crate::gateway::http::api::Place::default()) };
        assert_eq!(
            lines(&page),
            "SESSION  USER  LABELS      KIND     SIZE    AGE  ENDS IN\n\
             #00ff    7     role=admin  hash  1.5 KiB  2m26s   29m14s\n\
             There are more: give a larger --limit, or 0 for all.\n"
        );
    }

    #[test]
    fn an_end_says_whether_use_moves_it() {
        let mut session = session();
        assert_eq!(ends(&session), "ends in 29m14s unless it is used (idle timeout 30m), at the latest in 1d");
        session.idle_timeout_ms = None;
        assert_eq!(ends(&session), "ends in 29m14s");
    }

    #[test]
    fn counts_of_nothing_have_no_average() {
        assert_eq!(count_line(Counted { sessions: 0, bytes: 0 }), "0 sessions, 0 B\n");
        assert_eq!(count_line(Counted { sessions: 1, bytes: 12 }), "1 session, 12 B, 12 B each\n");
        assert_eq!(count_line(Counted { sessions: 2, bytes: 1_024 }), "2 sessions, 1.0 KiB, 512 B each\n");
    }
}
