//! How a program ends: the text of its error, and its exit code.

use std::process::ExitCode;

/// The exit code of a program that an error ended.
pub const ERROR_EXIT_CODE: u8 = 2;

/// An error and its causes, separated by colons. A cause that the text before it already ends with is left out: many
/// errors print their cause themselves.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.ends_with(&cause) {
            line.extend([": ", &cause]);
        }
    }
    line
}

/// The exit code of a program: the one it returns, or [`ERROR_EXIT_CODE`] after the error is printed to standard error
/// behind the program's name.
pub fn exit_code(program: &str, result: anyhow::Result<u8>) -> ExitCode {
    result.map_or_else(
        |error| {
            crate::message!("{program}: {}", one_line(&error));
            ExitCode::from(ERROR_EXIT_CODE)
        },
        ExitCode::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn no_cause_is_printed_twice() {
        let error = anyhow!("not found").context("cannot read a: not found").context("the run cannot resume");
        assert_eq!(one_line(&error), "the run cannot resume: cannot read a: not found");
        assert_eq!(one_line(&anyhow!("alone")), "alone");
    }
}
