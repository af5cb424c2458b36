//! All settings of a namespace, once: flags, help, JSON and tables are made from this table.

use super::{Setting, parse_duration, parse_size, show_duration, show_size};
use sojourn_core::policy::{AfterDestroy, FieldsFormat, Reads};
use std::collections::BTreeMap;

const DURATION: &str = "a duration such as 30m or 14d";
const DURATION_OR_NONE: &str = "a duration such as 30m or 14d, or none";
const SIZE: &str = "a size such as 100KiB";

/// Longer than this, every way home is shorter.
const WAIT_FRESH_MS_MAX: u64 = 1_000;

/// All settings.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "idle_timeout",
        value: "DURATION|none",
        help: "How long a session may stay unused if its client does not say",
        form: DURATION_OR_NONE,
        show: |policy| or_none(policy.idle_timeout_ms, show_duration),
        set: |policy, text| put(&mut policy.idle_timeout_ms, none_or(text, "none", parse_duration)),
    },
    Setting {
        name: "idle_timeout_max",
        value: "DURATION|none",
        help: "The longest idle timeout that a client may ask for",
        form: DURATION_OR_NONE,
        show: |policy| or_none(policy.idle_timeout_ms_max, show_duration),
        set: |policy, text| put(&mut policy.idle_timeout_ms_max, none_or(text, "none", parse_duration)),
    },
    Setting {
        name: "absolute_timeout",
        value: "DURATION",
        help: "How long a session with an id of ours lives at most, from login",
        form: DURATION,
        show: |policy| show_duration(policy.absolute_ms),
        set: |policy, text| put(&mut policy.absolute_ms, parse_duration(text).filter(|ms| *ms > 0)),
    },
    Setting {
        name: "foreign_absolute_timeout",
        value: "DURATION",
        help: "How long a session with a client's own id lives at most, from its last write",
        form: DURATION,
        show: |policy| show_duration(policy.foreign_absolute_ms),
        set: |policy, text| put(&mut policy.foreign_absolute_ms, parse_duration(text).filter(|ms| *ms > 0)),
    },
    Setting {
        name: "touch_interval",
        value: "DURATION|always|never|auto",
        help: "How much later a deadline must be before moving it is logged; auto is a tenth of the idle timeout, at most 1m",
        form: "a duration such as 10s, or always, never or auto",
        show: |policy| match policy.touch_interval_ms {
            None => "auto".to_owned(),
            Some(0) => "always".to_owned(),
            Some(u64::MAX) => "never".to_owned(),
            Some(ms) => show_duration(ms),
        },
        set: |policy, text| {
            let interval_ms = match text {
                "auto" => Some(None),
                "always" => Some(Some(0)),
                "never" => Some(Some(u64::MAX)),
                text => parse_duration(text).map(Some),
            };
            put(&mut policy.touch_interval_ms, interval_ms)
        },
    },
    Setting {
        name: "foreign_ids",
        value: "true|false",
        help: "Whether clients may choose ids themselves, as Redis clients do",
        form: "true or false",
        show: |policy| policy.foreign_ids.to_string(),
        set: |policy, text| put(&mut policy.foreign_ids, text.parse().ok()),
    },
    Setting {
        name: "after_destroy",
        value: "create|refuse",
        help: "What a SET on a destroyed session does",
        form: "create (as Redis does) or refuse",
        show: |policy| match policy.after_destroy {
            AfterDestroy::Create => "create".to_owned(),
            AfterDestroy::Refuse => "refuse".to_owned(),
        },
        set: |policy, text| {
            let after = match text {
                "create" => Some(AfterDestroy::Create),
                "refuse" => Some(AfterDestroy::Refuse),
                _ => None,
            };
            put(&mut policy.after_destroy, after)
        },
    },
    Setting {
        name: "size_warn",
        value: "SIZE",
        help: "Warn about sessions above this size",
        form: SIZE,
        show: |policy| show_size(policy.size_warn_bytes),
        set: |policy, text| put(&mut policy.size_warn_bytes, parse_size(text)),
    },
    Setting {
        name: "size_error",
        value: "SIZE",
        help: "Report sessions above this size as errors, but keep them",
        form: SIZE,
        show: |policy| show_size(policy.size_error_bytes),
        set: |policy, text| put(&mut policy.size_error_bytes, parse_size(text)),
    },
    Setting {
        name: "size_max",
        value: "SIZE",
        help: "Refuse sessions above this size",
        form: SIZE,
        show: |policy| show_size(policy.size_bytes_max),
        set: |policy, text| put(&mut policy.size_bytes_max, parse_size(text).filter(|bytes| *bytes > 0)),
    },
    Setting {
        name: "max_sessions",
        value: "COUNT|none",
        help: "Refuse to create sessions above this many",
        form: "a number, or none",
        show: |policy| or_none(policy.sessions_max, |count| count.to_string()),
        set: |policy, text| put(&mut policy.sessions_max, none_or(text, "none", |text| text.parse().ok())),
    },
    Setting {
        name: "max_bytes",
        value: "SIZE|none",
        help: "Refuse to create sessions above this size of all together",
        form: "a size such as 10GiB, or none",
        show: |policy| or_none(policy.bytes_max, show_size),
        set: |policy, text| put(&mut policy.bytes_max, none_or(text, "none", parse_size)),
    },
    Setting {
        name: "db",
        value: "NUMBER|none",
        help: "The number by which SELECT chooses this namespace",
        form: "a number, or none",
        show: |policy| policy.database.map_or_else(|| "none".to_owned(), |database| database.to_string()),
        set: |policy, text| {
            let database = if text == "none" { Some(None) } else { text.parse().ok().map(Some) };
            put(&mut policy.database, database)
        },
    },
    Setting {
        name: "fields",
        value: "opaque|json",
        help: "How values are read: json finds user, labels and fields to redact by their paths",
        form: "opaque or json",
        show: |policy| match policy.fields {
            FieldsFormat::Opaque => "opaque".to_owned(),
            FieldsFormat::Json => "json".to_owned(),
        },
        set: |policy, text| {
            let format = match text {
                "opaque" => Some(FieldsFormat::Opaque),
                "json" => Some(FieldsFormat::Json),
                _ => None,
            };
            put(&mut policy.fields, format)
        },
    },
    Setting {
        name: "user_path",
        value: "PATH",
        help: "Where in a JSON value the user is, such as passport.user; empty for nowhere",
        form: "a path such as passport.user",
        show: |policy| policy.user_path.clone(),
        set: |policy, text| put(&mut policy.user_path, Some(text.to_owned())),
    },
    Setting {
        name: "label_paths",
        value: "NAME=PATH,...",
        help: "Labels and where in a JSON value each is, such as role=user.role,plan=plan; empty for none",
        form: "name=path,name=path",
        show: |policy| {
            let pairs: Vec<String> = policy.label_paths.iter().map(|(name, path)| format!("{name}={path}")).collect();
            pairs.join(",")
        },
        set: |policy, text| put(&mut policy.label_paths, pairs(text)),
    },
    Setting {
        name: "redact",
        value: "NAMES",
        help: "Fields that are never stored, such as password,creditCard; empty for none",
        form: "names or JSON paths, separated by commas",
        show: |policy| policy.redact.join(","),
        set: |policy, text| put(&mut policy.redact, Some(list(text).map(str::to_owned).collect())),
    },
    Setting {
        name: "ack",
        value: "local|geo|COUNT",
        help: "When a write is acknowledged: local once its region has it, geo once another region has it on disk too, or so many",
        form: "local, geo, or a number of other regions",
        show: |policy| match policy.ack_regions {
            0 => "local".to_owned(),
            1 => "geo".to_owned(),
            regions => regions.to_string(),
        },
        set: |policy, text| {
            let regions = match text {
                "local" => Some(0),
                "geo" => Some(1),
                text => text.parse().ok(),
            };
            put(&mut policy.ack_regions, regions)
        },
    },
    Setting {
        name: "reads",
        value: "anywhere|home",
        help: "Where sessions are read: from any region's copy that is fresh enough, or always in the region that orders them",
        form: "anywhere or home",
        show: |policy| match policy.reads {
            Reads::Anywhere => "anywhere".to_owned(),
            Reads::Home => "home".to_owned(),
        },
        set: |policy, text| {
            let reads = match text {
                "anywhere" => Some(Reads::Anywhere),
                "home" => Some(Reads::Home),
                _ => None,
            };
            put(&mut policy.reads, reads)
        },
    },
    Setting {
        name: "wait_fresh",
        value: "DURATION",
        help: "How long a read waits for a copy that does not show yet what its caller has seen, before it goes home",
        form: "a duration up to 1s, such as 50ms; 0 to go home at once",
        show: |policy| show_duration(policy.wait_fresh_ms),
        set: |policy, text| put(&mut policy.wait_fresh_ms, parse_duration(text).filter(|ms| *ms <= WAIT_FRESH_MS_MAX)),
    },
    Setting {
        name: "travel",
        value: "true|false",
        help: "Whether a session that is mostly used from another region gets its home there",
        form: "true or false",
        show: |policy| policy.travel.to_string(),
        set: |policy, text| put(&mut policy.travel, text.parse().ok()),
    },
];

/// Puts a value in its place, if there is one.
fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn or_none(value: u64, show: fn(u64) -> String) -> String {
    if value == 0 { "none".to_owned() } else { show(value) }
}

fn none_or(text: &str, none: &str, parse: fn(&str) -> Option<u64>) -> Option<u64> {
    if text == none { Some(0) } else { parse(text) }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let pair = |item: &str| {
        let (name, path) = item.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty())?;
        Some((name.to_owned(), path.to_owned()))
    };
    list(text).map(pair).collect()
}
