//! A fence around libraries that panic on foreign input: the panic becomes an error, so that one damaged file does not end
//! a program.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// How many fences this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs work that reads foreign input; a panic inside it is an error with the panic's words, and prints nothing.
///
/// # Errors
/// When `work` panics on this thread. What it captured must not be used afterwards unless it is unchanged by a panic.
pub fn fenced<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if DEPTH.get() == 0 {
                report(panic);
            }
        }));
    });
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason was given");
    format!("the library that reads it failed: {}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_work_goes_through() {
        assert_eq!(fenced(|| 7), Ok(7));
        let error = fenced(|| -> u8 { panic!("index {} is\nout of range", 3) }).unwrap_err();
        assert_eq!(error, "the library that reads it failed: index 3 is out of range");
        let nested = fenced(|| fenced(|| -> u8 { panic!("inner") }).is_err());
        assert_eq!((nested, DEPTH.get()), (Ok(true), 0));
    }
}
