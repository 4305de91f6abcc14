//! What stands between two values of an object, ready to be compared with a record: a comma, a key and a
//! colon, with whitespace as it was seen.

use wide::u8x16;

/// The bytes that are compared together.
const FRONT: usize = 32;
/// Longer texts are not kept.
const LENGTH_MAX: usize = 256;

/// The text from one value of an object to the next; empty where none is known.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The front, with zeros behind it.
    front: [u8x16; 2],
    /// Which of its bits belong to the text.
    masks: [u8x16; 2],
    text: Vec<u8>,
}

impl Default for Member {
    fn default() -> Self {
        Self { front: [u8x16::ZERO; 2], masks: [u8x16::ZERO; 2], text: vec![] }
    }
}

impl Member {
    /// Becomes `text`, which was read from the end of one value to the begin of the next.
    #[inline(never)]
    pub(crate) fn set(&mut self, text: &[u8]) {
        if text.len() > LENGTH_MAX {
            // Is found nowhere any more.
            return self.text.clear();
        }
        let mut front = [[0; 16]; 2];
        let mut masks = [[0; 16]; 2];
        for (at, byte) in text.iter().enumerate().take(FRONT) {
            front[at / 16][at % 16] = *byte;
            masks[at / 16][at % 16] = 0xff;
        }
        self.front = front.map(u8x16::new);
        self.masks = masks.map(u8x16::new);
        self.text.clear();
        self.text.extend_from_slice(text);
    }

    /// Where it ends, if it stands at `start`.
    #[inline(always)]
    pub(crate) fn end_at(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let rest = bytes.get(start..)?;
        let length = self.text.len();
        if length == 0 {
            return None;
        }
        let difference =
            |chunk: &[u8; 16], at: usize| (u8x16::new(*chunk) ^ self.front[at]) & self.masks[at];
        let difference = match (rest.first_chunk::<16>(), rest.first_chunk::<FRONT>()) {
            (Some(chunk), _) if length <= 16 => difference(chunk, 0),
            (_, Some(chunk)) => {
                let (halves, _) = chunk.as_chunks::<16>();
                difference(&halves[0], 0) | difference(&halves[1], 1)
            }
            _ => return self.end_before_the_end(rest, start),
        };
        let is_equal = difference.simd_eq(u8x16::ZERO).to_bitmask() == 0xffff;
        let found = is_equal && (length <= FRONT || rest.starts_with(&self.text));
        found.then(|| start.wrapping_add(length))
    }

    /// As [`end_at`](Self::end_at), where the record ends soon.
    #[inline(never)]
    fn end_before_the_end(&self, rest: &[u8], start: usize) -> Option<usize> {
        let found = rest.starts_with(&self.text);
        found.then(|| start + self.text.len())
    }
}
