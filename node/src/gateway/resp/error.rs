//! What a client is told when a command fails: Redis's texts, so that clients react as they do today, and Redis's codes
//! for states of ours.

use super::args::Args;
use crate::region::backend::Unavailable;
use sojourn_core::{KeyError, Refusal};
use std::{borrow::Cow, fmt::Write};

/// An error reply: a code in capitals, a space, the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub Cow<'static, str>);

impl Error {
    /// An error whose text needs no building.
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The code in front of the message.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

/// `ERR syntax error`.
pub const SYNTAX: Error = Error::new("ERR syntax error");
/// The key holds another kind of value.
pub const WRONG_TYPE: Error = Error::new("WRONGTYPE Operation against a key holding the wrong kind of value");
/// An argument is no 64-bit integer.
pub const NOT_INTEGER: Error = Error::new("ERR value is not an integer or out of range");
/// An argument is no float.
pub const NOT_FLOAT: Error = Error::new("ERR value is not a valid float");
/// Nothing under the key.
pub const NO_KEY: Error = Error::new("ERR no such key");
/// Nobody authenticated.
pub const NO_AUTH: Error = Error::new("NOAUTH Authentication required.");
/// A password that opens nothing.
pub const WRONG_PASS: Error = Error::new("WRONGPASS invalid username-password pair or user is disabled.");
/// Keys in several slots where they must share one.
pub const CROSS_SLOT: Error = Error::new("CROSSSLOT Keys in request don't hash to the same slot");
/// No such number for `SELECT`.
pub const BAD_DATABASE: Error = Error::new("ERR DB index is out of range");
/// Something that only operators may do.
pub const NO_PERMISSION: Error =
    Error::new("NOPERM this connection has no permission for this command; an operator can allow it on the listener");
/// A reply beyond the bound.
pub const REPLY_TOO_LONG: Error = Error::new("ERR the reply is longer than a client may have unread");

/// The bytes of an unknown command's arguments that the error repeats.
const PREVIEW_BYTES_MAX: usize = 128;

/// `ERR unknown command 'x', with args beginning with: 'y' `.
pub fn unknown_command(args: Args<'_>) -> Error {
    let name = &args.at(0)[..args.at(0).len().min(PREVIEW_BYTES_MAX)];
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", String::from_utf8_lossy(name));
    let mut left = PREVIEW_BYTES_MAX;
    for argument in args.from(1).iter() {
        if left == 0 {
            break;
        }
        let shown = &argument[..argument.len().min(left)];
        // Writing to a string cannot fail.
        let _ = write!(text, "'{}' ", String::from_utf8_lossy(shown));
        left = left.saturating_sub(shown.len() + 3);
    }
    text.into()
}

/// `ERR wrong number of arguments for 'x' command`.
pub fn wrong_arity(name: &str) -> Error {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

/// `ERR unknown subcommand 'y'. Try X HELP.`
pub fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Error {
    let shown = &subcommand[..subcommand.len().min(PREVIEW_BYTES_MAX)];
    let command = command.to_ascii_uppercase();
    format!("ERR unknown subcommand '{}'. Try {command} HELP.", String::from_utf8_lossy(shown)).into()
}

/// `ERR invalid expire time in 'x' command`.
pub fn invalid_expire(name: &str) -> Error {
    format!("ERR invalid expire time in '{name}' command").into()
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        format!("ERR {error}").into()
    }
}

impl From<Unavailable> for Error {
    fn from(unavailable: Unavailable) -> Self {
        match &unavailable {
            Unavailable::NoLeader { .. } | Unavailable::HomeAway { .. } | Unavailable::NotActing { .. } => {
                format!("CLUSTERDOWN {unavailable}").into()
            }
            Unavailable::NotCopied { .. } => format!("NOREPLICAS {unavailable}").into(),
            Unavailable::DiskFull => format!("MISCONF {unavailable}").into(),
            Unavailable::Overloaded { .. } => format!("TRYAGAIN {unavailable}").into(),
            Unavailable::Loading => Self::new("LOADING Redis is loading the dataset in memory"),
            Unavailable::Undecided(reason) | Unavailable::Refused(reason) => format!("ERR {reason}").into(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongKind => WRONG_TYPE,
            Refusal::NotInteger => NOT_INTEGER,
            Refusal::NotFloat => NOT_FLOAT,
            Refusal::Missing | Refusal::Gone => NO_KEY,
            Refusal::Exists | Refusal::Busy => Self::new("BUSYKEY Target key name already exists."),
            Refusal::HashNotInteger => Self::new("ERR hash value is not an integer"),
            Refusal::HashNotFloat => Self::new("ERR hash value is not a float"),
            Refusal::Overflow => Self::new("ERR increment or decrement would overflow"),
            Refusal::NotFinite => Self::new("ERR increment would produce NaN or Infinity"),
            Refusal::CrossSlot => CROSS_SLOT,
            Refusal::NotHere => Self::new("TRYAGAIN the slot is moving to another shard; try again shortly"),
            Refusal::Elsewhere { .. } | Refusal::Fenced { .. } | Refusal::SlotMoved { .. } | Refusal::Slot(_) => {
                format!("TRYAGAIN {refusal}").into()
            }
            Refusal::TooLarge { bytes, bytes_max, ref largest } => too_large(bytes, bytes_max, largest),
            Refusal::Conflict { .. } | Refusal::Revoked { .. } | Refusal::Destroyed => format!("ERR {refusal}").into(),
        }
    }
}

/// Names what takes the room, so that the developer who sees it in a log knows what to take out of the session.
pub fn too_large(bytes: u64, bytes_max: u64, largest: &[(Box<[u8]>, u64)]) -> Error {
    const NAME_BYTES_SHOWN: usize = 64;
    let mut text = format!("ERR the session would have {bytes} bytes, the namespace allows {bytes_max}; largest:");
    for (at, (name, size)) in largest.iter().enumerate() {
        let name = match &**name {
            [] => "(value)".into(),
            name => String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_SHOWN)]),
        };
        let _ = write!(text, "{} {name} {size}", if at == 0 { "" } else { "," });
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::resp::args::OwnedArgs;

    #[test]
    fn unknown_commands_are_named_as_redis_does() {
        let args = OwnedArgs::from_words(&[b"FOO", b"bar", b"baz"]);
        let error = unknown_command(args.as_args());
        assert_eq!(error.0, "ERR unknown command 'FOO', with args beginning with: 'bar' 'baz' ");
        assert_eq!(error.code(), "ERR");
    }

    #[test]
    fn too_large_names_the_largest() {
        let largest = [(b"cart".as_slice().into(), 900_000), (b"".as_slice().into(), 200_000)];
        assert_eq!(
            too_large(1_100_004, 1_048_576, &largest).0,
            "ERR the session would have 1100004 bytes, the namespace allows 1048576; largest: cart 900000, (value) 200000"
        );
    }
}
