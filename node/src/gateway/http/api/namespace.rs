//! Namespaces in JSON. Settings are texts, as [`crate::notation::SETTINGS`] writes and reads them.

use crate::notation::SETTINGS;
use serde::{Deserialize, Serialize};
use sojourn_core::policy;
use std::collections::BTreeMap;

/// `GET /v1/namespaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// By number.
    pub namespaces: Vec<Namespace>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name.
    pub namespace: String,
    /// Its number.
    pub id: u32,
    /// Whether it has a password; without one only this machine is let in.
    pub has_password: bool,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
}

/// `POST /v1/namespaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Its name.
    pub namespace: String,
    /// Settings other than the defaults.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The hash of its password, as [`crate::security::password::hash`] makes it.
    #[serde(default)]
    pub password_hash: Option<String>,
}

/// What that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Its number.
    pub id: u32,
}

/// `PATCH /v1/namespaces/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What to change; the rest stays.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// The hash of a new password; empty for none.
    #[serde(default)]
    pub password_hash: Option<String>,
}

impl From<&policy::Namespace> for Namespace {
    fn from(policy::Namespace { id, name, policy }: &policy::Namespace) -> Self {
        Self {
            namespace: name.clone(),
            id: id.0,
            has_password: !policy.password_hash.is_empty(),
            settings: SETTINGS.iter().map(|setting| (setting.name.to_owned(), (setting.show)(policy))).collect(),
        }
    }
}
