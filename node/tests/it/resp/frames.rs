//! Requests as bytes: pipelines, inline commands, bad frames, sizes of ids, and clients that stop reading or sending.

use crate::{
    region::Region,
    wire::{Client, request, shown},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_read_however_they_come() {
    let region = Region::start().await;
    pipelines_are_answered_in_order(&region).await;
    a_request_may_come_byte_by_byte(&region).await;
    inline_commands_end_with_either_line_break(&region).await;
    what_is_no_request_ends_only_its_connection(&region).await;
    ids_have_1_to_512_bytes(&region).await;
    silent_replies_are_left_out(&region).await;
    a_client_that_sends_half_a_request_holds_nobody_up(&region).await;
    a_client_that_does_not_read_is_held_back(&region).await;
    region.stop().await;
}

async fn pipelines_are_answered_in_order(region: &Region) {
    let mut client = Client::connect(region.resp(0)).await;
    const COUNT: usize = 40;
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        let value = number.to_string();
        bytes.extend(request(&[b"SET", b"pipelined", value.as_bytes()]));
        bytes.extend(request(&[b"GET", b"pipelined"]));
        bytes.extend(request(&[b"PING", value.as_bytes()]));
    }
    client.send_raw(&bytes).await;
    for number in 0..COUNT {
        let value = number.to_string();
        let bulk = format!("${}\r\n{value}\r\n", value.len()).into_bytes();
        assert_eq!(client.reply().await, b"+OK\r\n");
        assert_eq!(client.reply().await, bulk, "a read sees the write before it");
        assert_eq!(client.reply().await, bulk);
    }
}

async fn a_request_may_come_byte_by_byte(region: &Region) {
    let mut client = Client::connect(region.resp(1)).await;
    for byte in request(&[b"SET", b"trickled", b"\r\n\r\n"]) {
        client.send_raw(&[byte]).await;
    }
    assert_eq!(client.reply().await, b"+OK\r\n");
    assert_eq!(client.call(&[b"GET", b"trickled"]).await, b"$4\r\n\r\n\r\n\r\n");
}

async fn inline_commands_end_with_either_line_break(region: &Region) {
    let mut client = Client::connect(region.resp(2)).await;
    client.send_raw(b"SET inline \"a b\\x41\"\nGET inline\r\n\r\n\n  PING  \n").await;
    for reply in [b"+OK\r\n".as_slice(), b"$4\r\na bA\r\n", b"+PONG\r\n"] {
        assert_eq!(client.reply().await, reply);
    }
}

async fn what_is_no_request_ends_only_its_connection(region: &Region) {
    let mut bystander = Client::connect(region.resp(0)).await;
    let long_line = [b'a'; 70_000];
    let cases: [(&[u8], &str); 9] = [
        (b"*abc\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*2000000000\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n+PING\r\n", "-ERR Protocol error: expected \\'$\\', got \\'+\\'"),
        (b"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$9999999999\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"SET \"unbalanced\n", "-ERR Protocol error: unbalanced quotes in request"),
        (&long_line, "-ERR Protocol error: too big inline request"),
        (b"PING\n*1\r\n$x\r\nPING\n", "+PONG"),
    ];
    for (bytes, reply) in cases {
        let mut client = Client::connect(region.resp(0)).await;
        client.send_raw(bytes).await;
        assert_eq!(shown(&client.reply().await), reply);
        if reply == "+PONG" {
            assert!(shown(&client.reply().await).starts_with("-ERR Protocol error"));
        }
        assert_eq!(client.try_reply().await, None, "the connection ends");
        bystander.expect("PING", "+PONG").await;
    }
}

async fn ids_have_1_to_512_bytes(region: &Region) {
    let mut client = Client::connect(region.resp(0)).await;
    for (id, right) in [("\"\"", false), ("@1", true), ("@512", true), ("@513", false)] {
        for command in ["SET id v", "HSET id f v", "SADD id m", "ZADD id 1 m"] {
            let reply = client.ask(&command.replace("id", id)).await;
            let error = match id {
                "@513" => "-ERR a session id has at most 512 bytes, this one has 513",
                _ => "-ERR a session id must not be empty",
            };
            if right {
                assert!(!reply.starts_with('-'), "{reply}")
            } else {
                assert_eq!(reply, error)
            }
            client.ask(&format!("DEL {id}")).await;
        }
    }
    let reply = client.ask("SET big @1048577").await;
    assert!(reply.contains("the namespace allows 1048576"), "{reply}");
    client.expect("EXISTS big", ":0").await;
}

async fn silent_replies_are_left_out(region: &Region) {
    let mut client = Client::connect(region.resp(1)).await;
    client.send_raw(b"CLIENT REPLY OFF\nSET silent 1\nNOSUCH\nCLIENT REPLY ON\n").await;
    assert_eq!(client.reply().await, b"+OK\r\n");
    client.send_raw(b"CLIENT REPLY SKIP\nINCR silent\nGET silent\n").await;
    assert_eq!(client.reply().await, b"$1\r\n2\r\n");
}

async fn a_client_that_sends_half_a_request_holds_nobody_up(region: &Region) {
    let mut half = Client::connect(region.resp(0)).await;
    half.send_raw(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nhel").await;
    let mut other = Client::connect(region.resp(0)).await;
    other.expect("PING", "+PONG").await;
    assert!(half.is_silent_for(Duration::from_millis(50)).await);
    half.send_raw(b"lo\r\n").await;
    assert_eq!(half.reply().await, b"+OK\r\n");
}

/// What it asks for is more than sockets buffer: the node stops reading its requests, and answers all when it reads.
async fn a_client_that_does_not_read_is_held_back(region: &Region) {
    let mut slow = Client::connect(region.resp(0)).await;
    slow.expect("SET large @1000000", "+OK").await;
    const COUNT: usize = 100;
    let gets: Vec<u8> = (0..COUNT).flat_map(|_| request(&[b"GET", b"large"])).collect();
    slow.send_raw(&gets).await;
    let mut other = Client::connect(region.resp(0)).await;
    for _ in 0..20 {
        other.expect("PING", "+PONG").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..COUNT {
        assert_eq!(slow.reply().await.len(), 1_000_000 + "$1000000\r\n\r\n".len());
    }
}
