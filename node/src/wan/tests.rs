//! Links in virtual time, and the door with real sockets.

use super::{carry::carry, link::HELD_MAX, *};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};

const MS: Duration = Duration::from_millis(1);

/// What two ends of a connection may have on their way beside the link.
const SOCKET_BYTES: usize = 64;

/// One direction over a link, with both of its ends.
struct Line {
    way: Arc<Way>,
    sender: DuplexStream,
    receiver: DuplexStream,
    carrying: JoinHandle<io::Result<()>>,
}

fn line(link: Link) -> Line {
    let way = Arc::new(Way::default());
    way.change(|now| *now = link);
    let ((sender, from), (to, receiver)) = (duplex(SOCKET_BYTES), duplex(SOCKET_BYTES));
    let carried = way.clone();
    let carrying = tokio::spawn(async move { carry(&carried, from, to).await });
    Line { way, sender, receiver, carrying }
}

fn delayed(delay: Duration) -> Link {
    Link { delay, ..Link::default() }
}

impl Line {
    async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.receiver.read_exact(&mut bytes).await.expect("bytes");
        bytes
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_and_the_end_take_the_delay() {
    let mut line = line(delayed(80 * MS));
    let began = Instant::now();
    line.sender.write_all(b"one").await.expect("taken");
    tokio::time::sleep(30 * MS).await;
    line.sender.write_all(b"two").await.expect("taken");
    assert_eq!(line.read(3).await, b"one");
    assert_eq!(began.elapsed(), 80 * MS);
    assert_eq!(line.read(3).await, b"two");
    assert_eq!(began.elapsed(), 110 * MS);
    drop(line.sender);
    assert_eq!(line.receiver.read(&mut [0]).await.expect("the end"), 0);
    assert_eq!(began.elapsed(), 190 * MS);
    line.carrying.await.expect("ran").expect("a proper end");
    assert_eq!(line.way.figures().2, 6);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_varies_keeps_order_and_its_bounds() {
    let mut line = line(Link { delay: 50 * MS, jitter: 40 * MS, ..Link::default() });
    let mut took = Vec::new();
    for number in 0..100_u8 {
        let sent = Instant::now();
        line.sender.write_all(&[number]).await.expect("taken");
        assert_eq!(line.read(1).await, [number]);
        took.push(sent.elapsed());
    }
    assert!(took.iter().all(|took| (10 * MS..=91 * MS).contains(took)), "{took:?}");
    assert!(took.iter().max() > took.iter().min(), "it varies");
    let many: Vec<u8> = (0..=255).collect();
    let writing = async {
        for byte in &many {
            line.sender.write_all(&[*byte]).await.expect("taken");
            tokio::time::sleep(MS).await;
        }
    };
    let mut read = vec![0; many.len()];
    let (_, got) = tokio::join!(writing, line.receiver.read_exact(&mut read));
    got.expect("bytes");
    assert_eq!(read, many);
}

#[tokio::test(start_paused = true)]
async fn a_changed_delay_holds_for_what_comes_after_and_order_stays() {
    let mut line = line(delayed(100 * MS));
    let began = Instant::now();
    line.sender.write_all(b"slow").await.expect("taken");
    tokio::time::sleep(10 * MS).await;
    line.way.change(|link| link.delay = Duration::ZERO);
    line.sender.write_all(b"fast").await.expect("taken");
    assert_eq!(line.read(8).await, b"slowfast");
    assert_eq!(began.elapsed(), 100 * MS);
    line.sender.write_all(b"x").await.expect("taken");
    line.read(1).await;
    assert!(began.elapsed() < 102 * MS, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_holds_bytes_and_a_long_one_breaks_the_connection() {
    let mut line = line(delayed(10 * MS));
    line.way.change(|link| link.cut = true);
    let began = Instant::now();
    line.sender.write_all(b"held").await.expect("taken");
    assert!(timeout(HELD_MAX - 100 * MS, line.read(1)).await.is_err(), "nothing arrives");
    line.way.change(|link| link.cut = false);
    assert_eq!(line.read(4).await, b"held");
    assert!(began.elapsed() < HELD_MAX);

    line.way.change(|link| link.cut = true);
    let idle = timeout(10 * HELD_MAX, line.receiver.read(&mut [0])).await;
    assert!(idle.is_err(), "a connection that says nothing loses nothing");
    let began = Instant::now();
    line.sender.write_all(b"lost").await.expect("taken");
    let broken = line.carrying.await.expect("ran").expect_err("held for too long");
    assert_eq!((broken.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, HELD_MAX.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn connections_are_broken_on_request_and_later_ones_are_not() {
    let mut first = line(Link::default());
    first.sender.write_all(b"open").await.expect("taken");
    first.read(4).await;
    first.way.break_connections();
    assert_eq!(first.carrying.await.expect("ran").expect_err("broken").kind(), io::ErrorKind::ConnectionAborted);
    let (mut sender, from) = duplex(SOCKET_BYTES);
    let (to, mut receiver) = duplex(SOCKET_BYTES);
    let way = first.way.clone();
    tokio::spawn(async move { carry(&way, from, to).await });
    sender.write_all(b"x").await.expect("taken");
    assert_eq!(receiver.read_u8().await.expect("a byte"), b'x');
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_for_all_connections_of_a_way_together() {
    let limit = 10_000;
    let mut one = line(Link { bytes_per_s_max: Some(limit), ..Link::default() });
    let ((mut sender, from), (to, mut receiver)) = (duplex(SOCKET_BYTES), duplex(SOCKET_BYTES));
    let way = one.way.clone();
    tokio::spawn(async move { carry(&way, from, to).await });
    let began = Instant::now();
    let (bytes, mut read, mut read_too) = (vec![7; 5_000], vec![0; 5_000], vec![0; 5_000]);
    let (first, second, got, got_too) = tokio::join!(
        one.sender.write_all(&bytes),
        sender.write_all(&bytes),
        one.receiver.read_exact(&mut read),
        receiver.read_exact(&mut read_too)
    );
    first.and(second).expect("taken");
    got.and(got_too).expect("bytes");
    let took = began.elapsed();
    assert!((950 * MS..1_200 * MS).contains(&took), "10 000 bytes at 10 000 a second: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_read_makes_the_sender_wait() {
    let mut line = line(delayed(MS));
    let chunk = vec![0; 1 << 20];
    let mut sent = 0_u64;
    while timeout(HELD_MAX, line.sender.write_all(&chunk)).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "what is on its way is bounded");
    }
    assert!(sent >= 7, "{sent} MiB");
}

/// Answers every byte with the same.
async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut reading, mut writing) = stream.split();
            // Whoever called may have gone.
            let _gone = tokio::io::copy(&mut reading, &mut writing).await;
        });
    }
}

/// A world of two regions with an echo in `eu`, as `na` sees it: where to ask, and the echo's port.
async fn world() -> (Wan, u16, u16) {
    let wan = Wan::new(vec!["na".to_owned(), "eu".to_owned()]);
    let (door, target) = (TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await);
    let (door, target) = (door.expect("a port"), target.expect("a port"));
    let ports = (door.local_addr().expect("bound").port(), target.local_addr().expect("bound").port());
    wan.place("eu", [ports.1]).expect("a region");
    wan.place("na", [ports.0]).expect("a region");
    tokio::spawn(echo(target));
    let serving = wan.clone();
    tokio::spawn(async move { serving.serve("na", door).await });
    (wan, ports.0, ports.1)
}

async fn ask(door: u16, request: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", door)).await.expect("connected");
    stream.write_all(format!("{request}\r\n\r\n").as_bytes()).await.expect("written");
    let head = crate::peers::read_head(&mut stream).await.unwrap_or_default();
    (stream, head)
}

#[tokio::test]
async fn a_connection_and_each_of_its_words_take_the_way_there_and_back() {
    let (wan, door, target) = world().await;
    let pair = wan.pair("na", "eu").expect("a pair");
    wan.change(pair, |link| link.delay = 30 * MS);
    wan.change(pair.back(), |link| link.delay = 20 * MS);
    let began = Instant::now();
    let (mut stream, head) = ask(door, &format!("CONNECT 127.0.0.1:{target} HTTP/1.1")).await;
    assert!(head.starts_with("HTTP/1.1 200") && began.elapsed() >= 50 * MS, "{head}, {:?}", began.elapsed());
    let began = Instant::now();
    stream.write_all(b"hello").await.expect("written");
    let mut word = [0; 5];
    stream.read_exact(&mut word).await.expect("echoed");
    assert!(&word == b"hello" && began.elapsed() >= 50 * MS, "{:?}", began.elapsed());
    let report = wan.report();
    let na_eu = report.iter().find(|one| one.from == "na").expect("a way");
    assert_eq!((na_eu.to.as_str(), na_eu.connections, na_eu.bytes_total), ("eu", 1, 5));

    // Cut one way: the word gets there, its echo does not come back.
    wan.change(pair.back(), |link| link.cut = true);
    stream.write_all(b"again").await.expect("written");
    assert!(timeout(200 * MS, stream.read_u8()).await.is_err());
    assert_eq!(wan.report().iter().find(|one| one.from == "na").map(|one| one.bytes_total), Some(10));
    wan.change(pair.back(), |link| link.cut = false);
    stream.read_exact(&mut word).await.expect("echoed");
    assert_eq!(&word, b"again");

    wan.break_connections(pair);
    assert!(matches!(stream.read(&mut word).await, Ok(0) | Err(_)), "broken");
}

#[tokio::test]
async fn what_cannot_be_reached_is_refused_with_the_reason() {
    let (wan, door, target) = world().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").port();
    for (request, status) in [
        (format!("CONNECT 127.0.0.1:{unused} HTTP/1.1"), "403"),
        (format!("CONNECT 127.0.0.1:{door} HTTP/1.1"), "403"),
        ("CONNECT 127.0.0.1 HTTP/1.1".to_owned(), "400"),
        (format!("GET 127.0.0.1:{target} HTTP/1.1"), "400"),
    ] {
        let (_, head) = ask(door, &request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {head}");
    }
    wan.place("eu", [unused]).expect("a region");
    let (_, head) = ask(door, &format!("CONNECT 127.0.0.1:{unused} HTTP/1.1")).await;
    assert!(head.starts_with("HTTP/1.1 502"), "nobody listens there: {head}");
}

#[test]
fn regions_that_are_no_pair_are_named() {
    let wan = Wan::new(vec!["na".to_owned(), "eu".to_owned()]);
    let unknown = wan.pair("na", "mars").expect_err("unknown").to_string();
    assert!(unknown.contains("mars") && unknown.contains("na, eu"), "{unknown}");
    assert_eq!(wan.pair("na", "na"), Err(NoPair::Same("na".to_owned())));
    assert_eq!(wan.pairs().len(), 2);
}
