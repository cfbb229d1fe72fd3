//! The one place that prints messages and results. Whatever they quote is escaped, and a standard error that cannot be
//! written ends no run: answers and steps are worth more than a line about them.

use crate::printable::{printable, printable_message};
use std::io::{self, ErrorKind, Write};

/// Prints a line to standard error, with the arguments of [`format!`].
#[macro_export]
macro_rules! message {
    ($($argument:tt)*) => { $crate::print_message(&format!($($argument)*)) };
}

/// Prints a line of results to standard output, with the arguments of [`format!`]; returns what [`print_results`] does.
#[macro_export]
macro_rules! results {
    ($($argument:tt)*) => { $crate::print_results(&(format!($($argument)*) + "\n")) };
}

/// Prints a message to standard error. Lines after the first one are indented.
pub fn print_message(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable_message(text));
}

/// Prints results to standard output. A reader that ends early is no error.
///
/// # Errors
/// When they cannot be written, such as on a full disk.
pub fn print_results(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(printable(text).as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("cannot write the results to standard output: {error}")))
        }
        Ok(()) => Ok(()),
    }
}
