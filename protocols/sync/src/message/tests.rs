use ocm_record::{SigningKey, SpaceId, Time};
use proptest::prelude::*;

use super::*;
use crate::parity::SetDigest;
use crate::statement::Terms;

fn arb_id() -> impl Strategy<Value = RecordId> {
    (any::<u64>(), any::<[u8; 32]>())
        .prop_map(|(time, hash)| RecordId::from_parts(Time(time), hash))
}

fn arb_ids() -> impl Strategy<Value = Vec<RecordId>> {
    prop::collection::btree_set(arb_id(), 0..6).prop_map(|ids| ids.into_iter().collect())
}

fn arb_bytes(most: usize) -> impl Strategy<Value = ByteBuf> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(ByteBuf::from)
}

fn arb_records() -> impl Strategy<Value = Vec<ByteBuf>> {
    prop::collection::vec(arb_bytes(80), 0..5)
}

fn arb_hello() -> impl Strategy<Value = Hello> {
    (
        any::<u64>(),
        "[ -~äöü]{0,20}",
        any::<[u8; 32]>(),
        arb_bytes(200),
        prop::collection::btree_set(any::<u64>(), 0..9),
    )
        .prop_map(|(version, agent, nonce, certificate, kinds)| Hello {
            version,
            agent,
            nonce,
            certificate,
            kinds: kinds.into_iter().collect(),
        })
}

fn arb_parity() -> impl Strategy<Value = Parity> {
    let set = || {
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(count, digest)| SetDigest { count, digest })
    };
    (set(), set(), any::<u64>()).prop_map(|(authority, content, missing_bodies)| Parity {
        authority,
        content,
        missing_bodies,
    })
}

fn arb_statement() -> impl Strategy<Value = Statement> {
    (arb_parity(), any::<u64>()).prop_map(|(parity, time)| {
        let space = SpaceId(RecordId::MIN);
        let terms = Terms { space, from: [0; 38], to: [1; 38], nonce: [2; 32] };
        Statement::sign(&SigningKey::from_seed(&[9; 32]), &terms, parity, time)
    })
}

fn arb_request() -> impl Strategy<Value = Request> {
    let tag = any::<[u8; 32]>;
    prop_oneof![
        arb_hello().prop_map(Request::Hello),
        prop::collection::btree_set(tag(), 0..9)
            .prop_map(|tags| Request::Spaces { tags: tags.into_iter().collect() }),
        (tag(), any::<bool>(), arb_bytes(200), any::<u32>()).prop_map(
            |(tag, authority, message, room)| {
                let set = if authority { Set::Authority } else { Set::Content };
                Request::Reconcile { tag, set, message, room }
            }
        ),
        (tag(), arb_ids(), any::<u32>()).prop_map(|(tag, ids, room)| Request::Fetch {
            tag,
            ids,
            room
        }),
        (tag(), arb_records()).prop_map(|(tag, records)| Request::Push { tag, records }),
        (tag(), any::<bool>(), arb_id(), arb_id(), any::<u32>())
            .prop_filter("a range ends above its beginning", |(_, _, from, to, _)| from < to)
            .prop_map(|(tag, authority, from, to, room)| {
                let set = if authority { Set::Authority } else { Set::Content };
                Request::Range { tag, set, span: Span { from, to }, room }
            }),
        (tag(), arb_statement()).prop_map(|(tag, statement)| Request::Parity { tag, statement }),
        (tag(), tag()).prop_map(|(tag, commitment)| Request::Commit { tag, commitment }),
        (tag(), tag(), arb_parity(), arb_ids())
            .prop_map(|(tag, secret, parity, ids)| Request::Prove { tag, secret, parity, ids }),
    ]
}

fn arb_response() -> impl Strategy<Value = Response> {
    let verdict = prop::sample::select(vec![
        PushVerdict::Accept,
        PushVerdict::Duplicate,
        PushVerdict::Hold,
        PushVerdict::Reject,
        PushVerdict::Refuse,
    ]);
    prop_oneof![
        arb_hello().prop_map(Response::Hello),
        prop::collection::btree_set(0u16..256, 0..9)
            .prop_map(|shared| Response::Spaces { shared: shared.into_iter().collect() }),
        arb_bytes(200).prop_map(|message| Response::Reconcile { message }),
        (arb_records(), arb_ids())
            .prop_map(|(records, absent)| Response::Records(Page { records, absent })),
        (arb_records(), prop::option::of(arb_id()))
            .prop_map(|(records, next)| Response::Range { records, next }),
        prop::collection::vec(verdict, 0..9).prop_map(|verdicts| Response::Pushed { verdicts }),
        arb_statement().prop_map(|statement| Response::Parity { statement }),
        any::<[u8; 32]>().prop_map(|commitment| Response::Commit { commitment }),
        (
            any::<[u8; 32]>(),
            arb_parity(),
            prop::collection::vec(prop::option::of(any::<[u8; 32]>()), 0..9)
        )
            .prop_map(|(secret, parity, proofs)| Response::Proved {
                secret,
                parity,
                proofs
            }),
        Just(Response::Unknown),
        any::<u64>().prop_map(|reason| Response::Refused { reason: Refusal(reason) }),
        Just(Response::Busy),
    ]
}

/// Whatever is read is what would be written.
fn read_both(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode().as_deref(), Ok(bytes));
    }
    if let Ok(response) = Response::decode(bytes) {
        assert_eq!(response.encode().as_deref(), Ok(bytes));
    }
}

proptest! {
    #[test]
    fn messages_are_read_as_written(request in arb_request(), response in arb_response()) {
        prop_assert_eq!(Request::decode(&request.encode().unwrap()), Ok(request));
        prop_assert_eq!(Response::decode(&response.encode().unwrap()), Ok(response));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), code in 0u8..24, len in 0x80u8..0x98) {
        read_both(&bytes);
        read_both(&[&[len, code], &bytes[..]].concat());
    }

    #[test]
    fn changed_bytes_are_read_or_refused(
        request in arb_request(),
        response in arb_response(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        for mut bytes in [request.encode().unwrap(), response.encode().unwrap()] {
            let short = &bytes[..cut.index(bytes.len())];
            prop_assert!(Request::decode(short).is_err() && Response::decode(short).is_err());
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            read_both(&bytes);
        }
    }
}

fn hello() -> Hello {
    Hello {
        version: 1,
        agent: "ocm/0.1.0".into(),
        nonce: [7; 32],
        certificate: ByteBuf::from(vec![1, 2, 3]),
        kinds: vec![1, 2, 4],
    }
}

#[test]
fn the_bytes_are_these() {
    let hello = Request::Hello(hello()).encode().unwrap();
    let expected = [
        &[0x86, 1, 1, 0x69][..],
        b"ocm/0.1.0",
        &[0x58, 32],
        &[7; 32],
        &[0x43, 1, 2, 3, 0x83, 1, 2, 4],
    ]
    .concat();
    assert_eq!(hello, expected);
    let fetch = Request::Fetch { tag: [9; 32], ids: vec![RecordId::MIN], room: 65_536 };
    let fetch = fetch.encode().unwrap();
    let room = [0x1a, 0, 1, 0, 0];
    let expected =
        [&[0x84, 4, 0x58, 32][..], &[9; 32], &[0x81, 0x58, 40], &[0; 40], &room].concat();
    assert_eq!(fetch, expected);
    let set = SetDigest { count: 3, digest: [5; 32] };
    let parity = Parity { authority: set, content: set, missing_bodies: 2 };
    let set = [&[0x82, 3, 0x58, 32][..], &[5; 32]].concat();
    let terms = Terms { space: SpaceId(RecordId::MIN), from: [0; 38], to: [1; 38], nonce: [2; 32] };
    let statement = Statement::sign(&SigningKey::from_seed(&[9; 32]), &terms, parity, 7);
    let signature = &[&[0x58, 64][..], statement.signature().as_bytes()].concat();
    assert_eq!(
        Response::Parity { statement }.encode().unwrap(),
        [&[0x82, 6, 0x83, 0x83][..], &set, &set, &[2], &[7], signature].concat()
    );
    assert_eq!(Response::Unknown.encode().unwrap(), [0x81, 7]);
    assert_eq!(Response::Busy.encode().unwrap(), [0x81, 9]);
}

#[test]
fn what_is_over_a_limit_is_neither_written_nor_read() {
    let id = |n: usize| RecordId::from_parts(Time(n as u64), [1; 32]);
    let tag = [0; 32];
    let requests = [
        Request::Hello(Hello { agent: "x".repeat(65), ..hello() }),
        Request::Hello(Hello { agent: "two\nlines".into(), ..hello() }),
        Request::Hello(Hello { certificate: ByteBuf::from(vec![0; 1025]), ..hello() }),
        Request::Hello(Hello { kinds: (0..65).collect(), ..hello() }),
        Request::Hello(Hello { kinds: vec![2, 1], ..hello() }),
        Request::Spaces { tags: vec![[1; 32], [1; 32]] },
        Request::Spaces { tags: (0..=limits::TAGS).map(nth_tag).collect() },
        Request::Reconcile {
            tag,
            set: Set::Content,
            message: ByteBuf::from(vec![0; limits::RECONCILE_BYTES + 1]),
            room: u32::MAX,
        },
        Request::Fetch { tag, ids: (0..=limits::PAGE_RECORDS).map(id).collect(), room: u32::MAX },
        Request::Fetch { tag, ids: vec![id(2), id(1)], room: u32::MAX },
        Request::Push { tag, records: vec![ByteBuf::new(); limits::PAGE_RECORDS + 1] },
        Request::Push {
            tag,
            records: vec![ByteBuf::from(vec![0; ocm_record::limits::RECORD_BYTES + 1])],
        },
        Request::Push { tag, records: vec![ByteBuf::from(vec![0; 60_000]); 18] },
    ];
    for request in requests {
        assert!(request.encode().is_err(), "{request:?}");
        assert!(Request::decode(&wire::encode_request(&request)).is_err(), "{request:?}");
    }
    let responses = [
        Response::Spaces { shared: vec![3, 2] },
        Response::Spaces { shared: vec![256] },
        Response::Records(Page { records: vec![], absent: vec![id(1), id(1)] }),
        Response::Pushed { verdicts: vec![PushVerdict::Hold; limits::PAGE_RECORDS + 1] },
    ];
    for response in responses {
        assert!(response.encode().is_err(), "{response:?}");
        assert!(Response::decode(&wire::encode_response(&response)).is_err(), "{response:?}");
    }
    let promise = [0x83, 4, 0x80, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert!(Response::decode(&promise).is_err());
    assert_eq!(Request::decode(&[0x81, 23]), Err(MessageError::Code(23)));
    assert_eq!(Request::decode(&vec![0x81; 1 << 21]), Err(MessageError::Long(1 << 21)));
}

/// Distinct ascending tags.
fn nth_tag(n: usize) -> SpaceTag {
    let mut tag = [0; 32];
    tag[..8].copy_from_slice(&(n as u64).to_be_bytes());
    tag
}

#[test]
fn a_page_takes_what_fits_and_no_more() {
    let ids: Vec<RecordId> = (0..1500).map(|n| RecordId::from_parts(Time(n), [1; 32])).collect();
    let small =
        Page::fill(&ids, u32::MAX, |id| Ok::<_, ()>((id.time().0 % 3 != 0).then(|| vec![0; 100])))
            .unwrap();
    assert_eq!(small.settled(), limits::PAGE_RECORDS);
    assert_eq!(small.absent.len(), limits::PAGE_RECORDS.div_ceil(3));
    assert!(Response::Records(small).encode().is_ok());

    let large = vec![7; ocm_record::limits::RECORD_BYTES];
    let page = Page::fill(&ids, u32::MAX, |_| Ok::<_, ()>(Some(large.clone()))).unwrap();
    assert_eq!(page.absent.len(), 0);
    assert_eq!(page.records.len(), limits::PAGE_BYTES / (large.len() + 5));
    // Sixteen of the largest, and every other id absent: still one message.
    let page =
        Page::fill(&ids, u32::MAX, |id| Ok::<_, ()>((id.time().0 >= 490).then(|| large.clone())));
    let page = page.unwrap();
    assert!(page.records.len() > 10 && page.absent.len() == 490);
    assert!(Response::Records(page).encode().is_ok());

    assert_eq!(Page::fill(&ids, u32::MAX, |_| Err("store")), Err("store"));
}
