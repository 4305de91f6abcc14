//! What `lakehose verify` says of what it finds: what it is, what it costs, and what to do.
//!
//! Owns every text, so that two findings of one kind read alike. Decides nothing but the severity.

use std::fmt;
use std::path::PathBuf;

use super::{Finding, Severity};
use crate::journal::{Flaw, FlawKind};
use crate::outbox;
use crate::pipeline::Oddity;
use crate::positions::{Positions, Run};

/// Runs of positions that a line names; the rest is counted.
const RUNS_SHOWN: usize = 8;

const NOTHING: &str = "nothing";
const DISK: &str = "have the disk checked: it changes what was written";
const COPY: &str = "restore the file from a copy if there is one, and have the disk checked";

/// A log of a stream.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) stream: String,
    /// Its folder inside that of the stream; empty for the first.
    pub(super) folder: String,
    /// Below the data directory.
    pub(super) path: PathBuf,
}

impl Log {
    pub(super) fn is_scratch(&self) -> bool {
        self.folder == "scratch"
    }

    pub(super) fn is_backup(&self) -> bool {
        self.folder == "backup"
    }

    fn name(&self) -> String {
        if self.folder.is_empty() {
            self.stream.clone()
        } else {
            format!("{} ({})", self.stream, self.folder)
        }
    }

    /// What a position of the log stands for.
    fn noun(&self) -> &'static str {
        if self.is_scratch() { "parts" } else { "records" }
    }

    fn finding(&self, severity: Severity, path: PathBuf, what: impl Into<String>) -> Finding {
        Finding {
            severity,
            path,
            stream: Some(self.name()),
            positions: None,
            what: what.into(),
            cost: NOTHING.to_owned(),
            advice: NOTHING.to_owned(),
        }
    }
}

/// What the loss of positions costs.
#[derive(Debug)]
pub(super) struct Cost {
    /// Of the lost ones, those that have not ended.
    unsettled: Positions,
    /// Others that still needed some of them, and how many.
    others: Vec<(String, u64)>,
}

impl Cost {
    pub(super) fn of(run: Run, settled: &Positions, others: &[(&str, &Positions)]) -> Self {
        let lost = Positions::from_run(run.first, run.count);
        let others = others.iter().map(|(name, settled)| {
            let unsettled = lost.without(settled);
            ((*name).to_owned(), unsettled.count())
        });
        Self {
            unsettled: lost.without(settled),
            others: others.filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn text(&self, noun: &str) -> String {
        let mut text = match self.unsettled.count() {
            0 => format!("nothing: what becomes of these {noun} is settled"),
            count => format!(
                "{count} {noun} that were not delivered yet ({}): the service will count them as \
                 damaged",
                Ranges(&self.unsettled)
            ),
        };
        for (name, count) in &self.others {
            text.push_str(&format!("; {count} of them are missing from {name}"));
        }
        text
    }
}

/// Positions as a line shows them: `3 to 7, 9`.
#[derive(Debug)]
pub(super) struct Ranges<'a>(pub(super) &'a Positions);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.runs().take(RUNS_SHOWN).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", run.first)?;
            if run.count > 1 {
                write!(f, " to {}", run.end().0 - 1)?;
            }
        }
        let run_count = self.0.run_count();
        if run_count > RUNS_SHOWN {
            write!(f, " and {} more stretches", run_count - RUNS_SHOWN)?;
        }
        Ok(())
    }
}

/// What is said of a small file that cannot be read.
#[derive(Debug)]
pub(super) struct FileWords {
    what: &'static str,
    cost: &'static str,
    advice: &'static str,
}

pub(super) const IDENTITY: FileWords = FileWords {
    what: "damaged identity.json",
    cost: "the service does not start, and the streams were not checked: without it their records \
           cannot be told from another instance's",
    advice: "restore the file from a copy",
};
pub(super) const ADDRESSES: FileWords = FileWords {
    what: "damaged addresses.json",
    cost: "nothing: it tells where the last process listened",
    advice: "remove it, the next start writes it",
};
pub(super) const STREAM: FileWords = FileWords {
    what: "damaged stream.json",
    cost: "the service does not start",
    advice: "restore the file from a copy; it only tells when the stream was made, so it may be \
             removed too",
};
pub(super) const TABLE: FileWords = FileWords {
    what: "damaged table.json",
    cost: "nothing as long as the catalog answers: without the copy a start during its outage holds \
           the stream",
    advice: "remove it, the next start writes it",
};

pub(super) const DEFINITION: FileWords = FileWords {
    what: "damaged definition.json",
    cost: "nothing as long as the configuration has the stream, and its stores are where they were: \
           without the file, what it has left waits when the stream is taken out",
    advice: "remove it, the next start with the stream in the configuration writes it",
};
pub(super) const RETIRED: FileWords = FileWords {
    what: "damaged retired.json",
    cost: "nothing: it says that the stream has delivered everything",
    advice: "remove it, the next start finds that out again",
};
pub(super) const BACKUP_END: FileWords = FileWords {
    what: "damaged end.json",
    cost: "the backup that was switched off takes records until the next start, more than it was to",
    advice: "remove it",
};

impl FileWords {
    pub(super) fn finding(&self, path: PathBuf, stream: Option<&str>, error: &str) -> Finding {
        let what =
            if error.is_empty() { self.what.into() } else { format!("{} ({error})", self.what) };
        Finding { cost: self.cost.to_owned(), ..plain(path, stream, what, self.advice) }
    }
}

fn plain(path: PathBuf, stream: Option<&str>, what: String, advice: &str) -> Finding {
    Finding {
        severity: Severity::Problem,
        path,
        stream: stream.map(str::to_owned),
        positions: None,
        what,
        cost: NOTHING.to_owned(),
        advice: advice.to_owned(),
    }
}

pub(super) fn no_identity(reason: &str) -> Finding {
    let words = FileWords { what: "missing identity.json", ..IDENTITY };
    words.finding("identity.json".into(), None, reason)
}

pub(super) fn newer_directory(found: u32, known: u32) -> Finding {
    let what =
        format!("newer format: the directory has format {found}, this program reads {known}");
    let advice = "check it with the lakehose that wrote it";
    let cost = "nothing is known of it".to_owned();
    let finding = plain("identity.json".into(), None, what, advice);
    Finding { severity: Severity::Unchecked, cost, ..finding }
}

pub(super) fn newer_definition(path: PathBuf, stream: &str, found: &str) -> Finding {
    let what = format!("newer format: definition.json has format {found}");
    let advice = "check it with the lakehose that wrote it";
    let cost = "this program does not start on the directory".to_owned();
    let finding = plain(path, Some(stream), what, advice);
    Finding { severity: Severity::Unchecked, cost, ..finding }
}

pub(super) fn unknown(path: PathBuf, stream: Option<&str>, cost: &str) -> Finding {
    let finding =
        plain(path, stream, "unknown file".into(), "move it away if it is not needed here");
    Finding { cost: format!("nothing: {cost}"), ..finding }
}

pub(super) fn leftover(path: PathBuf, stream: Option<&str>) -> Finding {
    let what = "leftover of an interrupted write".to_owned();
    Finding { severity: Severity::Harmless, ..plain(path, stream, what, NOTHING) }
}

pub(super) fn other_stream(path: PathBuf, name: &str, found: &str) -> Finding {
    Finding {
        cost: "records of one stream may be delivered as those of another".into(),
        ..plain(
            path,
            Some(name),
            format!("swapped stream folder: it is the one of stream {found}"),
            "give the folder back its name before a start",
        )
    }
}

pub(super) fn no_definition(path: PathBuf, name: &str) -> Finding {
    Finding {
        cost: "nothing: the next start writes it, with another time of creation".into(),
        ..plain(path, Some(name), "missing stream.json".into(), NOTHING)
    }
}

pub(super) fn no_checkpoint(log: &Log) -> Finding {
    Finding {
        cost: "the service does not start: only a checkpoint knows what has become of the records \
               before the first segment"
            .into(),
        advice: "restore the folder from a copy".into(),
        ..log.finding(Severity::Problem, log.path.join("checkpoint"), "no readable checkpoint")
    }
}

pub(super) fn missing(log: &Log, missing: Positions) -> Finding {
    let (count, noun) = (missing.count(), log.noun());
    Finding {
        positions: Some((missing, noun)),
        cost: format!(
            "{count} {noun} that were not delivered yet: the service will count them as damaged"
        ),
        advice: "restore the missing files from a copy; look for moved or renamed ones".into(),
        ..log.finding(Severity::Problem, log.path.join("journal"), "missing segment")
    }
}

pub(super) fn behind(log: &Log, run: Run, who: &str) -> Finding {
    Finding {
        positions: Some((Positions::from_run(run.first, run.count), log.noun())),
        cost: "the service goes on after them, and will count as damaged what no other log has of them"
            .into(),
        advice: "restore the missing segments before a start".into(),
        ..log.finding(
            Severity::Problem,
            log.path.join("journal"),
            format!("missing end of the journal: {who} knows of later records"),
        )
    }
}

pub(super) fn no_entry(log: &Log, run: Run, cost: &Cost) -> Finding {
    let noun = log.noun();
    Finding {
        positions: Some((Positions::from_run(run.first, run.count), noun)),
        cost: cost.text(noun),
        advice: "use the lakehose that wrote it".into(),
        ..log.finding(
            Severity::Problem,
            log.path.join("journal"),
            "entry that cannot be understood",
        )
    }
}

pub(super) fn oddity(log: &Log, oddity: &Oddity) -> Finding {
    let finding = |what: String, cost: &str, advice: &str| Finding {
        cost: cost.to_owned(),
        advice: advice.to_owned(),
        ..log.finding(Severity::Problem, log.path.clone(), what)
    };
    match oddity {
        Oddity::MissingPlans { first, last } => finding(
            format!("missing plans {} to {}", first.0, last.0),
            "their records may be planned again under other names: those whose objects were put \
             already would be delivered twice",
            "restore the missing or damaged segments before a start, or compare with the store \
             (lakehose audit) after it",
        ),
        Oddity::StrayCommit(id) => finding(
            format!("missing plan {}: only its commit is there", id.0),
            "its records would be delivered twice",
            "restore the missing or damaged segments before a start",
        ),
        Oddity::PlannedTwice { plan, records } => finding(
            format!("records planned twice: {records} of plan {}", plan.0),
            "they are delivered twice",
            "this is a defect: keep a copy of the directory and report it",
        ),
        Oddity::Unbalanced { settled, counted } => finding(
            format!(
                "unbalanced checkpoint: {settled} records are settled, its counts account for \
                 {counted}"
            ),
            "no record by itself; the counts of the stream are wrong, and the service will report \
             itself degraded",
            "compare with the store (lakehose audit); keep a copy of the directory and report it",
        ),
        Oddity::SettledBeyondEnd { end } => finding(
            format!("unbalanced checkpoint: records after its end {end} are settled"),
            "records that come next would be taken for settled and lost",
            "restore the checkpoint from a copy before a start",
        ),
    }
}

/// What is said of a flaw in a log.
pub(super) fn flaw(log: &Log, path: PathBuf, flaw: &Flaw, cost: Option<&Cost>) -> Finding {
    let noun = log.noun();
    let positions = cost.and(flaw.positions);
    let positions = positions.map(|run| (Positions::from_run(run.first, run.count), noun));
    let cost = cost.map(|cost| cost.text(noun));
    let (severity, what, default_cost, advice): (_, String, &str, &str) = match &flaw.kind {
        FlawKind::Torn { bytes } => (
            Severity::Harmless,
            format!("torn tail: {bytes} bytes of an unfinished write"),
            "nothing: nobody was told that it was stored",
            "nothing, the next start cuts it",
        ),
        FlawKind::Leftover => (
            Severity::Harmless,
            "leftover of an interrupted write".into(),
            NOTHING,
            "nothing, the next start removes it",
        ),
        FlawKind::Unknown => (
            Severity::Problem,
            "unknown file".into(),
            "nothing: it is ignored",
            "move it away if it is not needed here",
        ),
        FlawKind::Newer { format, known } => (
            Severity::Unchecked,
            format!("newer format: it has format {format}, this program reads {known}"),
            "nothing is known of it",
            "check it with the lakehose that wrote it",
        ),
        FlawKind::Unreadable(error) => (
            Severity::Problem,
            format!("unreadable file: {error}"),
            "all that it holds, as long as the disk does not give it; of a segment the records are \
             told apart",
            COPY,
        ),
        FlawKind::HeaderCopy => (
            Severity::Problem,
            "damaged header copy: one of two".into(),
            "nothing: the other copy serves",
            DISK,
        ),
        FlawKind::Headless { is_last: true } => (
            Severity::Problem,
            "damaged header, both copies, of the last segment".into(),
            "the service does not start, since the segment's records cannot be told",
            "restore the file from a copy; to give its records up, move it away",
        ),
        FlawKind::Headless { is_last: false } => (
            Severity::Problem,
            "damaged header, both copies".into(),
            "the records of the segment, which are told as missing",
            COPY,
        ),
        FlawKind::Foreign(instance) => (
            Severity::Problem,
            format!("foreign segment of instance {instance}"),
            "nothing of this instance: it is ignored",
            "move it back to where it belongs",
        ),
        FlawKind::Renamed { sequence } => (
            Severity::Problem,
            format!("swapped segment: it was written as {sequence:016x}.seg"),
            "its records, as long as it has another name, where they are told as missing",
            "give it back its name before a start",
        ),
        FlawKind::Broken { from, to } => (
            Severity::Problem,
            format!("damaged bytes {from} to {}", to - 1),
            "no record; a plan, a commit or a registration that stood there is lost, and what is \
             missing then is told apart",
            COPY,
        ),
        FlawKind::Records => (Severity::Problem, "damaged records".into(), NOTHING, COPY),
        FlawKind::Hole => (
            Severity::Problem,
            "missing records inside a segment, as an earlier recovery left it".into(),
            NOTHING,
            "look for the errors that the service logged at that start",
        ),
        FlawKind::Repeated => (
            Severity::Problem,
            "repeated positions inside a segment".into(),
            "what stands there for the second time is passed over",
            "keep a copy of the directory and report it",
        ),
        FlawKind::Overlap => (
            Severity::Problem,
            "overlapping segments".into(),
            "which of the two records of a number counts is open",
            "look for a segment that was copied here under another name",
        ),
        FlawKind::NotUnderstood => (
            Severity::Problem,
            "decision that cannot be understood".into(),
            "it is passed over",
            "use the lakehose that wrote it",
        ),
        FlawKind::Padding => {
            (Severity::Problem, "changed padding behind a frame".into(), "nothing by itself", DISK)
        }
        FlawKind::NoSeal => (
            Severity::Problem,
            "missing end of a segment that others follow".into(),
            "the records that stood there, if any, are told as missing",
            COPY,
        ),
        FlawKind::Checkpoint { is_replaced: true } => (
            Severity::Problem,
            "damaged checkpoint".into(),
            "nothing: another one serves, and what is newer stands in the journal",
            DISK,
        ),
        FlawKind::Checkpoint { is_replaced: false } => (
            Severity::Problem,
            "damaged checkpoint, and no other is whole".into(),
            "the service does not start unless the journal is there from its first record on",
            "restore the folder from a copy",
        ),
        FlawKind::MissingCheckpoint => (
            Severity::Problem,
            "missing checkpoint: one of two".into(),
            "nothing as long as the other one is whole",
            "look for who removed it; the next start writes another",
        ),
    };
    Finding {
        positions,
        cost: cost.unwrap_or_else(|| default_cost.to_owned()),
        advice: advice.to_owned(),
        ..log.finding(severity, path, what)
    }
}

/// What is said of a flaw in an outbox.
pub(super) fn outbox(log: &Log, path: PathBuf, flaw: &outbox::Flaw<'_>) -> Finding {
    use outbox::FlawKind as Kind;
    let lost = "unless the object is in its store already, it never gets there: the service will \
                count its records as damaged";
    let (severity, what, cost, advice): (_, String, &str, &str) = match &flaw.kind {
        Kind::Missing => (Severity::Problem, "missing outbox file".into(), lost, COPY),
        Kind::Short => (Severity::Problem, "cut outbox file".into(), lost, COPY),
        Kind::Damaged => (Severity::Problem, "damaged outbox object".into(), lost, COPY),
        Kind::Unreadable(error) => {
            (Severity::Problem, format!("unreadable outbox file: {error}"), lost, COPY)
        }
        Kind::Leftover => (
            Severity::Harmless,
            "leftover of a plan that was not made".into(),
            NOTHING,
            "nothing, the next start removes it",
        ),
        Kind::Unplanned(id) => (
            Severity::Problem,
            format!("outbox file without its plan: the log does not know plan {}", id.0),
            "the end of the log is missing: records may be delivered twice, or be lost",
            "restore the missing segments before a start, which removes the file",
        ),
        Kind::SetAside => (
            Severity::Harmless,
            "damaged outbox file that was set aside".into(),
            "nothing more: its damaged records are counted and were named in the log",
            "remove it when nobody wants to look at it any more",
        ),
        Kind::Unknown => (
            Severity::Problem,
            "unknown file".into(),
            "nothing: the next start removes it",
            "move it away if it is needed",
        ),
    };
    let object = flaw.object.map(|object| (object.positions.clone(), log.noun()));
    let what = match flaw.object {
        Some(object) => format!("{what}: object {}", object.header.key),
        None => what,
    };
    Finding {
        positions: object,
        cost: cost.to_owned(),
        advice: advice.to_owned(),
        ..log.finding(severity, path, what)
    }
}
