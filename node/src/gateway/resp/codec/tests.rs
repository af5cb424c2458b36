use super::*;
use proptest::prelude::*;

fn words(parser: &Parser, input: &[u8]) -> Vec<Vec<u8>> {
    parser.args(input).iter().map(<[u8]>::to_vec).collect()
}

/// All requests of `input`, given to the parser in pieces that end at `cuts`.
fn parse_pieces(input: &[u8], cuts: &[usize]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let (mut parser, mut taken, mut requests) = (Parser::default(), 0, Vec::new());
    for &end in cuts.iter().chain([&input.len()]) {
        while let Parsed::Request(bytes) = parser.parse(&input[taken..end.max(taken)], true)? {
            requests.push(words(&parser, &input[taken..]));
            taken += bytes;
        }
    }
    Ok(requests)
}

const PIPELINE: &[u8] =
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nbc\r\nPING\n*1\r\n$4\r\nPING\r\n\r\n*0\r\nset \"a \\x41\" 'b'\r\n";

fn pipeline_requests() -> Vec<Vec<Vec<u8>>> {
    let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    vec![
        words(&["SET", "k", "a\r\nbc"]),
        words(&["PING"]),
        words(&["PING"]),
        words(&[]),
        words(&[]),
        words(&["set", "a A", "b"]),
    ]
}

#[test]
fn requests_are_found_at_every_split() {
    for first in 0..=PIPELINE.len() {
        for second in [first, (first + 1).min(PIPELINE.len()), PIPELINE.len()] {
            assert_eq!(parse_pieces(PIPELINE, &[first, second]), Ok(pipeline_requests()), "split at {first}, {second}");
        }
    }
    let every_byte: Vec<usize> = (0..PIPELINE.len()).collect();
    assert_eq!(parse_pieces(PIPELINE, &every_byte), Ok(pipeline_requests()));
}

#[test]
fn errors_are_those_of_redis() {
    let long_line = [b'x'; INLINE_BYTES_MAX + 1];
    let long_count = [b"*".as_slice(), &[b'1'; INLINE_BYTES_MAX + 1]].concat();
    for (input, error) in [
        (long_line.as_slice(), "Protocol error: too big inline request"),
        (&long_count, "Protocol error: too big mbulk count string"),
        (b"*abc\r\n", "Protocol error: invalid multibulk length"),
        (b"*999999999\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n+PING\r\n", "Protocol error: expected '$', got '+'"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$2000000000\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$ 4\r\n", "Protocol error: invalid bulk length"),
        (b"get \"a\"b\n", "Protocol error: unbalanced quotes in request"),
        (b"get 'a\n", "Protocol error: unbalanced quotes in request"),
    ] {
        let found = Parser::default().parse(input, true).map_err(|error| error.to_string());
        assert_eq!(found, Err(error.to_owned()));
    }
}

#[test]
fn strangers_may_only_send_small_requests() {
    let error = |input: &[u8]| Parser::default().parse(input, false);
    assert_eq!(error(b"*11\r\n"), Err(ProtocolError::StrangerCount));
    assert_eq!(error(b"*1\r\n$16385\r\n"), Err(ProtocolError::StrangerLength));
    assert_eq!(error(b"*1\r\n$16384\r\n"), Ok(Parsed::Partial));
}

#[test]
fn a_long_value_says_how_much_it_needs() {
    let mut parser = Parser::default();
    assert_eq!(parser.parse(b"*2\r\n$3\r\nGET\r\n$1000\r\nab", true), Ok(Parsed::Partial));
    assert_eq!(parser.bytes_wanted(), 20 + 1002);
}

#[test]
fn integers_are_as_strict_as_redis() {
    for (text, value) in [
        ("0", Some(0)),
        ("-0", None),
        ("007", None),
        ("+7", None),
        ("", None),
        ("-", None),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("1 ", None),
    ] {
        assert_eq!(integer(text.as_bytes()), value, "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_pieces_change_nothing(
        input in proptest::collection::vec(prop_oneof![
            Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'2'), Just(b'"'), Just(b'\''), Just(b'\\'),
            Just(b'x'), Just(b' '), any::<u8>(),
        ], 0..200),
        cuts in proptest::collection::vec(0_usize..200, 0..4),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
        cuts.sort_unstable();
        let (whole, pieces) = (parse_pieces(&input, &[]), parse_pieces(&input, &cuts));
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn what_is_written_is_read(requests in proptest::collection::vec(
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6), 1..5), cut in 0_usize..400) {
        let mut input = Vec::new();
        for request in &requests {
            input.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
            for word in request {
                input.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                input.extend_from_slice(word);
                input.extend_from_slice(b"\r\n");
            }
        }
        let cut = cut.min(input.len());
        prop_assert_eq!(parse_pieces(&input, &[cut]), Ok(requests));
    }
}
