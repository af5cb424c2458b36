//! Tells whoever started the node how it is, as systemd's `Type=notify` asks.
//!
//! Source of the protocol: the manual page `sd_notify(3)`: a datagram of lines to the socket in `NOTIFY_SOCKET`, whose name
//! begins with `@` if it is abstract.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// The node answers requests.
pub const READY: &str = "READY=1";

/// The node is on its way down.
pub const STOPPING: &str = "STOPPING=1";

/// Tells `state` to whoever asked to be told; nobody may have.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket.to_string_lossy(), state) {
        tracing::warn!(%error, state, "cannot tell whoever started this node how it is");
    }
}

fn send(socket: &str, state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_socket_hear_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        send(&path.to_string_lossy(), READY).expect("sent");
        let name = format!("sojourn-notify-{}", std::process::id());
        let unnamed = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
        send(&format!("@{name}"), READY).expect("sent");
        for socket in [socket, unnamed] {
            let mut message = [0; 16];
            let length = socket.recv(&mut message).expect("received");
            assert_eq!(&message[..length], READY.as_bytes());
        }
    }
}
