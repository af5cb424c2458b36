//! Makes small MaxMind DB files. Source: the MaxMind DB file format specification, version 2.0.

use std::net::{IpAddr, Ipv4Addr};

/// A value of a record.
#[derive(Clone)]
pub enum Value {
    Text(&'static str),
    Double(f64),
    U16(u16),
    U32(u32),
    U64(u64),
    Array,
    Map(Vec<(&'static str, Value)>),
}

pub fn map<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    Value::Map(fields.into())
}

/// A record as in MaxMind's city databases.
pub struct City(pub &'static str, pub f64, pub f64);

impl City {
    pub fn value(&self) -> Value {
        let country = map([("geoname_id", Value::U32(7)), ("iso_code", Value::Text(self.0))]);
        let location = map([("latitude", Value::Double(self.1)), ("longitude", Value::Double(self.2))]);
        map([("city", map([])), ("country", country), ("location", location), ("subdivisions", Value::Array)])
    }
}

/// A record as in flat country databases.
pub struct Flat(pub &'static str);

impl Flat {
    pub fn value(&self) -> Value {
        map([("country_code", Value::Text(self.0))])
    }
}

/// The IPv4 network of these bits.
pub fn address_of(bits: u32, prefix: u8) -> String {
    format!("{}/{prefix}", Ipv4Addr::from_bits(bits & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)))
}

#[derive(Clone, Copy)]
enum Record {
    Empty,
    Node(usize),
    Data(usize),
}

/// A file with these networks, none inside another, for addresses up to this version.
pub fn database(kind: &'static str, ip_version: u16, networks: &[(&str, Value)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[Record::Empty; 2]], Vec::new());
    for (network, value) in networks {
        let bits = bits(network, ip_version);
        insert(&mut nodes, &bits, Record::Data(data.len()));
        encode(value, &mut data);
    }
    let mut file = Vec::new();
    for record in nodes.iter().flatten() {
        let number = match record {
            Record::Node(node) => *node,
            Record::Empty => nodes.len(),
            Record::Data(offset) => nodes.len() + SEPARATOR.len() + offset,
        };
        file.extend(&u32::try_from(number).expect("a small file").to_be_bytes()[1..]);
    }
    file.extend(SEPARATOR);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    let about = map([
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(1_700_000_000)),
        ("database_type", Value::Text(kind)),
        ("description", map([])),
        ("ip_version", Value::U16(ip_version)),
        ("languages", Value::Array),
        ("node_count", Value::U32(u32::try_from(nodes.len()).expect("a small file"))),
        ("record_size", Value::U16(24)),
    ]);
    encode(&about, &mut file);
    file
}

const SEPARATOR: [u8; 16] = [0; 16];

/// The bits of a network's address that are common to all in it. IPv4 is at `::/96` in a file for both.
fn bits(network: &str, ip_version: u16) -> Vec<usize> {
    let (address, prefix) = network.split_once('/').expect("a network");
    let prefix: usize = prefix.parse().expect("a length");
    let (number, length, prefix) = match address.parse().expect("an address") {
        IpAddr::V4(v4) if ip_version == 4 => (u128::from(v4.to_bits()), 32, prefix),
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 128, prefix + 96),
        IpAddr::V6(v6) => (v6.to_bits(), 128, prefix),
    };
    (0..prefix).map(|bit| usize::from(number >> (length - 1 - bit) & 1 == 1)).collect()
}

fn insert(nodes: &mut Vec<[Record; 2]>, bits: &[usize], record: Record) {
    let (last, way) = bits.split_last().expect("a network smaller than the world");
    let mut node = 0;
    for bit in way {
        node = match nodes[node][*bit] {
            Record::Node(next) => next,
            Record::Empty | Record::Data(_) => {
                nodes.push([Record::Empty; 2]);
                let next = nodes.len() - 1;
                nodes[node][*bit] = Record::Node(next);
                next
            }
        };
    }
    nodes[node][*last] = record;
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            header(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Double(number) => {
            header(3, 8, out);
            out.extend(number.to_be_bytes());
        }
        Value::U16(number) => {
            header(5, 2, out);
            out.extend(number.to_be_bytes());
        }
        Value::U32(number) => {
            header(6, 4, out);
            out.extend(number.to_be_bytes());
        }
        Value::U64(number) => {
            header(9, 8, out);
            out.extend(number.to_be_bytes());
        }
        Value::Array => header(11, 0, out),
        Value::Map(fields) => {
            header(7, fields.len(), out);
            for (name, value) in fields {
                encode(&Value::Text(name), out);
                encode(value, out);
            }
        }
    }
}

/// The type and the size: types above 7 have a byte of their own, sizes here are below 29.
fn header(kind: u8, size: usize, out: &mut Vec<u8>) {
    let size = u8::try_from(size).ok().filter(|size| *size < 29).expect("a small value");
    match kind {
        0..8 => out.push(kind << 5 | size),
        _ => out.extend([size, kind - 7]),
    }
}
