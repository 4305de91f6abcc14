//! The encoding of levels and of places in a dictionary: runs of one number, and packed numbers.

use super::bits::{self, GROUP};

/// Groups in one packed part; its header then is one byte, as all writers have it.
const GROUPS_MAX: usize = 63;

/// Appends `values`, each below two to the power of `width`.
pub(super) fn encode<T: Copy + Eq + Into<u64>>(values: &[T], width: u32, out: &mut Vec<u8>) {
    // A run takes a header, its value, and mostly the header of the packed part behind it.
    let run_min = match width {
        0 | 1 => 4 * GROUP,
        2 => 2 * GROUP,
        _ => GROUP,
    };
    let (mut packed_from, mut at) = (0, 0);
    while let Some(first) = values.get(at) {
        let run = values[at..].iter().take_while(|value| *value == first).count();
        // Values before a run stand in whole groups; what they lack is taken from the run.
        let lacking = (packed_from..at).len().next_multiple_of(GROUP) - (at - packed_from);
        if run >= run_min + lacking {
            pack(&values[packed_from..at + lacking], width, out);
            append_run((*first).into(), run - lacking, width, out);
            packed_from = at + run;
        }
        at += run;
    }
    pack(&values[packed_from..], width, out);
}

/// Appends `count` times the same `value`.
pub(super) fn append_run(value: u64, count: usize, width: u32, out: &mut Vec<u8>) {
    bits::varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(u8::BITS) as usize]);
}

fn pack<T: Copy + Into<u64>>(values: &[T], width: u32, out: &mut Vec<u8>) {
    for part in values.chunks(GROUPS_MAX * GROUP) {
        let groups = part.len().div_ceil(GROUP);
        bits::varint((groups as u64) << 1 | 1, out);
        let padding = groups * GROUP - part.len();
        let values = part.iter().map(|value| (*value).into());
        if padding == 0 {
            bits::pack(values, width, out);
        } else {
            bits::pack(values.chain(std::iter::repeat_n(0, padding)), width, out);
        }
    }
}
