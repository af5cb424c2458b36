//! The scripts that session clients send, known by their text.
//!
//! There is no Lua here. Locks and conditional increments of the usual clients are a handful of scripts, written with
//! other blanks, quotes or capitals by each; what is left when those are taken away decides. Sources: the Redis
//! documentation of distributed locks, redis-py `lock.py`, node-redlock 5, redlock-rb, Laravel `RedisStore` and
//! `LuaScripts`, phpredis `redis_session.c`, django-redis.

use sha1::{Digest, Sha1};
use std::{collections::HashMap, sync::LazyLock};

/// What a known script does with its first key. `ARGV[1]` is the value that is compared or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Destroys the key if it has the value; 1 or 0.
    CompareDelete,
    /// Moves the deadline to `ARGV[2]` ms from now if the key has the value; 1 or 0.
    CompareExpireMs,
    /// The same in seconds.
    CompareExpireSeconds,
    /// Adds `ARGV[2]` ms to what is left, or replaces that if `ARGV[3]` is there and not `0`, if the key has the value; 1 or 0.
    CompareExtend,
    /// Sets the value for `ARGV[2]` ms if there is none; 1 or 0.
    AcquireMs,
    /// Sets the value for `ARGV[2]` seconds if there is none; `OK` or nil.
    AddSeconds,
    /// Sets the value for `ARGV[2]` ms if there is none and `ARGV[3]` is `yes`, or if it is there already; `OK` or nil.
    AcquireOrExtend,
    /// Adds `ARGV[1]` to the integer if there is one; nil if not.
    IncrementPresent,
    /// Adds `ARGV[1]` to the integer.
    Increment,
}

impl Script {
    /// How many arguments it needs beside the key.
    pub fn arguments(self) -> usize {
        match self {
            Self::CompareDelete | Self::IncrementPresent | Self::Increment => 1,
            Self::CompareExpireMs
            | Self::CompareExpireSeconds
            | Self::CompareExtend
            | Self::AcquireMs
            | Self::AddSeconds => 2,
            Self::AcquireOrExtend => 3,
        }
    }
}

const KNOWN: [(Script, &str); 27] = [
    // The first is the text with the SHA b70c2384248f88e6b75b9f89241a180f856ad852.
    (
        Script::CompareDelete,
        "if redis.call(\"get\",KEYS[1]) == ARGV[1] then return redis.call(\"del\",KEYS[1]) else return 0 end",
    ),
    (
        Script::CompareDelete,
        "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) end return 0",
    ),
    (
        Script::CompareDelete,
        "if redis.call('get',KEYS[1]) == ARGV[1] then redis.call('del',KEYS[1]) return 1 else return 0 end",
    ),
    (
        Script::CompareDelete,
        "if redis.call('get',KEYS[1]) == ARGV[1] then redis.call('del',KEYS[1]) return 1 end return 0",
    ),
    (
        Script::CompareDelete,
        "if ARGV[1] == redis.call('get',KEYS[1]) then return redis.call('del',KEYS[1]) else return 0 end",
    ),
    (
        Script::CompareDelete,
        "if ARGV[1] == redis.call('get',KEYS[1]) then return redis.call('del',KEYS[1]) end return 0",
    ),
    (
        Script::CompareDelete,
        "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('unlink',KEYS[1]) else return 0 end",
    ),
    (
        Script::CompareDelete,
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end \
         redis.call('del', KEYS[1]) return 1",
    ),
    (
        Script::CompareDelete,
        "local count = 0 for i, key in ipairs(KEYS) do if redis.call('get', key) == ARGV[1] then redis.pcall('del', key) \
         count = count + 1 end end return count",
    ),
    (
        Script::CompareExpireMs,
        "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) else return 0 end",
    ),
    (
        Script::CompareExpireMs,
        "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) end return 0",
    ),
    (
        Script::CompareExpireMs,
        "if ARGV[1] == redis.call('get',KEYS[1]) then return redis.call('pexpire',KEYS[1],ARGV[2]) else return 0 end",
    ),
    (
        Script::CompareExpireMs,
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end \
         redis.call('pexpire', KEYS[1], ARGV[2]) return 1",
    ),
    (
        Script::CompareExpireMs,
        "for i, key in ipairs(KEYS) do if redis.call('get', key) ~= ARGV[1] then return 0 end end \
         for i, key in ipairs(KEYS) do redis.call('set', key, ARGV[1], 'PX', ARGV[2]) end return #KEYS",
    ),
    (
        Script::CompareExpireSeconds,
        "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('expire',KEYS[1],ARGV[2]) else return 0 end",
    ),
    (
        Script::CompareExpireSeconds,
        "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('expire',KEYS[1],ARGV[2]) end return 0",
    ),
    (
        Script::CompareExpireSeconds,
        "if ARGV[1] == redis.call('get',KEYS[1]) then return redis.call('expire',KEYS[1],ARGV[2]) else return 0 end",
    ),
    (
        Script::CompareExtend,
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end \
         local expiration = redis.call('pttl', KEYS[1]) if not expiration then expiration = 0 end \
         if expiration < 0 then return 0 end local newttl = ARGV[2] if ARGV[3] == '0' then newttl = ARGV[2] + expiration end \
         redis.call('pexpire', KEYS[1], newttl) return 1",
    ),
    (
        Script::CompareExtend,
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end \
         local expiration = redis.call('pttl', KEYS[1]) if not expiration then expiration = 0 end \
         if expiration < 0 then return 0 end redis.call('pexpire', KEYS[1], expiration + ARGV[2]) return 1",
    ),
    (
        Script::AcquireMs,
        "for i, key in ipairs(KEYS) do if redis.call('exists', key) == 1 then return 0 end end \
         for i, key in ipairs(KEYS) do redis.call('set', key, ARGV[1], 'PX', ARGV[2]) end return #KEYS",
    ),
    (
        Script::AcquireMs,
        "if redis.call('setnx', KEYS[1], ARGV[1]) == 1 then redis.call('pexpire', KEYS[1], ARGV[2]) return 1 else return 0 end",
    ),
    (Script::AcquireMs, "if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 else return 0 end"),
    (Script::AddSeconds, "return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])"),
    (
        Script::AcquireOrExtend,
        "if (redis.call('exists', KEYS[1]) == 0 and ARGV[3] == 'yes') or redis.call('get', KEYS[1]) == ARGV[1] then \
         return redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2]) end",
    ),
    (
        Script::IncrementPresent,
        "local exists = redis.call('EXISTS', KEYS[1]) if (exists == 1) then return redis.call('INCRBY', KEYS[1], ARGV[1]) \
         else return false end",
    ),
    (
        Script::IncrementPresent,
        "if redis.call('exists', KEYS[1]) == 1 then return redis.call('incrby', KEYS[1], ARGV[1]) else return false end",
    ),
    (Script::Increment, "return redis.call('INCRBY', KEYS[1], ARGV[1])"),
];

struct Known {
    by_text: HashMap<Vec<u8>, Script>,
    by_sha: HashMap<String, Script>,
}

static TABLE: LazyLock<Known> = LazyLock::new(|| Known {
    by_text: KNOWN.iter().map(|(script, text)| (normal(text.as_bytes()), *script)).collect(),
    by_sha: KNOWN.iter().map(|(script, text)| (sha(text.as_bytes()), *script)).collect(),
});

/// The script that a text is.
pub fn of_text(text: &[u8]) -> Option<Script> {
    TABLE.by_text.get(&normal(text)).copied()
}

/// The script that has this SHA in exactly the form of the table.
pub fn of_sha(sha: &str) -> Option<Script> {
    TABLE.by_sha.get(sha).copied()
}

/// The SHA-1 of a text in hexadecimal, as `EVALSHA` takes it.
pub fn sha(text: &[u8]) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text without what does not matter: comments, blanks, semicolons, the kind of quotes, capitals in strings, and
/// whether a call is protected.
fn normal(text: &[u8]) -> Vec<u8> {
    let mut normal = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, ..] = rest {
        let taken = match byte {
            b'-' if rest.starts_with(b"--") => comment_length(rest),
            b'"' | b'\'' => {
                let length = rest[1..].iter().position(|other| other == byte).unwrap_or(rest.len() - 1);
                normal.push(b'"');
                normal.extend(rest[1..=length].to_ascii_lowercase());
                normal.extend_from_slice(b"\" ");
                length + 2
            }
            b';' => 1,
            blank if blank.is_ascii_whitespace() => 1,
            word if is_word(*word) => {
                let length = rest.iter().take_while(|byte| is_word(**byte)).count();
                let word = &rest[..length];
                normal.extend_from_slice(if word == b"pcall" { b"call" } else { word });
                normal.push(b' ');
                length
            }
            symbol => {
                normal.extend_from_slice(&[*symbol, b' ']);
                1
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    normal
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn comment_length(text: &[u8]) -> usize {
    let end: &[u8] = if text.starts_with(b"--[[") { b"]]" } else { b"\n" };
    text.windows(end.len()).position(|window| window == end).map_or(text.len(), |at| at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sha_that_clients_send_is_known() {
        assert_eq!(of_sha("b70c2384248f88e6b75b9f89241a180f856ad852"), Some(Script::CompareDelete));
    }

    #[test]
    fn every_known_text_is_itself() {
        for (script, text) in KNOWN {
            assert_eq!(of_text(text.as_bytes()), Some(script));
        }
        assert_eq!(TABLE.by_text.len(), KNOWN.len(), "two texts are the same but for what does not matter");
    }

    #[test]
    fn spelling_does_not_matter() {
        let text = "\n-- unlock; it's ours\nif redis.call('GET', KEYS[1]) == ARGV[1] then\n\treturn redis.call(\"DEL\",KEYS[1]);\n\
                    else --[[ not\nours ]] return 0\nend\n";
        assert_eq!(of_text(text.as_bytes()), Some(Script::CompareDelete));
    }

    #[test]
    fn meaning_does() {
        for text in [
            "",
            "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[2]) else return 0 end",
            "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) else return 1 end",
            "return redis.call('INCRBY', KEYS[1], ARGV[1]) + 1",
        ] {
            assert_eq!(of_text(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(prop_oneof![
            Just(b'"'), Just(b'\''), Just(b'-'), Just(b'['), Just(b']'), any::<u8>()], 0..60)) {
            normal(&text);
        }
    }
}
