//! Constraints whose next tokens take long to find, computed beside the engine's thread.
//!
//! An ambiguous grammar costs more with every token: after a thousand, a token takes seconds. On the engine's thread, all
//! other answers would wait for it. So a constraint that was slow is moved, token by token, to a thread of low priority,
//! and its answer alone waits. Which tokens are allowed is the same.

use super::compile::first_line;
use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a token may take on the engine's thread. Constraints of applications take a tenth of it.
pub(super) const QUICK: Duration = Duration::from_millis(4);
/// The priority of the thread, from 0 (as others) to 19: a tenth of the time that others get where all want to run.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Bytes of the thread's stack, as many as the engine's: a constraint's expressions are walked recursively.
const STACK: usize = 64 << 20;

/// A constraint to be advanced by a token.
struct Work {
    matcher: Matcher,
    id: u32,
    results: Sender<Advanced>,
}

/// A constraint after a token.
pub(super) struct Advanced {
    pub(super) matcher: Matcher,
    /// Whether it is complete.
    pub(super) is_complete: Result<bool, String>,
    /// The ids that are allowed next.
    pub(super) mask: Result<SimpleVob, String>,
    pub(super) took: Duration,
}

/// The way to the thread, once it was needed.
static THREAD: Mutex<Option<Sender<Work>>> = Mutex::new(None);

/// Has a constraint advanced by a token and its next ids found. If the system gives no thread, that is done here.
pub(super) fn advance(matcher: Matcher, id: u32) -> Receiver<Advanced> {
    let (results, receiver) = mpsc::channel();
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut work = Work { matcher, id, results };
    // A thread that has ended is replaced.
    for _ in 0..2 {
        match thread.get_or_insert_with(started).send(work) {
            Ok(()) => return receiver,
            Err(unsent) => work = unsent.0,
        }
        *thread = None;
    }
    drop(thread);
    run(work);
    receiver
}

/// Starts the thread; without one, nobody receives.
fn started() -> Sender<Work> {
    let (sender, receiver) = mpsc::channel::<Work>();
    let run_all = move || {
        lower_priority();
        receiver.iter().for_each(run);
    };
    let thread = std::thread::Builder::new().name("masks".to_owned()).stack_size(STACK);
    drop(thread.spawn(run_all));
    sender
}

fn run(Work { mut matcher, id, results }: Work) {
    let began = Instant::now();
    let is_complete = consume(&mut matcher, id);
    let mask = if is_complete == Ok(false) { compute_mask(&mut matcher) } else { Err(String::new()) };
    // Whoever asked may have left.
    let _ = results.send(Advanced { matcher, is_complete, mask, took: began.elapsed() });
}

/// Advances past a token; returns whether the constraint is complete.
pub(super) fn consume(matcher: &mut Matcher, id: u32) -> Result<bool, String> {
    matcher.consume_token(id).map_err(|error| first_line(&format!("{error:#}")))?;
    Ok(matcher.is_stopped())
}

/// The ids that are allowed next.
pub(super) fn compute_mask(matcher: &mut Matcher) -> Result<SimpleVob, String> {
    matcher.compute_mask_or_eos().map_err(|error| first_line(&format!("{error:#}")))
}

/// Lets the other threads of this process go first, as far as the system can do that.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no memory is passed. On Linux, 0 is the calling thread alone.
        let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    }
}
