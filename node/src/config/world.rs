//! What a node is told of the other regions of its world.

use super::{ConfigError, Source};
use crate::{notation::parse_duration, peers::WayOut, world::Neighbour};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sojourn_core::{
    RegionId,
    control::{AUTOMATIC_REGIONS_MIN, FailoverMode},
    lease::{LEASE_MS_MAX, LEASE_MS_MIN},
    mint::MintKey,
};
use std::{collections::BTreeMap, time::Duration};

/// More often, comparing copies and asking for tombstones would be a load.
const INTERVAL_MS_MIN: u64 = 1_000;

/// The letters of a secret that nobody guesses.
const SECRET_LETTERS_MIN: usize = 32;

/// What all nodes of a world know and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct WorldSecret(String);

impl std::fmt::Debug for WorldSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorldSecret(..)")
    }
}

impl WorldSecret {
    /// The key by which every region knows the ids that any of them minted.
    pub fn mint_key(&self) -> MintKey {
        // A key may have any length.
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes());
        let bytes = mac.map(|mac| mac.chain_update(b"mint key").finalize().into_bytes().into());
        MintKey::new(bytes.unwrap_or_default())
    }
}

/// The other regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorldConfig {
    /// By number, this one not among them; none in a world of one region.
    pub neighbours: BTreeMap<RegionId, Neighbour>,
    /// The secret, if there is one.
    pub secret: Option<WorldSecret>,
    /// How connections to other regions are opened.
    pub way_out: WayOut,
    /// Who decides over the loss of a region, when the world is founded.
    pub failover: FailoverMode,
    /// How long leases between regions last then, in ms.
    pub lease_ms: u64,
    /// How often copies of their sessions are compared with what they have.
    pub digest_interval: Duration,
    /// How often it is found out which tombstones are known everywhere.
    pub sweep_interval: Duration,
    /// All that were listed, this one perhaps among them.
    listed: BTreeMap<RegionId, Neighbour>,
}

impl Source<'_> {
    pub(super) fn abroad(&self) -> Result<WorldConfig, ConfigError> {
        let secret = self.text("world.secret");
        if let Some(short) = secret.as_ref().filter(|secret| secret.len() < SECRET_LETTERS_MIN) {
            let value = format!("{} letters", short.len());
            let mend = format!("use at least {SECRET_LETTERS_MIN}, such as `openssl rand -hex 32` prints");
            return Err(ConfigError::BadValue { key: "world.secret", value, mend });
        }
        let way_out = match self.text("world.proxy") {
            None => WayOut::Direct,
            Some(proxy) if proxy.contains(':') => WayOut::Proxy(proxy),
            Some(value) => {
                let mend = "use an address and a port, such as 10.0.0.1:3128".to_owned();
                return Err(ConfigError::BadValue { key: "world.proxy", value, mend });
            }
        };
        let listed = self.text("world.regions").map(|text| regions(&text)).transpose()?.unwrap_or_default();
        let here = RegionId(self.number("region.id")?);
        let neighbours = listed.iter().filter(|(id, _)| **id != here);
        let neighbours: BTreeMap<RegionId, Neighbour> =
            neighbours.map(|(id, neighbour)| (*id, neighbour.clone())).collect();
        let failover = self.failover(neighbours.len() + 1)?;
        let (secret, lease_ms) = (secret.map(WorldSecret), self.lease_ms()?);
        let digest_interval = self.interval("world.digest_interval")?;
        let sweep_interval = self.interval("world.sweep_interval")?;
        Ok(WorldConfig { neighbours, secret, way_out, failover, lease_ms, digest_interval, sweep_interval, listed })
    }
}

impl Source<'_> {
    /// Who decides over losses in a world of so many regions; where they can, they do.
    fn failover(&self, regions: usize) -> Result<FailoverMode, ConfigError> {
        let enough = regions >= AUTOMATIC_REGIONS_MIN;
        let refused = |value: &str, mend: &str| {
            Err(ConfigError::BadValue { key: "world.failover", value: value.to_owned(), mend: mend.to_owned() })
        };
        match self.text("world.failover").as_deref() {
            None if enough => Ok(FailoverMode::Automatic),
            None | Some("operator") => Ok(FailoverMode::Operator),
            Some("automatic") if enough => Ok(FailoverMode::Automatic),
            Some(few @ "automatic") => refused(
                few,
                "that needs three regions or more in `world.regions`, this one among them: with fewer a loss cannot be told \
                 from a cut, so use operator",
            ),
            Some(other) => refused(other, "use operator or automatic"),
        }
    }

    fn interval(&self, key: &'static str) -> Result<Duration, ConfigError> {
        let value = self.text(key).unwrap_or_default();
        match parse_duration(&value).filter(|ms| *ms >= INTERVAL_MS_MIN) {
            Some(ms) => Ok(Duration::from_millis(ms)),
            None => {
                let mend = "use a duration of at least 1s, such as 1m".to_owned();
                Err(ConfigError::BadValue { key, value, mend })
            }
        }
    }

    fn lease_ms(&self) -> Result<u64, ConfigError> {
        let value = self.text("world.lease").unwrap_or_default();
        match parse_duration(&value) {
            Some(ms) if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&ms) => Ok(ms),
            Some(_) | None => {
                let mend = "use a duration from 1s to 10m, such as 10s".to_owned();
                Err(ConfigError::BadValue { key: "world.lease", value, mend })
            }
        }
    }
}

/// `number:name=address/address`, separated by commas.
fn regions(text: &str) -> Result<BTreeMap<RegionId, Neighbour>, ConfigError> {
    let bad =
        |mend: &str| ConfigError::BadValue { key: "world.regions", value: text.to_owned(), mend: mend.to_owned() };
    let mut regions: BTreeMap<RegionId, Neighbour> = BTreeMap::new();
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let (id, neighbour) = region(one).ok_or_else(|| {
            bad("list `number:name=address/address` with the peers address of some nodes of each region")
        })?;
        if regions.values().any(|known| known.name == neighbour.name) || regions.contains_key(&id) {
            return Err(bad("give each region a number and a name of its own"));
        }
        regions.insert(id, neighbour);
    }
    Ok(regions)
}

fn region(text: &str) -> Option<(RegionId, Neighbour)> {
    let (who, addresses) = text.split_once('=')?;
    let (id, name) = who.split_once(':')?;
    let entrances: Vec<String> = addresses.split('/').map(str::to_owned).collect();
    let complete = entrances.iter().all(|address| address.contains(':')) && !name.is_empty();
    let neighbour = Neighbour { name: name.to_owned(), entrances };
    complete.then_some((RegionId(id.parse().ok()?), neighbour))
}

impl WorldConfig {
    /// What several regions need, and what two of them must not share.
    pub(super) fn check(&self, world: Option<u128>, (id, name): &(RegionId, String)) -> Result<(), ConfigError> {
        let missing = |key: &'static str, mend: &str| {
            Err(ConfigError::BadValue { key, value: String::new(), mend: mend.to_owned() })
        };
        let here = self.listed.get(id);
        let same_name = self.neighbours.values().any(|neighbour| neighbour.name == *name);
        if here.is_some_and(|listed| listed.name != *name) || same_name {
            let value = format!("{name} with region.id {}", id.0);
            let mend = "`world.regions` says otherwise: correct one of both".to_owned();
            return Err(ConfigError::BadValue { key: "region.name", value, mend });
        }
        if self.neighbours.is_empty() {
            return Ok(());
        }
        if world.is_none() {
            return missing("region.world", "say it, the same in all regions: `openssl rand -hex 16` draws one");
        }
        if self.secret.is_none() {
            return missing("world.secret", "say it, the same in all regions: `openssl rand -hex 32` draws one");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeConfig, Texts};
    use crate::peers::WayOut;
    use sojourn_core::control::FailoverMode;

    fn with(pairs: &[(&str, &str)]) -> Result<NodeConfig, String> {
        let texts: Texts = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        NodeConfig::from_texts(&[&texts]).map_err(|error| error.to_string())
    }

    const REGIONS: (&str, &str) = ("world.regions", "0:na=127.0.0.1:7403, 1:eu=127.0.0.1:7503/127.0.0.1:7513");
    const SECRET: (&str, &str) = ("world.secret", "0123456789abcdef0123456789abcdef");
    const WORLD: (&str, &str) = ("region.world", "7");

    #[test]
    fn the_other_regions_are_listed_with_their_entrances() {
        let config = with(&[REGIONS, SECRET, WORLD]).expect("a good configuration");
        assert_eq!(config.abroad.way_out, WayOut::Direct);
        let proxied = with(&[REGIONS, SECRET, WORLD, ("world.proxy", "10.0.0.1:3128")]).expect("a good configuration");
        assert_eq!(proxied.abroad.way_out, WayOut::Proxy("10.0.0.1:3128".to_owned()));
        let neighbours: Vec<_> = config.abroad.neighbours.iter().map(|(id, it)| (id.0, &*it.name)).collect();
        assert_eq!(neighbours, [(1, "eu")]);
        assert_eq!(config.abroad.neighbours[&sojourn_core::RegionId(1)].entrances.len(), 2);
        assert!(!format!("{config:?}").contains("0123456789"), "the secret is not printed");
    }

    #[test]
    fn regions_decide_over_losses_where_there_are_three_unless_it_is_said() {
        let three = ("world.regions", "1:eu=127.0.0.1:7503, 2:apac=127.0.0.1:7603");
        let decided = |regions, more: &[(&str, &str)]| {
            let config = with(&[&[regions, SECRET, WORLD], more].concat()).expect("a good configuration");
            (config.abroad.failover, config.abroad.lease_ms)
        };
        assert_eq!(decided(three, &[]), (FailoverMode::Automatic, 10_000));
        assert_eq!(decided(REGIONS, &[("world.lease", "2s")]), (FailoverMode::Operator, 2_000));
        assert_eq!(decided(three, &[("world.failover", "operator")]).0, FailoverMode::Operator);
    }

    #[test]
    fn what_is_wrong_with_a_world_is_named_with_the_mend() {
        for (pairs, key, mend) in [
            (vec![REGIONS, SECRET], "region.world", "openssl rand"),
            (vec![REGIONS, WORLD], "world.secret", "openssl rand"),
            (vec![REGIONS, WORLD, ("world.secret", "short")], "world.secret", "at least 32"),
            (vec![REGIONS, SECRET, WORLD, ("world.proxy", "10.0.0.1")], "world.proxy", "and a port"),
            (vec![("world.regions", "na=127.0.0.1:1"), SECRET, WORLD], "world.regions", "number:name=address"),
            (vec![("world.regions", "1:eu=a:1,1:apac=b:1"), SECRET, WORLD], "world.regions", "of its own"),
            (vec![("world.regions", "1:na=a:1"), SECRET, WORLD], "region.name", "world.regions"),
            (vec![("world.regions", "0:eu=a:1"), SECRET, WORLD], "region.name", "world.regions"),
            (vec![REGIONS, SECRET, WORLD, ("world.failover", "automatic")], "world.failover", "three regions"),
            (vec![("world.failover", "never")], "world.failover", "use operator or automatic"),
            (vec![("world.lease", "10ms")], "world.lease", "from 1s to 10m"),
            (vec![("world.digest_interval", "10ms")], "world.digest_interval", "at least 1s"),
            (vec![("world.sweep_interval", "soon")], "world.sweep_interval", "at least 1s"),
        ] {
            let error = with(&pairs).expect_err(key);
            assert!(error.contains(key) && error.contains(mend), "{error}");
        }
    }
}
