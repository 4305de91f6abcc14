//! A child process as a source and a sink of lines.
//!
//! Owns the child, its pipes and the three threads that serve them; each thread ends with its pipe.
//! Does not own what lines say.
//!
//! Invariants: a process that is dropped is killed with all of its group, and reaped; no line is longer than
//! [`LINE_BYTES_MAX`]; no more than [`LINES_WAITING_MAX`] lines wait to be taken, beyond which the
//! child waits; what it says to the log is bounded by [`LOG_LINES_MAX`] in [`LOG_WINDOW`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::super::HookName;
use super::CommandSettings;

/// The longest line; escapes and base64 included.
const LINE_BYTES_MAX: usize = 16 << 20;
const LINES_WAITING_MAX: usize = 64;
/// How much of a line of the child's stderr goes to the log.
const LOG_LINE_BYTES_MAX: usize = 2 << 10;
/// How many lines go to the log in a window; the others are counted.
const LOG_LINES_MAX: u32 = 50;
const LOG_WINDOW: Duration = Duration::from_secs(10);
/// How long a process whose pipe has ended is waited for, and how often it is looked at.
const END_PATIENCE: Duration = Duration::from_millis(500);
const END_PAUSE: Duration = Duration::from_millis(5);

/// What comes from a process.
#[derive(Debug)]
pub(super) enum Output {
    /// A line without its end.
    Line(Bytes),
    /// A line that exceeds the bound; nothing behind it is read.
    TooLong,
    /// There is no more; how the process ended, in words.
    End(String),
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    /// Absent only while it is dropped.
    child: Option<Child>,
    input: mpsc::Sender<Bytes>,
    output: mpsc::Receiver<Output>,
    /// The last line of its stderr; closed when there is no more of it.
    said: watch::Receiver<String>,
}

impl Process {
    /// Starts a program in a process group of its own, with no environment but that of the settings:
    /// secrets may stand in this process's.
    pub(super) fn start(settings: &CommandSettings, name: &HookName) -> io::Result<Self> {
        let CommandSettings { argv, environment, .. } = settings;
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = std::process::Command::new(program)
            .args(arguments)
            .process_group(0)
            .env_clear()
            // Python would keep its answers back until it has some KiB of them.
            .env("PYTHONUNBUFFERED", "1")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (input, lines_in) = mpsc::channel(1);
        let (lines_out, output) = mpsc::channel(LINES_WAITING_MAX);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // From here on it is killed whatever happens.
        let (last, said) = watch::channel(String::new());
        let process = Self { child: Some(child), input, output, said };
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let name = name.clone();
        spawn("hook input", move || feed(stdin, lines_in))?;
        spawn("hook output", move || read(stdout, &lines_out))?;
        spawn("hook log", move || log(stderr, &name, &last))?;
        Ok(process)
    }

    /// Hands lines to the process, which reads them in its own time.
    pub(super) async fn write(&self, lines: Bytes) {
        // A process that reads no more is found out by its silence.
        let _ = self.input.send(lines).await;
    }

    /// The next thing that comes from the process.
    pub(super) async fn next(&mut self) -> Output {
        match self.output.recv().await {
            Some(output) => output,
            None => Output::End(self.obituary().await),
        }
    }

    /// What has come from the process already.
    pub(super) fn pending(&mut self) -> Option<Output> {
        self.output.try_recv().ok()
    }

    /// Whether the process has not ended yet.
    pub(super) fn is_running(&mut self) -> bool {
        !self.output.is_closed() && self.is_alive()
    }

    fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How it ended. Its pipe ends a moment before it does itself and before its last words are
    /// read, which is waited for, if not long: it may have closed the pipe and live on.
    async fn obituary(&mut self) -> String {
        let deadline = tokio::time::Instant::now() + END_PATIENCE;
        let all_said = async { while self.said.changed().await.is_ok() {} };
        let _ = tokio::time::timeout_at(deadline, all_said).await;
        while self.is_alive() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(END_PAUSE).await;
        }
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let status = status.map(|status| format!(" with {status}")).unwrap_or_default();
        let said = self.said.borrow();
        let said = if said.is_empty() { String::new() } else { format!(", and said: {}", *said) };
        format!("it ended{status}{said}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // All of its group: what it has started itself would keep the pipes open.
            let group = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            // Reaped beside everything else: a process in the kernel's hands may take its time.
            let _ = spawn("hook end", move || drop(child.wait()));
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

fn feed(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Bytes>) {
    while let Some(lines) = lines.blocking_recv() {
        if stdin.write_all(&lines).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read(stdout: ChildStdout, lines: &mpsc::Sender<Output>) {
    let mut stdout = BufReader::new(stdout);
    while let Ok(Some((line, is_whole))) = bounded_line(&mut stdout, LINE_BYTES_MAX) {
        let output = if is_whole { Output::Line(line) } else { Output::TooLong };
        if lines.blocking_send(output).is_err() || !is_whole {
            return;
        }
    }
}

/// A line and whether it came to its end within the bound; nothing at the end of the pipe.
fn bounded_line(from: &mut impl BufRead, bytes_max: usize) -> io::Result<Option<(Bytes, bool)>> {
    let mut line = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    if from.take(bound).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let is_whole = line.ends_with(b"\n") || line.len() < bytes_max;
    if line.ends_with(b"\n") {
        line.pop();
    }
    Ok(Some((line.into(), is_whole)))
}

fn log(stderr: ChildStderr, name: &HookName, said: &watch::Sender<String>) {
    let mut stderr = BufReader::new(stderr);
    let (mut window, mut count) = (tokio::time::Instant::now(), 0_u32);
    // Long lines come in pieces.
    while let Ok(Some((line, _))) = bounded_line(&mut stderr, LOG_LINE_BYTES_MAX) {
        let line = String::from_utf8_lossy(&line);
        said.send_replace(super::short(&line));
        if window.elapsed() > LOG_WINDOW {
            if count > LOG_LINES_MAX {
                let left_out = count - LOG_LINES_MAX;
                tracing::info!(
                    stream = name.stream,
                    step = name.step,
                    left_out,
                    "a command says more"
                );
            }
            (window, count) = (tokio::time::Instant::now(), 0);
        }
        count = count.saturating_add(1);
        if count <= LOG_LINES_MAX {
            tracing::info!(stream = name.stream, step = name.step, "a command says: {line}");
        }
    }
}
