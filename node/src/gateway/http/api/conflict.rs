//! The journal of conflicts in JSON.

use super::{
    Place,
    session::{field, kind_name},
};
use crate::notation::escape;
use serde::{Deserialize, Serialize};
use sojourn_core::{Life, state};
use std::collections::{BTreeMap, BTreeSet};

/// `POST /v1/regions/conflicts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListConflicts {
    /// Only of this namespace, by its name.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Only sessions that were this user's on either side.
    #[serde(default)]
    pub user: Option<String>,
    /// How many at most; fewer may come.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Where the last page ended.
    #[serde(default)]
    pub from: Option<Place>,
    /// Ids as they are, instead of what stands for them.
    #[serde(default)]
    pub show_ids: bool,
    /// Whether to answer the fields of both sides too.
    #[serde(default)]
    pub values: bool,
}

/// A page of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflicts {
    /// Entries, the earliest of each shard first.
    pub conflicts: Vec<Conflict>,
    /// The time of the node that answers.
    pub now: u64,
    /// Where to go on; none at the end.
    pub next: Option<Place>,
}

/// A session that two regions wrote without knowing of each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// When it was found.
    pub at: u64,
    /// The session's namespace; its number where it was dropped since.
    pub namespace: String,
    /// The session's id, or `#` and a keyed hash of it where ids are not shown.
    pub session: String,
    /// The region that was away, or, of two that created one id at once, the one that came too late.
    pub home: String,
    /// The first epoch that was drawn for it after it last served; 0 where two regions created one id at once.
    pub epoch: u32,
    /// How the session went on: `mine` or `theirs`.
    pub kept: String,
    /// What differs: `session` (another one under this id), `kind`, `life`, `user`, `labels`, and fields by their names, the
    /// value of a string as `value`.
    pub differs: Vec<String>,
    /// What that region had.
    pub mine: Side,
    /// What everybody else had, if anything.
    pub theirs: Option<Side>,
}

/// A session as one side had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its home.
    pub home: String,
    /// `live`, `destroyed` or `expired`.
    pub life: String,
    /// `string`, `hash`, `set` or `sorted_set`.
    pub kind: String,
    /// When it was created.
    pub created_at: u64,
    /// When it was last written.
    pub written_at: u64,
    /// `epoch.home epoch.sequence`.
    pub version: String,
    /// Whose it is.
    pub user: Option<String>,
    /// What the application labelled it with.
    pub labels: BTreeMap<String, String>,
    /// The fields, where they were asked for and are not those that the session itself has still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

impl Conflict {
    /// An entry about the session that is called `session`, in this namespace. `region` gives a region's name.
    pub fn of(
        conflict: &state::Conflict,
        (namespace, session): (String, String),
        with_fields: bool,
        region: impl Fn(sojourn_core::RegionId) -> String,
    ) -> Self {
        let state::Conflict { key: _, home, epoch, at, mine, theirs } = conflict;
        let side = |side: &state::Side| Side::of(side, region(side.home), with_fields);
        Self {
            at: *at,
            namespace,
            session,
            home: region(*home),
            epoch: *epoch,
            kept: if conflict.is_mine_kept() { "mine" } else { "theirs" }.to_owned(),
            differs: theirs.as_ref().map_or_else(|| vec!["session".to_owned()], |theirs| differs(mine, theirs)),
            mine: side(mine),
            theirs: theirs.as_ref().map(side),
        }
    }
}

impl Side {
    fn of(side: &state::Side, home: String, with_fields: bool) -> Self {
        let state::Side { incarnation, version, home: _, kind, life, written, owner, fields } = side;
        let owner = owner.as_deref();
        let labels = owner.iter().flat_map(|owner| &owner.labels);
        let shown = |fields: &sojourn_core::Fields| {
            fields.iter().map(|(name, value)| (escape(name), field(*kind, value))).collect()
        };
        Self {
            home,
            life: life_name(*life).to_owned(),
            kind: kind_name(*kind).to_owned(),
            created_at: incarnation.stamp,
            written_at: *written,
            version: format!("{}.{}.{}", version.epoch, version.home_epoch, version.sequence),
            user: owner.filter(|owner| !owner.user.is_empty()).map(|owner| escape(&owner.user)),
            labels: labels.map(|(name, value)| (escape(name), escape(value))).collect(),
            fields: fields.as_ref().filter(|_| with_fields).map(shown),
        }
    }
}

fn life_name(life: Life) -> &'static str {
    match life {
        Life::Live => "live",
        Life::Dead { expired: false, .. } => "destroyed",
        Life::Dead { expired: true, .. } => "expired",
    }
}

/// What differs between two sides. What one of them leaves to the session itself is not compared.
fn differs(mine: &state::Side, theirs: &state::Side) -> Vec<String> {
    let user = |side: &state::Side| side.owner.as_ref().map(|owner| owner.user.clone()).unwrap_or_default();
    let labels = |side: &state::Side| side.owner.as_ref().map(|owner| owner.labels.clone()).unwrap_or_default();
    let known = [
        ("session", mine.incarnation != theirs.incarnation),
        ("kind", mine.kind != theirs.kind),
        ("life", life_name(mine.life) != life_name(theirs.life)),
        ("user", user(mine) != user(theirs)),
        ("labels", labels(mine) != labels(theirs)),
    ];
    let named = known.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned());
    named.chain(fields_that_differ(mine, theirs)).collect()
}

fn fields_that_differ(mine: &state::Side, theirs: &state::Side) -> Vec<String> {
    let (Some(mine), Some(theirs)) = (&mine.fields, &theirs.fields) else { return Vec::new() };
    let names: BTreeSet<&[u8]> = mine.iter().chain(theirs.iter()).map(|(name, _)| name).collect();
    let differing = names.into_iter().filter(|name| mine.get(name) != theirs.get(name));
    differing.map(|name| if name.is_empty() { "value".to_owned() } else { escape(name) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::{Fields, Incarnation, Key, Kind, NamespaceId, Owner, RegionId, Version};

    fn side(sequence: u64, fields: &[(&str, &str)]) -> state::Side {
        let pairs = fields.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()));
        state::Side {
            incarnation: Incarnation { stamp: 5, region: RegionId(0) },
            version: Version { epoch: 1, home_epoch: 0, sequence },
            home: RegionId(0),
            kind: Kind::Hash,
            life: Life::Live,
            written: 9,
            owner: None,
            fields: Some(Fields::from_pairs(pairs)),
        }
    }

    fn of(mine: state::Side, theirs: Option<state::Side>) -> Conflict {
        let key = Key::new(NamespaceId(0), b"s").expect("a key");
        let conflict = state::Conflict { key, home: RegionId(0), epoch: 4, at: 20, mine, theirs };
        Conflict::of(&conflict, ("default".to_owned(), "#1".to_owned()), true, |region| format!("r{}", region.0))
    }

    #[test]
    fn an_entry_says_which_value_was_kept_and_what_differs() {
        let mine = side(7, &[("cart", "1"), ("same", "x"), ("mine", "y")]);
        let theirs = state::Side { home: RegionId(2), ..side(8, &[("cart", "2"), ("same", "x")]) };
        let told = of(mine.clone(), Some(theirs.clone()));
        assert_eq!((told.kept.as_str(), told.home.as_str(), told.epoch), ("theirs", "r0", 4));
        assert_eq!(told.differs, ["cart", "mine"]);
        assert_eq!(told.mine.fields.as_ref().expect("asked for")["cart"], "1");
        assert_eq!(told.theirs.expect("there is one").home, "r2");
        assert_eq!(of(theirs, Some(mine)).kept, "mine");
    }

    #[test]
    fn ends_owners_and_strings_differ_too_and_nobody_is_somebody() {
        let owner = Owner { user: b"7".as_slice().into(), revocation_epoch: 0, labels: BTreeMap::new() };
        let mine = state::Side { owner: Some(Box::new(owner)), kind: Kind::String, ..side(7, &[("", "1")]) };
        let dead = Life::Dead { at: 1, collect_at: 2, expired: false };
        let theirs = state::Side { life: dead, kind: Kind::String, ..side(8, &[]) };
        let told = of(mine.clone(), Some(theirs));
        assert_eq!(
            (told.kept.as_str(), told.theirs.as_ref().expect("there is one").life.as_str()),
            ("theirs", "destroyed")
        );
        assert_eq!(told.differs, ["life", "user", "value"]);
        let alone = of(mine, None);
        assert_eq!((alone.kept.as_str(), alone.differs), ("theirs", vec!["session".to_owned()]));
    }
}
