//! Payloads of real servers, and that nothing panics.

use super::*;
use proptest::prelude::*;

fn fields(pairs: &[(&str, &[u8])]) -> Fields {
    Fields::from_pairs(pairs.iter().map(|(name, value)| (name.as_bytes().into(), (*value).into())))
}

#[test]
fn what_is_dumped_is_restored() {
    let long = [b'x'; 20_000];
    let cases = [
        (Kind::String, fields(&[("", b"")])),
        (Kind::String, fields(&[("", &long)])),
        (Kind::String, fields(&[("", b"-32769")])),
        (Kind::String, fields(&[("", b"007")])),
        (Kind::Hash, fields(&[("a", b"1"), ("b", b"12345678901"), ("", &long[..300])])),
        (Kind::Set, fields(&[("member", b""), ("-5", b"")])),
        (Kind::SortedSet, fields(&[("a", &encode_score(1.5)), ("b", &encode_score(f64::NEG_INFINITY))])),
    ];
    for (kind, fields) in cases {
        assert_eq!(restore(&dump(kind, &fields)), Ok((kind, fields)));
    }
}

/// What Redis 7.0.15 answered to `DUMP`, in hexadecimal.
const REDIS: [(Kind, &str, &[(&str, &str)]); 11] = [
    (Kind::String, "000568656c6c6f0a006372df766534200a", &[("", "hello")]),
    (Kind::String, "00c139300a009d94ea2793fc08b9", &[("", "12345")]),
    (Kind::String, "00c3094064016161e057000161610a00e8a3b507b06df271", &[("", A100)]),
    (
        Kind::Hash,
        "04070163c3094046017878e0390001787801670b39393939393939393939390166c290eefeff0164c2a08601000161c0010162c160f00165\
         0a383338383630383030300a000a48caae01871356",
        &[
            ("a", "1"),
            ("b", "-4000"),
            ("c", X70),
            ("d", "100000"),
            ("e", "8388608000"),
            ("f", "-70000"),
            ("g", "99999999999"),
        ],
    ),
    (
        Kind::Hash,
        "10c34040404e154e0000000e008161020101816202d060028163029478e00a000c15816402f2a0860104816502f4203401f40120040f0981\
         6602f240309504816702c12c02ff0a00898365923bd62d26",
        &[
            ("a", "1"),
            ("b", "-4000"),
            ("c", "xxxxxxxxxxxxxxxxxxxx"),
            ("d", "100000"),
            ("e", "8388608000"),
            ("f", "-7000000"),
            ("g", "300"),
        ],
    ),
    (Kind::Set, "0b0e0200000003000000fdff010002000a00d1b78ed9bc07c27f", &[("1", ""), ("2", ""), ("-3", "")]),
    (Kind::Set, "0b10040000000200000001000000701101000a002735436efd6656c4", &[("1", ""), ("70000", "")]),
    (
        Kind::Set,
        "0b1808000000020000000100000000000000ffe30b54020000000a00a43b5e34aba729ae",
        &[("1", ""), ("9999999999", "")],
    ),
    (Kind::Set, "0202016201610a0075d99d835ef85f65", &[("a", ""), ("b", "")]),
    (
        Kind::SortedSet,
        "111d1d0000000600816202842d696e660581610283312e35048163020301ff0a002970c58fcde6fc31",
        &[("a", "1.5"), ("b", "-inf"), ("c", "3")],
    ),
    (
        Kind::SortedSet,
        "05020162000000000000f07fc3094046016161e03900016161000000000000f83f0a0009cd8e8347405d9e",
        &[("b", "inf"), (A70, "1.5")],
    ),
];

const A100: &str = concat!(
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
);
const A70: &str = concat!("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
const X70: &str = concat!("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");

#[test]
fn what_redis_dumped_is_restored() {
    for (kind, payload, pairs) in REDIS {
        let digits = payload.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let payload: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let value = |text: &str| match kind {
            Kind::SortedSet => encode_score(text.parse().unwrap()),
            Kind::String | Kind::Hash | Kind::Set => text.as_bytes().into(),
        };
        let pairs = pairs.iter().map(|(name, text)| (name.as_bytes().into(), value(text)));
        assert_eq!(restore(&payload), Ok((kind, Fields::from_pairs(pairs))));
    }
}

#[test]
fn damage_is_seen() {
    let mut payload = dump(Kind::String, &fields(&[("", b"hello")]));
    payload[3] ^= 1;
    assert_eq!(restore(&payload), Err(RdbError::Footer));
    assert_eq!(restore(b""), Err(RdbError::Footer));
    assert_eq!(restore(&[0; 10]), Err(RdbError::Form));
}

fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    // No checksum, so that the body is looked at.
    body.extend_from_slice(&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body
}

proptest! {
    #[test]
    fn no_payload_panics(form in prop_oneof![0_u8..=20, any::<u8>()], mut body in proptest::collection::vec(any::<u8>(), 0..80)) {
        body.insert(0, form);
        let _ = restore(&sealed(body));
    }

    #[test]
    fn strings_come_back(value in proptest::collection::vec(any::<u8>(), 0..70)) {
        let fields = Fields::value(value.into());
        prop_assert_eq!(restore(&dump(Kind::String, &fields)), Ok((Kind::String, fields)));
    }
}
