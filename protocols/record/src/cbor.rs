//! Deterministic DAG-CBOR: one value, one encoding.

use serde::{Deserialize, Serialize};

use crate::limits::CBOR_DEPTH;

/// The bytes are not the one canonical encoding of a value of the expected shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not canonical DAG-CBOR of the expected shape: {0}")]
pub struct NotCanonical(pub String);

/// Encodes a value as canonical DAG-CBOR: shortest integers, definite lengths, sorted map keys.
///
/// # Panics
/// Never for the types of this workspace: encoding to memory fails only for values that DAG-CBOR
/// has no form for (floats that are not finite, integers past 64 bits, keys that are not text), and
/// those are refused where such values enter.
#[must_use]
pub fn to_canonical<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "see the panics section")]
    serde_ipld_dagcbor::to_vec(&value).expect("the value has a DAG-CBOR form")
}

/// Decodes exactly one value and nothing after it, refusing every encoding but the canonical one
/// (long integers, indefinite lengths, unsorted or repeated keys, trailing bytes) and nesting
/// deeper than [`CBOR_DEPTH`]. What an input promises reserves nothing: all of it is walked before
/// any of it is decoded, so memory is bounded by the items that are there (an [`Ipld`] takes some
/// hundred bytes for an item of one).
///
/// [`Ipld`]: ipld_core::ipld::Ipld
///
/// # Errors
/// [`NotCanonical`] with the decoder's reason.
pub fn from_canonical<'a, T: Deserialize<'a> + Serialize>(
    bytes: &'a [u8],
) -> Result<T, NotCanonical> {
    check_depth(bytes)?;
    let value: T =
        serde_ipld_dagcbor::from_slice(bytes).map_err(|e| NotCanonical(e.to_string()))?;
    // The decoder is strict already; encoding again makes the rule independent of its version.
    let mut again = Same { rest: bytes };
    match serde_ipld_dagcbor::to_writer(&mut again, &value) {
        Ok(()) if again.rest.is_empty() => Ok(value),
        _ => Err(NotCanonical("another encoding of the same value is the canonical one".into())),
    }
}

/// Takes only the bytes that are expected.
struct Same<'a> {
    rest: &'a [u8],
}

impl std::io::Write for Same<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => {
                self.rest = rest;
                Ok(bytes.len())
            }
            None => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Walks the items of a CBOR text without recursion and without allocation beyond the depth
/// limit, so that no input can exhaust the stack of the real decoder.
fn check_depth(bytes: &[u8]) -> Result<(), NotCanonical> {
    let short = || NotCanonical("the input ends inside an item".into());
    let mut open: Vec<u64> = Vec::new();
    let mut rest = bytes;
    loop {
        let (&first, after) = rest.split_first().ok_or_else(short)?;
        rest = after;
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => u64::from(info),
            24..=27 => {
                let width = 1usize << (info - 24);
                let (head, tail) = rest.split_at_checked(width).ok_or_else(short)?;
                rest = tail;
                head.iter().fold(0u64, |n, b| n << 8 | u64::from(*b))
            }
            _ => return Err(NotCanonical("indefinite length or reserved item".into())),
        };
        let children = match major {
            2 | 3 => {
                let length = usize::try_from(argument).map_err(|_| short())?;
                rest = rest.split_at_checked(length).ok_or_else(short)?.1;
                0
            }
            4 => argument,
            5 => argument.checked_mul(2).ok_or_else(short)?,
            6 => 1,
            _ => 0,
        };
        if children > 0 {
            // Every child takes a byte at least: a count past the input is a lie.
            if children > rest.len() as u64 {
                return Err(short());
            }
            open.push(children);
            if open.len() > CBOR_DEPTH {
                return Err(NotCanonical(format!("nested deeper than {CBOR_DEPTH} levels")));
            }
        } else {
            loop {
                match open.last_mut() {
                    None if rest.is_empty() => return Ok(()),
                    None => return Err(NotCanonical("bytes after the value".into())),
                    Some(1) => {
                        open.pop();
                    }
                    Some(n) => {
                        *n -= 1;
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipld_core::ipld::Ipld;

    #[test]
    fn only_the_canonical_encoding_is_read() {
        let accepted: &[&[u8]] =
            &[&[0x17], &[0x18, 0x18], &[0x80], &[0x82, 1, 2], &[0xa1, 0x61, b'a', 1], &[0xf6]];
        for bytes in accepted {
            assert!(from_canonical::<Ipld>(bytes).is_ok(), "{bytes:02x?}");
        }
        let refused: &[(&str, &[u8])] = &[
            ("empty", &[]),
            ("long integer", &[0x18, 0x17]),
            ("trailing byte", &[0x01, 0x01]),
            ("indefinite array", &[0x9f, 0x01, 0xff]),
            ("indefinite text", &[0x7f, 0x61, b'a', 0xff]),
            ("unsorted keys", &[0xa2, 0x61, b'b', 1, 0x61, b'a', 2]),
            ("repeated key", &[0xa2, 0x61, b'a', 1, 0x61, b'a', 2]),
            ("integer key", &[0xa1, 0x01, 0x01]),
            ("undefined", &[0xf7]),
            ("short float", &[0xf9, 0x3c, 0x00]),
            ("not a number", &[0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
            ("unknown tag", &[0xc1, 0x01]),
            (
                "promised more than there is",
                &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
            ("byte string cut short", &[0x5a, 0xff, 0xff, 0xff, 0xff, 0x00]),
        ];
        for (what, bytes) in refused {
            assert!(from_canonical::<Ipld>(bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn nesting_is_limited_before_the_decoder_sees_it() {
        let nested = |n: usize| [vec![0x81; n], vec![0x00]].concat();
        assert!(from_canonical::<Ipld>(&nested(CBOR_DEPTH)).is_ok());
        assert!(from_canonical::<Ipld>(&nested(CBOR_DEPTH + 1)).is_err());
        assert!(from_canonical::<Ipld>(&nested(1_000_000)).is_err());
    }
}
