//! The certificate that a node shows to other nodes, and the authority whose certificates it takes.
//!
//! Certificates are for one name, [`NODE_NAME`], wherever a node listens: whoever has one is a node of this world. The files are
//! read anew when they change; new ones that do not pass are refused with a line in the log, and the old ones go on.

use crate::env::{Env, FileMark};
use parking_lot::RwLock;
use rustls::{
    CertificateError, ClientConfig, RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name that all nodes' certificates are for.
pub const NODE_NAME: &str = "node.sojourn";

/// How often the files are looked at. They are, because not all file systems tell of changes.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The largest file in bytes: a chain of some certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What to do about a certificate that is too old.
pub const RENEW: &str = "renew it, for example with `sojourn certs node`; nodes read a new one without a restart";

/// Where the files are, each in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The node's certificate, those between it and the authority behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificates of the authorities whose nodes are taken.
    pub authority: PathBuf,
}

/// Why files cannot be used: which, why, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFiles {
    /// One cannot be read.
    #[error("cannot read `{key}` ({file}): {reason}")]
    Unreadable {
        /// The key of the configuration.
        key: &'static str,
        /// Which.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// One holds something else.
    #[error("`{key}` ({file}) holds no {what} in PEM form: correct the file or the key")]
    Strange {
        /// The key of the configuration.
        key: &'static str,
        /// Which.
        file: String,
        /// What it should hold.
        what: &'static str,
    },
    /// No other node would take it.
    #[error("no other node takes the certificate `tls.certificate` ({file}): {reason}")]
    Refused {
        /// Which.
        file: String,
        /// Why, and the mend.
        reason: String,
    },
}

/// What a node shows and takes. Shared, and replaced as a whole.
pub struct Certificates {
    current: RwLock<Ends>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates(..)")
    }
}

/// Both ends of connections.
#[derive(Clone)]
struct Ends {
    calling: TlsConnector,
    called: TlsAcceptor,
}

impl Certificates {
    /// Reads the files, and reads them again whenever they change, for as long as the result is held.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn open(env: &Env, files: &Files) -> Result<Arc<Self>, BadFiles> {
        // The marks first: what is written while they are read is then seen as a change.
        let marks = marks(env, files);
        let certificates = Arc::new(Self { current: RwLock::new(load(env, files)?) });
        env.spawn("certificates", watch(env.clone(), Arc::downgrade(&certificates), files.clone(), marks));
        Ok(certificates)
    }

    /// How connections are secured that this node opens.
    pub fn calling(&self) -> TlsConnector {
        self.current.read().calling.clone()
    }

    /// How connections are secured that this node takes.
    pub fn called(&self) -> TlsAcceptor {
        self.current.read().called.clone()
    }
}

/// The name that every node answers for.
pub fn node_name() -> ServerName<'static> {
    // A host name, as a test says.
    ServerName::try_from(NODE_NAME).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

/// Why another node's certificate was not taken, or this one's; none if something else went wrong.
pub fn refusal(error: &io::Error) -> Option<String> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(explain(tls))
}

fn explain(error: &rustls::Error) -> String {
    use rustls::AlertDescription::{BadCertificate, CertificateExpired, CertificateRequired, UnknownCA};
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("its certificate has expired: {RENEW}")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: set the clock of one of both nodes, or wait".to_owned()
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is of another authority than `tls.authority` names: have all nodes of the world certified \
                 by one"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is not for the name {NODE_NAME}, which those of all nodes have to be for")
            }
            other => format!("its certificate does not pass: {other}"),
        },
        rustls::Error::AlertReceived(CertificateExpired) => {
            format!("the certificate of this node, `tls.certificate`, has expired: {RENEW}")
        }
        rustls::Error::AlertReceived(alert @ (UnknownCA | BadCertificate | CertificateRequired)) => format!(
            "it does not take the certificate of this node, `tls.certificate` ({alert:?}): have all nodes of the world \
             certified by one authority"
        ),
        other => format!("no secure connection: {other}"),
    }
}

type Marks = [Option<FileMark>; 3];

fn marks(env: &Env, Files { certificate, key, authority }: &Files) -> Marks {
    [certificate, key, authority].map(|file| env.disk.mark(file).ok())
}

/// Reads the files again whenever one is another one. Ends when nobody holds what was read any more.
async fn watch(env: Env, certificates: Weak<Certificates>, files: Files, mut seen: Marks) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = marks(&env, &files);
        if certificates.strong_count() == 0 {
            return;
        }
        if now == seen {
            continue;
        }
        seen = now;
        match (load(&env, &files), certificates.upgrade()) {
            (Ok(ends), Some(certificates)) => {
                tracing::info!(file = %files.certificate.display(), "the certificate of this node is read anew");
                *certificates.current.write() = ends;
            }
            (Err(error), Some(_)) => tracing::error!(%error, "the certificate in memory goes on"),
            (_, None) => return,
        }
    }
}

fn load(env: &Env, files: &Files) -> Result<Ends, BadFiles> {
    let chain = certificates_in(env, "tls.certificate", &files.certificate)?;
    let key = read(env, "tls.key", &files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| strange("tls.key", &files.key, "private key"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(env, "tls.authority", &files.authority)? {
        roots.add(certificate).map_err(|_| strange("tls.authority", &files.authority, "certificate"))?;
    }
    let now = UnixTime::since_unix_epoch(Duration::from_millis(env.clock.wall_ms()));
    ends((chain, key), roots, now).map_err(|error| {
        let (file, reason) = (files.certificate.display().to_string(), explain(&error));
        BadFiles::Refused { file, reason }
    })
}

/// Secures both ends, if another node would take the certificate.
fn ends(
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    roots: RootCertStore,
    now: UnixTime,
) -> Result<Ends, rustls::Error> {
    let (provider, roots) = (Arc::new(ring::default_provider()), Arc::new(roots));
    let bad = |error: rustls::server::VerifierBuilderError| rustls::Error::General(error.to_string());
    let callers = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().map_err(bad)?;
    let called = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build().map_err(bad)?;
    let (own, between) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    callers.verify_client_cert(own, between, now)?;
    called.verify_server_cert(own, between, &node_name(), &[], now)?;
    let calling = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    let called = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(callers)
        .with_single_cert(chain, key)?;
    Ok(Ends { calling: TlsConnector::from(Arc::new(calling)), called: TlsAcceptor::from(Arc::new(called)) })
}

fn certificates_in(env: &Env, key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, BadFiles> {
    let bytes = read(env, key, file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(|| strange(key, file, "certificate"))
}

fn read(env: &Env, key: &'static str, file: &Path) -> Result<Vec<u8>, BadFiles> {
    env.disk.read(file, FILE_BYTES_MAX).map_err(|error| {
        let (file, reason) = (file.display().to_string(), error.to_string());
        BadFiles::Unreadable { key, file, reason }
    })
}

fn strange(key: &'static str, file: &Path, what: &'static str) -> BadFiles {
    BadFiles::Strange { key, file: file.display().to_string(), what }
}

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
