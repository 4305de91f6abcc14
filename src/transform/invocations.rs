//! A batch in invocations of a hook that keeps to Lambda's contract, however it is reached.
//!
//! Owns the cutting of a batch, the attempts and the pauses between them, and what becomes of
//! records when the last attempt has failed. Does not own the wire: `http` and `lambda` do, and say
//! whether an attempt failed or the hook is away.
//!
//! Invocations of a batch run one after another; of a stream, several batches are asked about side by
//! side. A hook that goes away in the middle of a batch is later given the whole batch again.
//!
//! A hook that is asked and hangs up may be going down, or a record may bring it down each time. So
//! the batch is halved: when the hook answers about the others, the record that it still does not
//! answer about has failed; when it answers about none of them, it is away.

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::contract::{self, FUNCTION_ERROR, Reason, Sender, TOO_LARGE};
use super::{Item, Unavailable, Verdict};

/// The longest that a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts: doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// What a hook is called in logs.
#[derive(Clone, Debug)]
pub struct HookName {
    /// The delivery stream.
    pub stream: String,
    /// The step, such as `transform[0]`.
    pub step: String,
}

/// Where the records of an event come from, as the event says it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The ARN of the delivery stream.
    pub stream_arn: String,
    /// Its region.
    pub region: String,
}

/// How long and how often a hook is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many further attempts follow one that failed.
    pub retries: u32,
}

impl Patience {
    /// How long a connection may take: well within the time of an attempt, so that one that cannot
    /// be made is not taken for a hook that does not answer.
    pub(super) fn to_connect(self) -> Duration {
        CONNECT_PATIENCE.min(self.timeout / 2)
    }
}

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The hook is not there: no attempt was used up.
    Away(Unavailable),
    /// The hook was asked and has gone away over it.
    Broken(Unavailable),
    /// The hook was asked in vain, for this reason, which goes to the log.
    Failed(String),
}

/// What the attempts with one run came to.
enum Asked {
    /// One for each item.
    Verdicts(Vec<Verdict>),
    /// It went away over the last one, after so many.
    Broken(Unavailable, u32),
}

/// What is the same for all invocations of a hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invocations<'a> {
    pub(super) name: &'a HookName,
    pub(super) origin: &'a Origin,
    pub(super) retries: u32,
    pub(super) lambda_arn: Option<&'a str>,
    /// How often the hook has answered.
    pub(super) answers: &'a AtomicU64,
}

impl Invocations<'_> {
    /// Asks about all items; `send` gives the answer's bytes.
    pub(super) async fn ask<F>(
        &self,
        items: &[Item],
        send: impl Fn(Bytes) -> F + Sync,
    ) -> Result<Vec<Verdict>, Unavailable>
    where
        F: Future<Output = Result<Bytes, Trouble>> + Send,
    {
        let answers_before = self.answers.load(Ordering::Relaxed);
        let has_answered = || self.answers.load(Ordering::Relaxed) != answers_before;
        let mut verdicts: Vec<Option<Verdict>> = vec![None; items.len()];
        let mut runs = contract::runs(items);
        let mut broken: Vec<(Range<usize>, Unavailable)> = Vec::new();
        while let Some(range) = runs.pop_front() {
            let run = &items[range.clone()];
            // While nothing is answered, further runs are only a question whether it is there.
            let is_hopeless = !broken.is_empty() && !has_answered();
            let asked = if contract::fits(run) {
                self.ask_run(run, if is_hopeless { 0 } else { self.retries }, &send).await?
            } else {
                Asked::Verdicts(self.all(run, TOO_LARGE, 1))
            };
            match asked {
                Asked::Verdicts(of_run) => {
                    verdicts[range].iter_mut().zip(of_run).for_each(|(at, it)| *at = Some(it));
                }
                Asked::Broken(..) if run.len() > 1 && !is_hopeless => {
                    let middle = range.start + run.len() / 2;
                    runs.push_front(middle..range.end);
                    runs.push_front(range.start..middle);
                }
                Asked::Broken(_, attempts) if has_answered() && !is_hopeless => {
                    verdicts[range.start] = Some(FUNCTION_ERROR.at(attempts, self.lambda_arn));
                }
                Asked::Broken(unavailable, _) => broken.push((range, unavailable)),
            }
            if runs.is_empty()
                && let Some((_, unavailable)) = broken.first()
            {
                if !has_answered() {
                    return Err(unavailable.clone());
                }
                runs.extend(broken.drain(..).map(|(range, _)| range));
            }
        }
        Ok(verdicts.into_iter().map(|verdict| verdict.expect("each run was judged")).collect())
    }

    async fn ask_run<F>(
        &self,
        run: &[Item],
        retries: u32,
        send: &(impl Fn(Bytes) -> F + Sync),
    ) -> Result<Asked, Unavailable>
    where
        F: Future<Output = Result<Bytes, Trouble>> + Send,
    {
        let sender = Sender { stream_arn: &self.origin.stream_arn, region: &self.origin.region };
        let mut attempt = 1;
        loop {
            // A new id for each attempt, while the ids of the records stay.
            let id = Uuid::new_v4().to_string();
            let answer = send(contract::event(&sender, &id, run)).await;
            let outcome = match answer {
                Ok(answer) => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    match contract::verdicts(&answer, run, attempt, self.lambda_arn) {
                        Ok(verdicts) => return Ok(Asked::Verdicts(verdicts)),
                        Err(reason) => {
                            self.log(attempt, &id, "the answer is no JSON");
                            Ok(reason)
                        }
                    }
                }
                Err(Trouble::Away(unavailable)) => return Err(unavailable),
                Err(Trouble::Broken(unavailable)) => {
                    self.log(attempt, &id, &unavailable.reason);
                    Err(unavailable)
                }
                Err(Trouble::Failed(why)) => {
                    self.log(attempt, &id, &why);
                    Ok(FUNCTION_ERROR)
                }
            };
            if attempt > retries {
                return Ok(match outcome {
                    Ok(reason) => Asked::Verdicts(self.all(run, reason, attempt)),
                    Err(unavailable) => Asked::Broken(unavailable, attempt),
                });
            }
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    fn all(&self, run: &[Item], reason: Reason, attempts: u32) -> Vec<Verdict> {
        run.iter().map(|_| reason.at(attempts, self.lambda_arn)).collect()
    }

    fn log(&self, attempt: u32, invocation_id: &str, why: &str) {
        tracing::warn!(
            stream = self.name.stream,
            step = self.name.step,
            attempt,
            attempts = u64::from(self.retries) + 1,
            invocation_id,
            "an invocation of a hook failed: {why}"
        );
    }
}

/// The pause behind the given attempt, counted from 1.
pub(super) fn pause(attempt: u32) -> Duration {
    (PAUSE_MIN * (1 << attempt.saturating_sub(1).min(16))).min(PAUSE_MAX)
}
