//! What applications have seen of sessions, so that they see no less of them wherever they ask next.

use crate::SessionId;
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, mem, str::FromStr};

/// What was seen of a session: its text goes into the cookie beside the id, and comes back with the next request. It is no
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(sojourn_core::Token);

/// A text that is no token: go on without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is no token; go on without it")]
pub struct BadToken;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        text.parse().map(Self).map_err(|_| BadToken)
    }
}

/// Sessions whose tokens a client remembers at least; it forgets those that it has not met for longest.
const TOKENS_KEPT_MIN: usize = 32_768;

/// The tokens of a client, by session.
#[derive(Default)]
pub(crate) struct Tokens {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    young: HashMap<SessionId, Token>,
    /// Those that were young before: they go at once when the next ones are as many.
    old: HashMap<SessionId, Token>,
}

impl Tokens {
    /// What was seen of a session.
    pub fn get(&self, id: &SessionId) -> Option<Token> {
        let known = self.known.lock();
        known.young.get(id).or_else(|| known.old.get(id)).copied()
    }

    /// Notes what was seen of a session, beside all that was seen before.
    pub fn see(&self, id: &SessionId, Token(seen): Token) {
        let mut known = self.known.lock();
        let before = known.young.get(id).or_else(|| known.old.get(id)).map(|Token(before)| *before);
        if before.is_none() && known.young.len() >= TOKENS_KEPT_MIN {
            known.old = mem::take(&mut known.young);
        }
        known.young.insert(id.clone(), Token(before.map_or(seen, |before| before.joined(seen))));
    }

    /// Notes what a node has answered; nothing if it said nothing that makes sense.
    pub fn hear(&self, id: &SessionId, text: &str) {
        if let Ok(token) = text.parse() {
            self.see(id, token);
        }
    }

    /// Notes that a session is over, if it was seen.
    pub fn end(&self, id: &SessionId) {
        if let Some(Token(token)) = self.get(id) {
            self.see(id, Token(token.ended()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> SessionId {
        SessionId::new(number.to_string())
    }

    fn token(text: &str) -> Token {
        text.parse().expect("a token")
    }

    #[test]
    fn what_was_seen_is_never_less() {
        let tokens = Tokens::default();
        tokens.hear(&id(1), "5.0.1.0.7");
        tokens.hear(&id(1), "5.0.1.0.6");
        tokens.hear(&id(1), "nonsense");
        assert_eq!(tokens.get(&id(1)), Some(token("5.0.1.0.7")));
        tokens.end(&id(1));
        tokens.end(&id(2));
        assert_eq!((tokens.get(&id(1)), tokens.get(&id(2))), (Some(token("5.0.1.0.7.x")), None));
        tokens.see(&id(1), token("6.0.1.0.1"));
        assert_eq!(tokens.get(&id(1)).expect("another one").to_string(), "6.0.1.0.1");
    }

    #[test]
    fn sessions_that_were_not_met_for_long_are_forgotten() {
        let tokens = Tokens::default();
        for number in 0..=2 * TOKENS_KEPT_MIN {
            tokens.see(&id(number), token("5.0.1.0.7"));
        }
        let known = |number| tokens.get(&id(number)).is_some();
        assert!(!known(0) && known(TOKENS_KEPT_MIN + 1) && known(2 * TOKENS_KEPT_MIN));
    }
}
