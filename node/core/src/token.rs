//! What a caller has seen of a session, in a form that it passes along, so that no later read shows it less.
//!
//! A copy that has reached a token shows all that its owner has seen, written or ended. Tokens of one session join: what has
//! reached the joint one has reached both. They are no secret and prove nothing: who makes one up is only answered later.

use crate::{
    ids::RegionId,
    query::View,
    session::{Incarnation, Life, Record, Version},
};
use std::{
    cmp::Ordering,
    fmt,
    str::{FromStr, Split},
};

/// See the room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// Which session under the id.
    pub incarnation: Incarnation,
    /// The body, or a later one.
    pub version: Version,
    /// Whether it was over.
    pub ended: bool,
}

impl Token {
    /// Of a session that was seen alive.
    pub fn of(view: &View) -> Self {
        Self { incarnation: view.incarnation, version: view.version, ended: false }
    }

    /// Of a session that is over: the one of this token, or a later one.
    #[must_use]
    pub fn ended(self) -> Self {
        Self { ended: true, ..self }
    }

    /// What was seen by both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        match self.incarnation.cmp(&other.incarnation) {
            Ordering::Greater => self,
            Ordering::Less => other,
            Ordering::Equal => {
                let (version, ended) = (self.version.max(other.version), self.ended || other.ended);
                Self { version, ended, ..self }
            }
        }
    }

    /// Whether a copy shows what was seen, or what came of it.
    pub fn is_reached_by(&self, copy: &Record) -> bool {
        let is_later = (copy.incarnation, copy.version) >= (self.incarnation, self.version);
        let is_another = copy.incarnation > self.incarnation;
        is_later && (!self.ended || is_another || copy.life != Life::Live)
    }
}

/// Five hexadecimal numbers, and a mark behind what is over: fit for a cookie as it is.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { incarnation: Incarnation { stamp, region: RegionId(region) }, version, ended } = self;
        let Version { epoch, home_epoch, sequence } = version;
        write!(f, "{stamp:x}.{region:x}.{epoch:x}.{home_epoch:x}.{sequence:x}")?;
        if *ended { f.write_str(ENDED) } else { Ok(()) }
    }
}

const ENDED: &str = ".x";

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is none that was given out by this version; begin anew without it")]
pub struct BadToken;

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let (numbers, ended) = text.strip_suffix(ENDED).map_or((text, false), |numbers| (numbers, true));
        let mut parts = numbers.split('.');
        let incarnation = Incarnation { stamp: number(&mut parts)?, region: RegionId(number(&mut parts)?) };
        let (epoch, home_epoch) = (number(&mut parts)?, number(&mut parts)?);
        let token = Self { incarnation, version: Version { epoch, home_epoch, sequence: number(&mut parts)? }, ended };
        // One token has one spelling.
        if token.to_string() == text { Ok(token) } else { Err(BadToken) }
    }
}

fn number<T: TryFrom<u64>>(parts: &mut Split<'_, char>) -> Result<T, BadToken> {
    let part = parts.next().ok_or(BadToken)?;
    u64::from_str_radix(part, 16).ok().and_then(|number| T::try_from(number).ok()).ok_or(BadToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Body, Fields, Kind, Used};

    fn token(stamp: u64, sequence: u64, ended: bool) -> Token {
        let version = Version { epoch: 1, home_epoch: 0, sequence };
        Token { incarnation: Incarnation { stamp, region: RegionId(2) }, version, ended }
    }

    fn tokens() -> Vec<Token> {
        let each = |stamp| (1..=3).flat_map(move |sequence| [false, true].map(|ended| token(stamp, sequence, ended)));
        (1..=2).flat_map(each).collect()
    }

    fn copy(Token { incarnation, version, ended }: Token) -> Record {
        let life = if ended { Life::Dead { at: 0, collect_at: 9, expired: false } } else { Life::Live };
        Record {
            incarnation,
            version,
            home: RegionId(2),
            kind: Kind::Hash,
            life,
            written: 0,
            idle_timeout_ms: 0,
            idle_deadline: 9,
            absolute_deadline: 9,
            owner: None,
            body: Body::Hot(Fields::new()),
            used: Used::default(),
        }
    }

    #[test]
    fn a_copy_has_reached_what_it_shows_or_has_replaced() {
        let reached =
            |token: Token, stamp, sequence, ended| token.is_reached_by(&copy(self::token(stamp, sequence, ended)));
        assert!(reached(token(5, 3, false), 5, 3, false) && reached(token(5, 3, false), 5, 4, true));
        assert!(!reached(token(5, 3, false), 5, 2, false));
        assert!(!reached(token(5, 3, true), 5, 3, false), "it was over");
        assert!(reached(token(5, 3, true), 5, 4, true));
        assert!(reached(token(5, 3, true), 6, 1, false), "another session under the id");
        assert!(!reached(token(5, 3, true), 4, 9, true), "an earlier one");
    }

    #[test]
    fn what_has_reached_the_joint_token_has_reached_both() {
        for (one, other) in tokens().into_iter().flat_map(|one| tokens().into_iter().map(move |other| (one, other))) {
            let joint = one.joined(other);
            assert_eq!(joint, other.joined(one));
            assert_eq!(joint.joined(one), joint);
            for at in tokens() {
                let both = one.is_reached_by(&copy(at)) && other.is_reached_by(&copy(at));
                assert!(!joint.is_reached_by(&copy(at)) || both, "{one} {other} {at}");
            }
        }
    }

    #[test]
    fn a_token_reads_back_and_has_one_spelling() {
        let long = Token {
            incarnation: Incarnation { stamp: u64::MAX, region: RegionId(u16::MAX) },
            version: Version { epoch: u32::MAX, home_epoch: u32::MAX, sequence: u64::MAX },
            ended: true,
        };
        for token in tokens().into_iter().chain([long, Token::default()]) {
            let text = token.to_string();
            assert_eq!(text.parse(), Ok(token));
            assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'.' || byte == b'x'));
        }
        for bad in
            ["", "1.2.3.4", "1.2.3.4.5.6", "1.2.3.4.5.", "01.2.3.4.5", "+1.2.3.4.5", "1.2.3.4.A", "1.10000.3.4.5"]
        {
            assert_eq!(bad.parse::<Token>(), Err(BadToken), "{bad}");
        }
    }
}
