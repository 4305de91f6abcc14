//! The least and the greatest value of pages and of a chunk, by which readers pass over both.
//!
//! Owns the comparison of a page with the chunk and with the page before it, and how long texts are
//! cut. Does not own the orders of types.

use parquet::basic::BoundaryOrder;

/// Bytes of a text in statistics and page indexes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 64;

/// The least and the greatest values so far.
#[derive(Debug)]
pub(super) struct Bounds<T> {
    pub(super) chunk: Option<(T, T)>,
    /// Of the last page that had values.
    page: Option<(T, T)>,
    may_ascend: bool,
    may_descend: bool,
}

impl<T> Default for Bounds<T> {
    fn default() -> Self {
        Self { chunk: None, page: None, may_ascend: true, may_descend: true }
    }
}

impl<T: Clone> Bounds<T> {
    /// Takes in a page's least and greatest value.
    pub(super) fn add(&mut self, least: T, greatest: T, is_less: impl Fn(&T, &T) -> bool) {
        if let Some((least_before, greatest_before)) = &self.page {
            self.may_ascend &=
                !is_less(&least, least_before) && !is_less(&greatest, greatest_before);
            self.may_descend &=
                !is_less(least_before, &least) && !is_less(greatest_before, &greatest);
        }
        match &mut self.chunk {
            Some((chunk_least, chunk_greatest)) => {
                if is_less(&least, chunk_least) {
                    *chunk_least = least.clone();
                }
                if is_less(chunk_greatest, &greatest) {
                    *chunk_greatest = greatest.clone();
                }
            }
            None => self.chunk = Some((least.clone(), greatest.clone())),
        }
        self.page = Some((least, greatest));
    }

    /// How the pages lie to each other.
    pub(super) fn order(&self) -> BoundaryOrder {
        match (self.may_ascend, self.may_descend) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        }
    }
}

/// A text that is not greater than `text`.
pub(super) fn cut_least(text: &[u8], is_utf8: bool) -> &[u8] {
    &text[..cut_at(text, is_utf8)]
}

/// A text that is not less than `text`: itself, or a cut one whose last character is a greater one.
/// `None` if there is none.
pub(super) fn cut_greatest(text: &[u8], is_utf8: bool) -> Option<Vec<u8>> {
    let end = cut_at(text, is_utf8);
    if end == text.len() {
        return Some(text.to_vec());
    }
    let mut cut = text[..end].to_vec();
    if !is_utf8 {
        while let Some(last) = cut.pop() {
            if last < u8::MAX {
                cut.push(last + 1);
                return Some(cut);
            }
        }
        return None;
    }
    let mut cut = String::from_utf8(cut).ok()?;
    while let Some(last) = cut.pop() {
        // Within the same length, and past what is no character.
        let greater = (u32::from(last) + 1..).take(0x801).find_map(char::from_u32);
        if let Some(greater) = greater.filter(|greater| greater.len_utf8() == last.len_utf8()) {
            cut.push(greater);
            return Some(cut.into_bytes());
        }
    }
    None
}

/// Where a text is cut: at a limit, and between characters.
fn cut_at(text: &[u8], is_utf8: bool) -> usize {
    if text.len() <= TEXT_BYTES_MAX {
        return text.len();
    }
    let is_inside = |at: &usize| is_utf8 && text[*at] & 0xc0 == 0x80;
    (0..=TEXT_BYTES_MAX).rev().find(|at| !is_inside(at)).unwrap_or(0)
}
