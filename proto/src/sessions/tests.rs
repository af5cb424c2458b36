//! Bounds of requests, and what a failure looks like to programs.

use super::{calls, *};
use bytes::Bytes;
use prost::Message;
use sojourn_core::{
    Expiry, Fields, Incarnation, Key, KeyError, Kind, NamespaceId, Owner, Refusal, RegionId, Version, View,
};
use tonic::{Code, Status};

fn id() -> Bytes {
    Bytes::from_static(b"an-id")
}

fn view(value_bytes: usize) -> View {
    View {
        kind: Kind::Hash,
        incarnation: Incarnation { stamp: 5, region: RegionId(2) },
        version: Version { epoch: 1, home_epoch: 2, sequence: 3 },
        home: RegionId(1),
        written: 9,
        idle_timeout_ms: 60_000,
        idle_deadline: 70_000,
        absolute_deadline: 80_000,
        owner: Some(Box::new(Owner { user: b"u7".as_slice().into(), ..Owner::default() })),
        field_count: 1,
        bytes: value_bytes as u64 + 3,
        fields: Fields::from_pairs([(Box::from(b"a".as_slice()), vec![b'x'; value_bytes].into())]),
    }
}

#[test]
fn an_absent_expiry_is_the_default_for_new_sessions_and_rolls_on_existing_ones() {
    let create = calls::Create::try_from(v1::CreateRequest::default()).map_err(|error| error.0).expect("a call");
    assert_eq!((create.expiry, create.id), (Expiry::Default, None));
    let put = calls::Put::try_from(v1::PutRequest { id: id(), ..Default::default() }).map_err(|error| error.0);
    assert_eq!(put.expect("a call").update.expiry, Expiry::Keep);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_mend() {
    let request = |origin, sequence, settled| v1::TouchRequest {
        request: Some(v1::RequestId { origin, sequence, settled }),
        id: id(),
    };
    for (origin, sequence, settled) in [(0, 1, 1), (1, 0, 0), (1, 1, 2)] {
        let refused = calls::One::try_from(request(origin, sequence, settled)).err().expect("refused");
        assert!(refused.0.contains("draw a random origin"), "{refused}");
    }
    let when = |when| Some(v1::Expiry { when });
    for expiry in [when(None), when(Some(v1::expiry::When::AfterMs(0)))] {
        assert!(calls::Create::try_from(v1::CreateRequest { expiry, ..Default::default() }).is_err());
    }
    let slot = v1::CreateRequest { slot: Some(16_384), ..Default::default() };
    assert!(calls::Create::try_from(slot).err().expect("refused").0.contains("0 to 16383"));
    let both = v1::GetRequest { id: id(), fields: vec![id()], summary: true, ..Default::default() };
    assert!(calls::Get::try_from(both).is_err());
    let page = v1::ListRequest { page_size: 1_001, ..Default::default() };
    assert!(calls::List::try_from(page).err().expect("refused").0.contains("at most 1000"));
    let kind = v1::CountRequest { filter: Some(v1::Filter { kind: 9, ..Default::default() }) };
    assert!(calls::List::try_from(kind).is_err());
    let alive = v1::WatchRequest { keep_alive_ms: 5, ..Default::default() };
    assert!(calls::Watch::try_from(alive).err().expect("refused").0.contains("100 to 60000"));
    assert!(calls::Watch::try_from(v1::WatchRequest { ids: vec![id(); 1_001], ..Default::default() }).is_err());
    assert!(calls::User::try_from(v1::RevokeRequest::default()).is_err());
    let long = Bytes::from(vec![b'u'; OWNER_TEXT_BYTES_MAX + 1]);
    assert!(calls::User::try_from(v1::RevokeRequest { user: long }).is_err());
    let label = v1::Label { name: id(), value: id() };
    let many = v1::Owner { labels: vec![label; LABELS_MAX + 1], ..Default::default() };
    assert!(calls::OwnerGiven::try_from(many).is_err());
}

#[test]
fn a_failure_arrives_with_its_reason_and_its_advice() {
    let too_large = Refusal::TooLarge { bytes: 9, bytes_max: 8, largest: vec![(vec![b'n'; 500].into(), 7)] };
    let no_id = Key::new(NamespaceId(0), b"").expect_err("no id");
    assert_eq!(no_id, KeyError::Empty);
    let cases = [
        (Failure::from(no_id), Code::InvalidArgument, v1::Reason::BadId, false),
        (Failure::ForgedId, Code::InvalidArgument, v1::Reason::ForgedId, false),
        (Failure::Locked, Code::Unauthenticated, v1::Reason::Locked, false),
        (Failure::from(Refusal::Gone), Code::NotFound, v1::Reason::Gone, false),
        (Failure::from(too_large), Code::ResourceExhausted, v1::Reason::TooLarge, false),
        (Failure::from(Refusal::Revoked { epoch: 4 }), Code::FailedPrecondition, v1::Reason::Revoked, false),
        (Failure::NoLeader { shard: 1, retry_after_ms: 7 }, Code::Unavailable, v1::Reason::NoLeader, true),
        (Failure::NotCopied { reached: 0, retry_after_ms: 7 }, Code::Unavailable, v1::Reason::NotCopied, true),
        (Failure::DiskFull, Code::ResourceExhausted, v1::Reason::DiskFull, true),
        (Failure::Deadline, Code::DeadlineExceeded, v1::Reason::Deadline, true),
    ];
    for (failure, code, reason, retryable) in cases {
        let text = failure.to_string();
        let status = Status::from(failure);
        assert_eq!((status.code(), status.message()), (code, text.as_str()));
        let detail = detail_of(&status).expect("a detail");
        assert_eq!((detail.reason(), detail.retryable), (reason, retryable), "{text}");
        assert!(detail.largest.iter().all(|field| field.name.len() == 64 && field.bytes == 7));
    }
    assert_eq!(detail_of(&Status::internal("not ours")), None);
}

#[test]
fn a_conflict_carries_the_record_as_far_as_a_header_can() {
    for (value_bytes, is_cut) in [(10, false), (4_000, false), (1 << 20, true)] {
        let failure = Failure::Conflict { id: b"an-id".as_slice().into(), current: Box::new(view(value_bytes)) };
        let detail = detail_of(&Status::from(failure)).expect("a detail");
        assert!(detail.encoded_len() <= DETAIL_BYTES_MAX);
        assert_eq!(detail.current_is_cut, is_cut);
        let current = detail.current.expect("the record");
        assert_eq!((current.id.as_ref(), current.fields.len()), (b"an-id".as_slice(), usize::from(!is_cut)));
        assert_eq!(current.version, Some(v1::Version { epoch: 1, home_epoch: 2, sequence: 3 }));
    }
}
