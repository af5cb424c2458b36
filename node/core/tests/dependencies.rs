//! The core stays pure: std and a few small crates without IO.

/// All that the core may depend on directly.
const ALLOWED: &[&str] = &["crc", "hmac", "sha2", "thiserror"];

#[test]
fn the_core_depends_on_nothing_but_what_is_allowed() {
    let manifest = include_str!("../Cargo.toml");
    let section = manifest.split("[dependencies]").nth(1).expect("a list of dependencies");
    let lines = section.lines().take_while(|line| !line.starts_with('[')).map(str::trim);
    let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    for name in names.map(|line| line.split(['.', '=', ' ']).next().unwrap_or(line)) {
        assert!(
            ALLOWED.contains(&name),
            "{name} is not among {ALLOWED:?}: does it do IO, read clocks or allocate threads?"
        );
    }
    assert!(!manifest.contains("build-dependencies"), "a build script could do anything");
    assert_eq!(manifest.matches("dependencies]").count(), 2, "no other lists of dependencies, for targets or builds");
}
