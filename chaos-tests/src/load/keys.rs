//! Which session an operation is about.

use rand::{Rng, rngs::SmallRng};

/// How often each session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// Some much more than others, with the exponent 0.99 that YCSB made common.
    Zipf,
}

/// Bytes of a key: what connect-redis writes for an express-session, `sess:` and 32 characters.
pub const KEY_BYTES: usize = 37;

/// Writes the key of session `number`.
pub fn write_key(number: u64, key: &mut [u8; KEY_BYTES]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    key[..5].copy_from_slice(b"sess:");
    let bits = (u128::from(scatter(number)) << 64) | u128::from(scatter(!number));
    for (position, digit) in key[5..].iter_mut().enumerate() {
        *digit = DIGITS[(bits >> (124 - 4 * position)) as usize & 15];
    }
}

/// A bijection that spreads neighbours, the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Which sessions a load asks for.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// Any of so many, all alike.
    Uniform(u64),
    /// Any of so many from a number on, all alike.
    Between {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Any of so many, some much more than others.
    Zipf(Zipf),
    /// Each once, from this number on.
    Counting(u64),
}

impl Keys {
    /// Draws from `count` sessions.
    pub fn drawn(count: u64, distribution: Distribution) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform(count),
            Distribution::Zipf => Self::Zipf(Zipf::new(count)),
        }
    }

    /// The session of the operation that `before` others went ahead of.
    pub fn draw(&self, before: u64, random: &mut SmallRng) -> u64 {
        match self {
            Self::Uniform(count) => random.random_range(0..*count),
            Self::Between { first, count } => first + random.random_range(0..*count),
            Self::Zipf(zipf) => scatter(zipf.rank(random.random())) % zipf.count,
            Self::Counting(from) => from + before,
        }
    }
}

/// The generator of Gray et al., "Quickly generating billion-record synthetic databases" (1994), as YCSB uses it.
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    count: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    const EXPONENT: f64 = 0.99;

    fn new(count: u64) -> Self {
        let zeta = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-Self::EXPONENT)).sum::<f64>();
        let whole = zeta(count);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - Self::EXPONENT)) / (1.0 - zeta(2) / whole);
        Self { count, zeta: whole, alpha: 1.0 / (1.0 - Self::EXPONENT), eta }
    }

    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(Self::EXPONENT) {
            return 1;
        }
        (self.count as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::BTreeMap;

    #[test]
    fn keys_differ_and_have_the_length_of_real_ones() {
        let (mut first, mut second) = ([0; KEY_BYTES], [0; KEY_BYTES]);
        write_key(1, &mut first);
        write_key(2, &mut second);
        assert_ne!(first, second);
        assert!(first.starts_with(b"sess:") && first.is_ascii());
    }

    #[test]
    fn zipf_prefers_few_sessions_and_stays_in_range() {
        let mut random = SmallRng::seed_from_u64(1);
        let keys = Keys::drawn(10_000, Distribution::Zipf);
        let mut hits = BTreeMap::<u64, u64>::new();
        for _ in 0..100_000 {
            *hits.entry(keys.draw(0, &mut random)).or_default() += 1;
        }
        let mut counts: Vec<u64> = hits.values().copied().collect();
        counts.sort_unstable();
        // The most asked-for of 10 000 has 1 / zeta(10 000, 0.99), about a tenth.
        assert!(hits.keys().all(|number| *number < 10_000) && (8_000..12_000).contains(counts.last().unwrap()));
    }
}
