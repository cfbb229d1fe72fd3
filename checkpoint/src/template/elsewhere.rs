//! Templates of others, parsed and rendered in processes of their own.
//!
//! A template is a program: it can double a text until memory ends, nest lists deeper than a stack, or compare texts for
//! hours without printing anything, and the engine that runs it bounds none of that. A server that must survive it hands
//! templates to copies of its own program, which may use [`MEMORY`] bytes and [`MAX_TIME`] for a conversation, and end alone.

use super::output::MAX_TIME;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// The argument by which a copy of the program knows that it renders templates.
pub(super) const ARGUMENT: &str = "render-templates";
/// Bytes of address space of such a process.
pub(super) const MEMORY: u64 = 2 << 30;
/// The exit code of a process that took too long.
pub(super) const TIMED_OUT: i32 = 3;
/// Maximum number of such processes; whoever needs one more waits.
const MAX_PROCESSES: usize = 8;
/// Maximum number of them that are kept while nobody needs them.
const MAX_IDLE: usize = 2;
/// Maximum bytes of an answer: what a template may print, as JSON.
const MAX_ANSWER: u64 = 1 << 30;

/// What a process is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question<'a> {
    pub(super) source: std::borrow::Cow<'a, str>,
    /// The moment that `strftime_now` prints, in RFC 3339, if not the present.
    pub(super) moment: Option<String>,
    /// The template's variables; none if it is only to be parsed.
    pub(super) context: Option<Value>,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Text(String),
    /// The names that the template reads and does not set itself.
    Variables(HashSet<String>),
    Error(String),
}

/// The program that renders templates, if they are rendered elsewhere.
static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
static POOL: Mutex<Pool> = Mutex::new(Pool { running: 0, idle: Vec::new() });
static ENDED: Condvar = Condvar::new();

struct Pool {
    /// Processes that somebody uses.
    running: usize,
    idle: Vec<Process>,
}

/// From now on, renders templates in processes of their own, which are copies of the running program: its `main` must begin
/// with [`super::render_for_parent`].
///
/// # Errors
/// If no such process can be started; templates are then rendered in this one.
pub fn isolate() -> std::io::Result<()> {
    // What runs, even if its file was replaced in the meantime.
    let own = std::path::Path::new("/proc/self/exe");
    let program = if own.exists() { own.to_owned() } else { std::env::current_exe()? };
    let process = Process::start(&program)?;
    lock().idle.push(process);
    let _ = PROGRAM.set(program);
    Ok(())
}

/// Whether templates are rendered in processes of their own.
pub fn is_isolated() -> bool {
    PROGRAM.get().is_some()
}

/// Why a process gave no reply.
pub(super) struct Exhausted(pub(super) String);

/// Asks a process.
///
/// # Errors
/// If the process ended over it: its bound of time or memory, most likely.
pub(super) fn ask(question: &Question<'_>) -> Result<Reply, Exhausted> {
    let question = serde_json::to_vec(question).map_err(|error| Exhausted(error.to_string()))?;
    let mut place = Place::take()?;
    let mut reply = place.process.ask(&question);
    if matches!(reply, Err(Fault::Unsent)) {
        // It ended while nobody used it.
        place.process = start()?;
        reply = place.process.ask(&question);
    }
    match reply {
        Ok(reply) => {
            place.is_sound = true;
            Ok(reply)
        }
        Err(_) => Err(Exhausted(place.process.reason())),
    }
}

fn start() -> Result<Process, Exhausted> {
    let program = PROGRAM.get().expect("asked only where templates are isolated");
    Process::start(program)
        .map_err(|error| Exhausted(format!("cannot start the process that renders it: {error}")))
}

fn lock() -> std::sync::MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process in use; goes back when dropped.
struct Place {
    process: Process,
    is_sound: bool,
}

impl Place {
    fn take() -> Result<Self, Exhausted> {
        let pool = ENDED.wait_while(lock(), |pool| pool.running >= MAX_PROCESSES);
        let mut pool = pool.unwrap_or_else(PoisonError::into_inner);
        let idle = pool.idle.pop();
        pool.running += 1;
        drop(pool);
        let process = idle.map_or_else(start, Ok).inspect_err(|_| leave(None))?;
        Ok(Self { process, is_sound: false })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        leave(self.is_sound.then(|| self.process.take()));
    }
}

/// Frees a place and keeps its process, if it may be used again.
fn leave(process: Option<Process>) {
    let mut pool = lock();
    pool.running -= 1;
    // Further ones end when their input is closed.
    let kept = process.filter(|_| pool.idle.len() < MAX_IDLE);
    pool.idle.extend(kept);
    drop(pool);
    ENDED.notify_one();
}

enum Fault {
    Unsent,
    Unanswered,
}

/// A process and the pipes to it.
struct Process {
    child: Option<Child>,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    fn start(program: &std::path::Path) -> std::io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Self { child: Some(child), input, output })
    }

    /// Moves it out of what is dropped.
    fn take(&mut self) -> Self {
        Self { child: self.child.take(), input: self.input.take(), output: self.output.take() }
    }

    fn ask(&mut self, question: &[u8]) -> Result<Reply, Fault> {
        let (Some(input), Some(output)) = (&mut self.input, &mut self.output) else {
            return Err(Fault::Unsent);
        };
        write_frame(input, question).map_err(|_| Fault::Unsent)?;
        let reply = read_frame(output, MAX_ANSWER).map_err(|_| Fault::Unanswered)?;
        serde_json::from_slice(&reply.ok_or(Fault::Unanswered)?).map_err(|_| Fault::Unanswered)
    }

    /// Why it ended.
    fn reason(&mut self) -> String {
        self.input = None;
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        match status.and_then(|status| status.code()) {
            Some(TIMED_OUT) => format!("the template takes more than {} s", MAX_TIME.as_secs()),
            _ => format!("the template takes more than {} GiB of memory, or nests too deep", MEMORY >> 30),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Some(mut child) = self.child.take() {
            // It holds nothing that must be kept.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes bytes behind their number.
pub(super) fn write_frame(to: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// Reads what `write_frame` wrote; `None` at the end.
pub(super) fn read_frame(from: &mut impl Read, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 8];
    if let Err(error) = from.read_exact(&mut length) {
        return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let length = u64::from_le_bytes(length);
    if length > most {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(Some(bytes))
    }
}
