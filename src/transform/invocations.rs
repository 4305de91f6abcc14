//! A batch in invocations of a hook that keeps to Lambda's contract, however it is reached.
//!
//! Owns the cutting of a batch, the attempts and the pauses between them, and what becomes of
//! records when the last attempt has failed. Does not own the wire: `http` and `lambda` do, and say
//! whether an attempt failed or the hook is away.
//!
//! Invocations of a batch run one after another, so that a hook never has more than one of a
//! stream. A hook that goes away in the middle of a batch is later given the whole batch again.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::contract::{self, FUNCTION_ERROR, NO_JSON, Reason, Sender, TOO_LARGE};
use super::{Item, Unavailable, Verdict};

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

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The hook is not there: no attempt was used up.
    Away(Unavailable),
    /// The hook was asked in vain, for this reason, which goes to the log.
    Failed(String),
}

/// What is the same for all invocations of a hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invocations<'a> {
    pub(super) name: &'a HookName,
    pub(super) origin: &'a Origin,
    pub(super) retries: u32,
    pub(super) lambda_arn: Option<&'a str>,
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
        let mut verdicts = Vec::with_capacity(items.len());
        for run in contract::runs(items) {
            if contract::fits(run) {
                verdicts.extend(self.ask_run(run, &send).await?);
            } else {
                verdicts.extend(run.iter().map(|_| TOO_LARGE.at(1, self.lambda_arn)));
            }
        }
        Ok(verdicts)
    }

    async fn ask_run<F>(
        &self,
        run: &[Item],
        send: &(impl Fn(Bytes) -> F + Sync),
    ) -> Result<Vec<Verdict>, Unavailable>
    where
        F: Future<Output = Result<Bytes, Trouble>> + Send,
    {
        let sender = Sender { stream_arn: &self.origin.stream_arn, region: &self.origin.region };
        let mut attempt = 1;
        loop {
            // A new id for each attempt, while the ids of the records stay.
            let id = Uuid::new_v4().to_string();
            let answer = send(contract::event(&sender, &id, run)).await;
            let reason = match answer {
                Ok(answer) => match contract::verdicts(&answer, run, attempt, self.lambda_arn) {
                    Ok(verdicts) => return Ok(verdicts),
                    Err(reason) => {
                        self.log(attempt, &id, "the answer is no JSON");
                        reason
                    }
                },
                Err(Trouble::Away(unavailable)) => return Err(unavailable),
                Err(Trouble::Failed(why)) => {
                    self.log(attempt, &id, &why);
                    FUNCTION_ERROR
                }
            };
            if attempt > self.retries {
                return Ok(self.all(run, reason, attempt));
            }
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    fn all(&self, run: &[Item], reason: Reason, attempts: u32) -> Vec<Verdict> {
        debug_assert!(reason == FUNCTION_ERROR || reason == NO_JSON);
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
