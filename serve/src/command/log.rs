//! The log, on standard error.

use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;

/// What is logged: a level, or filters in the syntax of `tracing-subscriber`.
#[derive(Debug, Clone)]
pub(super) struct LogLevel(String);

/// Reads `--log-level`.
pub(super) fn level(text: &str) -> Result<LogLevel, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(LogLevel(text.to_owned())),
        Err(error) => Err(error.to_string()),
    }
}

/// Starts the log of this process. Later calls are ignored.
pub(super) fn start(level: &LogLevel) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&level.0))
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn levels_and_filters_are_read() {
        assert!(level("info").is_ok() && level("warn,serve=debug").is_ok() && level("off").is_ok());
        assert!(level("loud=quiet").is_err_and(|reason| reason.contains("\"debug\"")));
    }
}
