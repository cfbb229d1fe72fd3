//! Rows for people to read.

use terminal::printable;

/// Prints a row below a heading; `messages` are names with texts.
pub(super) fn print_row<'a>(heading: &str, messages: impl Iterator<Item = (&'a str, &'a str)>) {
    println!("-- {}", printable(heading));
    messages.for_each(|(name, text)| println!("   [{name}] {}", printable(text)));
}
