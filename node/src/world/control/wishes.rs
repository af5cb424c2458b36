//! What people wish of the world through any node of a region: agreed on, or refused with what is missing.

use super::{Inner, NotAgreed};
use crate::region::backend::Unavailable;
use sojourn_core::control::{ControlCommand, ControlOutcome};
use std::{sync::Arc, time::Duration};

/// How long a wish waits for the regions to meet and to found the world, and for this region to come into it.
const JOIN_TIMEOUT: Duration = Duration::from_secs(4);

impl Inner {
    pub(super) async fn fulfil(self: &Arc<Self>, wish: ControlCommand) -> Result<ControlOutcome, Unavailable> {
        self.until_joined().await.map_err(Unavailable::Undecided)?;
        match self.propose(wish).await {
            Ok(outcome) => Ok(outcome),
            Err(NotAgreed::Refused(refusal)) => Ok(ControlOutcome::Refused(refusal)),
            Err(error @ (NotAgreed::NoLeader | NotAgreed::NotFounded)) => {
                Err(Unavailable::Undecided(error.to_string()))
            }
        }
    }

    /// Completes once this region is in a world; or says why it is not.
    async fn until_joined(&self) -> Result<(), String> {
        let mut told = self.known.watch();
        if let Ok(Ok(_)) = tokio::time::timeout(JOIN_TIMEOUT, told.wait_for(Option::is_some)).await {
            return Ok(());
        }
        let unmet = self.contacts.upgrade().map(|contacts| contacts.unmet()).unwrap_or_default();
        let complaint = self.complaint.lock().clone();
        Err(match complaint {
            _ if !unmet.is_empty() => unmet_text(&unmet),
            Some(complaint) => format!("the world does not take this region in: {complaint}"),
            None => NotAgreed::NotFounded.to_string(),
        })
    }
}

/// `unmet` are the regions that did not answer, or not as they should, each with what was wrong.
fn unmet_text(unmet: &[(String, Option<String>)]) -> String {
    let names: Vec<&str> = unmet.iter().map(|(name, _)| name.as_str()).collect();
    let wrong =
        unmet.iter().filter_map(|(name, wrong)| Some(format!("; {name} was not believed: {}", wrong.as_ref()?)));
    format!(
        "regions agree on this together, and {} {} not been met yet: start {}, or correct `world.regions` of every node{}",
        names.join(" and "),
        if names.len() == 1 { "has" } else { "have" },
        if names.len() == 1 { "it" } else { "them" },
        wrong.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_named_with_what_to_do() {
        let (eu, apac) = (("eu".to_owned(), None), ("apac".to_owned(), Some("it is of another world".to_owned())));
        assert_eq!(
            unmet_text(std::slice::from_ref(&eu)),
            "regions agree on this together, and eu has not been met yet: start it, or correct `world.regions` of every node"
        );
        let both = unmet_text(&[eu, apac]);
        assert!(both.contains("eu and apac have not been met yet: start them"), "{both}");
        assert!(both.ends_with("; apac was not believed: it is of another world"), "{both}");
    }
}
