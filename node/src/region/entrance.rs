//! How a node with an empty data directory comes into a region: as a founder, or by joining.
//!
//! A founder that starts empty cannot tell by itself whether the region is new or its own disk was lost. It asks the other
//! founders: if one knows the region, the node is admitted only if no disk of its was ever seen; if a majority is as empty as
//! it is, no quorum of an older region is left that could contradict them, and they found the region. Founders that decide so
//! at the same time found the same groups.

use super::identity::NodeIdentity;
use crate::peers::{Enquiry, NoAnswer, Service};
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use sojourn_core::{
    NamespaceId, NodeId, RegionId, ShardId, Slot,
    placement::GroupName,
    region::{Addresses, Member, RegionCommand, RegionOutcome, RegionState},
    routing::Coordinates,
};
use sojourn_proto::{
    wire::{Reader, Wire, WireError, decode_all, encode},
    wire_enum, wire_struct,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long founders wait for the rest once a majority is known to be empty.
const MAJORITY_GRACE: Duration = Duration::from_secs(2);

/// How long to wait before everybody is asked again.
const ASK_AGAIN_EVERY: Duration = Duration::from_millis(100);

/// What a node asks before it is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the region exists.
    Who {
        /// The region's name.
        region: String,
    },
    /// A founder that has not voted yet wants to.
    Admit {
        /// The region's name.
        region: String,
        /// Its number.
        node: NodeId,
        /// Its disk.
        disk: u128,
    },
    /// A new node wants a number.
    Join {
        /// The region's name, if it minds.
        region: Option<String>,
        /// Its name.
        name: String,
        /// Where to reach it.
        addresses: Addresses,
        /// Its disk.
        disk: u128,
    },
    /// A member that nobody may have told of its removal wants to know.
    Standing {
        /// Its world.
        world: u128,
        /// Its number.
        node: NodeId,
    },
    /// A node of another region wants to know where this one's nodes are.
    Whereabouts,
}

/// What other regions know of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// The world.
    pub world: u128,
    /// The region's number and name.
    pub region: (RegionId, String),
    /// Where it is, if it says so.
    pub coordinates: Option<Coordinates>,
    /// The names of its namespaces.
    pub namespaces: BTreeMap<NamespaceId, String>,
    /// Where its nodes listen for others.
    pub nodes: BTreeMap<NodeId, String>,
    /// Which shard holds which slots, from first to last.
    pub slots: Vec<((Slot, Slot), ShardId)>,
    /// Who leads, as far as the node knows.
    pub leaders: BTreeMap<ShardId, NodeId>,
    /// Who speaks for it in the control group, once that is agreed.
    pub voter: Option<NodeId>,
    /// The version of the world's state that the node knows; 0 for none.
    pub control: u64,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The node knows of no founding.
    Unfounded,
    /// The region exists.
    Founded,
    /// Come in.
    Welcome {
        /// Its number.
        node: NodeId,
        /// The world.
        world: u128,
        /// The region's number and name.
        region: (RegionId, String),
        /// Whom it will meet.
        members: Vec<Member>,
    },
    /// No, and why.
    Refused {
        /// For the operator.
        reason: String,
    },
    /// The region cannot agree on anything at the moment.
    Later {
        /// Why.
        reason: String,
    },
    /// The node was removed from the region.
    Removed,
    /// Where the region's nodes are.
    Whereabouts(Box<Whereabouts>),
}

impl Wire for Box<Whereabouts> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Whereabouts::take(input).map(Self::new)
    }
}

wire_struct!(Whereabouts { world, region, coordinates, namespaces, nodes, slots, leaders, voter, control });
wire_enum!(Question {
    0 => Who { region },
    1 => Admit { region, node, disk },
    2 => Join { region, name, addresses, disk },
    3 => Standing { world, node },
    4 => Whereabouts,
});
wire_enum!(Answer {
    0 => Unfounded,
    1 => Founded,
    2 => Welcome { node, world, region, members },
    3 => Refused { reason },
    4 => Later { reason },
    5 => Removed,
    6 => Whereabouts[whereabouts],
});

/// Why a node does not come in: what, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntranceError {
    /// The region refuses it.
    #[error("{region} refuses this node: {reason}")]
    Refused {
        /// The region, or who answered for it.
        region: String,
        /// Why.
        reason: String,
    },
    /// The member to join does not answer.
    #[error("{0}; is `--join` the peers address of a running member?")]
    NoAnswer(#[from] NoAnswer),
    /// It answers something else.
    #[error("{address} does not answer as a member of a region does: does it run another version of Sojourn?")]
    Strange {
        /// Who.
        address: String,
    },
    /// There is no region to join yet.
    #[error("{address} belongs to no region yet: `--join` is for regions that exist")]
    Unfounded {
        /// Who.
        address: String,
    },
}

/// Asks `address` until it has an answer that is not "later".
async fn ask(enquiry: &dyn Enquiry, address: &str, question: &Question) -> Result<Answer, EntranceError> {
    loop {
        let bytes = enquiry.ask(address.to_owned(), Bytes::from(encode(question))).await?;
        match decode_all(&bytes) {
            Ok(Answer::Later { reason }) => {
                tracing::info!(address, reason, "the region cannot agree at the moment; asking again");
                tokio::time::sleep(ASK_AGAIN_EVERY * 10).await;
            }
            Ok(answer) => return Ok(answer),
            Err(_) => return Err(EntranceError::Strange { address: address.to_owned() }),
        }
    }
}

/// Joins the region that the member at `address` belongs to.
///
/// # Errors
/// [`EntranceError`] says what to do.
pub async fn join(
    enquiry: &dyn Enquiry,
    address: &str,
    question: Question,
    disk: u128,
) -> Result<(NodeIdentity, Vec<Member>), EntranceError> {
    match ask(enquiry, address, &question).await? {
        Answer::Welcome { node, world, region, members } => Ok((as_member(node, disk, world, region), members)),
        Answer::Refused { reason } => Err(EntranceError::Refused { region: address.to_owned(), reason }),
        Answer::Unfounded => Err(EntranceError::Unfounded { address: address.to_owned() }),
        Answer::Founded | Answer::Removed | Answer::Whereabouts(_) | Answer::Later { .. } => {
            Err(EntranceError::Strange { address: address.to_owned() })
        }
    }
}

fn as_member(node: NodeId, disk: u128, world: u128, (region, region_name): (RegionId, String)) -> NodeIdentity {
    NodeIdentity { world, region, region_name, node, disk, founder: false }
}

/// What a founder with an empty data directory should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Found,
    AskForAdmission,
    Wait,
}

/// Decides by what the founders said: how many there are, how many are empty (the one that asks among them), whether one
/// knows the region, and whether the grace is over.
fn judge(founders: usize, empty: usize, founded: bool, grace_is_over: bool) -> Verdict {
    if founded {
        Verdict::AskForAdmission
    } else if empty == founders || (empty > founders / 2 && grace_is_over) {
        Verdict::Found
    } else {
        Verdict::Wait
    }
}

/// Comes in as a founder: founds the region with the others, or is admitted if they did so without it. The node's
/// [`Foyer`] must be answering.
///
/// # Errors
/// The region exists and has seen another disk of this node.
pub async fn enter_as_founder(
    enquiry: &dyn Enquiry,
    founders: &[Member],
    region: (RegionId, &str),
    node: NodeId,
    disk: u128,
) -> Result<(NodeIdentity, Vec<Member>), EntranceError> {
    let others: Vec<&Member> = founders.iter().filter(|member| member.id != node).collect();
    let mut majority_since = None;
    let mut told = false;
    loop {
        let question = Bytes::from(encode(&Question::Who { region: region.1.to_owned() }));
        let asked = others.iter().map(|member| enquiry.ask(member.addresses.peers.clone(), question.clone()));
        let answers = join_all(asked).await;
        let answers = answers.iter().map(|answer| answer.as_ref().ok().and_then(|bytes| decode_all(bytes).ok()));
        let answers: Vec<(&Member, Option<Answer>)> = others.iter().copied().zip(answers).collect();
        let founded = answers.iter().find(|(_, answer)| *answer == Some(Answer::Founded));
        let empty = 1 + answers.iter().filter(|(_, answer)| *answer == Some(Answer::Unfounded)).count();
        if let Some((member, Some(Answer::Refused { reason }))) =
            answers.iter().find(|(_, answer)| matches!(answer, Some(Answer::Refused { .. })))
        {
            return Err(EntranceError::Refused { region: member.name.clone(), reason: reason.clone() });
        }
        if empty > founders.len() / 2 {
            majority_since.get_or_insert_with(Instant::now);
        }
        let grace_is_over = majority_since.is_some_and(|since: Instant| since.elapsed() >= MAJORITY_GRACE);
        match judge(founders.len(), empty, founded.is_some(), grace_is_over) {
            Verdict::Found => {
                let (id, region_name) = (region.0, region.1.to_owned());
                return Ok((
                    NodeIdentity { world: 0, region: id, region_name, node, disk, founder: true },
                    founders.to_vec(),
                ));
            }
            Verdict::AskForAdmission => {
                let Some((member, _)) = founded else { continue };
                let question = Question::Admit { region: region.1.to_owned(), node, disk };
                // Whoever knows the region may have died meanwhile: another one does, too.
                if let Ok(answer) = ask(enquiry, &member.addresses.peers, &question).await {
                    match answer {
                        Answer::Welcome { world, region, members, .. } => {
                            return Ok((as_member(node, disk, world, region), members));
                        }
                        Answer::Refused { reason } => {
                            return Err(EntranceError::Refused { region: format!("region {:?}", region.1), reason });
                        }
                        Answer::Unfounded
                        | Answer::Founded
                        | Answer::Removed
                        | Answer::Whereabouts(_)
                        | Answer::Later { .. } => {}
                    }
                }
            }
            Verdict::Wait => {}
        }
        if !told {
            told = true;
            tracing::info!(founders = founders.len(), empty, "waiting for a majority of the founders");
        }
        tokio::time::sleep(ASK_AGAIN_EVERY).await;
    }
}

/// Answers for a node that is not in the region yet.
pub struct Foyer;

impl Service for Foyer {
    fn handle(&self, _from: NodeId, _service: u8, _body: Bytes, reply: crate::peers::Reply) {
        reply.refuse("the node is starting");
    }

    fn asked(&self, _question: Bytes) -> BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(std::future::ready(Some(encode(&Answer::Unfounded))))
    }
}

/// Answers a question for a node of a region.
pub(super) async fn answer(inner: Arc<super::node::Inner>, question: Bytes) -> Vec<u8> {
    let answer = match decode_all::<Question>(&question) {
        Ok(question) => inner.answer_question(question).await,
        Err(error) => Answer::Refused { reason: error.to_string() },
    };
    encode(&answer)
}

impl super::node::Inner {
    fn whereabouts(&self, region: &RegionState) -> Whereabouts {
        let nodes = region.members.iter().map(|(id, member)| (*id, member.addresses.peers.clone())).collect();
        let slots = region.slots.ranges().into_iter();
        let slots = slots.filter_map(|(first, last, shard)| Some(((Slot::new(first)?, Slot::new(last)?), shard)));
        let shards = region.placement.keys().filter_map(|group| match group {
            GroupName::Shard(shard) => Some(*shard),
            GroupName::System => None,
        });
        let leaders = shards.filter_map(|shard| Some((shard, self.leader(shard)?))).collect();
        let name = (region.region, region.name.clone());
        let namespaces = region.namespaces.iter().map(|(id, namespace)| (*id, namespace.name.clone())).collect();
        Whereabouts {
            world: region.world,
            region: name,
            coordinates: self.options.coordinates,
            namespaces,
            nodes,
            slots: slots.collect(),
            leaders,
            voter: region.delegate.map(|delegate| delegate.voter),
            control: self.control_version(),
        }
    }

    /// Whether `peer` says that this node was removed from the region.
    pub fn is_removed(&self, world: u128, peer: NodeId) -> impl Future<Output = bool> + Send + use<> {
        let question = Question::Standing { world, node: self.options.node };
        let asked = self.rpc.ask(peer, Bytes::from(encode(&question)));
        async move {
            let answer = asked.await.ok().and_then(|bytes| decode_all(&bytes).ok());
            answer == Some(Answer::Removed)
        }
    }

    async fn answer_question(&self, question: Question) -> Answer {
        let region = self.system.machine().now();
        if region.world == 0 {
            return Answer::Unfounded;
        }
        let (asked_for, command) = match question {
            Question::Who { region: name } => (Some(name), None),
            Question::Admit { region: name, node, disk } => {
                (Some(name), Some((node, RegionCommand::AdmitMember { id: node, disk })))
            }
            Question::Join { region: name, name: node_name, addresses, disk } => {
                let command = RegionCommand::AddMember { name: node_name, addresses, disk: Some(disk) };
                (name, Some((NodeId(0), command)))
            }
            Question::Standing { world, node } if world == region.world && region.has_removed(node) => {
                return Answer::Removed;
            }
            Question::Standing { .. } => (None, None),
            Question::Whereabouts => return Answer::Whereabouts(Box::new(self.whereabouts(&region))),
        };
        if let Some(name) = asked_for.filter(|name| *name != region.name) {
            return Answer::Refused { reason: format!("this is region {:?}, not {name:?}", region.name) };
        }
        let Some((node, command)) = command else { return Answer::Founded };
        let node = match self.change(command).await {
            Ok(RegionOutcome::Node(node)) => node,
            Ok(RegionOutcome::Done | RegionOutcome::Namespace(_) | RegionOutcome::SlotMove(_)) => node,
            Ok(RegionOutcome::Refused(refusal)) => return Answer::Refused { reason: refusal.to_string() },
            Err(error) => return Answer::Later { reason: error.to_string() },
        };
        let members = region.members.values().cloned().collect();
        Answer::Welcome { node, world: region.world, region: (region.region, region.name.clone()), members }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_founder_founds_only_with_a_majority_of_empty_ones() {
        assert_eq!(judge(1, 1, false, false), Verdict::Found);
        assert_eq!(judge(3, 3, false, false), Verdict::Found);
        assert_eq!(judge(3, 2, false, false), Verdict::Wait, "the third may know more");
        assert_eq!(judge(3, 2, false, true), Verdict::Found, "the third is down");
        assert_eq!(judge(3, 1, false, true), Verdict::Wait);
        assert_eq!(judge(4, 2, false, true), Verdict::Wait);
        assert_eq!(judge(3, 2, true, true), Verdict::AskForAdmission);
    }
}
