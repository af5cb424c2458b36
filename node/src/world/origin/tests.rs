use super::*;
use proptest::prelude::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header with this command, family and rest.
fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a length of two bytes");
    [SIGNATURE, &[command, family], &length.to_be_bytes(), rest].concat()
}

fn v4_rest() -> Vec<u8> {
    [&[81, 2, 69, 142, 10, 0, 0, 1][..], &51_234_u16.to_be_bytes(), &6_379_u16.to_be_bytes()].concat()
}

fn v6_rest() -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2a00:1450::1".parse().expect("an address");
    [&source.octets()[..], &[0; 16], &443_u16.to_be_bytes(), &6_379_u16.to_be_bytes()].concat()
}

fn complete(bytes: &[u8]) -> (usize, Option<String>) {
    match read_proxy_header(bytes).expect("a header") {
        ProxyHeader::Complete { length_bytes, client } => (length_bytes, client.map(|client| client.to_string())),
        incomplete @ ProxyHeader::Incomplete { .. } => panic!("{incomplete:?}"),
    }
}

#[test]
fn a_load_balancer_says_whose_connection_it_is() {
    let v4 = Some("81.2.69.142:51234".to_owned());
    assert_eq!(complete(&header(0x21, 0x11, &v4_rest())), (28, v4.clone()));
    assert_eq!(complete(&header(0x21, 0x21, &v6_rest())), (52, Some("[2a00:1450::1]:443".to_owned())));
    // What it adds is passed over, and what follows is the client's.
    let more = [v4_rest(), vec![0x04, 0, 1, 0]].concat();
    let with_request = [header(0x21, 0x11, &more), b"PING\r\n".to_vec()].concat();
    assert_eq!(complete(&with_request), (32, v4));
}

#[test]
fn what_has_no_address_of_the_internet_is_the_connection_itself() {
    for (command, family, rest) in [
        // Health checks, with or without addresses.
        (0x20, 0x00, vec![]),
        (0x20, 0x11, v4_rest()),
        (0x20, 0xff, vec![1, 2, 3]),
        // Unspecified, and a Unix socket.
        (0x21, 0x00, vec![9; 7]),
        (0x21, 0x31, vec![0; 216]),
    ] {
        assert_eq!(complete(&header(command, family, &rest)), (16 + rest.len(), None), "{command:#x} {family:#x}");
    }
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_that_is_certain() {
    for (bytes, error) in [
        (b"PING\r\n".to_vec(), ProxyError::Missing),
        (b"*1\r\n".to_vec(), ProxyError::Missing),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(), ProxyError::Missing),
        (b"\r\n\r\nX".to_vec(), ProxyError::Missing),
        ([SIGNATURE, &[0x11]].concat(), ProxyError::Version(0x11)),
        ([SIGNATURE, &[0x22]].concat(), ProxyError::Version(0x22)),
        (header(0x21, 0x41, &v4_rest()), ProxyError::Family(0x41)),
        (header(0x21, 0x13, &v4_rest()), ProxyError::Family(0x13)),
        (header(0x21, 0x11, &v4_rest()[..11]), ProxyError::TooShort(11)),
        (header(0x21, 0x21, &v6_rest()[..35]), ProxyError::TooShort(35)),
        (header(0x21, 0x31, &[0; 215]), ProxyError::TooShort(215)),
        (header(0x21, 0x11, &[0; 4_081])[..16].to_vec(), ProxyError::TooLong(4_097)),
        ([SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(), ProxyError::TooLong(65_551)),
    ] {
        assert_eq!(read_proxy_header(&bytes), Err(error), "{bytes:?}");
    }
    assert_eq!(complete(&header(0x21, 0x11, &[0; 4_080])).0, PROXY_HEADER_BYTES_MAX);
}

#[test]
fn nobody_becomes_local_by_a_header() {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    for (peer, claimed, client) in [
        ("10.0.0.1:1", Some("81.2.69.142:2"), "81.2.69.142:2"),
        ("127.0.0.1:1", Some("81.2.69.142:2"), "81.2.69.142:2"),
        ("127.0.0.1:1", Some("127.0.0.1:2"), "127.0.0.1:2"),
        ("10.0.0.1:1", Some("127.0.0.1:2"), "10.0.0.1:1"),
        ("10.0.0.1:1", Some("[::1]:2"), "10.0.0.1:1"),
        ("10.0.0.1:1", Some("[::ffff:127.0.0.1]:2"), "10.0.0.1:1"),
        ("10.0.0.1:1", None, "10.0.0.1:1"),
    ] {
        assert_eq!(vouched(address(peer), claimed.map(address)), address(client), "{claimed:?} by {peer}");
    }
}

#[test]
fn trusted_proxies_are_counted_from_the_end() {
    let peer: IpAddr = "10.0.0.9".parse().expect("an address");
    let client = |values: &[&str], hops: usize| {
        forwarded_client(values.iter().copied(), peer, hops).map(|client| client.to_string())
    };
    let chain = ["6.6.6.6, 81.2.69.142", "10.0.0.7"];
    for (values, hops, expected) in [
        (&chain[..], 0, Some("10.0.0.9")),
        (&chain[..], 1, Some("10.0.0.7")),
        (&chain[..], 2, Some("81.2.69.142")),
        (&chain[..], 3, Some("6.6.6.6")),
        // Fewer entries than proxies.
        (&chain[..], 9, Some("6.6.6.6")),
        (&[][..], 2, Some("10.0.0.9")),
        (&["", " , "][..], 1, Some("10.0.0.9")),
        (&["[2a00:1450::1]:443"][..], 1, Some("2a00:1450::1")),
        (&["81.2.69.142:1234"][..], 1, Some("81.2.69.142")),
        // What counts is no address: nothing is known, and nothing before it is believed.
        (&["81.2.69.142, unknown"][..], 1, None),
        (&["81.2.69.142, _hidden"][..], 2, Some("81.2.69.142")),
    ] {
        assert_eq!(client(values, hops).as_deref(), expected, "{values:?} over {hops}");
    }
}

#[test]
fn addresses_are_read_in_all_their_forms() {
    for (text, address) in [
        ("81.2.69.142", "81.2.69.142"),
        (" 81.2.69.142:80 ", "81.2.69.142"),
        ("2a00:1450::1", "2a00:1450::1"),
        ("[2a00:1450::1]", "2a00:1450::1"),
        ("[2a00:1450::1]:80", "2a00:1450::1"),
        ("::ffff:81.2.69.142", "::ffff:81.2.69.142"),
    ] {
        assert_eq!(parse_address(text).map(|address| address.to_string()), Ok(address.to_owned()));
    }
    for text in ["", "example.org", "81.2.69", "81.2.69.142:", "[81.2.69.142", "1:2"] {
        assert_eq!(parse_address(text), Err(BadAddress(text.to_owned())));
    }
    assert_eq!(parse_address(&"x".repeat(1_000)), Err(BadAddress("x".repeat(64))));
}

fn some_header() -> impl Strategy<Value = Vec<u8>> {
    let rest = prop::collection::vec(any::<u8>(), 0..300);
    (prop::sample::select(vec![0x20, 0x21]), prop::sample::select(vec![0x00, 0x11, 0x12, 0x21, 0x22, 0x31]), rest)
        .prop_map(|(command, family, rest)| header(command, family, &rest))
}

proptest! {
    /// However the bytes come in, the answer is the same, and it is never asked for more than the header has.
    #[test]
    fn a_header_in_pieces_is_the_header(header in some_header(), after in prop::collection::vec(any::<u8>(), 0..40)) {
        let whole = read_proxy_header(&header);
        let mut fed = 0;
        let in_pieces = loop {
            match read_proxy_header(&header[..fed]) {
                Ok(ProxyHeader::Incomplete { bytes_min }) => {
                    prop_assert!(fed < bytes_min && bytes_min <= header.len(), "{} of {}", fed, header.len());
                    fed += 1;
                }
                decided => break decided,
            }
        };
        prop_assert_eq!(in_pieces, whole);
        prop_assert_eq!(read_proxy_header(&[header, after].concat()), whole);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0..=16_usize) {
        let after_a_good_begin = [&header(0x21, 0x11, &v4_rest())[..cut], &bytes].concat();
        for bytes in [bytes, after_a_good_begin] {
            if let Ok(ProxyHeader::Complete { length_bytes, .. }) = read_proxy_header(&bytes) {
                prop_assert!(length_bytes <= bytes.len());
            }
        }
    }

    #[test]
    fn any_text_forwards_somebody_or_nobody(values in prop::collection::vec("[0-9a-f:., \\[\\]x]{0,60}", 0..5), hops in 0..40_usize) {
        let peer: IpAddr = "10.0.0.9".parse().expect("an address");
        let client = forwarded_client(values.iter().map(String::as_str), peer, hops);
        prop_assert!(hops > 0 || client == Some(peer));
    }
}
