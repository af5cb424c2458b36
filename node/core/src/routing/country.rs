//! Countries by their two letters.

use super::{centroids, coordinates::Coordinates};
use std::{fmt, str::FromStr};

/// A country's two letters in capitals, as in ISO 3166-1. That somebody lives by them is not checked: databases have a few of
/// their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// A text that names no country.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no country: use its two letters of ISO 3166, such as GB")]
pub struct BadCountry(pub String);

impl Country {
    /// The country with these letters, large or small.
    pub const fn new(letters: [u8; 2]) -> Option<Self> {
        let [first, second] = letters;
        if !first.is_ascii_alphabetic() || !second.is_ascii_alphabetic() {
            return None;
        }
        Some(Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
    }

    /// The letters.
    pub const fn letters(self) -> [u8; 2] {
        self.0
    }

    /// The middle of its largest piece of land, if it is one of ISO 3166's.
    pub fn centroid(self) -> Option<Coordinates> {
        centroids::of(self.0)
    }
}

impl FromStr for Country {
    type Err = BadCountry;

    fn from_str(text: &str) -> Result<Self, BadCountry> {
        let letters: Result<[u8; 2], _> = text.as_bytes().try_into();
        letters.ok().and_then(Self::new).ok_or_else(|| BadCountry(text.to_owned()))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
