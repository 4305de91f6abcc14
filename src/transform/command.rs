//! Hooks that are programs: a process that lives as long as the step, fed with lines.
//!
//! Owns the lines in either direction, and the life of the process: started at the first batch,
//! started again when it has died or fell silent, killed with the step. Does not own the pipes and
//! threads themselves (`process`).
//!
//! The program reads one JSON object a line and answers each with one, whenever and in whatever
//! order it likes, but without waiting for further lines:
//!
//! ```json
//! {"recordId":"17","approximateArrivalTimestamp":1510254469499,"data":"{\"user\":\"a\"}\n"}
//! {"recordId":"17","result":"Ok","data":"{\"user\":\"a\",\"seen\":true}\n"}
//! ```
//!
//! `data` is the record as text; a record that is not UTF-8 comes as base64 in `dataBase64` instead,
//! and an answer may use either. `result` is `Ok` (also when it is left out), `Dropped` or
//! `ProcessingFailed`; `metadata.partitionKeys` and `parts` are those of the HTTP hook, with `data`
//! or `dataBase64` in each part. What is written to stderr goes to the log.
//!
//! A line may have 16 MiB, and a part what may leave the chain: a record that is answered with a larger
//! part fails, and no other with it.
//!
//! An attempt fails when the process ends, answers nothing for longer than the timeout while it owes
//! answers, or writes a line that is no answer or does not end. Then it is killed, and after a pause a
//! new one is given what is not answered yet; answers that came before stay. Attempts are counted from
//! the last answer on. After the last one the records are given one by one, so that the one over which
//! the program fails is found: that one has failed, and the others go on together. A program that has
//! never answered anything is not blamed on the records: it counts as away, with the alarm, as one that
//! cannot be started. When a record is answered twice before its batch is done, it fails; a further
//! answer after that is ignored and logged, since the batch is gone.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod process;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use self::process::{Output, Process};
use super::contract::{
    self, BAD_FORMAT, DUPLICATED_ID, FUNCTION_ERROR, MISSING_ID, NO_JSON, Reason,
};
use super::invocations::{HookName, Patience, pause};
use super::{Item, Transform, Unavailable, Verdict, short};
use crate::fault::Action;

/// What a command is run by.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program and its arguments; no shell reads them.
    pub argv: Vec<String>,
    /// Its whole environment; the values may be secrets.
    pub environment: Vec<(String, String)>,
    /// How long it may be silent while it owes answers, and how often it is started again.
    pub patience: Patience,
}

impl std::fmt::Debug for CommandSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandSettings").field("argv", &self.argv).finish_non_exhaustive()
    }
}

/// A hook that is a program.
#[derive(Debug)]
pub struct Command {
    name: HookName,
    settings: CommandSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Absent also while a batch is being asked about: what is left of a batch that was given up
    /// must not be taken for answers to the next one.
    process: Option<Process>,
    has_ever_answered: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    record_id: &'a str,
    approximate_arrival_timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// Why an attempt did not give all answers.
struct Broken {
    why: String,
    reason: Reason,
}

impl Command {
    /// A command that is not started before the first batch.
    #[must_use]
    pub fn new(name: HookName, settings: CommandSettings) -> Self {
        Self { name, settings, state: Mutex::default() }
    }

    async fn ask(&self, items: &[Item]) -> Result<Vec<Verdict>, Unavailable> {
        let mut state = self.state.lock().await;
        let mut answers = Answers::new(items);
        let retries = self.settings.patience.retries;
        let (mut attempt, mut is_one_by_one) = (1, false);
        loop {
            let mut process = self.ready(&mut state)?;
            let count_before = answers.count;
            let outcome = self.attempt(&mut process, &mut answers, attempt, is_one_by_one).await;
            state.has_ever_answered |= answers.count > 0;
            let broken = match outcome {
                Ok(()) => {
                    state.process = Some(process);
                    return Ok(answers.verdicts());
                }
                Err(broken) => broken,
            };
            // Killed.
            drop(process);
            tracing::warn!(
                stream = self.name.stream,
                step = self.name.step,
                attempt,
                attempts = u64::from(retries) + 1,
                "a command failed: {}",
                broken.why
            );
            if !state.has_ever_answered {
                let reason = format!("{} has never answered: {}", self.program(), broken.why);
                return Err(Unavailable { reason, action: Action::Alarm });
            }
            if is_one_by_one || (attempt > retries && answers.owed_count() == 1) {
                answers.fail_first_owed(&broken, attempt);
                (attempt, is_one_by_one) = (0, false);
                if answers.owed_count() == 0 {
                    return Ok(answers.verdicts());
                }
            } else if answers.count > count_before {
                attempt = 0;
            } else if attempt > retries {
                is_one_by_one = true;
            }
            tokio::time::sleep(pause(attempt.max(1))).await;
            attempt += 1;
        }
    }

    /// The process of the last batch, or a new one.
    fn ready(&self, state: &mut State) -> Result<Process, Unavailable> {
        if let Some(mut process) = state.process.take() {
            while let Some(output) = process.pending() {
                if let Output::Line(line) = output {
                    tracing::warn!(
                        stream = self.name.stream,
                        step = self.name.step,
                        line = short(&String::from_utf8_lossy(&line)),
                        "a command wrote a line that nobody asked for: it is ignored"
                    );
                }
            }
            if process.is_running() {
                return Ok(process);
            }
        }
        Process::start(&self.settings, &self.name).map_err(|error| {
            let reason = format!("could not start {}: {error}", self.program());
            Unavailable { reason, action: Action::Alarm }
        })
    }

    fn program(&self) -> &str {
        self.settings.argv.first().map_or("", String::as_str)
    }

    /// Asks about all items without a verdict, at once or one after another.
    async fn attempt(
        &self,
        process: &mut Process,
        answers: &mut Answers<'_>,
        attempt: u32,
        is_one_by_one: bool,
    ) -> Result<(), Broken> {
        while answers.owed_count() > 0 {
            let asked = if is_one_by_one { 1 } else { answers.owed_count() };
            process.write(answers.owed_lines(asked)).await;
            self.await_answers(process, answers, attempt, answers.count + asked).await?;
        }
        // A second answer that came along with the last one.
        while let Some(Output::Line(line)) = process.pending() {
            let _ = answers.take(&line, attempt);
        }
        Ok(())
    }

    /// Takes what the process says until there are `count` answers.
    async fn await_answers(
        &self,
        process: &mut Process,
        answers: &mut Answers<'_>,
        attempt: u32,
        count: usize,
    ) -> Result<(), Broken> {
        let timeout = self.settings.patience.timeout;
        let mut deadline = tokio::time::Instant::now() + timeout;
        while answers.count < count {
            let count_before = answers.count;
            match tokio::time::timeout_at(deadline, process.next()).await {
                Err(_) => {
                    let why = format!("it answered nothing for {} s", timeout.as_secs_f64());
                    let reason = if answers.count > 0 { MISSING_ID } else { FUNCTION_ERROR };
                    return Err(Broken { why, reason });
                }
                Ok(Output::End(why)) => return Err(Broken { why, reason: FUNCTION_ERROR }),
                Ok(Output::TooLong) => {
                    let why = "it wrote a line without end".to_owned();
                    return Err(Broken { why, reason: NO_JSON });
                }
                Ok(Output::Line(line)) => {
                    if let Err(why) = answers.take(&line, attempt) {
                        let line = short(&String::from_utf8_lossy(&line));
                        return Err(Broken { why: format!("{why}: {line}"), reason: NO_JSON });
                    }
                }
            }
            if answers.count > count_before {
                deadline = tokio::time::Instant::now() + timeout;
            }
        }
        Ok(())
    }
}

/// What is known of a batch.
struct Answers<'a> {
    items: &'a [Item],
    indices: HashMap<&'a str, usize>,
    verdicts: Vec<Option<Verdict>>,
    /// How many items have a verdict.
    count: usize,
}

impl<'a> Answers<'a> {
    fn new(items: &'a [Item]) -> Self {
        let indices = items.iter().enumerate().map(|(index, item)| (item.id.as_str(), index));
        Self { items, indices: indices.collect(), verdicts: vec![None; items.len()], count: 0 }
    }

    /// How many items have no verdict.
    fn owed_count(&self) -> usize {
        self.items.len() - self.count
    }

    /// The lines of the first `count` items without a verdict.
    fn owed_lines(&self, count: usize) -> Bytes {
        let mut lines = Vec::new();
        let owed = self.items.iter().zip(&self.verdicts).filter(|(_, verdict)| verdict.is_none());
        for (item, _) in owed.take(count) {
            let data = std::str::from_utf8(&item.part.data).ok();
            let line = Line {
                record_id: &item.id,
                approximate_arrival_timestamp: item.arrival.0,
                data,
                data_base64: data.is_none().then(|| STANDARD.encode(&item.part.data)),
            };
            serde_json::to_writer(&mut lines, &line).expect("texts and numbers are JSON");
            lines.push(b'\n');
        }
        lines.into()
    }

    /// Takes a line; says what is wrong with one that belongs to no record of the batch.
    fn take(&mut self, line: &[u8], attempt: u32) -> Result<(), &'static str> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let answer: Map<String, Value> =
            serde_json::from_slice(line).map_err(|_| "it wrote a line that is no JSON object")?;
        let id = answer.get("recordId").and_then(Value::as_str);
        let id = id.ok_or("it wrote a line without recordId")?;
        // What nobody asked about is ignored, as in an answer by HTTP.
        let Some(index) = self.indices.get(id).copied() else {
            return Ok(());
        };
        let verdict = match &self.verdicts[index] {
            Some(_) => DUPLICATED_ID.at(attempt, None),
            None => {
                self.count += 1;
                verdict(answer, &self.items[index])
                    .unwrap_or_else(|reason| reason.at(attempt, None))
            }
        };
        self.verdicts[index] = Some(verdict);
        Ok(())
    }

    /// The first item without a verdict is the one over which the program failed.
    fn fail_first_owed(&mut self, broken: &Broken, attempts: u32) {
        let mut verdict = broken.reason.at(attempts, None);
        if let Verdict::Failed(failure) = &mut verdict
            && broken.reason == FUNCTION_ERROR
        {
            failure.message =
                short(&format!("the command failed over this record: {}", broken.why));
        }
        if let Some(owed) = self.verdicts.iter_mut().find(|verdict| verdict.is_none()) {
            *owed = Some(verdict);
            self.count += 1;
        }
    }

    fn verdicts(self) -> Vec<Verdict> {
        let verdict = |verdict: Option<Verdict>| verdict.expect("each item was answered or failed");
        self.verdicts.into_iter().map(verdict).collect()
    }
}

fn verdict(mut answer: Map<String, Value>, item: &Item) -> Result<Verdict, Reason> {
    answer.entry("result").or_insert_with(|| "Ok".into());
    contract::verdict(&answer, item, text_or_base64)
}

fn text_or_base64(holder: &Map<String, Value>) -> Result<Option<Bytes>, Reason> {
    match holder.get("data") {
        None | Some(Value::Null) => contract::decoded(holder.get("dataBase64")),
        Some(Value::String(text)) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        Some(_) => Err(BAD_FORMAT),
    }
}

impl Transform for Command {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        Box::pin(self.ask(items))
    }
}
