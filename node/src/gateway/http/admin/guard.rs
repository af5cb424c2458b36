//! Who may administer: whoever is on this machine, until there are roles; everybody only where the operator said so.

use super::{super::HttpOptions, Refused};
use crate::gateway::connections::Peer;
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};
use std::net::IpAddr;

/// Lets through what comes from this machine.
pub async fn only_operators(
    State(options): State<HttpOptions>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !options.open && !peer.ip().to_canonical().is_loopback() {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "administration is open to this machine only",
            "run the command on the node itself, or start the node with `--insecure` if another layer protects it",
        ));
    }
    if !options.open && !is_local(host) {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "the request was made for another host",
            "ask for 127.0.0.1 or localhost: a web page must not reach the administration through a name of its own",
        ));
    }
    Ok(next.run(request).await)
}

/// Whether a `Host` header names this machine: a page whose name was pointed here sends its own name.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_this_machines_names_are_local() {
        for host in ["127.0.0.1:7402", "localhost", "LOCALHOST:80", "[::1]:7402", "127.0.0.1"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example:7402", "", "10.0.0.1:7402", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
