//! The operating system's disk, where it differs from the one in memory.

use super::*;

#[test]
fn pieces_are_written_one_behind_the_other_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pieces");
    let file = OsDisk.open(&path, OpenMode::Create).unwrap();
    let texts: Vec<String> = (0..2 * PIECES_AT_ONCE + 3).map(|number| number.to_string()).collect();
    // Empty ones stand everywhere, also where the kernel would be handed nothing else.
    let texts = texts.iter().map(|text| if text.len() == 3 { "" } else { text.as_str() });
    let texts: Vec<&str> = std::iter::repeat_n("", PIECES_AT_ONCE + 1).chain(texts).collect();
    let mut pieces: Vec<IoSlice<'_>> =
        texts.iter().map(|text| IoSlice::new(text.as_bytes())).collect();
    file.write_all_vectored_at(&mut pieces, 5).unwrap();
    let written = fs::read(&path).unwrap();
    assert_eq!(written[..5], [0; 5]);
    assert_eq!(std::str::from_utf8(&written[5..]).unwrap(), texts.concat());
    file.write_all_vectored_at(&mut [IoSlice::new(b""), IoSlice::new(b"")], 0).unwrap();
    file.write_all_vectored_at(&mut [], 0).unwrap();
    assert_eq!(fs::read(&path).unwrap(), written);
}
