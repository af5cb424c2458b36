//! Session ids that Sojourn mints: unguessable, verified without IO, in a slot of the caller's choice.
//!
//! An id is base64url of `format · region · absolute deadline · 128 random bits · MAC`, then three letters that bring it into
//! its slot. CRC-16 is linear over bits, so the letters are computed, not searched for: a session that gets a new id at
//! login stays where it is. The MAC covers the namespace and the slot too and each slot has one spelling of the letters, so
//! that nothing about an id can be varied.

use crate::{
    command::Request,
    ids::{NamespaceId, RegionId, Slot, Stamp, crc},
};
use hmac::{Hmac, Mac, digest::Key as MacKey};
use sha2::Sha256;

/// The length of a minted id.
pub const MINTED_ID_BYTES: usize = BODY_BYTES + SUFFIX_BYTES;

/// Bytes of the key.
pub const MINT_KEY_BYTES: usize = 32;

/// The first byte of what an id encodes. Ids of other applications seldom begin so, have this length and this alphabet.
const FORMAT: u8 = 0x4a;

const CLAIMS_BYTES: usize = 1 + 2 + 6 + 16;
const MAC_BYTES: usize = 14;
const BODY_BYTES: usize = (CLAIMS_BYTES + MAC_BYTES) / 3 * 4;
const SUFFIX_BYTES: usize = 3;

/// Deadlines that an id can state, in ms: six bytes reach the year 10 889.
const DEADLINE_MAX: Stamp = (1 << 48) - 1;

/// The secret by which a region knows its own ids again. Replicated state of the region, drawn at its founding.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MintKey([u8; MINT_KEY_BYTES]);

impl std::fmt::Debug for MintKey {
    /// It is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MintKey(..)")
    }
}

/// What a minted id says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The region that minted it.
    pub region: RegionId,
    /// When its session ends whatever happens.
    pub absolute_deadline: Stamp,
}

/// Where an id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// Minted with this key for this namespace.
    Minted(Minted),
    /// Not of the shape of minted ids: chosen by an application.
    Foreign,
    /// Of that shape, but not minted with this key for this namespace: to be refused.
    Forged,
}

impl MintKey {
    /// The key of these bytes, which should be random.
    pub const fn new(bytes: [u8; MINT_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the log and snapshots.
    pub const fn bytes(&self) -> &[u8; MINT_KEY_BYTES] {
        &self.0
    }

    /// An id in `slot`. Deadlines past the year 10 889 are stated as that.
    pub fn mint(&self, namespace: NamespaceId, minted: Minted, random: u128, slot: Slot) -> Box<[u8]> {
        let claims = encode_claims(minted, random);
        let mac: [u8; 32] = self.id_mac(namespace, &claims, slot).finalize().into_bytes().into();
        let mut bytes = [0; CLAIMS_BYTES + MAC_BYTES];
        bytes[..CLAIMS_BYTES].copy_from_slice(&claims);
        bytes[CLAIMS_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        let mut id = encode_base64(&bytes);
        let suffix = suffix(&id, slot);
        id.extend(suffix);
        id.into()
    }

    /// Where `id` comes from.
    pub fn provenance(&self, namespace: NamespaceId, id: &[u8]) -> Provenance {
        let Some((body, suffix_given)) = split(id) else { return Provenance::Foreign };
        let Some(bytes) = decode_base64(body).filter(|bytes| bytes[0] == FORMAT) else { return Provenance::Foreign };
        let (claims, mac) = bytes.split_at(CLAIMS_BYTES);
        let slot = Slot::of(id);
        let good = self.id_mac(namespace, claims, slot).verify_truncated_left(mac).is_ok();
        if good && suffix(body, slot) == *suffix_given {
            Provenance::Minted(decode_claims(claims))
        } else {
            Provenance::Forged
        }
    }

    /// The randomness of the id that `request`, first made at `made_at`, asks for: a retry through any node gets the same id.
    /// Nobody without the key can guess it.
    pub fn randomness(&self, namespace: NamespaceId, request: Request, made_at: Stamp) -> u128 {
        let mut mac = self.mac(b"randomness");
        mac.update(&namespace.0.to_be_bytes());
        for number in [request.origin, request.sequence, made_at] {
            mac.update(&number.to_be_bytes());
        }
        let [high, low] = halves(mac);
        u128::from(high) << 64 | u128::from(low)
    }

    /// The origin by which the region remembers the requests of a client that calls itself `origin`: clients of different
    /// namespaces never answer for each other, whatever they call themselves. Never 0.
    pub fn scoped_origin(&self, namespace: NamespaceId, origin: u64) -> u64 {
        let mut mac = self.mac(b"origin");
        mac.update(&namespace.0.to_be_bytes());
        mac.update(&origin.to_be_bytes());
        halves(mac)[0].max(1)
    }

    /// What logs and lists show instead of an id: the same on every node of the region, and no way back.
    pub fn stand_in(&self, namespace: NamespaceId, id: &[u8]) -> u64 {
        let mut mac = self.mac(b"stand-in");
        mac.update(&namespace.0.to_be_bytes());
        mac.update(id);
        halves(mac)[0]
    }

    fn id_mac(&self, namespace: NamespaceId, claims: &[u8], slot: Slot) -> Hmac<Sha256> {
        let mut mac = self.mac(b"id");
        mac.update(&namespace.0.to_be_bytes());
        mac.update(&slot.number().to_be_bytes());
        mac.update(claims);
        mac
    }

    /// A MAC for one purpose; what follows has a fixed length.
    fn mac(&self, purpose: &[u8]) -> Hmac<Sha256> {
        // HMAC fills keys up to a block with zeros.
        let mut block = MacKey::<Hmac<Sha256>>::default();
        block[..MINT_KEY_BYTES].copy_from_slice(&self.0);
        let mut mac = Hmac::new(&block);
        mac.update(&[purpose.len() as u8]);
        mac.update(purpose);
        mac
    }
}

fn halves(mac: Hmac<Sha256>) -> [u64; 2] {
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    [0, 8].map(|at| bytes[at..at + 8].iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn encode_claims(minted: Minted, random: u128) -> [u8; CLAIMS_BYTES] {
    let Minted { region, absolute_deadline } = minted;
    let mut claims = [0; CLAIMS_BYTES];
    claims[0] = FORMAT;
    claims[1..3].copy_from_slice(&region.0.to_be_bytes());
    claims[3..9].copy_from_slice(&absolute_deadline.min(DEADLINE_MAX).to_be_bytes()[2..]);
    claims[9..].copy_from_slice(&random.to_be_bytes());
    claims
}

fn decode_claims(claims: &[u8]) -> Minted {
    let region = RegionId(u16::from_be_bytes([claims[1], claims[2]]));
    let absolute_deadline = claims[3..9].iter().fold(0, |stamp, &byte| stamp << 8 | Stamp::from(byte));
    Minted { region, absolute_deadline }
}

fn split(id: &[u8]) -> Option<(&[u8], &[u8; SUFFIX_BYTES])> {
    if id.len() == MINTED_ID_BYTES { id.split_last_chunk() } else { None }
}

/// An id of three letters in `slot`: no session's, it stands for the shard that holds the slot.
pub fn id_in(slot: Slot) -> [u8; SUFFIX_BYTES] {
    suffix(&[], slot)
}

/// An id in `slot` that spells `bytes`, of which there is a multiple of three.
pub(crate) fn id_after(bytes: &[u8], slot: Slot) -> Vec<u8> {
    let mut id = encode_base64(bytes);
    let suffix = suffix(&id, slot);
    id.extend(suffix);
    id
}

/// The letters of the suffix: `H-W` and `h-w`, which are closed under these differences, so that 15 bits choose three.
const LETTER: u8 = 0x48;
const LETTER_BITS: [u8; 5] = [0x01, 0x02, 0x04, 0x18, 0x20];
const SUFFIX_BITS: usize = LETTER_BITS.len() * SUFFIX_BYTES;

const SLOT_BITS: usize = 14;
const SLOT_MASK: u16 = (1 << SLOT_BITS) - 1;

/// For each bit of a slot, the bits of the suffix that change just this one.
const SUFFIX_OF_SLOT_BIT: [u16; SLOT_BITS] = solve();

/// The three letters after `body` that bring the whole into `slot`.
fn suffix(body: &[u8], slot: Slot) -> [u8; SUFFIX_BYTES] {
    let mut whole = body.to_vec();
    whole.extend([LETTER; SUFFIX_BYTES]);
    let wanted = (crc(&whole) & SLOT_MASK) ^ slot.number();
    let set = (0..SLOT_BITS).filter(|bit| wanted >> bit & 1 == 1);
    let bits = set.fold(0, |bits, bit| bits ^ SUFFIX_OF_SLOT_BIT[bit]);
    difference(bits).map(|difference| LETTER ^ difference)
}

/// How the letters differ from the first one for these bits of the suffix.
const fn difference(bits: u16) -> [u8; SUFFIX_BYTES] {
    let mut letters = [0; SUFFIX_BYTES];
    let mut bit = 0;
    while bit < SUFFIX_BITS {
        if bits >> bit & 1 == 1 {
            letters[bit / LETTER_BITS.len()] ^= LETTER_BITS[bit % LETTER_BITS.len()];
        }
        bit += 1;
    }
    letters
}

/// Inverts the linear map from suffix bits to slot bits (Gauss-Jordan over single bits). A map that does not reach every slot
/// would not compile.
const fn solve() -> [u16; SLOT_BITS] {
    let mut slots = [0; SUFFIX_BITS];
    let mut suffixes = [0; SUFFIX_BITS];
    let mut row = 0;
    while row < SUFFIX_BITS {
        suffixes[row] = 1 << row;
        slots[row] = crc(&difference(suffixes[row])) & SLOT_MASK;
        row += 1;
    }
    let mut bit = 0;
    while bit < SLOT_BITS {
        let mut pivot = bit;
        while slots[pivot] >> bit & 1 == 0 {
            pivot += 1;
        }
        (slots[bit], slots[pivot]) = (slots[pivot], slots[bit]);
        (suffixes[bit], suffixes[pivot]) = (suffixes[pivot], suffixes[bit]);
        let mut other = 0;
        while other < SUFFIX_BITS {
            if other != bit && slots[other] >> bit & 1 == 1 {
                slots[other] ^= slots[bit];
                suffixes[other] ^= suffixes[bit];
            }
            other += 1;
        }
        bit += 1;
    }
    let mut solved = [0; SLOT_BITS];
    solved.copy_from_slice(suffixes.split_at(SLOT_BITS).0);
    solved
}

/// RFC 4648, section 5.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64url of a multiple of three bytes: no padding is ever needed.
fn encode_base64(bytes: &[u8]) -> Vec<u8> {
    let groups = bytes.chunks(3).map(|group| group.iter().fold(0, |bits, &byte| bits << 8 | usize::from(byte)));
    groups.flat_map(|bits| [18, 12, 6, 0].map(|shift| ALPHABET[bits >> shift & 63])).collect()
}

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |letter: &u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.chunks(4) {
        let bits = group.iter().try_fold(0_u32, |bits, letter| Some(bits << 6 | u32::from(digit(letter)?)))?;
        bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SLOTS;
    use proptest::prelude::*;

    const NAMESPACE: NamespaceId = NamespaceId(3);

    fn key() -> MintKey {
        MintKey::new([7; MINT_KEY_BYTES])
    }

    #[test]
    fn every_slot_has_an_id_of_three_letters() {
        for slot in (0..SLOTS).filter_map(Slot::new) {
            let id = id_in(slot);
            assert!(id.iter().all(u8::is_ascii_alphabetic));
            assert_eq!(Slot::of(&id), slot);
        }
    }

    #[test]
    fn the_shape_is_pinned() {
        let minted = Minted { region: RegionId(258), absolute_deadline: 1_800_000_000_000 };
        let id = key().mint(NAMESPACE, minted, 1 << 127 | 9, Slot::new(77).expect("a slot"));
        let text = String::from_utf8(id.to_vec()).expect("text");
        assert_eq!(text.len(), MINTED_ID_BYTES);
        assert_eq!(text, PINNED);
    }

    /// Changing this invalidates every id that was ever given out.
    const PINNED: &str = "SgECAaMYXFAAgAAAAAAAAAAAAAAAAAAACWnXgXN98IQaYWQas_CBNqL";

    #[test]
    fn ids_of_applications_are_foreign() {
        for id in ["sess:abc", "", &"a".repeat(MINTED_ID_BYTES), &"S".repeat(MINTED_ID_BYTES - 1), &"{".repeat(55)] {
            assert_eq!(key().provenance(NAMESPACE, id.as_bytes()), Provenance::Foreign, "{id}");
        }
    }

    #[test]
    fn retries_get_the_same_randomness_and_others_do_not() {
        let (key, request) = (key(), Request { origin: 1, sequence: 2, settled: 1 });
        let first = key.randomness(NAMESPACE, request, 5);
        assert_eq!(first, key.randomness(NAMESPACE, Request { settled: 2, ..request }, 5));
        let others = [
            key.randomness(NamespaceId(4), request, 5),
            key.randomness(NAMESPACE, request, 6),
            key.randomness(NAMESPACE, Request { sequence: 3, ..request }, 5),
            key.randomness(NAMESPACE, Request { origin: 2, ..request }, 5),
            MintKey::default().randomness(NAMESPACE, request, 5),
        ];
        assert!(others.iter().all(|other| *other != first));
        assert_ne!(key.scoped_origin(NAMESPACE, 1), key.scoped_origin(NamespaceId(4), 1));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", key()), "MintKey(..)");
    }

    prop_compose! {
        fn claims()(region in any::<u16>(), deadline in 0..=DEADLINE_MAX) -> Minted {
            Minted { region: RegionId(region), absolute_deadline: deadline }
        }
    }

    fn slot() -> impl Strategy<Value = Slot> {
        (0..SLOTS).prop_map(|number| Slot::new(number).expect("a slot"))
    }

    proptest! {
        #[test]
        fn an_id_says_what_it_was_minted_for(minted in claims(), random in any::<u128>(), slot in slot()) {
            let id = key().mint(NAMESPACE, minted, random, slot);
            prop_assert_eq!(Slot::of(&id), slot);
            prop_assert_eq!(key().provenance(NAMESPACE, &id), Provenance::Minted(minted));
            prop_assert_eq!(key().provenance(NamespaceId(4), &id), Provenance::Forged);
            prop_assert_eq!(MintKey::default().provenance(NAMESPACE, &id), Provenance::Forged);
        }

        #[test]
        fn nothing_about_an_id_can_be_varied(
            minted in claims(), random in any::<u128>(), slot in slot(),
            at in 0..MINTED_ID_BYTES, other in any::<u8>(),
        ) {
            let mut id = key().mint(NAMESPACE, minted, random, slot);
            prop_assume!(id[at] != other);
            id[at] = other;
            prop_assert!(!matches!(key().provenance(NAMESPACE, &id), Provenance::Minted(_)));
        }

        #[test]
        fn no_other_letters_lead_to_the_slot(minted in claims(), slot in slot(), letters in any::<[u8; SUFFIX_BYTES]>()) {
            let mut id = key().mint(NAMESPACE, minted, 0, slot);
            prop_assume!(id[BODY_BYTES..] != letters);
            id[BODY_BYTES..].copy_from_slice(&letters);
            prop_assert!(!matches!(key().provenance(NAMESPACE, &id), Provenance::Minted(_)));
        }

        #[test]
        fn noise_is_never_a_panic_nor_minted(noise in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(!matches!(key().provenance(NAMESPACE, &noise), Provenance::Minted(_)));
        }
    }
}
