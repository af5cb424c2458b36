//! Handshakes and what a connection says about itself.

use super::need_subcommand;
use crate::gateway::resp::{
    call::Call,
    codec,
    error::{self, Error, SYNTAX},
    hub::Topic,
    plan::{Finish, Plan, Planned},
    reply::{Protocol, Reply},
    server::Server,
    session::{NAME_BYTES_MAX, ReplyMode, Session},
    table::{Spec, command, flag::*},
};
use sojourn_core::{
    NamespaceId,
    policy::Namespace,
    region::{DEFAULT_NAMESPACE_NAME, RegionState},
};
use std::sync::Arc;

/// The version of Redis whose behaviour is followed.
pub const REDIS_VERSION: &str = "7.2.4";

const ALWAYS: u32 = NOSCRIPT | LOADING | STALE | FAST;

pub const COMMANDS: &[Spec] = &[
    command("hello", -1, hello).flags(ALWAYS | NO_AUTH | NO_MULTI | BARRIER).docs(
        "connection",
        "6.0.0",
        "[protover [AUTH username password] [SETNAME clientname]]",
        "Chooses the protocol, and introduces the client.",
    ),
    command("auth", -2, auth).flags(ALWAYS | NO_AUTH | NO_MULTI | BARRIER).docs(
        "connection",
        "1.0.0",
        "[username] password",
        "Opens a namespace: that of the name, or the one that the password opens.",
    ),
    command("select", 2, select).flags(LOADING | STALE | FAST | BARRIER).docs(
        "connection",
        "1.0.0",
        "index",
        "Goes to the namespace that has this number.",
    ),
    command("ping", -1, ping).flags(FAST | LOADING | STALE).docs("connection", "1.0.0", "[message]", "Answers."),
    command("echo", 2, echo).flags(FAST | LOADING | STALE).docs(
        "connection",
        "1.0.0",
        "message",
        "Answers the message.",
    ),
    command("quit", -1, quit).flags(ALWAYS | NO_AUTH).docs("connection", "1.0.0", "", "Closes the connection."),
    command("reset", 1, reset).flags(ALWAYS | NO_AUTH | BARRIER).docs(
        "connection",
        "6.2.0",
        "",
        "Makes the connection as it was when it was new.",
    ),
    command("client", -2, need_subcommand)
        .docs("connection", "2.4.0", "subcommand", "Looks at connections, or describes this one.")
        .subcommands(CLIENT),
];

const CLIENT: &[Spec] = &[
    command("client|setname", 3, set_name).flags(ALWAYS).docs("connection", "2.6.9", "name", "Names the connection."),
    command("client|getname", 2, get_name).flags(ALWAYS).docs(
        "connection",
        "2.6.9",
        "",
        "Returns the connection's name.",
    ),
    command("client|setinfo", 4, set_info).flags(ALWAYS).docs(
        "connection",
        "7.2.0",
        "LIB-NAME libname|LIB-VER libver",
        "Names the client's library.",
    ),
    command("client|id", 2, id).flags(ALWAYS).docs("connection", "5.0.0", "", "Returns the connection's number."),
    command("client|info", 2, info).flags(ALWAYS).docs("connection", "6.2.0", "", "Describes the connection."),
    command("client|list", -2, list).flags(ADMIN | NOSCRIPT | LOADING | STALE).docs(
        "connection",
        "2.4.0",
        "[TYPE normal|master|replica|pubsub] [ID client-id [client-id ...]]",
        "Describes the connections to this node.",
    ),
    command("client|kill", -3, kill).flags(ADMIN | NOSCRIPT | LOADING | STALE).docs(
        "connection",
        "2.4.0",
        "ip:port|[ID client-id] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME yes/no]",
        "Closes connections to this node.",
    ),
    command("client|reply", 3, set_reply).flags(ALWAYS | BARRIER).docs(
        "connection",
        "3.2.0",
        "ON|OFF|SKIP",
        "Chooses which replies to send.",
    ),
    command("client|no-evict", 3, no_evict).flags(ADMIN | NOSCRIPT | LOADING | STALE).docs(
        "connection",
        "7.0.0",
        "ON|OFF",
        "Is accepted: no connection is closed for want of memory.",
    ),
    command("client|no-touch", 3, no_evict).flags(ALWAYS).docs(
        "connection",
        "7.2.0",
        "ON|OFF",
        "Is accepted: reads move no deadline.",
    ),
    command("client|help", 2, client_help).flags(LOADING | STALE).docs(
        "connection",
        "5.0.0",
        "",
        "Tells the subcommands.",
    ),
];

fn hello(call: &mut Call<'_>) -> Planned {
    let protocol = match call.args.get(1).map(codec::integer) {
        None => call.session.protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return Err(Error::new("NOPROTO unsupported protocol version")),
        Some(None) => return Err(Error::new("ERR Protocol version is not an integer or out of range")),
    };
    let (mut credentials, mut name, mut at) = (None, None, 2);
    while let Some(word) = call.args.get(at) {
        if call.args.is(at, "auth") && call.args.len() > at + 2 {
            credentials = Some((call.args.at(at + 1).to_vec(), call.args.at(at + 2).to_vec()));
            at += 3;
        } else if call.args.is(at, "setname") && call.args.len() > at + 1 {
            name = Some(printable(call.args.at(at + 1)).ok_or(BAD_NAME)?);
            at += 2;
        } else {
            return Err(format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(word)).into());
        }
    }
    let Some((user, password)) = credentials else {
        introduce(call.server, call.session, call.reply, protocol, name)?;
        return Ok(Plan::Done);
    };
    let (server, region) = (Arc::clone(call.server), Arc::clone(call.session.region()));
    let local = call.session.from_loopback;
    Ok(Plan::task(async move {
        let opened = authenticate(&server, &region, Some(&user), &password, local).await?;
        let finish: Finish = Box::new(move |session, reply| {
            enter(session, &region, opened);
            introduce(&server, session, reply, protocol, name)
        });
        Ok(finish)
    }))
}

/// Ends `HELLO`: changes the protocol and tells about the server.
fn introduce(
    server: &Server,
    session: &mut Session,
    reply: &mut Reply,
    protocol: Protocol,
    name: Option<String>,
) -> Result<(), Error> {
    if session.room.is_none() {
        return Err(Error::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    session.protocol = protocol;
    let mut details = session.client.details.lock();
    details.protocol = protocol;
    details.name = name.unwrap_or(std::mem::take(&mut details.name));
    drop(details);
    reply.set_protocol(protocol);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(protocol.number());
    reply.bulk(b"id");
    reply.count(session.client.id);
    reply.bulk(b"mode");
    reply.bulk(if server.options.cluster { b"cluster" } else { b"standalone" });
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

fn auth(call: &mut Call<'_>) -> Planned {
    let (user, password) = match call.args.len() {
        2 => (None, call.args.at(1).to_vec()),
        3 => (Some(call.args.at(1).to_vec()), call.args.at(2).to_vec()),
        _ => return Err(SYNTAX),
    };
    let (server, region) = (Arc::clone(call.server), Arc::clone(call.session.region()));
    let local = call.session.from_loopback;
    Ok(Plan::task(async move {
        let opened = authenticate(&server, &region, user.as_deref(), &password, local).await?;
        let finish: Finish = Box::new(move |session, reply| {
            enter(session, &region, opened);
            reply.ok();
            Ok(())
        });
        Ok(finish)
    }))
}

fn enter(session: &mut Session, region: &RegionState, opened: Vec<NamespaceId>) {
    let namespace = opened.first().and_then(|id| region.namespaces.get(id));
    session.granted.extend(opened);
    session.granted.sort_unstable();
    session.granted.dedup();
    if let Some(namespace) = namespace {
        session.enter(namespace);
    }
}

/// The namespaces that a password opens, the one to go to first; never none.
///
/// A user names a namespace. Without one, or as `default` as many clients say then, the password is tried on all. A
/// namespace that needs no password is entered by its name, but not where the password opens another.
async fn authenticate(
    server: &Server,
    region: &RegionState,
    user: Option<&[u8]>,
    password: &[u8],
    local: bool,
) -> Result<Vec<NamespaceId>, Error> {
    let default = DEFAULT_NAMESPACE_NAME.as_bytes();
    let (mut opened, mut open) = (Vec::new(), None);
    for namespace in region.namespaces.values() {
        let stored = &namespace.policy.password_hash;
        let named = user == Some(namespace.name.as_bytes());
        let tried = named || user.is_none_or(|user| user == default);
        if stored.is_empty() {
            open = open.or((named && local).then_some(namespace.id));
        } else if tried && server.passwords.check(password, stored).await {
            opened.insert(if named { 0 } else { opened.len() }, namespace.id);
        }
    }
    if opened.is_empty() {
        opened.extend(open);
    }
    let has_password = |namespace: &Namespace| !namespace.policy.password_hash.is_empty();
    match opened.is_empty() {
        false => Ok(opened),
        true if user.is_none() && local && !region.namespaces.values().any(has_password) => Err(Error::new(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        )),
        true => Err(error::WRONG_PASS),
    }
}

fn select(call: &mut Call<'_>) -> Planned {
    let number = call.integer(1)?;
    let number = u32::try_from(number).map_err(|_| error::BAD_DATABASE)?;
    if call.server.options.cluster && number != 0 {
        return Err(Error::new("ERR SELECT is not allowed in cluster mode"));
    }
    call.session.select(number)?;
    call.reply.ok();
    Ok(Plan::Done)
}

fn ping(call: &mut Call<'_>) -> Planned {
    if call.args.len() > 2 {
        return Err(error::wrong_arity("ping"));
    }
    let message = call.args.get(1);
    if call.session.is_subscriber_only() {
        call.reply.array(2);
        call.reply.bulk(b"pong");
        call.reply.bulk(message.unwrap_or_default());
        return Ok(Plan::Done);
    }
    match message {
        Some(message) => call.reply.bulk(message),
        None => call.reply.simple("PONG"),
    }
    Ok(Plan::Done)
}

fn echo(call: &mut Call<'_>) -> Planned {
    call.reply.bulk(call.args.at(1));
    Ok(Plan::Done)
}

fn quit(call: &mut Call<'_>) -> Planned {
    call.session.closing = true;
    call.reply.ok();
    Ok(Plan::Done)
}

fn reset(call: &mut Call<'_>) -> Planned {
    call.session.reset(&call.server.hub);
    call.reply.set_protocol(Protocol::Resp2);
    call.reply.simple("RESET");
    Ok(Plan::Done)
}

const BAD_NAME: Error = Error::new("ERR Client names cannot contain spaces, newlines or special characters.");

/// A name that does not break the lines of `CLIENT LIST`.
fn printable(name: &[u8]) -> Option<String> {
    let plain = name.len() <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic);
    if plain { String::from_utf8(name.to_vec()).ok() } else { None }
}

fn set_name(call: &mut Call<'_>) -> Planned {
    call.session.client.details.lock().name = printable(call.args.at(2)).ok_or(BAD_NAME)?;
    call.reply.ok();
    Ok(Plan::Done)
}

fn get_name(call: &mut Call<'_>) -> Planned {
    let name = call.session.client.details.lock().name.clone();
    call.reply.bulk_or_null((!name.is_empty()).then_some(name.as_bytes()));
    Ok(Plan::Done)
}

fn set_info(call: &mut Call<'_>) -> Planned {
    let option = String::from_utf8_lossy(call.args.at(2)).into_owned();
    let value = printable(call.args.at(3))
        .ok_or_else(|| Error::from(format!("ERR {option} cannot contain spaces, newlines or special characters.")));
    let mut details = call.session.client.details.lock();
    match option.to_ascii_lowercase().as_str() {
        "lib-name" => details.library = value?,
        "lib-ver" => details.library_version = value?,
        _ => return Err(format!("ERR Unrecognized option '{option}'").into()),
    }
    drop(details);
    call.reply.ok();
    Ok(Plan::Done)
}

fn id(call: &mut Call<'_>) -> Planned {
    call.reply.count(call.session.client.id);
    Ok(Plan::Done)
}

fn info(call: &mut Call<'_>) -> Planned {
    call.reply.verbatim(&(call.session.client.line() + "\n"));
    Ok(Plan::Done)
}

/// The connections that this one may see: all, or those of its namespace.
fn visible(call: &Call<'_>) -> Result<Vec<Arc<crate::gateway::resp::clients::Client>>, Error> {
    let all = super::server::permissions(call)?.watch_others;
    let name = &call.room()?.name;
    let clients = call.server.clients.list().into_iter();
    Ok(clients.filter(|client| all || client.details.lock().user == *name).collect())
}

fn list(call: &mut Call<'_>) -> Planned {
    let mut clients = visible(call)?;
    if call.args.is(2, "type") && call.args.len() == 4 {
        let subscribed = match call.args.at(3).to_ascii_lowercase().as_slice() {
            b"normal" => Some(false),
            b"pubsub" => Some(true),
            b"master" | b"replica" | b"slave" => None,
            other => return Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(other)).into()),
        };
        clients.retain(|client| {
            let details = client.details.lock();
            Some(details.channels + details.patterns > 0) == subscribed
        });
    } else if call.args.is(2, "id") && call.args.len() > 3 {
        let ids: Option<Vec<i64>> = call.args.from(3).iter().map(codec::integer).collect();
        let ids = ids.ok_or(Error::new("ERR Invalid client ID"))?;
        clients.retain(|client| ids.iter().any(|id| u64::try_from(*id) == Ok(client.id)));
    } else if call.args.len() > 2 {
        return Err(SYNTAX);
    }
    let lines: String = clients.iter().map(|client| client.line() + "\n").collect();
    call.reply.verbatim(&lines);
    Ok(Plan::Done)
}

fn kill(call: &mut Call<'_>) -> Planned {
    if !super::server::permissions(call)?.watch_others {
        return Err(error::NO_PERMISSION);
    }
    let old_form = call.args.len() == 3;
    let (mut skip_me, mut chosen) = (!old_form, call.server.clients.list());
    if old_form {
        let address = call.args.at(2);
        chosen.retain(|client| client.peer.to_string().as_bytes() == address);
    }
    for at in (2..call.args.len()).step_by(2).filter(|_| !old_form) {
        let Some(value) = call.args.get(at + 1) else { return Err(SYNTAX) };
        if call.args.is(at, "id") {
            let id = codec::integer(value).filter(|id| *id > 0);
            let id = id.ok_or(Error::new("ERR client-id should be greater than 0"))?;
            chosen.retain(|client| u64::try_from(id) == Ok(client.id));
        } else if call.args.is(at, "addr") {
            chosen.retain(|client| client.peer.to_string().as_bytes() == value);
        } else if call.args.is(at, "laddr") {
            chosen.retain(|client| client.local.to_string().as_bytes() == value);
        } else if call.args.is(at, "user") {
            chosen.retain(|client| client.details.lock().user.as_bytes() == value);
        } else if call.args.is(at, "skipme") && (call.args.is(at + 1, "yes") || call.args.is(at + 1, "no")) {
            skip_me = call.args.is(at + 1, "yes");
        } else {
            return Err(SYNTAX);
        }
    }
    let me = call.session.client.id;
    chosen.retain(|client| !(skip_me && client.id == me));
    for client in &chosen {
        // This connection must still send its reply.
        if client.id == me { call.session.closing = true } else { client.kill() }
    }
    match (old_form, chosen.is_empty()) {
        (true, true) => return Err(Error::new("ERR No such client")),
        (true, false) => call.reply.ok(),
        (false, _) => call.reply.count(chosen.len() as u64),
    }
    Ok(Plan::Done)
}

fn set_reply(call: &mut Call<'_>) -> Planned {
    match call.args.at(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            call.session.reply_mode = ReplyMode::On;
            call.reply.ok();
        }
        b"off" => call.session.reply_mode = ReplyMode::Off,
        b"skip" if call.session.reply_mode == ReplyMode::On => call.session.reply_mode = ReplyMode::SkipNext,
        b"skip" => {}
        _ => return Err(SYNTAX),
    }
    Ok(Plan::Done)
}

fn no_evict(call: &mut Call<'_>) -> Planned {
    if !call.args.is(2, "on") && !call.args.is(2, "off") {
        return Err(SYNTAX);
    }
    call.reply.ok();
    Ok(Plan::Done)
}

fn client_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "GETNAME",
            "    Return the name of the current connection.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current client connection.",
            "KILL <ip:port>|<option> ...",
            "    Kill connections to this node.",
            "LIST [options ...]",
            "    Return information about client connections.",
            "NO-EVICT (ON|OFF)",
            "    Is accepted.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETINFO <option> <value>",
            "    Set client meta attr.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
        ],
    )
}

/// Keeps what others see of a connection's subscriptions true.
pub fn note_subscriptions(session: &Session) {
    let mut details = session.client.details.lock();
    (details.channels, details.patterns) = (session.channels.len(), session.patterns.len());
}

/// The word for a topic in replies about subscriptions.
pub fn topic_word(topic: Topic, joins: bool) -> &'static [u8] {
    match (topic, joins) {
        (Topic::Channel, true) => b"subscribe",
        (Topic::Channel, false) => b"unsubscribe",
        (Topic::Pattern, true) => b"psubscribe",
        (Topic::Pattern, false) => b"punsubscribe",
    }
}
