//! The ways between the regions of a world on this machine: `--wan-delay`, and `dev wan ...` while it runs.

use super::{control::Reply, plan::Plan};
use crate::{
    cli::output::{Align, Format, table},
    notation::{about, about_bytes, parse_duration, parse_size, show_duration, show_size},
    wan::{Link, NoPair, Pair, Report, Wan},
};
use anyhow::{Context, ensure};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use std::{str::FromStr, time::Duration};
use tokio::net::TcpListener;

/// Two regions as people name them: `na-eu`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairName {
    from: String,
    to: String,
}

impl FromStr for PairName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split_once('-').filter(|(from, to)| !from.is_empty() && !to.is_empty());
        let (from, to) = names.ok_or("name two regions, such as na-eu")?;
        Ok(Self { from: from.to_owned(), to: to.to_owned() })
    }
}

impl std::fmt::Display for PairName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// What `--wan-delay` says of two regions: `na-eu=80ms`, each way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairDelay {
    pair: PairName,
    delay_ms: u64,
}

impl FromStr for PairDelay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pair, delay) = text.split_once('=').ok_or("say two regions and a delay, such as na-eu=80ms")?;
        Ok(Self { pair: pair.parse()?, delay_ms: duration(delay)? })
    }
}

fn duration(text: &str) -> Result<u64, String> {
    parse_duration(text).ok_or_else(|| "give a duration such as 80ms or 1s".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "give bytes a second such as 10MiB, or 0 for no limit".to_owned())
}

/// What can be done to the ways between regions.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Show every way from one region to another
    Show {
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Change a way; what is not given stays as it is
    Set {
        /// Two regions, such as na-eu
        pair: PairName,
        /// How long bytes take, each way, such as 80ms
        #[arg(long, value_name = "DURATION", value_parser = duration, required_unless_present_any = ["jitter", "limit"])]
        delay: Option<u64>,
        /// By how much that varies, up or down
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        jitter: Option<u64>,
        /// The most bytes a second, each way, such as 10MiB; 0 for no limit
        #[arg(long, value_name = "SIZE", value_parser = size)]
        limit: Option<u64>,
        /// Only from the first region to the second
        #[arg(long)]
        one_way: bool,
    },
    /// Let nothing arrive; connections that wait for something longer than three seconds break
    Cut {
        /// Two regions, such as na-eu
        pair: PairName,
        /// Only from the first region to the second
        #[arg(long)]
        one_way: bool,
    },
    /// Undo cuts; delays and limits stay
    Heal {
        /// Two regions, such as na-eu; all otherwise
        pair: Option<PairName>,
    },
    /// Break the connections that are open between two regions, once
    Drop {
        /// Two regions, such as na-eu
        pair: PairName,
    },
}

/// The same as it is sent to the running world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How are the ways?
    Show,
    /// Change one.
    Set {
        /// Which.
        pair: PairName,
        /// Its delay in ms.
        delay_ms: Option<u64>,
        /// Its jitter in ms.
        jitter_ms: Option<u64>,
        /// Its limit in bytes a second, 0 for none.
        bytes_per_s_max: Option<u64>,
        /// Only from the first region to the second.
        one_way: bool,
    },
    /// Cut one.
    Cut {
        /// Which.
        pair: PairName,
        /// Only from the first region to the second.
        one_way: bool,
    },
    /// Undo cuts.
    Heal {
        /// Which; all otherwise.
        pair: Option<PairName>,
    },
    /// Break its connections.
    Drop {
        /// Which.
        pair: PairName,
    },
}

impl Act {
    /// What is asked of the running world, and how its answer is printed.
    pub fn request(&self) -> (Ask, Format) {
        let ask = match self {
            Self::Show { output } => return (Ask::Show, *output),
            Self::Set { pair, delay, jitter, limit, one_way } => Ask::Set {
                pair: pair.clone(),
                delay_ms: *delay,
                jitter_ms: *jitter,
                bytes_per_s_max: *limit,
                one_way: *one_way,
            },
            Self::Cut { pair, one_way } => Ask::Cut { pair: pair.clone(), one_way: *one_way },
            Self::Heal { pair } => Ask::Heal { pair: pair.clone() },
            Self::Drop { pair } => Ask::Drop { pair: pair.clone() },
        };
        (ask, Format::Table)
    }
}

/// One way as `dev wan show` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLine {
    /// The region that bytes come from.
    pub from: String,
    /// The region that they go to.
    pub to: String,
    /// How long they take.
    pub delay_ms: u64,
    /// By how much that varies.
    pub jitter_ms: u64,
    /// The most bytes a second, if there is a limit.
    pub bytes_per_s_max: Option<u64>,
    /// Whether nothing arrives.
    pub cut: bool,
    /// Connections that are open between the two.
    pub connections: u64,
    /// Bytes that have arrived.
    pub bytes_total: u64,
}

impl From<Report> for LinkLine {
    fn from(report: Report) -> Self {
        let Report { from, to, link, connections, bytes_total } = report;
        let Link { delay, jitter, bytes_per_s_max, cut } = link;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { from, to, delay_ms: ms(delay), jitter_ms: ms(jitter), bytes_per_s_max, cut, connections, bytes_total }
    }
}

/// The answer to `dev wan show`.
pub fn links(lines: &[LinkLine]) -> String {
    let columns = [
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("DELAY", Align::Right),
        ("JITTER", Align::Right),
        ("LIMIT", Align::Right),
        ("STATE", Align::Left),
        ("CONNECTIONS", Align::Right),
        ("CARRIED", Align::Right),
    ];
    let rows = lines.iter().map(|line| {
        vec![
            line.from.clone(),
            line.to.clone(),
            show_duration(line.delay_ms),
            show_duration(line.jitter_ms),
            line.bytes_per_s_max.map_or_else(|| "none".to_owned(), |bytes| format!("{}/s", show_size(bytes))),
            if line.cut { "cut" } else { "open" }.to_owned(),
            line.connections.to_string(),
            about_bytes(line.bytes_total),
        ]
    });
    table(&columns, rows)
}

/// Checks what `--wan-delay` says against the regions that are started.
///
/// # Errors
/// It names a region that there is not, or two regions twice.
pub fn check(delays: &[PairDelay], regions: &[String]) -> anyhow::Result<()> {
    let wan = Wan::new(regions.to_vec());
    let mut known: Vec<Pair> = Vec::new();
    for PairDelay { pair, .. } in delays {
        let found = wan.pair(&pair.from, &pair.to).with_context(|| format!("--wan-delay {pair}=..."))?;
        ensure!(!known.contains(&found), "--wan-delay names {pair} twice: its delay is that of each way");
        known.extend([found, found.back()]);
    }
    Ok(())
}

/// Opens the ways between the regions of a plan; none if there is one region only.
///
/// # Errors
/// A port is taken.
pub async fn open(plan: &Plan, delays: &[PairDelay]) -> anyhow::Result<Option<Wan>> {
    if plan.regions.len() < 2 {
        return Ok(None);
    }
    let wan = Wan::new(plan.regions.iter().map(|region| region.name.clone()).collect());
    for PairDelay { pair, delay_ms } in delays {
        let pair = wan.pair(&pair.from, &pair.to)?;
        for way in [pair, pair.back()] {
            wan.change(way, |link| link.delay = Duration::from_millis(*delay_ms));
        }
    }
    for region in &plan.regions {
        wan.place(&region.name, plan.ports_of(region))?;
        let port = plan.way_out(region).context("no port is left for the ways between regions")?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.with_context(|| format!("cannot listen on port {port}"))?;
        let (wan, name) = (wan.clone(), region.name.clone());
        tokio::spawn(async move { wan.serve(&name, listener).await });
    }
    Ok(Some(wan))
}

/// Does what another shell asks.
pub fn act(wan: Option<&Wan>, ask: &Ask) -> Reply {
    let Some(wan) = wan else {
        return Reply::Refused("this world has one region: start it with --regions na,eu,apac".to_owned());
    };
    match acted(wan, ask) {
        Ok(reply) => reply,
        Err(error) => Reply::Refused(error.to_string()),
    }
}

fn acted(wan: &Wan, ask: &Ask) -> Result<Reply, NoPair> {
    let pair_of = |PairName { from, to }: &PairName| wan.pair(from, to);
    let ways = |pair: Pair, one_way: bool| if one_way { vec![pair] } else { vec![pair, pair.back()] };
    let said = match ask {
        Ask::Show => return Ok(Reply::Links(wan.report().into_iter().map(LinkLine::from).collect())),
        Ask::Set { pair, delay_ms, jitter_ms, bytes_per_s_max, one_way } => {
            for way in ways(pair_of(pair)?, *one_way) {
                wan.change(way, |link| {
                    link.delay = delay_ms.map_or(link.delay, Duration::from_millis);
                    link.jitter = jitter_ms.map_or(link.jitter, Duration::from_millis);
                    link.bytes_per_s_max = bytes_per_s_max.map_or(link.bytes_per_s_max, |max| (max > 0).then_some(max));
                });
            }
            let delay = delay_ms.map(|ms| format!("a delay of {}", about(ms)));
            let jitter = jitter_ms.map(|ms| format!("a jitter of {}", about(ms)));
            let limit = bytes_per_s_max.map(|max| match max {
                0 => "no limit".to_owned(),
                max => format!("a limit of {}/s", show_size(max)),
            });
            let all: Vec<String> = delay.into_iter().chain(jitter).chain(limit).collect();
            format!("{} has {}", shown(pair, *one_way), all.join(", "))
        }
        Ask::Cut { pair, one_way } => {
            ways(pair_of(pair)?, *one_way).into_iter().for_each(|way| wan.change(way, |link| link.cut = true));
            format!("{} is cut until: sojourn dev wan heal {pair}", shown(pair, *one_way))
        }
        Ask::Heal { pair } => {
            let healed = pair.as_ref().map(pair_of).transpose()?.map_or_else(|| wan.pairs(), |pair| ways(pair, false));
            healed.into_iter().for_each(|way| wan.change(way, |link| link.cut = false));
            pair.as_ref().map_or_else(|| "nothing is cut".to_owned(), |pair| format!("{pair} is not cut"))
        }
        Ask::Drop { pair } => {
            wan.break_connections(pair_of(pair)?);
            format!("the connections between {} and {} are broken; nodes open others", pair.from, pair.to)
        }
    };
    Ok(Reply::Done(said))
}

fn shown(pair: &PairName, one_way: bool) -> String {
    if one_way { format!("the way from {} to {}", pair.from, pair.to) } else { pair.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> PairName {
        text.parse().expect("a pair")
    }

    fn world() -> Wan {
        Wan::new(["na", "eu", "apac"].map(str::to_owned).to_vec())
    }

    fn line(wan: &Wan, from: &str, to: &str) -> LinkLine {
        let all = wan.report().into_iter().map(LinkLine::from);
        all.into_iter().find(|line| (line.from.as_str(), line.to.as_str()) == (from, to)).expect("a way")
    }

    #[test]
    fn delays_are_read_and_checked_before_anything_is_started() {
        let delay = PairDelay { pair: pair("na-eu"), delay_ms: 80 };
        assert_eq!("na-eu=80ms".parse(), Ok(delay.clone()));
        for text in ["na-eu", "naeu=80ms", "-eu=80ms", "na-eu=80"] {
            assert!(text.parse::<PairDelay>().is_err(), "{text}");
        }
        let regions = ["na", "eu"].map(str::to_owned);
        check(std::slice::from_ref(&delay), &regions).expect("both are there");
        let unknown = check(&["na-apac=1ms".parse().expect("read")], &regions).expect_err("unknown");
        assert!(format!("{unknown:#}").contains("no region apac in this world: it has na, eu"), "{unknown:#}");
        let twice = check(&[delay, "eu-na=1ms".parse().expect("read")], &regions).expect_err("twice").to_string();
        assert!(twice.contains("eu-na twice"), "{twice}");
    }

    #[test]
    fn a_way_is_changed_in_both_directions_or_in_one() {
        let wan = world();
        let set = |delay_ms, jitter_ms, bytes_per_s_max, one_way| Ask::Set {
            pair: pair("na-eu"),
            delay_ms,
            jitter_ms,
            bytes_per_s_max,
            one_way,
        };
        let said = act(Some(&wan), &set(Some(80), Some(5), Some(10 << 20), false));
        assert_eq!(said, Reply::Done("na-eu has a delay of 80ms, a jitter of 5ms, a limit of 10MiB/s".to_owned()));
        act(Some(&wan), &set(None, None, Some(0), true));
        let (there, back) = (line(&wan, "na", "eu"), line(&wan, "eu", "na"));
        assert_eq!((there.delay_ms, there.jitter_ms, there.bytes_per_s_max), (80, 5, None));
        assert_eq!((back.delay_ms, back.bytes_per_s_max), (80, Some(10 << 20)));
        assert_eq!(line(&wan, "na", "apac").delay_ms, 0);
        assert!(links(&[back]).contains("10MiB/s"));
    }

    #[test]
    fn cuts_are_made_and_healed() {
        let wan = world();
        let cut = |from, to| line(&wan, from, to).cut;
        act(Some(&wan), &Ask::Cut { pair: pair("na-eu"), one_way: true });
        act(Some(&wan), &Ask::Cut { pair: pair("na-apac"), one_way: false });
        assert_eq!(
            [cut("na", "eu"), cut("eu", "na"), cut("apac", "na"), cut("eu", "apac")],
            [true, false, true, false]
        );
        act(Some(&wan), &Ask::Heal { pair: Some(pair("eu-na")) });
        assert_eq!([cut("na", "eu"), cut("na", "apac")], [false, true]);
        act(Some(&wan), &Ask::Heal { pair: None });
        assert!(wan.report().iter().all(|report| !report.link.cut));
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_regions_that_there_are() {
        let refused = |wan: Option<&Wan>, ask: &Ask| match act(wan, ask) {
            Reply::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        let unknown = refused(Some(&world()), &Ask::Cut { pair: pair("na-mars"), one_way: false });
        assert!(unknown.contains("no region mars") && unknown.contains("na, eu, apac"), "{unknown}");
        assert!(refused(Some(&world()), &Ask::Drop { pair: pair("na-na") }).contains("name two"));
        assert!(refused(None, &Ask::Show).contains("one region"));
    }
}
