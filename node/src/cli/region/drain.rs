//! What becomes of the sessions of a region that is drained, as people read it.

use crate::gateway::http::api::{Draining, Goes, Stays};

/// How many homes are left in a region, and where they go.
pub fn left(name: &str, draining: &Draining) -> String {
    match (draining.sessions(), going(&draining.goes, "goes", "go")) {
        (0, _) => format!("{name}: no homes are left\n"),
        (count, Some(going)) => {
            format!("{name}: {} left: {going}\n", homes(count, "is", "are"))
                + &staying(name, draining, ["stays", "stay"])
        }
        (count, None) => {
            format!("{name}: {} left\n", homes(count, "is", "are")) + &staying(name, draining, ["stays", "stay"])
        }
    }
}

/// How many would go where.
pub fn foreseen(name: &str, draining: &Draining) -> String {
    let going = going(&draining.goes, "would go", "would go").unwrap_or_else(|| "none would go".to_owned());
    format!("{name} has {}: {going}\n", homes(draining.sessions(), "", "").trim_end())
        + &staying(name, draining, ["would stay", "would stay"])
}

fn homes(count: u64, is: &str, are: &str) -> String {
    if count == 1 { format!("1 home {is}") } else { format!("{count} homes {are}") }
}

/// `3 go to eu, 1 goes to apac`; none if none goes anywhere.
fn going(goes: &[Goes], goes_one: &str, go: &str) -> Option<String> {
    let part = |Goes { region, sessions }: &Goes| {
        format!("{sessions} {} to {region}", if *sessions == 1 { goes_one } else { go })
    };
    let parts: Vec<String> = goes.iter().map(part).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn staying(name: &str, draining: &Draining, [stays, stay]: [&str; 2]) -> String {
    let line = |Stays { namespace, sessions, why }: &Stays| {
        let verb = if *sessions == 1 { stays } else { stay };
        let why = match why.as_str() {
            "residency" => "its residency allows no other region".to_owned(),
            "not_acting" => format!("others act for {name}, and do not move its homes"),
            _ => "none of the regions that it allows takes homes now".to_owned(),
        };
        format!("{name}: {sessions} of namespace {namespace} {verb}: {why}\n")
    };
    draining.stays.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draining(goes: &[(&str, u64)], stays: &[(&str, u64, &str)]) -> Draining {
        let goes = goes.iter().map(|(region, sessions)| Goes { region: (*region).to_owned(), sessions: *sessions });
        let stays = stays.iter().map(|(namespace, sessions, why)| Stays {
            namespace: (*namespace).to_owned(),
            sessions: *sessions,
            why: (*why).to_owned(),
        });
        Draining { goes: goes.collect(), stays: stays.collect() }
    }

    #[test]
    fn what_is_left_is_said_with_where_it_goes_and_why_it_stays() {
        assert_eq!(left("na", &Draining::default()), "na: no homes are left\n");
        let mixed = draining(&[("eu", 5), ("apac", 1)], &[("bank", 2, "residency"), ("shop", 1, "no_region")]);
        let expected = "\
na: 9 homes are left: 5 go to eu, 1 goes to apac
na: 2 of namespace bank stay: its residency allows no other region
na: 1 of namespace shop stays: none of the regions that it allows takes homes now
";
        assert_eq!(left("na", &mixed), expected);
        let stuck = left("na", &draining(&[], &[("bank", 1, "not_acting")]));
        assert_eq!(
            stuck,
            "na: 1 home is left\nna: 1 of namespace bank stays: others act for na, and do not move its homes\n"
        );
    }

    #[test]
    fn what_would_go_is_foreseen() {
        let text = foreseen("na", &draining(&[("eu", 5)], &[("bank", 1, "residency")]));
        let expected = "na has 6 homes: 5 would go to eu\nna: 1 of namespace bank would stay: its residency allows no other region\n";
        assert_eq!(text, expected);
        assert_eq!(foreseen("na", &Draining::default()), "na has 0 homes: none would go\n");
    }
}
