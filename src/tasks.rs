//! The only door to running things side by side.
//!
//! Every task has a name; its end, error or panic is observed; whoever waits for the end of all is
//! told who is late.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{Id, JoinSet};

/// Named tasks that end together.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// No tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = state.tasks.spawn(task);
        state.names.insert(handle.id(), name.into());
    }

    /// Waits until all tasks have ended, at most `deadline`; logs those that panicked, and those
    /// that are late every `patience`. Tasks past the deadline are aborted. Tells whether all ended
    /// by themselves.
    pub async fn join(&self, deadline: Duration, patience: Duration) -> bool {
        let (mut tasks, mut names) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.names))
        };
        let all = async {
            let mut clean = true;
            loop {
                match tokio::time::timeout(patience, tasks.join_next_with_id()).await {
                    Ok(None) => return clean,
                    Ok(Some(Ok((id, ())))) => {
                        names.remove(&id);
                    }
                    Ok(Some(Err(error))) => {
                        let name = names.remove(&error.id()).unwrap_or_default();
                        tracing::error!(task = name, %error, "a task did not end in order");
                        clean = false;
                    }
                    Err(_) => {
                        let late: Vec<_> = names.values().collect();
                        tracing::info!(?late, "waiting for tasks to end");
                    }
                }
            }
        };
        tokio::time::timeout(deadline, all).await.unwrap_or(false)
    }
}
