//! Random commands, pipelined and in transactions, to Sojourn's nodes in turn and to a real Redis.
//!
//! A failure prints its seed; `SOJOURN_SEED` runs that one again.

use super::same::Compared;
use crate::{
    redis::Redis,
    region::{NODES, Region},
    wire::{Client, parts, request, shown, words},
};

/// Commands as in `commands.txt`: `K` stands for one of a few keys, `F` for a field or a member, `V` for a value, `N` for
/// an integer, `D` for a number with a fraction.
const TEMPLATES: &[&str] = &[
    "SET K V",
    "SET K V NX",
    "SET K V XX GET",
    "SET K V EX 100",
    "SET K N KEEPTTL",
    "SETNX K V",
    "GETSET K V",
    "GET K",
    "GETDEL K",
    "GETEX K EX 500",
    "GETEX K PERSIST",
    "APPEND K V",
    "STRLEN K",
    "GETRANGE K N N",
    "SETRANGE K 3 V",
    "INCR K",
    "DECRBY K N",
    "MGET K K K",
    "MSET K V K V",
    "DEL K",
    "DEL K K",
    "UNLINK K",
    "EXISTS K K K",
    "TYPE K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K REPLACE",
    "EXPIRE K 200",
    "EXPIRE K 400 NX",
    "PEXPIRE K 250000 XX",
    "PERSIST K",
    "EXPIRE K -1",
    "? TTL K",
    "? PTTL K",
    "HSET K F V",
    "HSET K F V F V",
    "HSETNX K F V",
    "HGET K F",
    "HMGET K F F F",
    "~2 HGETALL K",
    "~ HKEYS K",
    "~ HVALS K",
    "HLEN K",
    "HEXISTS K F",
    "HSTRLEN K F",
    "HDEL K F F",
    "HINCRBY K F N",
    "SADD K F V",
    "SREM K F F",
    "~ SMEMBERS K",
    "SISMEMBER K F",
    "SMISMEMBER K F F V",
    "SCARD K",
    "~ SPOP K 100",
    "ZADD K N F N F",
    "ZADD K NX D F",
    "ZADD K XX CH N F D F",
    "ZADD K GT N F",
    "ZADD K LT CH D F",
    "ZADD K INCR D F",
    "ZINCRBY K N F",
    "ZSCORE K F",
    "ZMSCORE K F F",
    "ZCARD K",
    "ZCOUNT K N N",
    "ZRANK K F",
    "ZREVRANK K F",
    "ZRANGE K N N WITHSCORES",
    "ZRANGE K N N REV",
    "ZRANGE K N N BYSCORE LIMIT 1 2",
    "ZREVRANGEBYSCORE K N N",
    "ZREM K F F",
    "ZREMRANGEBYSCORE K N N",
    "ZREMRANGEBYRANK K N N",
    "ZPOPMIN K",
    "ZPOPMAX K 2",
];

const KEYS: [&str; 7] = ["a", "b", "{t}1", "{t}2", "{t}3", "c", "key-with-a-longer-name"];
const FIELDS: [&str; 5] = ["f", "g", "h", "10", "\"\""];
const VALUES: [&str; 9] = ["text", "1", "-7", "1.5", "\"\"", "\"\\x00\\xff\\r\\n\"", "1000000007", "@30", "2.25"];
const INTEGERS: [&str; 8] = ["0", "1", "-1", "2", "-3", "100", "-100", "1000000007"];
const FRACTIONS: [&str; 5] = ["0.5", "-2.25", "1.75", "3", "1e3"];

/// Commands sent in one write.
const CHUNK: u64 = 50;
const CHUNKS: u64 = 60;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).expect("small")]
    }

    fn command(&mut self) -> (Compared, String) {
        let (compared, template) = Compared::of_line(self.pick(TEMPLATES));
        let words = template.split(' ').map(|word| match word {
            "K" => self.pick(&KEYS),
            "F" => self.pick(&FIELDS),
            "V" => self.pick(&VALUES),
            "N" => self.pick(&INTEGERS),
            "D" => self.pick(&FRACTIONS),
            other => other,
        });
        let words: Vec<&str> = words.collect();
        (compared, words.join(" "))
    }
}

fn bytes_of(command: &str) -> Vec<u8> {
    let words = words(command);
    request(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_commands_are_answered_as_redis_does() {
    let Some(redis) = Redis::start() else { return };
    let given = std::env::var("SOJOURN_SEED").ok().and_then(|seed| seed.parse().ok());
    // The same commands every time, unless somebody asks for others.
    let seed = given.unwrap_or(5989);
    let region = Region::start().await;
    let mut nodes = Vec::new();
    for at in 0..NODES {
        nodes.push(Client::connect(region.resp(at)).await);
    }
    let mut redis = Client::connect(redis.address).await;
    let mut random = Random(seed);
    for chunk in 0..CHUNKS {
        let node = &mut nodes[usize::try_from(chunk).expect("small") % NODES];
        let commands: Vec<_> = (0..CHUNK).map(|_| random.command()).collect();
        let in_multi = random.below(4) == 0;
        let mut bytes: Vec<u8> = commands.iter().flat_map(|(_, command)| bytes_of(command)).collect();
        if in_multi {
            bytes = [bytes_of("MULTI"), bytes, bytes_of("EXEC")].concat();
        }
        node.send_raw(&bytes).await;
        redis.send_raw(&bytes).await;
        let (ours, theirs) = if in_multi {
            let (ours, theirs) = (after_queued(node).await, after_queued(&mut redis).await);
            let owned = |reply: &[u8]| parts(reply).into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
            (owned(&ours), owned(&theirs))
        } else {
            (replies(node).await, replies(&mut redis).await)
        };
        for (at, (compared, command)) in commands.iter().enumerate() {
            assert!(
                compared.holds(&ours[at], &theirs[at]),
                "SOJOURN_SEED={seed}, chunk {chunk}, multi {in_multi}: {command}\n   ours: {}\n  redis: {}",
                shown(&ours[at]),
                shown(&theirs[at])
            );
        }
    }
    region.stop().await;
}

async fn replies(client: &mut Client) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    for _ in 0..CHUNK {
        replies.push(client.reply().await);
    }
    replies
}

async fn after_queued(client: &mut Client) -> Vec<u8> {
    for _ in 0..=CHUNK {
        client.reply().await;
    }
    client.reply().await
}
