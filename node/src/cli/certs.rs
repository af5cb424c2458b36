//! `sojourn certs`: an authority for the nodes of a world, and their certificates.

use crate::security::certificates::NODE_NAME;
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Makes the certificates by which the nodes of a world know each other.
///
/// `sojourn certs init` makes an authority, once; `sojourn certs node NAME` a certificate for each node, signed by it. Copy a
/// node's NAME.pem and NAME.key and authority.pem to its machine, and name them as `tls.certificate`, `tls.key` and
/// `tls.authority`. authority.key signs: keep it where no node is.
#[derive(Debug, Args)]
pub struct CertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes an authority: authority.pem and authority.key
    Init(Place),
    /// Makes a certificate of the authority: NAME.pem and NAME.key, in place of those that are there
    Node {
        /// What its files are called, such as na-1
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Where the files are
    #[arg(long, default_value = "certs")]
    dir: PathBuf,
    /// How many days the certificate is good for
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// The subject of authorities.
const AUTHORITY_NAME: &str = "Sojourn authority";

/// Clocks may be so far apart when a certificate is first shown.
const BACKDATED: Duration = Duration::from_secs(3_600);

const DAY: Duration = Duration::from_secs(86_400);

/// Files with keys are for their owner only.
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

/// Does what the arguments say.
///
/// # Errors
/// There is no authority, or one already; a file cannot be written.
pub fn run(args: &CertsArgs) -> anyhow::Result<()> {
    match &args.command {
        Command::Init(place) => init(place),
        Command::Node { name, place } => node(name, place),
    }
}

fn init(Place { dir, days }: &Place) -> anyhow::Result<()> {
    let (certificate, key) = (dir.join("authority.pem"), dir.join("authority.key"));
    for file in [&certificate, &key] {
        ensure!(
            !file.exists(),
            "{} exists: nodes that it has certified would be refused; move it away first",
            file.display()
        );
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut params = params(AUTHORITY_NAME, *days);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    write(&key, KEY_MODE, &authority.key().serialize_pem())?;
    write(&certificate, CERTIFICATE_MODE, &authority.pem())?;
    tell(&format!("{} and {} are good for {days} days", certificate.display(), key.display()))
}

fn node(name: &str, Place { dir, days }: &Place) -> anyhow::Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    ensure!(
        !name.is_empty() && name.chars().all(plain) && !name.starts_with('.') && name != "authority",
        "{name:?} cannot be the name of files here: use letters, digits, `-`, `_` and `.`, such as na-1"
    );
    let file = dir.join("authority.key");
    let pem = fs::read_to_string(&file).with_context(|| {
        format!("cannot read {}: `sojourn certs init --dir {}` makes it", file.display(), dir.display())
    })?;
    let key = KeyPair::from_pem(&pem).with_context(|| format!("{} holds no private key", file.display()))?;
    // What `init` has made: the name and the key are all that a signature needs.
    let authority = Issuer::new(params(AUTHORITY_NAME, *days), key);
    let mut params = params(name, *days);
    params.subject_alt_names = vec![rcgen::SanType::DnsName(NODE_NAME.try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    let (certificate_file, key_file) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    write(&key_file, KEY_MODE, &key.serialize_pem())?;
    write(&certificate_file, CERTIFICATE_MODE, &certificate.pem())?;
    tell(&format!("{} and {} are good for {days} days", certificate_file.display(), key_file.display()))
}

/// A certificate of this name, good from now on.
fn params(name: &str, days: u32) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + DAY * days).into();
    params
}

/// Replaces a file whole, so that a node that reads it meanwhile sees the old one or the new one.
fn write(file: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let written = (|| {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, file)
    })();
    written.with_context(|| format!("cannot write {}", file.display()))
}

fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::RealEnv,
        security::certificates::{Certificates, Files},
    };

    #[tokio::test]
    async fn what_is_made_is_taken_by_nodes_and_never_replaced_by_another_authority() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = || Place { dir: directory.path().join("certs"), days: 30 };
        let node = |name: &str| run(&CertsArgs { command: Command::Node { name: name.to_owned(), place: place() } });
        let error = node("na-1").expect_err("there is no authority").to_string();
        assert!(error.contains("certs init"), "{error}");
        let init = || run(&CertsArgs { command: Command::Init(place()) });
        init().expect("made");
        assert!(init().expect_err("it exists").to_string().contains("authority.pem"));
        assert!(node("../x").is_err() && node("authority").is_err());
        for _again in 0..2 {
            node("na-1").expect("made");
        }
        let file = |name: &str| directory.path().join("certs").join(name);
        let files = Files { certificate: file("na-1.pem"), key: file("na-1.key"), authority: file("authority.pem") };
        Certificates::open(&RealEnv::current(), &files).expect("taken");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&files.key).expect("a key").permissions());
        assert_eq!(mode & 0o777, KEY_MODE);
    }
}
