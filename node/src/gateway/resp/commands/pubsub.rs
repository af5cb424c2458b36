//! Publish and subscribe. Channels belong to the namespace; messages reach every node of the region.

use super::{
    connection::{note_subscriptions, topic_word},
    need_subcommand,
};
use crate::gateway::resp::{
    call::Call,
    error::{self, Error},
    hub::Topic,
    plan::{Plan, Planned},
    session::SUBSCRIPTIONS_MAX,
    table::{Spec, command, flag::*},
};
use bytes::Bytes;
use sojourn_core::{NamespaceId, glob};

const FLAGS: u32 = PUBSUB | NOSCRIPT | LOADING | STALE;

pub const COMMANDS: &[Spec] = &[
    command("subscribe", -2, subscribe).flags(FLAGS | BARRIER).docs(
        "pubsub",
        "2.0.0",
        "channel [channel ...]",
        "Listens to channels.",
    ),
    command("unsubscribe", -1, unsubscribe).flags(FLAGS | BARRIER).docs(
        "pubsub",
        "2.0.0",
        "[channel [channel ...]]",
        "Stops listening to channels, or to all.",
    ),
    command("psubscribe", -2, psubscribe).flags(FLAGS | BARRIER).docs(
        "pubsub",
        "2.0.0",
        "pattern [pattern ...]",
        "Listens to channels that match patterns.",
    ),
    command("punsubscribe", -1, punsubscribe).flags(FLAGS | BARRIER).docs(
        "pubsub",
        "2.0.0",
        "[pattern [pattern ...]]",
        "Stops listening to patterns, or to all.",
    ),
    command("publish", 3, publish).flags(PUBSUB | LOADING | STALE | FAST | BARRIER).docs(
        "pubsub",
        "2.0.0",
        "channel message",
        "Sends a message to the listeners of all nodes; returns how many listen at this one.",
    ),
    command("pubsub", -2, need_subcommand)
        .docs("pubsub", "2.8.0", "subcommand", "Looks at who listens to what at this node.")
        .subcommands(PUBSUB_COMMANDS),
];

const PUBSUB_COMMANDS: &[Spec] = &[
    command("pubsub|channels", -2, channels).flags(PUBSUB | LOADING | STALE).docs(
        "pubsub",
        "2.8.0",
        "[pattern]",
        "Returns the channels that somebody listens to.",
    ),
    command("pubsub|numsub", -2, numsub).flags(PUBSUB | LOADING | STALE).docs(
        "pubsub",
        "2.8.0",
        "[channel [channel ...]]",
        "Counts the listeners of channels.",
    ),
    command("pubsub|numpat", 2, numpat).flags(PUBSUB | LOADING | STALE).docs(
        "pubsub",
        "2.8.0",
        "",
        "Counts the patterns that somebody listens to.",
    ),
    command("pubsub|help", 2, pubsub_help).flags(LOADING | STALE).docs("pubsub", "6.2.0", "", "Tells the subcommands."),
];

fn subscribe(call: &mut Call<'_>) -> Planned {
    join(call, Topic::Channel)
}

fn psubscribe(call: &mut Call<'_>) -> Planned {
    join(call, Topic::Pattern)
}

fn join(call: &mut Call<'_>, topic: Topic) -> Planned {
    let namespace = call.room()?.id;
    if call.session.subscription_count() + call.args.len() > SUBSCRIPTIONS_MAX {
        return Err(Error::new("ERR too many subscriptions of one connection"));
    }
    for name in call.args.from(1).iter() {
        let name = Bytes::copy_from_slice(name);
        let own = match topic {
            Topic::Channel => &mut call.session.channels,
            Topic::Pattern => &mut call.session.patterns,
        };
        if own.insert((namespace, name.clone())) {
            let (hub, backend) = (&call.server.hub, &call.server.backend);
            hub.subscribe(backend, topic, namespace, name.clone(), &call.session.client);
        }
        tell_joined(call, topic, true, Some(&name));
    }
    note_subscriptions(call.session);
    Ok(Plan::Done)
}

fn unsubscribe(call: &mut Call<'_>) -> Planned {
    leave(call, Topic::Channel)
}

fn punsubscribe(call: &mut Call<'_>) -> Planned {
    leave(call, Topic::Pattern)
}

fn leave(call: &mut Call<'_>, topic: Topic) -> Planned {
    let namespace = call.room()?.id;
    let own = match topic {
        Topic::Channel => &call.session.channels,
        Topic::Pattern => &call.session.patterns,
    };
    let names: Vec<(NamespaceId, Bytes)> = match call.args.len() {
        1 => own.iter().cloned().collect(),
        _ => call.args.from(1).iter().map(|name| (namespace, Bytes::copy_from_slice(name))).collect(),
    };
    if names.is_empty() {
        tell_joined(call, topic, false, None);
    }
    for (namespace, name) in names {
        let own = match topic {
            Topic::Channel => &mut call.session.channels,
            Topic::Pattern => &mut call.session.patterns,
        };
        if own.remove(&(namespace, name.clone())) {
            call.server.hub.unsubscribe(topic, namespace, &name, call.session.client.id);
        }
        tell_joined(call, topic, false, Some(&name));
    }
    note_subscriptions(call.session);
    Ok(Plan::Done)
}

fn tell_joined(call: &mut Call<'_>, topic: Topic, joined: bool, name: Option<&Bytes>) {
    let count = call.session.subscription_count() as u64;
    call.reply.push(3);
    call.reply.bulk(topic_word(topic, joined));
    call.reply.bulk_or_null(name.map(|name| &**name));
    call.reply.count(count);
}

fn publish(call: &mut Call<'_>) -> Planned {
    let namespace = call.room()?.id;
    let receivers = call.server.hub.receivers(namespace, call.args.at(1));
    let (channel, message) = (Bytes::copy_from_slice(call.args.at(1)), Bytes::copy_from_slice(call.args.at(2)));
    call.server.backend.publish(namespace, channel, message);
    call.reply.count(receivers as u64);
    Ok(Plan::Done)
}

fn channels(call: &mut Call<'_>) -> Planned {
    if call.args.len() > 3 {
        return Err(error::wrong_arity("pubsub|channels"));
    }
    let mut channels = call.server.hub.channels(call.room()?.id);
    if let Some(pattern) = call.args.get(2) {
        channels.retain(|channel, _| glob::matches(pattern, channel));
    }
    call.reply.array(channels.len());
    channels.keys().for_each(|channel| call.reply.bulk(channel));
    Ok(Plan::Done)
}

fn numsub(call: &mut Call<'_>) -> Planned {
    let channels = call.server.hub.channels(call.room()?.id);
    let asked = call.args.from(2);
    // A flat array even for RESP3 clients.
    call.reply.array(asked.len() * 2);
    for channel in asked.iter() {
        call.reply.bulk(channel);
        call.reply.count(channels.get(channel).map_or(0, |count| *count as u64));
    }
    Ok(Plan::Done)
}

fn numpat(call: &mut Call<'_>) -> Planned {
    call.reply.count(call.server.hub.pattern_count(call.room()?.id) as u64);
    Ok(Plan::Done)
}

fn pubsub_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels.",
        ],
    )
}
