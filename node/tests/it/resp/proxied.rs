//! Redis clients behind a load balancer that says whose connections it passes on.

use crate::{region::Region, wire::Client};
use std::net::SocketAddr;

/// The header of version 2 for a connection from `client`, as HAProxy's `send-proxy-v2` writes it.
fn header(client: [u8; 4], port: u16) -> Vec<u8> {
    let fixed: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [fixed, &client, &[10, 0, 0, 1], &port.to_be_bytes(), &6_379_u16.to_be_bytes()].concat()
}

async fn through_a_balancer(node: SocketAddr, client: [u8; 4], port: u16) -> Client {
    let mut connection = Client::connect(node).await;
    connection.send_raw(&header(client, port)).await;
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_who_the_balancer_says() {
    let region = Region::start_with(|config| config.resp_proxy = true).await;
    // The balancer runs on this machine, and so does this client of it.
    let mut local = through_a_balancer(region.resp(0), [127, 0, 0, 1], 51_234).await;
    local.expect("SET proxied yes", "+OK").await;
    let line = local.ask("CLIENT INFO").await;
    assert!(line.contains(" addr=127.0.0.1:51234 "), "{line}");
    // Another client of the same balancer does not: the default namespace is closed to it.
    let mut remote = through_a_balancer(region.resp(0), [81, 2, 69, 142], 51_235).await;
    assert!(remote.ask("GET proxied").await.starts_with("-NOAUTH"));
    let line = local.ask("CLIENT LIST").await;
    assert!(line.contains(" addr=81.2.69.142:51235 "), "{line}");
    // Others can end its connection.
    local.expect("CLIENT KILL ADDR 81.2.69.142:51235", ":1").await;
    assert_eq!(remote.try_reply().await, None);
    // Who comes past the balancer is turned away, and nobody else notices.
    let mut direct = Client::connect(region.resp(0)).await;
    direct.send(&[b"GET", b"proxied"]).await;
    assert_eq!(direct.try_reply().await, None);
    local.expect("GET proxied", r"$3\r\nyes").await;
    region.stop().await;
}
