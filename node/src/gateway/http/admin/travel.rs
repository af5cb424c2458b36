//! Sessions that get another home.

use super::{
    super::{
        Node,
        api::{MoveSession, MovedSession},
    },
    Refused,
    control::{named, world},
    namespaces,
    sessions::{Body, audit},
};
use crate::{
    notation::unescape,
    region::travel::{Moved, NotMoved},
};
use axum::{Json, extract::State, http::StatusCode};
use sojourn_core::{
    Key, Slot,
    control::{ControlState, Region},
    policy::Namespace,
};

pub async fn move_session(State(node): State<Node>, body: Body<MoveSession>) -> Result<Json<MovedSession>, Refused> {
    let Json(MoveSession { namespace, id, to }) = body?;
    let (id, namespace) = (unescape(&id), namespaces::find(&node, &namespace)?);
    let key = Key::new(namespace.id, &id)?;
    let (_, state) = world(&node)?;
    let to = named(&state, &to)?;
    check(&state, to, &namespace, key.slot())?;
    audit(&node, &namespace, &id, &format!("moved to region {}", to.name));
    match node.admin.move_session(key, to.id).await {
        Ok(moved) => Ok(Json(MovedSession { moved: moved == Moved::Arrived })),
        Err(error) => Err(refused(&to.name, error)),
    }
}

/// Whether a region takes sessions of the namespace in.
fn check(state: &ControlState, to: &Region, namespace: &Namespace, slot: Slot) -> Result<(), Refused> {
    let name = &to.name;
    let refuse = |error: String, mend: &str| Err(Refused::new(StatusCode::CONFLICT, &error, mend));
    let residency = state.namespaces.get(&namespace.id).map(|known| &known.policy.residency);
    if residency.is_some_and(|residency| !residency.allows(to.id)) {
        let error = format!("sessions of namespace {} may not be held in region {name}", namespace.name);
        return refuse(error, "name a region that its residency allows");
    }
    if to.draining {
        let mend = format!("name another region, or end that with `sojourn region drain {name} --undo`");
        return refuse(format!("region {name} is being drained: homes move away from it"), &mend);
    }
    if state.acting(to.id, slot).is_none_or(|acting| acting.region != to.id) {
        let error = format!("region {name} does not write its own sessions now");
        return refuse(error, "`sojourn region status` shows who does; wait, or name another region");
    }
    Ok(())
}

fn refused(to: &str, error: NotMoved) -> Refused {
    match error {
        NotMoved::Gone => {
            let mend = "--namespace looks in another one; `sojourn session list --show-ids` lists ids";
            Refused::new(StatusCode::NOT_FOUND, &error.to_string(), mend)
        }
        NotMoved::Busy => {
            let mend = "try again in a moment; a client that writes nothing more is waited for at most five minutes";
            Refused::new(StatusCode::CONFLICT, &error.to_string(), mend)
        }
        NotMoved::OnItsWay(_) => {
            let error = format!("the session is on its way to region {to}, which has not taken it in yet");
            let mend = "it arrives once the regions hear of each other: `sojourn region status`; asking again is safe";
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, &error, mend)
        }
        NotMoved::Refused(refusal) => refusal.into(),
        NotMoved::Unavailable(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::{
        NodeId, RegionId,
        control::{Cause, ControlCommand, Residency, WorldPolicy},
        region::{DEFAULT_NAMESPACE, DEFAULT_NAMESPACE_NAME},
    };

    fn state() -> ControlState {
        let mut state = ControlState::default();
        state.apply(ControlCommand::Found { world: 7 });
        for (number, name) in [(0, "na"), (1, "eu"), (2, "apac")] {
            state.apply(ControlCommand::Join {
                region: RegionId(number),
                mark: u128::from(number),
                name: name.to_owned(),
                entrances: [].into(),
                place: None,
                voter: Some(NodeId(1)),
            });
        }
        state
    }

    fn says(state: &ControlState, to: &str) -> Result<(), String> {
        let policy = sojourn_core::policy::Policy::default();
        let namespace = Namespace { id: DEFAULT_NAMESPACE, name: DEFAULT_NAMESPACE_NAME.to_owned(), policy };
        let to = named(state, to).map_err(|refused| format!("{refused:?}"))?;
        check(state, to, &namespace, Slot::default()).map_err(|refused| format!("{refused:?}"))
    }

    #[test]
    fn a_region_that_takes_no_sessions_is_told_with_the_reason() {
        let mut state = state();
        assert_eq!(says(&state, "eu"), Ok(()));
        let has = |said: Result<(), String>, text: &str| said.is_err_and(|said| said.contains(text));
        assert!(has(says(&state, "sa"), "it has na, eu, apac"));
        state.apply(ControlCommand::Drain { region: RegionId(1), draining: true });
        assert!(has(says(&state, "eu"), "sojourn region drain eu --undo"));
        let cause = Cause::Operator { force: true };
        state.apply(ControlCommand::Fence { region: RegionId(0), cause, at: 5 });
        assert!(has(says(&state, "na"), "does not write its own sessions"));
        let residency = Residency::Only([RegionId(0)].into());
        let policy = WorldPolicy { residency, ..WorldPolicy::default() };
        let name = DEFAULT_NAMESPACE_NAME.to_owned();
        state.apply(ControlCommand::SetNamespace { name, over: None, policy: Box::new(policy) });
        assert!(has(says(&state, "apac"), "may not be held in region apac"));
    }
}
