//! The RecordIds of answers.
//!
//! Owns their text. 20 bytes: the stamp of the stream's journal (8), the record's position (8,
//! big-endian) and the CRC-32C of those 16 (4, big-endian); written as 32 characters of base32 in
//! lower case, without the letters i, l, o and u. Clients see an opaque text; support reads where
//! the record stands in which journal.

use crate::record::Position;

/// Characters in a RecordId.
pub const RECORD_ID_CHARS: usize = 32;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BODY_BYTES: usize = 16;
const ID_BYTES: usize = 20;
const _: () = assert!(ID_BYTES * 8 == RECORD_ID_CHARS * 5);

/// What a RecordId holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordId {
    /// The identity of the journal: instance and stream.
    pub stamp: [u8; 8],
    /// The record in that journal.
    pub position: Position,
}

impl RecordId {
    /// The text; all of it is ASCII.
    #[must_use]
    pub fn text(self) -> [u8; RECORD_ID_CHARS] {
        let mut bytes = [0; ID_BYTES];
        bytes[..8].copy_from_slice(&self.stamp);
        bytes[8..BODY_BYTES].copy_from_slice(&self.position.0.to_be_bytes());
        let check = crc32c::crc32c(&bytes[..BODY_BYTES]);
        bytes[BODY_BYTES..].copy_from_slice(&check.to_be_bytes());
        let mut text = [0; RECORD_ID_CHARS];
        for (five, eight) in bytes.as_chunks::<5>().0.iter().zip(text.as_chunks_mut::<8>().0) {
            let &[a, b, c, d, e] = five;
            let bits = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
            for (character, shift) in eight.iter_mut().zip([35, 30, 25, 20, 15, 10, 5, 0]) {
                *character = ALPHABET[(bits >> shift) as usize & 31];
            }
        }
        text
    }

    /// Reads what [`text`](Self::text) tells; `None` when `text` is no RecordId.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() != RECORD_ID_CHARS {
            return None;
        }
        let mut bytes = Vec::with_capacity(ID_BYTES);
        for eight in text.as_bytes().as_chunks::<8>().0 {
            let mut bits = 0u64;
            for character in eight {
                let value = ALPHABET.iter().position(|known| known == character)?;
                bits = bits << 5 | value as u64;
            }
            bytes.extend_from_slice(&bits.to_be_bytes()[3..]);
        }
        let (body, check) = bytes.split_first_chunk::<BODY_BYTES>()?;
        if crc32c::crc32c(body).to_be_bytes() != check {
            return None;
        }
        let (stamp, position) = body.split_first_chunk::<8>()?;
        Some(Self {
            stamp: *stamp,
            position: Position(u64::from_be_bytes(position.try_into().ok()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(id: RecordId) -> String {
        String::from_utf8(id.text().to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn every_record_id_reads_back(stamp: [u8; 8], position: u64) {
            let id = RecordId { stamp, position: Position(position) };
            let text = text(id);
            prop_assert_eq!(text.len(), RECORD_ID_CHARS);
            prop_assert_eq!(RecordId::decode(&text), Some(id));
        }

        #[test]
        fn a_changed_character_is_no_record_id(
            position: u64,
            at in 0..RECORD_ID_CHARS,
            to in proptest::sample::select(&ALPHABET[..]),
        ) {
            let id = RecordId { stamp: *b"stamp001", position: Position(position) };
            let mut changed = text(id).into_bytes();
            prop_assume!(changed[at] != to);
            changed[at] = to;
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(RecordId::decode(&changed), None);
        }

        #[test]
        fn foreign_text_never_panics(text in "\\PC{0,40}") {
            prop_assert_eq!(RecordId::decode(&text), None);
        }
    }
}
