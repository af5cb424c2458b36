//! The same commands to Sojourn and to a real Redis: the bytes that come back must be the same.
//!
//! `commands.txt` has one command a line. What differs by design is compared as far as it can be:
//!
//! - `~` in front: a collection whose order Redis does not promise; compared sorted. `~2` for pairs.
//! - `?`: times; integers are compared within 1 %, of other replies only the kind.
//! - `??`: numbers of the server's own; only the kind of reply.
//! - `!`: an error whose text is ours; only that it is one.

use crate::{
    redis::Redis,
    region::Region,
    wire::{Client, parts, shown, words},
};
use sojourn_core::policy::Policy;

/// How two replies are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    Exactly,
    /// In groups of so many.
    Sorted(usize),
    Roughly,
    Kind,
    BothErrors,
}

impl Compared {
    /// The comparison and the command of a line.
    pub fn of_line(line: &str) -> (Self, &str) {
        for (prefix, compared) in [
            ("~2 ", Self::Sorted(2)),
            ("~ ", Self::Sorted(1)),
            ("?? ", Self::Kind),
            ("? ", Self::Roughly),
            ("! ", Self::BothErrors),
        ] {
            if let Some(command) = line.strip_prefix(prefix) {
                return (compared, command);
            }
        }
        (Self::Exactly, line)
    }

    /// Whether the replies are the same.
    pub fn holds(self, ours: &[u8], redis: &[u8]) -> bool {
        match self {
            Self::Exactly => ours == redis,
            Self::Sorted(_) if !b"*~%".contains(&ours[0]) => ours == redis,
            Self::Sorted(group) => ours[..2] == redis[..2] && sorted(ours, group) == sorted(redis, group),
            Self::Roughly => {
                let number = |reply: &[u8]| std::str::from_utf8(&reply[1..reply.len() - 2]).ok()?.parse::<i64>().ok();
                match (ours[0] == redis[0], number(ours), number(redis)) {
                    (true, Some(ours), Some(redis)) if ours < 0 || redis < 0 => ours == redis,
                    (true, Some(ours), Some(redis)) => (ours - redis).abs() <= 1 + redis / 100,
                    (same, ..) => same,
                }
            }
            Self::Kind => ours[0] == redis[0],
            Self::BothErrors => ours[0] == b'-' && redis[0] == b'-',
        }
    }
}

fn sorted(reply: &[u8], group: usize) -> Vec<Vec<&[u8]>> {
    let mut groups: Vec<Vec<&[u8]>> = parts(reply).chunks(group).map(<[&[u8]]>::to_vec).collect();
    groups.sort();
    groups
}

/// Asks both and collects what differs.
pub struct Both {
    ours: Client,
    redis: Client,
    differences: Vec<String>,
}

impl Both {
    pub async fn connect(region: &Region, node: usize, redis: &Redis) -> Self {
        let (ours, redis) = (Client::connect(region.resp(node)).await, Client::connect(redis.address).await);
        Self { ours, redis, differences: Vec::new() }
    }

    pub async fn ask(&mut self, compared: Compared, command: &str, context: &str) {
        let words = words(command);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let (ours, redis) = (self.ours.call(&words).await, self.redis.call(&words).await);
        if !compared.holds(&ours, &redis) {
            let cut = |reply: &[u8]| shown(reply).chars().take(300).collect::<String>();
            self.differences.push(format!("{context}: {command}\n   ours: {}\n  redis: {}", cut(&ours), cut(&redis)));
        }
    }

    pub fn assert_same(self) {
        let count = self.differences.len();
        assert!(count == 0, "{count} differences\n{}", self.differences.join("\n"));
    }
}

async fn run_table(protocol: &str, node: usize) {
    let Some(redis) = Redis::start() else { return };
    let region = Region::start().await;
    // Redis keeps a key as long as it is told to.
    const MILLENNIUM_MS: u64 = 1_000 * 366 * 24 * 60 * 60 * 1_000;
    let policy = Policy { database: Some(0), foreign_absolute_ms: 2 * MILLENNIUM_MS, ..Policy::default() };
    region.set_namespace("default", policy).await;
    let mut both = Both::connect(&region, node, &redis).await;
    both.ask(Compared::Roughly, &format!("HELLO {protocol}"), "handshake").await;
    let table = include_str!("commands.txt").lines().enumerate();
    for (number, line) in table.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (compared, command) = Compared::of_line(line);
        both.ask(compared, command, &format!("line {}", number + 1)).await;
    }
    both.assert_same();
    region.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_table_of_commands_is_answered_as_redis_does() {
    run_table("2", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_table_of_commands_is_answered_as_redis_does_in_resp3() {
    run_table("3", 2).await;
}
