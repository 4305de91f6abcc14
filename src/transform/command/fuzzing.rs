//! The lines of a command, for the fuzzer.

use super::*;

/// What the items become when a command writes these lines and ends.
pub(in crate::transform) fn verdicts_of_lines(items: &[Item], lines: &[u8]) -> Vec<Verdict> {
    let mut answers = Answers::new(items);
    for line in lines.split(|byte| *byte == b'\n') {
        let before = answers.count;
        let taken = answers.take(line, 1);
        assert!(answers.count <= before + 1 && (taken.is_ok() || answers.count == before));
    }
    let broken = Broken { why: "it ended".to_owned(), reason: MISSING_ID };
    while answers.owed_count() > 0 {
        answers.fail_first_owed(&broken, 1);
    }
    answers.verdicts()
}
