//! Carries one direction of a connection over its way.

use super::{
    link::{HELD_MAX, Link, Told, Way},
    transit::{Meter, Transit},
};
use bytes::{BufMut, BytesMut};
use std::{future::pending, io};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep_until},
};

/// Carries bytes until their end has arrived.
///
/// # Errors
/// Either end is gone, or the way broke the connection.
pub(super) async fn carry(
    way: &Way,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut told = way.watch();
    let breaks_before = told.borrow().breaks;
    let (mut transit, mut input) = (Transit::default(), BytesMut::new());
    // Since when a cut has been holding something.
    let mut held_since: Option<Instant> = None;
    loop {
        let Told { link, breaks } = *told.borrow_and_update();
        if breaks != breaks_before {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let due = transit.due();
        held_since = (link.cut && due.is_some()).then(|| held_since.unwrap_or_else(Instant::now));
        let (has_room, open_at) = (transit.has_room(), way.meter.lock().open_at());
        tokio::select! {
            biased;
            changed = told.changed() => changed.map_err(io::Error::other)?,
            arrived = arrive(due.filter(|_| !link.cut), &mut transit, &mut to) => match arrived? {
                Some(count) => {
                    way.count(count);
                    transit.arrived(count);
                }
                None => return Ok(()),
            },
            taken = take(open_at, &mut from, &mut input, link), if has_room => {
                let now = Instant::now();
                let due = way.meter.lock().pass(now, taken? as u64, link.bytes_per_s_max) + link.draw_delay();
                if input.is_empty() {
                    transit.end(due);
                } else {
                    transit.push(due, input.split().freeze());
                }
            }
            () = breaks_at(held_since) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Takes bytes from the sender once the link is open for them.
async fn take(
    open_at: Option<Instant>,
    from: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
    link: Link,
) -> io::Result<usize> {
    if let Some(open_at) = open_at {
        sleep_until(open_at).await;
    }
    let bytes_max = Meter::bytes_at_once(link.bytes_per_s_max);
    input.reserve(bytes_max);
    from.read_buf(&mut input.limit(bytes_max)).await
}

/// Hands over what is due: how many bytes, or none at the end.
async fn arrive(
    due: Option<Instant>,
    transit: &mut Transit,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Option<usize>> {
    let Some(due) = due else { return pending().await };
    if due > Instant::now() {
        sleep_until(due).await;
    }
    let Some(bytes) = transit.front() else {
        to.shutdown().await?;
        return Ok(None);
    };
    match to.write_buf(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(Some(count)),
    }
}

async fn breaks_at(held_since: Option<Instant>) {
    match held_since {
        Some(since) => sleep_until(since + HELD_MAX).await,
        None => pending().await,
    }
}
