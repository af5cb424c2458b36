//! What sessions hold: JSON around random text, so that it compresses about as well as real sessions do.

use rand::{Rng, SeedableRng, distr::Alphanumeric, rngs::SmallRng};

/// Different values that are made ahead of time.
const VARIANTS: usize = 64;

/// The same where it matters that hardly two of them meet in one message.
const VARIED: usize = 4_096;

/// Values of one size.
#[derive(Clone, Debug)]
pub struct Values(Vec<Vec<u8>>);

impl Values {
    /// Values of `bytes` bytes each.
    pub fn new(bytes: usize) -> Self {
        Self::express(bytes, VARIANTS)
    }

    /// The same, each of which is rare: what is compressed together has hardly two alike.
    pub fn varied(bytes: usize) -> Self {
        Self::express(bytes, VARIED)
    }

    fn express(bytes: usize, variants: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(bytes as u64);
        Self((0..variants).map(|_| value(bytes, &mut random)).collect())
    }

    /// Values of `bytes` bytes each that nothing makes smaller.
    pub fn random(bytes: usize) -> Self {
        let mut random = SmallRng::seed_from_u64(bytes as u64);
        Self((0..VARIED).map(|_| (0..bytes).map(|_| random.random()).collect()).collect())
    }

    /// One of them.
    pub fn draw(&self, random: &mut SmallRng) -> &[u8] {
        &self.0[random.random_range(0..self.0.len())]
    }
}

fn value(bytes: usize, random: &mut SmallRng) -> Vec<u8> {
    let head = br#"{"cookie":{"originalMaxAge":86400000,"httpOnly":true,"path":"/"},"views":1,"csrf":""#;
    let tail = br#""}"#;
    let filling = bytes.saturating_sub(head.len() + tail.len());
    let mut value = head.to_vec();
    value.extend((0..filling).map(|_| random.sample(Alphanumeric)));
    value.extend_from_slice(tail);
    value.truncate(bytes);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_size_that_was_asked_for() {
        let mut random = SmallRng::seed_from_u64(1);
        for bytes in [10, 512, 1024, 51_200] {
            assert_eq!(Values::new(bytes).draw(&mut random).len(), bytes);
        }
    }
}
