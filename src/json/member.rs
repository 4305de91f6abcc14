//! A key with its quotes and colon, ready to be compared with what stands in a record.

/// The bytes that are compared together.
const FRONT: usize = 32;

/// A key with its quotes and colon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// The front, eight bytes a word, with zeros behind it.
    words: [u64; FRONT / 8],
    /// Which of the bits of a word belong to the text.
    masks: [u64; FRONT / 8],
    /// The bytes of all of it; 0 where there is no key.
    pub(super) length: usize,
    /// All of it where it is longer than the front.
    long: Vec<u8>,
}

impl Member {
    /// Becomes the member of a key as it stands between its quotes.
    pub(crate) fn set(&mut self, key: &[u8]) {
        self.length = key.len() + 3;
        self.long.clear();
        let text = [b"\"", key, b"\":"].into_iter().flatten();
        let mut front = [[0; 8]; FRONT / 8];
        let mut masks = [[0; 8]; FRONT / 8];
        for (at, byte) in text.clone().enumerate().take(FRONT) {
            front[at / 8][at % 8] = *byte;
            masks[at / 8][at % 8] = 0xff;
        }
        self.words = front.map(u64::from_le_bytes);
        self.masks = masks.map(u64::from_le_bytes);
        if self.length > FRONT {
            self.long.extend(text);
        }
    }

    /// Becomes no member at all.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// Whether it stands at `start`.
    #[inline]
    pub(super) fn is_at(&self, bytes: &[u8], start: usize) -> bool {
        let Some(rest) = bytes.get(start..) else {
            return false;
        };
        let Some(chunk) = rest.first_chunk::<FRONT>() else {
            return self.is_before_the_end(rest);
        };
        let (words, _) = chunk.as_chunks::<8>();
        let difference = (0..FRONT / 8).fold(0, |difference, at| {
            difference | (u64::from_le_bytes(words[at]) ^ self.words[at]) & self.masks[at]
        });
        difference == 0
            && self.length != 0
            && (self.length <= FRONT || rest.starts_with(&self.long))
    }

    /// As [`is_at`](Self::is_at), where the record ends soon.
    #[inline(never)]
    fn is_before_the_end(&self, rest: &[u8]) -> bool {
        let is_equal = |at: usize| rest[at] == self.words[at / 8].to_le_bytes()[at % 8];
        self.length != 0 && self.length <= rest.len() && (0..self.length).all(is_equal)
    }
}
