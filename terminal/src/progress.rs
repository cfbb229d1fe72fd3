//! How far a long task has come: a bar on a terminal; elsewhere, as in a log file, a plain line every ten seconds.

use indicatif::{FormattedDuration, HumanCount, ProgressBar, ProgressStyle};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two updates of a bar.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// The progress of one task, on standard error. It can be shared between threads. A bar disappears when it is finished
/// or dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// What is being done.
    label: String,
    /// What is counted, in the plural.
    unit: &'static str,
    started: Instant,
    /// The position at the start: what an earlier session did is left out of the rate.
    first: u64,
    shown: Mutex<Shown>,
}

/// What was shown last.
#[derive(Debug)]
struct Shown {
    at: Instant,
    message: String,
}

impl Progress {
    /// The progress of `label`, which may be empty, counted in `unit` ("rows"). Without a total there is no bar and no
    /// remaining time.
    pub fn new(label: impl Into<String>, unit: &'static str, total: Option<u64>) -> Self {
        let label = label.into();
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = match (total, label.is_empty()) {
            (Some(_), true) => "[{bar:24}] {wide_msg}",
            (Some(_), false) => "{prefix} [{bar:24}] {wide_msg}",
            (None, true) => "{spinner} {wide_msg}",
            (None, false) => "{spinner} {prefix}: {wide_msg}",
        };
        Self::with_style(bar, template, label, unit)
    }

    /// A stage that cannot be counted: on a terminal its seconds are shown, elsewhere one line says that it started.
    pub fn stage(label: impl Into<String>) -> Self {
        let label = label.into();
        let stage = Self::with_style(ProgressBar::new_spinner(), "{spinner} {prefix} ({elapsed})", label, "");
        if stage.bar.is_hidden() {
            crate::message!("{}", stage.label);
        }
        stage.bar.enable_steady_tick(BAR_INTERVAL);
        stage
    }

    fn with_style(bar: ProgressBar, template: &str, label: String, unit: &'static str) -> Self {
        let style = ProgressStyle::with_template(template).expect("the templates are those above");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(crate::printable(&label));
        let started = Instant::now();
        Self {
            bar,
            label,
            unit,
            started,
            first: 0,
            shown: Mutex::new(Shown { at: started, message: String::new() }),
        }
    }

    /// Starts at a position that an earlier session reached.
    pub fn resumed_at(mut self, position: u64) -> Self {
        self.bar.set_position(position);
        self.first = position;
        self
    }

    /// Counts further units.
    pub fn advance(&self, count: u64) {
        self.bar.inc(count);
        self.show_if_due(None::<fn() -> String>);
    }

    /// Counts further units. `message` follows the count; it is called only when something is shown.
    pub fn advance_with(&self, count: u64, message: impl FnOnce() -> String) {
        self.bar.inc(count);
        self.show_if_due(Some(message));
    }

    /// Sets the position.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
        self.show_if_due(None::<fn() -> String>);
    }

    /// Sets the position. `message` follows the count; it is called only when something is shown.
    pub fn set_with(&self, position: u64, message: impl FnOnce() -> String) {
        self.bar.set_position(position);
        self.show_if_due(Some(message));
    }

    /// Shows the position with a message now: a first or a last line that should not be missing from a log.
    pub fn show(&self, message: impl Into<String>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.message = message.into();
        self.print(&mut shown);
    }

    /// Prints a line that stays, above the bar.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| crate::message!("{text}"));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Removes the bar and prints a line that stays.
    pub fn finish_with(&self, text: &str) {
        self.finish();
        crate::message!("{text}");
    }

    /// Units counted so far, those of earlier sessions included.
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// Time since the start of this session.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn show_if_due(&self, message: Option<impl FnOnce() -> String>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = if self.bar.is_hidden() { LINE_INTERVAL } else { BAR_INTERVAL };
        if shown.at.elapsed() < interval {
            return;
        }
        if let Some(message) = message {
            shown.message = message();
        }
        self.print(&mut shown);
    }

    fn print(&self, shown: &mut Shown) {
        shown.at = Instant::now();
        let (position, total) = (self.bar.position(), self.bar.length());
        let text = text(position, total, self.first, self.elapsed(), self.unit, &shown.message);
        if !self.bar.is_hidden() {
            self.bar.set_message(text);
        } else if self.label.is_empty() {
            crate::message!("{text}");
        } else {
            crate::message!("{}: {text}", self.label);
        }
    }
}

/// Such as "120/500 rows, 12.3 rows/s, 00:00:31 left, 7 dropped".
fn text(
    position: u64,
    total: Option<u64>,
    first: u64,
    elapsed: Duration,
    unit: &str,
    message: &str,
) -> String {
    let total_text = total.map_or_else(String::new, |total| format!("/{}", HumanCount(total)));
    let mut text = format!("{}{total_text} {unit}", HumanCount(position));
    let seconds = elapsed.as_secs_f64();
    let per_second = position.saturating_sub(first) as f64 / seconds.max(1e-3);
    if per_second > 0.0 {
        text.push_str(&format!(", {} {unit}/s", rate(per_second)));
    }
    if let Some(left) = total.map(|total| total.saturating_sub(position)).filter(|left| *left > 0)
        && per_second > 0.0
    {
        let left = Duration::from_secs_f64((left as f64 / per_second).min(1e9));
        text.push_str(&format!(", {} left", FormattedDuration(left)));
    }
    // Last, because a narrow terminal cuts the end off.
    if !message.is_empty() {
        text.push_str(&format!(", {message}"));
    }
    text
}

fn rate(per_second: f64) -> String {
    match per_second {
        100.0.. => HumanCount(per_second.round() as u64).to_string(),
        1.0.. => format!("{per_second:.1}"),
        _ => format!("{per_second:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_line_has_count_rate_message_and_remaining_time() {
        let seconds = Duration::from_secs;
        assert_eq!(
            text(1_200, Some(5_000), 200, seconds(100), "rows", "7 dropped"),
            "1,200/5,000 rows, 10.0 rows/s, 00:06:20 left, 7 dropped"
        );
        assert_eq!(text(0, Some(5), 0, seconds(3), "steps", ""), "0/5 steps");
        assert_eq!(
            text(5, Some(5), 4, seconds(100), "steps", "loss 2.1"),
            "5/5 steps, 0.010 steps/s, loss 2.1"
        );
        assert_eq!(text(120_000, None, 0, seconds(60), "rows", ""), "120,000 rows, 2,000 rows/s");
    }

    #[test]
    fn messages_are_made_only_when_they_are_shown() {
        let progress = Progress::new("test", "rows", Some(10)).resumed_at(3);
        let made = AtomicUsize::new(0);
        let message = || {
            made.fetch_add(1, Ordering::Relaxed);
            String::new()
        };
        progress.advance_with(2, message);
        progress.set_with(7, message);
        progress.advance(1);
        // The test's standard error is no terminal, or this took less than the interval of a bar.
        assert_eq!((progress.position(), made.into_inner()), (8, 0));
        progress.finish();
    }
}
