//! Hears what the code under test logs in its thread.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use super::doubles::locked;
use crate::positions::Positions;
use crate::record::Position;

/// One line of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) message: String,
    pub(super) fields: BTreeMap<&'static str, String>,
}

/// The lines that were logged, until it is dropped, but for those that a person does not see.
#[derive(Debug)]
pub(super) struct Heard {
    lines: Arc<Mutex<Vec<Line>>>,
    _guard: DefaultGuard,
}

impl Heard {
    pub(super) fn begin() -> Self {
        // While there is one subscriber alone, a line that another thread comes to first is looked at
        // with that thread's, which is none, and is heard by nobody from then on.
        static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
        ANOTHER.get_or_init(|| Dispatch::new(Ears::default()));
        let ears = Ears::default();
        Self { lines: ears.0.clone(), _guard: set_default(ears) }
    }

    /// The lines that contain `text`.
    pub(super) fn lines(&self, text: &str) -> Vec<Line> {
        let lines = locked(&self.lines);
        lines.iter().filter(|line| line.message.contains(text)).cloned().collect()
    }

    /// What was named as lost of the records of stream `clicks` by this leg, each position once.
    pub(super) fn lost(&self, leg: &str) -> Positions {
        let mut lost = Positions::default();
        for line in self.lines("counted as damaged") {
            let number = |field| line.fields.get(field)?.parse::<u64>().ok();
            if line.fields.get("leg").is_none_or(|of| of != leg) {
                continue;
            }
            assert_eq!(line.fields.get("stream").map(String::as_str), Some("clicks"), "{line:?}");
            let (Some(first), Some(last)) = (number("first"), number("last")) else {
                panic!("it names no positions: {line:?}");
            };
            let named = Positions::from_run(Position(first), last + 1 - first);
            let both = lost.with(&named);
            assert_eq!(both.count(), lost.count() + named.count(), "named twice: {line:?}");
            lost = both;
        }
        lost
    }
}

#[derive(Debug, Default)]
struct Ears(Arc<Mutex<Vec<Line>>>);

impl Subscriber for Ears {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        locked(&self.0).push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.insert(field.name(), text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}
