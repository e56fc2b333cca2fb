//! One rule for signatures: ZIP 215 without keys of small order or of a second encoding, and the
//! same verdict singly and in a batch.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_zebra::{Signature as ZebraSignature, VerificationKey, VerificationKeyBytes, batch};
use ocm_record::{KeyError, SignedRecord, SigningKey, VerifyError, verify_batch};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::Value;
use sha2::{Digest as _, Sha512};

use crate::fixture::{assemble, class_of_key, header, key, public, read, signature, signed, unhex};
use crate::vectors::stored;

fn field(case: &Value, name: &str) -> Vec<u8> {
    unhex(case[name].as_str().unwrap())
}

/// What the library says, singly and in a batch of one.
fn zip215(key: &[u8], message: &[u8], signature: &[u8]) -> (bool, bool) {
    let key: [u8; 32] = key.try_into().unwrap();
    let signature = ZebraSignature::from(<[u8; 64]>::try_from(signature).unwrap());
    let single =
        VerificationKey::try_from(key).is_ok_and(|key| key.verify(&signature, message).is_ok());
    let mut batch = batch::Verifier::new();
    batch.queue((VerificationKeyBytes::from(key), signature, message));
    (single, batch.verify(ChaCha20Rng::from_seed([1; 32])).is_ok())
}

#[test]
fn rfc_8032_section_7_1() {
    let file = stored("rfc8032.json");
    let cases = file["valid"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let name = &case["name"];
        let ours = SigningKey::from_seed(&field(case, "seed").try_into().unwrap());
        let message = field(case, "message");
        assert_eq!(ours.public().as_bytes().as_slice(), field(case, "key"), "{name}");
        assert_eq!(ours.sign(&message).as_bytes().as_slice(), field(case, "signature"), "{name}");
        assert!(ours.public().verifies(&message, &ours.sign(&message)), "{name}");
        let other = [&message[..], b"."].concat();
        assert!(!ours.public().verifies(&other, &ours.sign(&message)), "{name}");
    }
}

#[test]
fn speccheck() {
    let file = stored("speccheck.json");
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let name = &case["name"];
        let [message, key, sig] = ["message", "key", "signature"].map(|name| field(case, name));
        let published = case["zip215"].as_bool().unwrap();
        assert_eq!(zip215(&key, &message, &sig), (published, published), "{name}");
        let ours = match public(&key).check() {
            Err(error) => class_of_key(error),
            Ok(()) if public(&key).verifies(&message, &signature(&sig)) => "valid",
            Ok(()) => "signature",
        };
        assert_eq!(ours, case["verdict"].as_str().unwrap(), "{name}");
        assert_eq!(public(&key).verifies(&message, &signature(&sig)), ours == "valid", "{name}");
    }
}

/// The 255-bit numbers whose encodings are points of small order, with either sign: y of the
/// eight points, and y + p where that still fits (0 and 1).
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut all: Vec<[u8; 32]> = Vec::new();
    for point in EIGHT_TORSION {
        let mut y = point.compress().to_bytes();
        y[31] &= 0x7f;
        let mut plus_p = [0xff; 32];
        plus_p[0] = 0xed_u8.wrapping_add(y[0]);
        plus_p[31] = 0x7f;
        let fits = y[1..].iter().all(|b| *b == 0) && y[0] < 19;
        for mut encoding in [Some(y), fits.then_some(plus_p)].into_iter().flatten() {
            all.push(encoding);
            encoding[31] |= 0x80;
            all.push(encoding);
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn the_grid_of_small_order_points() {
    let encodings = small_order_encodings();
    assert_eq!(encodings.len(), 14);
    let mut records = Vec::new();
    for a in &encodings {
        let key = public(a);
        assert!(
            matches!(key.check(), Err(KeyError::SmallOrder | KeyError::NotCanonical)),
            "{key:?}"
        );
        let bytes = header(key, 1, b"").encode();
        for r in &encodings {
            let sig = [&r[..], &[0; 32]].concat();
            assert_eq!(zip215(a, b"Zcash", &sig), (true, true), "valid under the bare ZIP 215");
            assert!(!key.verifies(b"Zcash", &signature(&sig)), "{key:?}");
            records.push(SignedRecord::decode(&assemble(&bytes, &sig, Some(b""))).unwrap());
        }
    }
    assert_eq!(records.len(), 196);
    let batch = verify_batch(records.clone());
    for (single, batch) in records.into_iter().map(SignedRecord::verify).zip(batch) {
        let single = single.unwrap_err();
        assert!(matches!(single, VerifyError::Key(_)));
        assert_eq!(batch.unwrap_err(), single);
    }
}

/// All points but those of small order whose y has a second encoding, y + p: valid keys for the
/// bare ZIP 215, refused here under either sign.
#[test]
fn second_encodings_of_keys_are_refused() {
    let mut points = 0;
    for y in 0..19u8 {
        for sign in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xed + y;
            bytes[31] = sign;
            points += u32::from(VerificationKey::try_from(bytes).is_ok());
            assert_eq!(public(&bytes).check(), Err(KeyError::NotCanonical), "p + {y}");
        }
    }
    assert!(points > 4, "some of these are points beyond 0 and 1");
    let mut below = [0xff; 32];
    (below[0], below[31]) = (0xec, 0x7f);
    assert_eq!(public(&below).check(), Err(KeyError::SmallOrder), "p - 1 is no second encoding");
}

#[test]
fn bytes_off_the_curve_are_no_key() {
    let mut two = [0; 32];
    two[0] = 2;
    assert_eq!(public(&two).check(), Err(KeyError::NotAPoint));
    let mut record = header(public(&two), 1, b"").encode();
    assert_eq!(read(&assemble(&record, &[0; 64], Some(b""))).unwrap_err(), "key-not-a-point");
    record.pop();
    assert_eq!(read(&assemble(&record, &[0; 64], Some(b""))).unwrap_err(), "not-canonical");
}

/// A record signed with points of small order added to the key and to the commitment: valid by
/// the cofactored equation, and by no other where the torsion does not cancel out.
fn crafted(seq: u64, in_key: EdwardsPoint, in_commitment: EdwardsPoint) -> Vec<u8> {
    let scalar = |text: &str| {
        Scalar::from_bytes_mod_order_wide(&Sha512::digest(format!("{text} {seq}")).into())
    };
    let (a, r) = (scalar("key"), scalar("commitment"));
    let big_a = (EdwardsPoint::mul_base(&a) + in_key).compress().to_bytes();
    let big_r = (EdwardsPoint::mul_base(&r) + in_commitment).compress().to_bytes();
    let message = header(public(&big_a), seq, b"crafted").encode();
    let hash = Sha512::new().chain_update(big_r).chain_update(big_a).chain_update(&message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    let sig = [big_r, (r + k * a).to_bytes()].concat();
    assemble(&message, &sig, Some(b"crafted"))
}

#[test]
fn crafted_signatures_get_the_same_verdict_singly_and_in_a_batch() {
    let all: Vec<Vec<u8>> = EIGHT_TORSION
        .iter()
        .flat_map(|a| EIGHT_TORSION.iter().map(move |r| (*a, *r)))
        .zip(1..)
        .map(|((a, r), seq)| crafted(seq, a, r))
        .collect();
    assert_eq!(all.len(), 64);
    let mut strict = 0;
    for bytes in &all {
        let record = read(bytes).unwrap();
        let key = ed25519_dalek::VerifyingKey::from_bytes(record.header().key.as_bytes()).unwrap();
        let sig = ed25519_dalek::Signature::from_bytes(record.signature().as_bytes());
        strict += usize::from(key.verify_strict(record.header_bytes(), &sig).is_ok());
    }
    assert!(strict < 32, "most of these only the cofactored equation accepts, not {strict}");
    let records = all.iter().map(|bytes| SignedRecord::decode(bytes).unwrap()).collect();
    assert!(verify_batch(records).iter().all(Result::is_ok));
}

/// One record of a batch: as its author made it, or spoilt in one way.
#[derive(Debug, Clone, Copy)]
enum Member {
    Good,
    Crafted,
    Bit(u16),
    OtherBody,
    OtherKey,
    SmallOrder,
    LongScalar,
    NoPoint,
}

fn member() -> impl Strategy<Value = Member> {
    prop_oneof![
        6 => Just(Member::Good),
        1 => Just(Member::Crafted),
        1 => (0..512u16).prop_map(Member::Bit),
        1 => Just(Member::OtherBody),
        1 => Just(Member::OtherKey),
        1 => Just(Member::SmallOrder),
        1 => Just(Member::LongScalar),
        1 => Just(Member::NoPoint),
    ]
}

/// The order of the base point, little-endian, added to the scalar of a signature.
fn add_order(sig: &mut [u8]) {
    const ORDER: [u8; 16] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14,
    ];
    let mut carry = 0;
    for (i, byte) in sig[32..].iter_mut().enumerate() {
        let add = if i == 31 { 0x10 } else { ORDER.get(i).copied().unwrap_or(0) };
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

fn make(member: Member, signer: u8, seq: u64) -> (SignedRecord, Result<(), VerifyError>) {
    let author = key(signer);
    let bytes = header(author.public(), seq, b"said").encode();
    let mut sig = *author.sign(&bytes).as_bytes();
    let (record, verdict) = match member {
        Member::Good => (signed(&author, &bytes, Some(b"said")), Ok(())),
        Member::Crafted => (crafted(seq, EIGHT_TORSION[1], EIGHT_TORSION[3]), Ok(())),
        Member::Bit(bit) => {
            sig[usize::from(bit / 8)] ^= 1 << (bit % 8);
            (assemble(&bytes, &sig, Some(b"said")), Err(VerifyError::Signature))
        }
        Member::OtherBody => (signed(&author, &bytes, Some(b"sais")), Err(VerifyError::Body)),
        Member::OtherKey => (signed(&key(99), &bytes, Some(b"said")), Err(VerifyError::Signature)),
        Member::SmallOrder => {
            let key = public(&EIGHT_TORSION[1].compress().to_bytes());
            let bytes = header(key, seq, b"said").encode();
            let sig = [EIGHT_TORSION[2].compress().to_bytes(), [0; 32]].concat();
            (assemble(&bytes, &sig, Some(b"said")), Err(VerifyError::Key(KeyError::SmallOrder)))
        }
        Member::LongScalar => {
            add_order(&mut sig);
            (assemble(&bytes, &sig, Some(b"said")), Err(VerifyError::Signature))
        }
        Member::NoPoint => {
            sig[..32].fill(0);
            sig[0] = 2;
            (assemble(&bytes, &sig, Some(b"said")), Err(VerifyError::Signature))
        }
    };
    (SignedRecord::decode(&record).unwrap(), verdict)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The bad are found, each with its own reason, and no good one with them; the answers come
    /// in the order of the records.
    #[test]
    fn a_batch_finds_exactly_the_bad(
        members in prop::collection::vec((member(), 1..4u8), 0..24),
    ) {
        let (records, verdicts): (Vec<_>, Vec<_>) = members
            .iter()
            .zip(1..)
            .map(|((member, signer), seq)| make(*member, *signer, seq))
            .unzip();
        let ids: Vec<_> = records.iter().map(SignedRecord::id).collect();
        let batch = verify_batch(records.clone());
        prop_assert_eq!(batch.len(), records.len());
        for (i, (single, batch)) in records.into_iter().zip(batch).enumerate() {
            let single = single.verify().map(|record| record.id());
            prop_assert_eq!(&single, &verdicts[i].map(|()| ids[i]));
            prop_assert_eq!(batch.map(|record| record.id()), single);
        }
    }
}

#[test]
fn a_batch_may_hold_one_record_twice_and_a_bad_copy_of_it() {
    let (good, _) = make(Member::Good, 1, 1);
    let (bad, _) = make(Member::Bit(300), 1, 1);
    assert_eq!(good.id(), bad.id(), "an id does not cover the signature");
    assert_ne!(good.copy_hash(), bad.copy_hash());
    let verdicts = verify_batch(vec![good.clone(), bad, good]);
    let fine: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(fine, [true, false, true]);
}
