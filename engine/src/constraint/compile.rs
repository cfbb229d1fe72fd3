//! Compiling a constraint on a thread of its own: with a stack deep enough for every constraint within the bounds, and
//! without its caller when it takes too long.
//!
//! llguidance recurses along references between rules, and a stack overflow ends the process. A compilation cannot be
//! stopped, so the number of those at once is bounded, and one that its caller gave up on ends by the compiler's own limits.

use crate::request::RequestError;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// Bytes of the stack, of which the system provides those that are used.
const STACK: usize = 512 << 20;
/// How long a caller waits.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of compilations at once in this process, abandoned ones included.
const MAX_AT_ONCE: usize = 4;
/// Seconds after which a caller that got no place may try again.
const RETRY_AFTER: u64 = 2;

/// The number of compilations now, and what wakes those that wait for a place.
static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// Bounds what a compiled constraint may cost later: a lexer state takes one to two kilobytes.
pub(super) fn limit(limits: &mut ParserLimits) {
    limits.max_lexer_states = 50_000;
    limits.verbose_errors = false;
}

/// One of the places for compilations, given back when dropped.
struct Place;

impl Place {
    /// Waits for a place.
    fn take() -> Result<Self, RequestError> {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = ENDED.wait_timeout_while(running, TIMEOUT, |running| *running >= MAX_AT_ONCE);
        let (mut running, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *running >= MAX_AT_ONCE {
            return Err(RequestError::Full { waiting: *running, retry_after: RETRY_AFTER });
        }
        *running += 1;
        Ok(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// Compiles a grammar.
///
/// # Errors
/// The compiler's reason; that it took too long; or that too many others are compiled.
pub(super) fn matcher(
    factory: &Arc<ParserFactory>,
    grammar: TopLevelGrammar,
) -> Result<Matcher, RequestError> {
    let place = Place::take()?;
    let factory = Arc::clone(factory);
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let _place = place;
        let parser = factory.create_parser(grammar);
        let matcher = parser.map(|parser| Matcher::new(Ok(parser)).into_cancellable());
        let _ = sender.send(matcher.map_err(|error| first_line(&format!("{error:#}"))));
    };
    let thread = std::thread::Builder::new().name("constraint".to_owned()).stack_size(STACK);
    thread.spawn(work).map_err(|error| {
        RequestError::Constraint(format!("the system gives no thread to compile it: {error}"))
    })?;
    match receiver.recv_timeout(TIMEOUT) {
        Ok(compiled) => compiled.map_err(RequestError::Constraint),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let seconds = TIMEOUT.as_secs();
            Err(RequestError::Constraint(format!("compiling it takes more than {seconds} s; simplify it")))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(RequestError::Constraint("the compiler failed on it; simplify it".to_owned()))
        }
    }
}

/// The reason without the lines that show where in a grammar an error is. That of a regular expression is in the last of
/// them.
pub(super) fn first_line(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    match text.lines().find_map(|line| line.strip_prefix("error: ")) {
        Some(reason) => format!("{first} {reason}"),
        None => first.to_owned(),
    }
}
