//! Messages to a client that it did not ask for just now.

use super::{clients::Push, reply::Reply, session::Session};

/// Writes a message; false if it means that the connection must end.
pub fn tell(reply: &mut Reply, session: &Session, push: &Push) -> bool {
    reply.set_protocol(session.protocol);
    match push {
        Push::Message { channel, message } => {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(channel);
            reply.bulk(message);
        }
        Push::Matched { pattern, channel, message } => {
            reply.push(4);
            reply.bulk(b"pmessage");
            reply.bulk(pattern);
            reply.bulk(channel);
            reply.bulk(message);
        }
        Push::Monitored(line) => {
            reply.append(b"+");
            reply.append(line);
            reply.append(b"\r\n");
        }
        Push::Stop => return false,
    }
    true
}
