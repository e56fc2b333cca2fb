//! Peers whose answers look like others: sums that mislead are looked into again; an echo cannot be
//! told from a peer that is equal.

use super::*;

/// Records whose ids look like another in sums: what is inferred is absent, and a second pass finds
/// the records themselves.
#[test]
fn a_session_misled_by_sums_looks_again() {
    let (mut a, mut b) = federation(16, 40, 3, 0);
    let mut misled = false;
    let nobodys = RecordId::from_parts(Time(1 << 19), [7; 32]);
    let outcome = run(&mut a, |request| match &request {
        // The sum of everything, as if one id had come.
        Request::Reconcile { set: Set::Authority, message, .. } if !misled => {
            misled = true;
            let ours = &message[3..];
            assert_eq!(ours[0], 1, "a sum");
            let (count, sum) = (ours[1], ours[2..].try_into().unwrap());
            let sum = Sum { count: count.into(), sum }.plus(&Sum::of(&nobodys));
            let mut bytes = vec![0xe1, 2, 0, 2, 0];
            write_varint(&mut bytes, 1 << 21);
            bytes.extend([&[0, 1, sum.count as u8], &sum.sum[..], &[0, 0, 2, 0]].concat());
            Response::Reconcile { message: ByteBuf::from(bytes) }
        }
        _ => b.answer(request),
    });
    let outcome = outcome.0.unwrap();
    assert_eq!((outcome.authority.absent, outcome.authority.misled), (0, 1));
    assert!(outcome.authority.rounds > 1);
    assert_equal(&a, &b, &outcome);
}

/// However many ids look like others, it is nobody's fault that is asked: after a page of them the
/// set is gone through exactly, and what else was inferred is left.
#[test]
fn a_session_misled_by_very_many_sums_looks_again_at_once() {
    let (mut a, mut b) = federation(17, 80, 5, 5);
    let (mut asked, mut exact) = (Vec::new(), false);
    let outcome = run(&mut a, |request| match &request {
        Request::Reconcile { set: Set::Authority, .. } if asked.is_empty() => {
            asked.push(0);
            let mut bytes = vec![0xe1, 2, 0, 2, 0];
            for n in 0..1500u64 {
                let hash = Sha256::digest(n.to_be_bytes()).into();
                // Below every record: a range of two moments, with an id in the second.
                let nobodys = Sum::of(&RecordId::from_parts(Time(2 * n + 2), hash));
                bytes.extend([&[3, 0, 1, 1][..], &nobodys.sum].concat());
            }
            // The rest differs, too: there would be another round.
            bytes.extend([&[0, 0, 1, 50][..], &[7; 40]].concat());
            Response::Reconcile { message: ByteBuf::from(bytes) }
        }
        Request::Fetch { ids, .. } if !exact => {
            asked.push(ids.len());
            b.answer(request)
        }
        Request::Reconcile { set: Set::Authority, message, .. } => {
            if !exact {
                assert_eq!(message[..4], [0xe1, 0, 0, 1], "the sum of everything: it begins anew");
            }
            exact = true;
            b.answer(request)
        }
        _ => b.answer(request),
    });
    assert_eq!(asked, [0, limits::PAGE_RECORDS], "one page of them is enough");
    let outcome = outcome.0.unwrap();
    assert_eq!((outcome.authority.absent, outcome.authority.misled), (0, 1024));
    assert!(exact && outcome.authority.rounds > 1);
    assert_equal(&a, &b, &outcome);
}

#[test]
fn an_echo_looks_equal_as_long_as_it_is_sent_fingerprints_only() {
    let echo = |request| match request {
        Request::Reconcile { message, .. } => Response::Reconcile { message },
        Request::Parity { statement, .. } => Response::Parity { statement },
        _ => Response::Unknown,
    };
    // A peer that sends back what it hears agrees with everything: parity alone cannot tell.
    let (mut a, _) = federation(4, 600, 0, 0);
    let outcome = run(&mut a, echo).0.unwrap();
    assert_eq!(a.compared(&outcome), Comparison::Equal);
}
