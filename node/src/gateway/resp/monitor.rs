//! What `MONITOR` shows of a command.

use super::{call::Call, server::Server, table::Spec};
use bytes::Bytes;

/// Commands whose arguments are never shown.
const SECRET: [&str; 2] = ["auth", "hello"];

/// Bytes of an argument that are shown.
const SHOWN_BYTES_MAX: usize = 1_024;

/// Tells the monitors of a command, as Redis does: time, database, address, quoted words. Ids and values are hashed:
/// an id is a bearer credential.
pub fn tell(call: &Call<'_>) {
    if SECRET.contains(&call.spec.name) {
        return;
    }
    let Some(room) = &call.session.room else { return };
    let namespace = call.session.region().namespaces.get(&room.id);
    let show = namespace
        .is_some_and(|namespace| (call.server.options.permissions)(namespace, call.session.client.peer.ip()).show_ids);
    let now = call.server.backend.now_ms();
    let mut line = format!("{}.{:03}000 [{} {}]", now / 1000, now % 1000, room.database(), call.session.client.peer);
    for (at, word) in call.args.iter().enumerate() {
        line.push_str(" \"");
        if show || at == 0 || is_plain(call.spec, at) {
            line.push_str(&quoted(&word[..word.len().min(SHOWN_BYTES_MAX)]));
        } else {
            line.push_str(&hidden(call.server, word));
        }
        line.push('"');
    }
    call.server.hub.tell_monitors(&Bytes::from(line));
}

/// A subcommand's name gives nothing away.
fn is_plain(spec: &Spec, at: usize) -> bool {
    at == 1 && spec.name.contains('|')
}

fn hidden(server: &Server, word: &[u8]) -> String {
    server.hidden(word)
}

/// Bytes as `sdscatrepr` shows them, without the quotes around.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_quoted_as_redis_does() {
        assert_eq!(super::quoted(b"a\"\\\n\x01\xff~"), "a\\\"\\\\\\n\\x01\\xff~");
    }
}
