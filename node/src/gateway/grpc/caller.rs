//! Who calls, and how long it waits: from the metadata of a call.

use crate::{api, world::origin::parse_address};
use sojourn_proto::sessions::{CLIENT_ADDRESS_METADATA, NAMESPACE_METADATA, PASSWORD_METADATA};
use std::time::Duration;
use tonic::{
    codegen::http::{Extensions, HeaderMap},
    transport::server::TcpConnectInfo,
};

/// How long a call may take whose caller does not say.
const TIME_DEFAULT: Duration = Duration::from_secs(30);

/// What is kept of a caller's time for the answer's way back.
const MARGIN_MAX: Duration = Duration::from_millis(50);

/// A caller and its patience.
pub struct Caller {
    /// Who it is.
    pub who: api::Caller,
    /// How long it waits.
    pub time: Duration,
}

impl Caller {
    /// The caller of a request with these headers.
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let text = |key: &str| headers.get(key).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let address = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let who = api::Caller {
            namespace: text(NAMESPACE_METADATA),
            password: headers.get(PASSWORD_METADATA).map(|value| value.as_bytes().into()),
            address: text(CLIENT_ADDRESS_METADATA).and_then(|text| parse_address(&text).ok()),
            is_local: address.is_some_and(|address| address.ip().to_canonical().is_loopback()),
        };
        let time = timeout(headers).map_or(TIME_DEFAULT, |time| time - (time / 10).min(MARGIN_MAX));
        Self { who, time }
    }
}

/// The caller's timeout. Source: "gRPC over HTTP2", Timeout: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (text, read) in [
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("5S", Some(Duration::from_secs(5))),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("123456789S", None),
            ("5s", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a value"));
            assert_eq!(timeout(&headers), read, "{text}");
        }
    }
}
