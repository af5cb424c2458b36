//! Where addresses are, as an operator asks: with real database files and real addresses.

use crate::process::Process;
use std::{
    path::Path,
    process::{Command, Output},
};

/// The database that is built in, as a file.
const COUNTRIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/geo/country.mmdb");

fn sojourn(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sojourn")).args(arguments).output().expect("sojourn runs")
}

fn route(node: &Process, address: &str) -> serde_json::Value {
    let output = sojourn(&["region", "route", address, "-o", "json", "--node", &node.http.to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn an_operator_is_told_where_an_address_would_be_at_home() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("country.mmdb");
    std::fs::copy(COUNTRIES, &file).expect("copied");
    let database = file.display().to_string();
    let flags = ["--region-name", "eu", "--region-id", "1", "--geo-database", &database, "--geo-countries", "ZA=eu"];
    let node = Process::start_with(&flags).await;
    let london = route(&node, "81.2.69.142");
    assert_eq!(
        (&london["country"], &london["region"], &london["why"]),
        (&"GB".into(), &"eu".into(), &"country".into())
    );
    assert_eq!(london["database"]["file"], database.as_str());
    assert_eq!(route(&node, "196.25.1.1")["why"], "country");
    assert_eq!(route(&node, "8.8.8.8")["table_region"], "na");
    assert_eq!(route(&node, "8.8.8.8")["why"], "nearest");
    assert_eq!(route(&node, "[::ffff:127.0.0.1]:5000")["why"], "placeless");
    // For people, too.
    let node_address = node.http.to_string();
    let text = sojourn(&["region", "route", "2001:630::1", "--node", &node_address]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("why          the table sends GB to eu\n"), "{text}");
    let refused = sojourn(&["region", "route", "example.org", "--node", &node_address]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"example.org\" is no address"));
}

#[test]
fn a_database_that_cannot_be_used_keeps_a_node_from_starting() {
    let directory = tempfile::tempdir().expect("a directory");
    let half = directory.path().join("half.mmdb");
    let whole = std::fs::read(COUNTRIES).expect("read");
    std::fs::write(&half, &whole[..whole.len() / 2]).expect("written");
    for (file, said) in [(half.as_path(), "download it again"), (Path::new("/nowhere.mmdb"), "correct `geo.database`")]
    {
        let data_dir = directory.path().join("data").display().to_string();
        let name = file.display().to_string();
        let anywhere = ["--listen-grpc", "--listen-resp", "--listen-http", "--listen-peers"];
        let anywhere = anywhere.into_iter().flat_map(|flag| [flag, "127.0.0.1:0"]);
        let arguments = ["serve", "--node-data-dir", &data_dir, "--geo-database", &name];
        let output = sojourn(&arguments.into_iter().chain(anywhere).collect::<Vec<_>>());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(&name) && error.contains(said), "{error}");
    }
}
