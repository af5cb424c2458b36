//! Sessions and the parts that requests share.

use super::{LABELS_MAX, Malformed, OWNER_TEXT_BYTES_MAX, calls::OwnerGiven, v1};
use bytes::Bytes;
use sojourn_core::{Expiry, Fields, Incarnation, Kind, Owner, RegionId, Request, Stamp, Version, View, query::Filter};
use std::collections::BTreeMap;

pub(super) fn boxed(bytes: &Bytes) -> Box<[u8]> {
    Box::from(&**bytes)
}

pub(super) fn shared(bytes: Box<[u8]>) -> Bytes {
    Bytes::from(bytes.into_vec())
}

pub(super) fn fields(fields: Vec<v1::Field>) -> Fields {
    Fields::from_pairs(fields.into_iter().map(|v1::Field { name, value }| (boxed(&name), boxed(&value))))
}

fn fields_out(fields: &Fields) -> Vec<v1::Field> {
    let field = |(name, value)| v1::Field { name: Bytes::copy_from_slice(name), value: Bytes::copy_from_slice(value) };
    fields.iter().map(field).collect()
}

impl From<Version> for v1::Version {
    fn from(Version { epoch, home_epoch, sequence }: Version) -> Self {
        Self { epoch, home_epoch, sequence }
    }
}

impl From<v1::Version> for Version {
    fn from(v1::Version { epoch, home_epoch, sequence }: v1::Version) -> Self {
        Self { epoch, home_epoch, sequence }
    }
}

impl From<Incarnation> for v1::Incarnation {
    fn from(Incarnation { stamp, region: RegionId(region) }: Incarnation) -> Self {
        Self { stamp_ms: stamp, region: region.into() }
    }
}

impl From<Kind> for v1::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::String => Self::String,
            Kind::Hash => Self::Hash,
            Kind::Set => Self::Set,
            Kind::SortedSet => Self::SortedSet,
        }
    }
}

/// The kind of that number; `None` for the unspecified one.
fn kind(number: i32) -> Result<Option<Kind>, Malformed> {
    match v1::Kind::try_from(number) {
        Ok(v1::Kind::Unspecified) => Ok(None),
        Ok(v1::Kind::String) => Ok(Some(Kind::String)),
        Ok(v1::Kind::Hash) => Ok(Some(Kind::Hash)),
        Ok(v1::Kind::Set) => Ok(Some(Kind::Set)),
        Ok(v1::Kind::SortedSet) => Ok(Some(Kind::SortedSet)),
        Err(_) => Err(Malformed(format!("kind {number} is unknown to this version: leave it out, or use 1 to 4"))),
    }
}

impl From<Owner> for v1::Owner {
    fn from(Owner { user, revocation_epoch, labels }: Owner) -> Self {
        let labels = labels.into_iter().map(|(name, value)| v1::Label { name: shared(name), value: shared(value) });
        Self { user: shared(user), revocation_epoch: Some(revocation_epoch), labels: labels.collect() }
    }
}

impl TryFrom<v1::Owner> for OwnerGiven {
    type Error = Malformed;

    fn try_from(v1::Owner { user, revocation_epoch, labels }: v1::Owner) -> Result<Self, Malformed> {
        if labels.len() > LABELS_MAX {
            return Err(Malformed(format!("{} labels: a session has at most {LABELS_MAX}", labels.len())));
        }
        let labels = labels.into_iter().map(|v1::Label { name, value }| {
            Ok((owner_text("a label's name", &name)?, owner_text("a label's value", &value)?))
        });
        let labels: Result<BTreeMap<_, _>, Malformed> = labels.collect();
        Ok(Self { user: owner_text("the user", &user)?, revocation_epoch, labels: labels? })
    }
}

pub(super) fn owner_text(what: &str, text: &Bytes) -> Result<Box<[u8]>, Malformed> {
    if text.len() <= OWNER_TEXT_BYTES_MAX {
        return Ok(boxed(text));
    }
    Err(Malformed(format!("{what} has {} bytes: use at most {OWNER_TEXT_BYTES_MAX}", text.len())))
}

/// What of a session goes over the wire.
pub(super) fn session(id: Bytes, view: View) -> v1::Session {
    let View {
        kind,
        incarnation,
        version,
        home: _,
        written,
        idle_timeout_ms,
        idle_deadline,
        absolute_deadline,
        owner,
        field_count,
        bytes,
        fields,
    } = view;
    v1::Session {
        id,
        kind: v1::Kind::from(kind).into(),
        incarnation: Some(incarnation.into()),
        version: Some(version.into()),
        written_at_ms: written,
        idle_timeout_ms,
        idle_deadline_ms: idle_deadline,
        absolute_deadline_ms: absolute_deadline,
        owner: owner.map(|owner| (*owner).into()),
        field_count,
        bytes,
        fields: fields_out(&fields),
    }
}

/// When a session ends by what a caller stated; `absent` if it stated nothing.
pub(super) fn expiry(given: Option<v1::Expiry>, absent: Expiry) -> Result<Expiry, Malformed> {
    use v1::expiry::{NamespaceDefault, Never, When};
    let Some(v1::Expiry { when }) = given else { return Ok(absent) };
    match when {
        Some(When::AfterMs(0)) => Err(Malformed("an expiry after 0 ms: use at least 1, or `Destroy`".to_owned())),
        Some(When::AfterMs(ms)) => Ok(Expiry::After { ms }),
        Some(When::AtMs(ms)) => Ok(Expiry::At { ms }),
        Some(When::NamespaceDefault(NamespaceDefault {})) => Ok(Expiry::Default),
        Some(When::Never(Never {})) => Ok(Expiry::Never),
        None => Err(Malformed("an expiry that says nothing: leave it out, or say when".to_owned())),
    }
}

/// The request's name, if it has one.
pub(super) fn request(given: Option<v1::RequestId>) -> Result<Option<Request>, Malformed> {
    let Some(v1::RequestId { origin, sequence, settled }) = given else { return Ok(None) };
    if origin == 0 || sequence == 0 || settled > sequence {
        let mend = "draw a random origin, count from 1, and settle only what was answered";
        return Err(Malformed(format!(
            "a request id of origin {origin}, sequence {sequence}, settled {settled}: {mend}"
        )));
    }
    Ok(Some(Request { origin, sequence, settled }))
}

/// A filter, where `now` is the node's time.
pub(super) fn filter(given: Option<v1::Filter>) -> Result<impl FnOnce(Stamp) -> Filter, Malformed> {
    let v1::Filter { user, label, expiring_within_ms, kind: number, pattern } = given.unwrap_or_default();
    let user = user.map(|user| owner_text("the user", &user)).transpose()?;
    let label = label.map(|v1::Label { name, value }| (boxed(&name), boxed(&value)));
    let (kind, pattern) = (kind(number)?, pattern.as_ref().map(boxed));
    Ok(move |now: Stamp| {
        let expiring_before = expiring_within_ms.map(|ms| now.saturating_add(ms));
        Filter { user, label, expiring_before, kind, pattern }
    })
}
