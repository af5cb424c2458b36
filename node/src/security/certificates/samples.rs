//! Authorities and certificates for tests.

use super::{Files, NODE_NAME};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a certificate says.
pub struct Says {
    /// Whose it is.
    pub name: &'static str,
    /// Until when it is good: so long from now, or ago.
    pub until: Result<Duration, Duration>,
}

impl Default for Says {
    fn default() -> Self {
        Self { name: NODE_NAME, until: Ok(Duration::from_secs(3_600)) }
    }
}

impl Authority {
    /// One with a key of its own.
    pub fn draw() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    /// Writes the files of a node that it has certified.
    pub fn certify(&self, directory: &Path, says: &Says) -> Files {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(says.name.try_into().expect("a host name"))];
        params.not_before = (now - Duration::from_secs(86_400)).into();
        params.not_after = says.until.map_or_else(|ago| now - ago, |left| now + left).into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        let write = |name: &str, text: String| {
            fs::write(directory.join(name), text).expect("written");
            directory.join(name)
        };
        Files {
            certificate: write("node.pem", certificate.pem()),
            key: write("node.key", key.serialize_pem()),
            authority: write("authority.pem", self.0.pem()),
        }
    }
}
