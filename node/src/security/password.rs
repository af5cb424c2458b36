//! Passwords of namespaces: kept only as a slow hash, checked fast the second time.
//!
//! The hash is PBKDF2-HMAC-SHA256 (RFC 8018, section 5.2) with a salt of its own. An application that opens a connection
//! for each request cannot wait tens of milliseconds every time, so what was found right is remembered under a fast hash
//! with a key that never leaves the process.

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use std::collections::HashSet;
use tokio::sync::Semaphore;

type Prf = Hmac<Sha256>;

/// The scheme's name in front of a stored hash.
const SCHEME: &str = "pbkdf2-sha256";

/// Rounds of new hashes: some 50 ms.
pub const ROUNDS: u32 = 120_000;

/// The most rounds that a stored hash may ask for, so that a bad one cannot stop a node.
pub const ROUNDS_MAX: u32 = 10_000_000;

/// Right passwords that are remembered.
pub const REMEMBERED_MAX: usize = 1_024;

/// Slow checks under way at once; more wait.
pub const CHECKS_AT_ONCE_MAX: usize = 2;

/// The slow hash of `password`, as a namespace's policy keeps it: `pbkdf2-sha256$rounds$salt$hash`, both in hexadecimal.
pub fn hash(password: &[u8], salt: &[u8; 16]) -> String {
    let hash = derive(password, salt, ROUNDS);
    format!("{SCHEME}${ROUNDS}${}${}", hex(salt), hex(&hash))
}

/// Whether `password` has the stored hash `stored`. Takes as long as hashing did.
pub fn verify(password: &[u8], stored: &str) -> bool {
    let Some((rounds, salt, expected)) = parse(stored) else { return false };
    let found = derive(password, &salt, rounds);
    // Neither the time nor the place of the first difference is told.
    found.iter().zip(&expected).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

fn parse(stored: &str) -> Option<(u32, Vec<u8>, [u8; 32])> {
    let mut parts = stored.split('$');
    let (scheme, rounds, salt, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let rounds = rounds.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds))?;
    let hash = unhex(hash)?.try_into().ok()?;
    (scheme == SCHEME && parts.next().is_none()).then_some((rounds, unhex(salt)?, hash))
}

/// The first block of PBKDF2's output, which is all that a 32-byte hash needs.
fn derive(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let keyed = keyed(password);
    let mut first = keyed.clone();
    first.update(salt);
    first.update(&1_u32.to_be_bytes());
    let mut block: [u8; 32] = first.finalize().into_bytes().into();
    let mut sum = block;
    for _ in 1..rounds {
        let mut prf = keyed.clone();
        prf.update(&block);
        block = prf.finalize().into_bytes().into();
        for (sum, byte) in sum.iter_mut().zip(block) {
            *sum ^= byte;
        }
    }
    sum
}

fn keyed(key: &[u8]) -> Prf {
    // HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    Prf::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(*pair.get(1)?).to_digit(16)?);
        u8::try_from(high << 4 | low).ok()
    };
    digits.chunks(2).map(pair).collect()
}

/// Checks passwords and remembers which were right.
pub struct Passwords {
    key: [u8; 32],
    right: Mutex<HashSet<[u8; 32]>>,
    checks: Semaphore,
}

impl Passwords {
    /// Remembers under `key`, which should be random.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, right: Mutex::default(), checks: Semaphore::new(CHECKS_AT_ONCE_MAX) }
    }

    /// Whether `password` has the stored hash `stored`.
    pub async fn check(&self, password: &[u8], stored: &str) -> bool {
        let mark = self.mark(password, stored);
        if self.right.lock().contains(&mark) {
            return true;
        }
        // The semaphore is never closed.
        let Ok(_permit) = self.checks.acquire().await else { return false };
        let (password, stored) = (password.to_vec(), stored.to_owned());
        let right = tokio::task::spawn_blocking(move || verify(&password, &stored)).await.unwrap_or(false);
        if right {
            let mut remembered = self.right.lock();
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(mark);
        }
        right
    }

    fn mark(&self, password: &[u8], stored: &str) -> [u8; 32] {
        let mut mac = keyed(&self.key);
        mac.update(&(stored.len() as u64).to_be_bytes());
        mac.update(stored.as_bytes());
        mac.update(password);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_as_rfc_7914_says() {
        // RFC 7914, section 11, first vector: the first 32 of its 64 bytes.
        let derived = derive(b"passwd", b"salt", 1);
        assert_eq!(hex(&derived), "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
    }

    #[test]
    fn what_was_hashed_is_verified_and_nothing_else() {
        let stored = format!("{SCHEME}$10$00ff$").to_owned() + &hex(&derive(b"secret", &[0, 255], 10));
        assert!(verify(b"secret", &stored));
        for (password, stored) in [
            (b"secreT".as_slice(), stored.as_str()),
            (b"secret", ""),
            (b"secret", "pbkdf2-sha256$10$00ff$zz"),
            (b"secret", "pbkdf2-sha256$4294967295$00$00"),
            (b"secret", &stored.replace("$10$", "$11$")),
        ] {
            assert!(!verify(password, stored), "{stored}");
        }
    }

    #[tokio::test]
    async fn the_second_check_needs_no_derivation() {
        let passwords = Passwords::new([7; 32]);
        let stored = hash(b"secret", &[1; 16]);
        assert!(!passwords.check(b"wrong", &stored).await);
        assert!(passwords.check(b"secret", &stored).await);
        assert_eq!(passwords.right.lock().len(), 1);
        // Without permits only what is remembered can be answered.
        passwords.checks.close();
        assert!(passwords.check(b"secret", &stored).await);
        assert!(!passwords.check(b"wrong", &stored).await);
    }
}
