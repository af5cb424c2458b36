//! What an operator does about a lost region, and what one is shown.

use super::Kind;
use crate::process::{Region, Request, Response, World, wait_until};
use anyhow::{Context, ensure};
use serde::Serialize;
use sojourn_node::gateway::http::api::{
    Change, Conflict, Conflicts, FailBack, FailOver, ListConflicts, Namespace, RegionStatus, Regions,
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long regions may take to agree on something.
const AGREED_MAX: Duration = Duration::from_secs(60);

/// Entries of the journal that are asked for at a time.
const PAGE: u64 = 1_000;

/// Asks one node.
#[derive(Clone, Copy)]
pub(super) struct Operator {
    http: SocketAddr,
}

impl Operator {
    /// One who asks the first node of a region.
    pub fn at(region: &Region) -> anyhow::Result<Self> {
        Ok(Self { http: region.nodes().first().context("a region has nodes")?.http })
    }

    /// A region as this one's shows it.
    pub fn region(&self, name: &str) -> anyhow::Result<RegionStatus> {
        let regions: Regions = read(&self.send("GET", "/v1/regions", "")?)?;
        let mut regions = regions.regions.into_iter();
        regions.find(|region| region.region == name).with_context(|| format!("region {name} is not known yet"))
    }

    /// Says that a region is down, once the others agree.
    pub fn give_up(&self, name: &str) -> anyhow::Result<()> {
        let body = FailOver { region: name.to_owned(), force: true };
        self.until_done(("/v1/regions/failover", &body), |region| region.phase != "serving", name)
    }

    /// Gives a region its own sessions back.
    pub fn fail_back(&self, name: &str) -> anyhow::Result<()> {
        let body = FailBack { region: name.to_owned() };
        self.until_done(("/v1/regions/failback", &body), |region| region.phase != "returning", name)
    }

    /// The whole journal, with values.
    pub fn conflicts(&self) -> anyhow::Result<Vec<Conflict>> {
        let (mut all, mut list) = (Vec::new(), ListConflicts::default());
        (list.limit, list.show_ids, list.values) = (Some(PAGE), true, true);
        loop {
            let page: Conflicts = read(&self.send("POST", "/v1/regions/conflicts", &serde_json::to_string(&list)?)?)?;
            all.extend(page.conflicts);
            list.from = page.next;
            if list.from.is_none() {
                return Ok(all);
            }
        }
    }

    /// Asks until it is agreed on: an answer may be lost, and then the same is refused.
    fn until_done(
        &self,
        (path, body): (&str, &impl Serialize),
        is_done: impl Fn(&RegionStatus) -> bool,
        name: &str,
    ) -> anyhow::Result<()> {
        let json = serde_json::to_string(body)?;
        let mut said = String::new();
        let waited = wait_until(&format!("{path} of {name}"), AGREED_MAX, || {
            match self.send("POST", path, &json) {
                Ok(response) if response.status == 200 => return true,
                Ok(response) => said = response.body,
                Err(error) => said = error.to_string(),
            }
            self.region(name).is_ok_and(|region| is_done(&region))
        });
        waited.with_context(|| said).map(drop)
    }

    fn send(&self, method: &str, path: &str, json: &str) -> anyhow::Result<Response> {
        Request { method, json, timeout: ASK_TIMEOUT, ..Request::get(path) }.send(self.http)
    }
}

fn read<T: serde::de::DeserializeOwned>(response: &Response) -> anyhow::Result<T> {
    ensure!(response.status == 200, "refused: {}", response.body);
    Ok(serde_json::from_str(&response.body)?)
}

/// Has all regions read at home, so that an answer is never an old copy's, and write as `kind` says.
pub(super) fn prepare(world: &World, kind: Kind) -> anyhow::Result<()> {
    let ack = if kind == Kind::Geo { "geo" } else { "local" };
    let settings =
        BTreeMap::from([("ack", ack), ("reads", "home")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    let json = serde_json::to_string(&Change { settings: settings.clone(), password_hash: None })?;
    const PATH: &str = "/v1/namespaces/default";
    let first = Operator::at(world.regions().first().context("a world has regions")?)?;
    read::<Namespace>(&first.send("PATCH", PATH, &json)?)?;
    for node in world.regions().iter().flat_map(Region::nodes) {
        wait_until("all nodes to know the namespace", AGREED_MAX, || {
            let known = Operator { http: node.http }.send("GET", PATH, "").and_then(|said| read::<Namespace>(&said));
            known.is_ok_and(|known| settings.iter().all(|(name, value)| known.settings.get(name) == Some(value)))
        })?;
    }
    Ok(())
}
