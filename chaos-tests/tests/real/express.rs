//! The ordinary Express app of `deploy/examples/express`, behind which a region loses its leader and restarts.

use crate::app::{App, copy_of, hurt, install, required, with_traffic};
use sojourn_chaos_tests::process::{Launch, Region, RegionOptions};

const VISITORS: usize = 8;

#[test]
fn express_sessions_survive_the_leader_and_a_rolling_restart() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let (Some(node), Some(npm)) = (required("node"), required("npm")) else { return Ok(()) };
    let directory = copy_of("express")?;
    install(&directory, "package-lock.json", &[(npm.as_os_str(), &["ci", "--no-audit", "--no-fund"])])?;
    let mut region = Region::start(&RegionOptions::default())?;
    // One application beside each node, as behind a load balancer.
    let start = |(redis, number)| {
        App::start(Launch::new(format!("express-{number}"), &node, &directory).arguments(["server.js"]), redis)
    };
    let apps = region.resp_addresses().into_iter().zip(1..).map(start).collect::<anyhow::Result<Vec<_>>>()?;

    let (login, cookie) = apps[0].ask("POST", "/login", "", r#"{"user":"ada"}"#)?;
    assert_eq!(login["user"], "ada");
    let visitors = with_traffic(&apps, VISITORS, |traffic| {
        let victim = region.lead("sess:any")?.node;
        hurt(&mut region, victim, &[0, 1, 2], traffic)
    })?;

    // Every count that was acknowledged is there, whichever node is asked.
    for visitor in &visitors {
        for (app, more) in apps.iter().zip(1..) {
            let (answer, _) = app.ask("GET", "/", &visitor.cookie(), "")?;
            assert_eq!(answer["views"], visitor.acknowledged() + more);
        }
    }
    let (sessions, _) = apps[1].ask("GET", "/sessions", "", "")?;
    let sessions = sessions.as_array().expect("a list");
    assert_eq!(sessions.len(), VISITORS + 1, "{sessions:?}");
    assert!(sessions.iter().any(|session| session["user"] == "ada"));

    // A logout holds at once, at every node.
    let (visit, _) = apps[2].ask("GET", "/", &cookie, "")?;
    assert_eq!((&visit["user"], &visit["views"]), (&"ada".into(), &1.into()));
    apps[0].ask("POST", "/logout", &cookie, "")?;
    for app in &apps {
        let (visit, new_cookie) = app.ask("GET", "/", &cookie, "")?;
        assert_eq!((&visit["user"], &visit["views"]), (&serde_json::Value::Null, &1.into()));
        assert_ne!(new_cookie, cookie);
    }
    Ok(())
}
