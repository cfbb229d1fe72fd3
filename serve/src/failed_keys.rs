//! Requests with a wrong API key wait: all of them together get a few answers per second, so that keys cannot be guessed.
//!
//! Requests with a right key, and those with none, never wait.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Time between two answers to wrong keys.
const PAUSE: Duration = Duration::from_millis(100);
/// A request with a wrong key that would wait longer is refused at once.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// When the next wrong key gets its answer.
#[derive(Debug, Default)]
pub(crate) struct FailedKeys {
    next: Mutex<Option<Instant>>,
}

impl FailedKeys {
    /// The time of the next answer; `None` when too many wait already.
    fn book(&self) -> Option<Instant> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let time = next.map_or(now, |next| next.max(now)) + PAUSE;
        if time > now + LONGEST_WAIT {
            return None;
        }
        *next = Some(time);
        Some(time)
    }

    /// Waits for the turn of a request with a wrong key; false when too many wait already.
    pub(crate) async fn wait(&self) -> bool {
        let Some(time) = self.book() else { return false };
        tokio::time::sleep_until(time).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wrong_keys_get_a_few_answers_per_second() {
        let keys = FailedKeys::default();
        let began = Instant::now();
        let booked = (0..1000).filter(|_| keys.book().is_some()).count();
        assert!((45..=50).contains(&booked), "{booked}");
        assert!(!keys.wait().await && began.elapsed() < Duration::from_secs(1));
        let first = FailedKeys::default();
        assert!(first.wait().await && first.wait().await && began.elapsed() >= 2 * PAUSE);
    }
}
