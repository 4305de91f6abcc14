//! What stands between two values of an object, ready to be compared with a record: a comma, a key and a
//! colon, with whitespace as it was seen.

use wide::u8x16;

/// The bytes that are compared together.
const FRONT: usize = 32;
/// Longer texts are not kept.
const LENGTH_MAX: usize = 256;

/// The text from one value of an object to the next.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The front, with zeros behind it; bytes that no text has where there is none.
    front: [u8x16; 2],
    /// Which of its bits belong to the text.
    masks: [u8x16; 2],
    text: Vec<u8>,
}

impl Default for Member {
    fn default() -> Self {
        Self { front: [u8x16::MAX; 2], masks: [u8x16::MAX; 2], text: vec![] }
    }
}

impl Member {
    /// Becomes `text`, which was read from the end of one value to the begin of the next.
    pub(crate) fn set(&mut self, text: &[u8]) {
        if text.len() > LENGTH_MAX {
            return self.clear();
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

    /// Is found nowhere any more.
    pub(crate) fn clear(&mut self) {
        (self.front, self.masks) = ([u8x16::MAX; 2], [u8x16::MAX; 2]);
        self.text.clear();
    }

    pub(super) fn length(&self) -> usize {
        self.text.len()
    }

    /// Whether it stands at `start`.
    #[inline]
    pub(super) fn is_at(&self, bytes: &[u8], start: usize) -> bool {
        let Some(rest) = bytes.get(start..) else {
            return false;
        };
        let Some(chunk) = rest.first_chunk::<FRONT>() else {
            return !self.text.is_empty() && rest.starts_with(&self.text);
        };
        let (halves, _) = chunk.as_chunks::<16>();
        let difference = |at: usize| (u8x16::new(halves[at]) ^ self.front[at]) & self.masks[at];
        let is_equal = (difference(0) | difference(1)).simd_eq(u8x16::ZERO).to_bitmask() == 0xffff;
        is_equal && (self.text.len() <= FRONT || rest.starts_with(&self.text))
    }
}
