//! Programs in jq, and what they are run over.

use crate::jq::{Bounds, KEYS_MAX, Program};

/// What a run may use here: less than a record may cost, so that one that runs away ends soon.
const BOUNDS: Bounds = Bounds { steps: 100_000, bytes: 8 << 20 };
/// How a stop by the meter begins.
const STOPPED: &str = "the program was stopped: ";

/// All that comes of a run.
#[derive(Debug, PartialEq)]
struct Answer {
    outputs: Vec<String>,
    ended: Result<(), String>,
    left: Bounds,
}

fn answer(program: &Program, input: &str) -> Answer {
    let (mut outputs, mut left) = (Vec::new(), BOUNDS);
    let ended = program.run(input, Some(1_510_254_469.5), &mut left, &mut |output| {
        outputs.push(output.json()?);
        Ok(())
    });
    Answer { outputs, ended, left }
}

/// A program is refused at a place in it, or runs within its bounds and gives the same again.
pub(super) fn jq(data: &[u8]) {
    let mut fields = data.splitn(2, |byte| *byte == 0xff);
    let mut field = || String::from_utf8_lossy(fields.next().unwrap_or_default());
    let (text, input) = (field(), field());
    let program = match Program::compile(&text) {
        Ok(program) => program,
        Err(error) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{error}");
            assert!((1..=text.chars().count() + 1).contains(&error.column), "{error}");
            return assert!(!error.message.contains("broke down"), "{error}");
        }
    };

    let first = answer(&program, &input);
    assert_eq!(answer(&program, &input), first);
    let steps = BOUNDS.steps.checked_sub(first.left.steps).expect("no more than there was");
    let bytes = BOUNDS.bytes.checked_sub(first.left.bytes).expect("no more than there was");
    // A byte of a key may take six to write, and what stands around a value is paid for by a step.
    let size: usize = first.outputs.iter().map(String::len).sum();
    assert!(size as u64 <= 6 * (bytes + steps), "{size} bytes for {bytes} bytes, {steps} steps");
    // One that only passed a document through may have made no JSON that others read, such as NaN.
    let ended = first.ended.as_ref().map_err(String::as_str);
    assert_ne!(ended, Err("the program broke down"));
    if ended.is_err_and(|why| why.starts_with(STOPPED)) {
        return;
    }

    // A filter takes no text of what it is given, and so does not pay for it.
    let mut left = BOUNDS;
    let filtered = program.run(&input, None, &mut left, &mut |output| {
        let _ = output.is_true();
        Ok(())
    });
    assert_ne!(filtered, Err("the program broke down".to_owned()));
    let keys = program.keys(input.as_bytes());
    assert_eq!(program.keys(input.as_bytes()), keys);
    match keys {
        Ok(keys) => assert!(keys.len() <= KEYS_MAX),
        Err(why) => assert_ne!(why, "the program broke down"),
    }
}
