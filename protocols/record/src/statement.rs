//! Signatures over anything but a record.

use ipld_core::ipld::Ipld;

use crate::cbor::to_canonical;
use crate::key::{PublicKey, Signature, SigningKey};

/// A statement's signature is not its key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature on the {0} is not valid")]
pub struct StatementError(pub &'static str);

/// What such a signature covers: a DAG-CBOR array that begins with `"ocm/1/<kind>"`, so that no
/// signature of one kind can be shown as one of another, nor as a record's.
fn message(kind: &str, fields: &[Ipld]) -> Vec<u8> {
    let mut items = vec![Ipld::String(format!("ocm/1/{kind}"))];
    items.extend_from_slice(fields);
    to_canonical(&Ipld::List(items))
}

/// Signs a statement outside the sets: a certificate, a beacon, parity.
#[must_use]
pub fn sign_statement(key: &SigningKey, kind: &str, fields: &[Ipld]) -> Signature {
    key.sign(&message(kind, fields))
}

/// Checks a statement.
///
/// # Errors
/// When key or signature is not acceptable: the statement is to be ignored.
pub fn verify_statement(
    key: &PublicKey,
    kind: &'static str,
    fields: &[Ipld],
    signature: &Signature,
) -> Result<(), StatementError> {
    if key.verifies(&message(kind, fields), signature) { Ok(()) } else { Err(StatementError(kind)) }
}
