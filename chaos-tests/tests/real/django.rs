//! The ordinary Django app of `deploy/examples/django`, behind which a region loses its leader and restarts.

use crate::app::{App, copy_of, hurt, install, required, with_traffic};
use sojourn_chaos_tests::process::{Launch, Region, RegionOptions};

const VISITORS: usize = 8;

/// The node that the application is pointed at. Django takes a session that it cannot read for none, so what happens to
/// this node happens between visits.
const ASKED: usize = 0;

#[test]
fn django_sessions_survive_the_leader_and_a_rolling_restart() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let Some(python) = required("python3") else { return Ok(()) };
    let directory = copy_of("django")?;
    let pip = directory.join("venv/bin/pip");
    let steps: [(_, &[&str]); 2] = [
        (python.as_os_str(), &["-m", "venv", "venv"]),
        (pip.as_os_str(), &["install", "--quiet", "-r", "requirements.txt"]),
    ];
    install(&directory, "requirements.txt", &steps)?;
    let mut region = Region::start(&RegionOptions::default())?;
    let launch = Launch::new("django", directory.join("venv/bin/python"), &directory).arguments(["app.py"]);
    let apps = [App::start(launch, region.nodes()[ASKED].resp)?];
    let app = &apps[0];

    let visitors = with_traffic(&apps, VISITORS, |traffic| {
        // Any leader but the node that is asked; there are four shards on three nodes.
        let leaders =
            (0..32).map(|number| region.lead(&format!("key-{number}"))).collect::<anyhow::Result<Vec<_>>>()?;
        let victim = leaders.into_iter().find(|lead| lead.node != ASKED).map_or(1, |lead| lead.node);
        hurt(&mut region, victim, &[1, 2], traffic)
    })?;
    region.shut_down(ASKED)?;
    region.start_node(ASKED)?;
    region.wait_ready()?;

    for visitor in &visitors {
        let (answer, _) = app.ask("GET", "/", &visitor.cookie(), "")?;
        assert_eq!(answer["views"], visitor.acknowledged() + 1);
    }
    let cookie = visitors[0].cookie();
    let (_, renamed) = app.ask("GET", "/login/ada", &cookie, "")?;
    assert_ne!(renamed, cookie);
    let (visit, _) = app.ask("GET", "/", &renamed, "")?;
    assert_eq!((&visit["user"], &visit["views"]), (&"ada".into(), &(visitors[0].acknowledged() + 2).into()));
    app.ask("GET", "/logout", &renamed, "")?;
    for gone in [cookie, renamed] {
        let (visit, _) = app.ask("GET", "/", &gone, "")?;
        assert_eq!(visit["views"], 1);
    }
    Ok(())
}
