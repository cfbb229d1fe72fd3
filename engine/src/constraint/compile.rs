//! Compiling a constraint on a thread of its own: with a stack deep enough for every constraint within the bounds, and
//! without its caller when it takes too long.
//!
//! llguidance recurses along references between rules, and a stack overflow ends the process. A compilation cannot be
//! stopped, so the number of those at once is bounded, and one that its caller gave up on ends by the compiler's own limits.

use super::first_line;
use crate::request::RequestError;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Bytes of the stack, of which the system provides those that are used.
const STACK: usize = 1 << 30;
/// How long a caller waits.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of compilations at once in this process, abandoned ones included.
const MAX_AT_ONCE: usize = 4;
/// Seconds after which a caller that found all threads busy may try again.
const RETRY_AFTER: u64 = 2;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Bounds what a compiled constraint may cost later: a lexer state takes one to two kilobytes.
pub(super) fn limit(limits: &mut ParserLimits) {
    limits.max_lexer_states = 50_000;
    limits.verbose_errors = false;
}

/// One of the places for compilations, given back when dropped.
struct Place;

impl Place {
    fn take() -> Result<Self, RequestError> {
        let add = |running: usize| (running < MAX_AT_ONCE).then(|| running + 1);
        match RUNNING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Self),
            Err(waiting) => Err(RequestError::Full { waiting, retry_after: RETRY_AFTER }),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
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
        let matcher = parser.map(|parser| Matcher::new(Ok(parser)));
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
