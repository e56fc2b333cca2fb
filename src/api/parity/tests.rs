use ocm_node::AuditState;
use ocm_record::{RecordId, SigningKey};
use ocm_sync::{Terms, compare};
use serde_json::{Value, json};

use super::*;

fn parity(content: u64) -> Parity {
    let set = |count| SetDigest { count, digest: [count as u8; 32] };
    Parity { authority: set(2), content: set(content), missing_bodies: 0 }
}

fn peer() -> PeerId {
    PeerId::new(SigningKey::from_seed(&[1; 32]).public())
}

/// 12 records here, and as many as said there.
fn state(there: u64) -> ParityState {
    let key = SigningKey::from_seed(&[2; 32]);
    let space = SpaceId(RecordId::MIN);
    let terms = Terms { space, from: peer().to_bytes(), to: [0; 38], nonce: [7; 32] };
    let (ours, theirs) = (parity(12), parity(there));
    let equal = ours == theirs;
    ParityState {
        did: Did::from(key.public()),
        at_ms: 2000,
        equal_since_ms: equal.then_some(1000),
        differs_since_ms: (!equal).then_some(1500),
        comparable: true,
        comparison: compare(&ours, &theirs),
        ours,
        theirs,
        stated: Stated::Session {
            nonce: [7; 32],
            statement: ocm_sync::Statement::sign(&key, &terms, theirs, 1999),
        },
        here: Missing::default(),
        there: Missing::default(),
        exact: equal,
        doubt: None,
        audit: None,
        described_ms: None,
    }
}

fn shown(state: Option<&ParityState>, current: u64, denied: bool) -> Value {
    let current = parity(current);
    let current = Some(&current);
    let known = Known { peer_id: peer(), connected: None, parity: state, current, denied };
    serde_json::to_value(Compared::from(known)).unwrap()
}

#[test]
fn a_statement_is_shown_with_all_that_it_takes_to_check_it() {
    let state = state(12);
    let shown = shown(Some(&state), 12, false);
    assert_eq!((&shown["state"], &shown["connected"]), (&json!("equal"), &json!(false)));
    assert_eq!(shown["equal_since"], "1970-01-01T00:00:01.000Z");
    assert_eq!(shown["did"], state.did.to_string());
    let statement = &shown["statement"];
    assert_eq!(statement["time"], "1970-01-01T00:00:01.999Z");
    assert_eq!(statement["content"], json!({"count": 12, "digest": "0c".repeat(32)}));
    assert_eq!(statement["nonce"], "07".repeat(32));
    let signature = HEXLOWER.encode(state.stated.signature().as_bytes());
    assert_eq!(statement["signature"], signature);
}

#[test]
fn equal_is_said_only_of_what_is_stored_now_and_of_whom_is_believed() {
    let mut state = state(12);
    let says = |state: &ParityState| shown(Some(state), 12, false)["state"].clone();
    assert_eq!(says(&state), "equal");
    let changed = shown(Some(&state), 13, false);
    assert_eq!(changed["state"], "changed since");
    assert_eq!(changed["equal_since"], Value::Null);
    assert_eq!(shown(Some(&state), 12, true)["state"], "denied");
    assert_eq!(shown(None, 12, false)["state"], "not compared");
    state.audit = Some(AuditState { at_ms: 3000, passed: false });
    state.doubt = Some("3 of 16 proofs that it has a record are wrong".into());
    let doubted = shown(Some(&state), 12, false);
    assert_eq!(doubted["state"], "unproved");
    assert_eq!(
        doubted["cause"],
        "it does not prove what it claims: 3 of 16 proofs that it has a record are wrong"
    );
    assert_eq!(doubted["audit"], json!({"at": "1970-01-01T00:00:03.000Z", "passed": false}));
    (state.doubt, state.comparable) = (None, false);
    assert_eq!(says(&state), "not comparable");
}

#[test]
fn a_difference_is_told_with_its_causes() {
    let mut state = state(15);
    state.here =
        Missing { refused: 2, held: 1, not_asked: 1, quarantined: 3, ..Missing::default() };
    state.there = Missing { refused: 1, ..Missing::default() };
    let told = shown(Some(&state), 12, false);
    assert_eq!((&told["state"], &told["exact"]), (&json!("differs"), &json!(false)));
    assert_eq!(told["differs_since"], "1970-01-01T00:00:01.500Z");
    assert_eq!(
        told["cause"],
        "content records differ: 12 here, 15 there; at least 4 missing here (1 held, 2 \
         refused, 1 not asked, 3 of them quarantined) and 1 missing there (1 refused)"
    );
    assert_eq!(
        told["missing_here"],
        json!({"total": 4, "held": 1, "refused": 2, "rejected": 0, "in_flight": 0,
            "not_asked": 1, "quarantined": 3})
    );
    state.exact = true;
    let cause = shown(Some(&state), 12, false)["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains("; 4 missing here"), "{cause}");
}
