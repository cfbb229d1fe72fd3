//! How far a task is: a bar on a terminal, a plain line now and then elsewhere.

use crate::recipe::Task;
use crate::run::Run;
use crate::store::{Entry, Outcome, Verdict};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// Between two looks at the account, which is read from the store.
const ACCOUNT: Duration = Duration::from_secs(2);

pub(crate) struct Progress<'a> {
    bar: ProgressBar,
    task: Task,
    rows: usize,
    run: &'a Run,
    kept: AtomicUsize,
    dropped: AtomicUsize,
    tokens_before: u64,
    began: Instant,
    told: Mutex<Told>,
}

struct Told {
    last: Instant,
    account: Option<Instant>,
    money: String,
}

impl<'a> Progress<'a> {
    pub(crate) fn begin(task: Task, rows: usize, kept: usize, dropped: usize, run: &'a Run) -> Result<Self> {
        let done = kept + dropped;
        let bar = ProgressBar::new(rows as u64);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{prefix} [{bar:30}] {pos}/{len} rows, {msg}, ETA {eta}";
        bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
        bar.set_prefix(task.name());
        bar.set_position(done as u64);
        bar.reset_eta();
        if done > 0 {
            eprintln!("{}: {done} rows are decided already, going on", task.name());
        }
        let now = Instant::now();
        Ok(Self {
            bar,
            task,
            rows,
            kept: AtomicUsize::new(kept),
            dropped: AtomicUsize::new(dropped),
            tokens_before: run.store.generated(),
            run,
            began: now,
            told: Mutex::new(Told { last: now, account: None, money: String::new() }),
        })
    }

    pub(crate) fn count(&self, verdict: &Verdict) {
        let counter = if matches!(verdict, Verdict::Kept(_)) { &self.kept } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = if self.bar.is_hidden() { LINE } else { Duration::from_millis(100) };
        if told.last.elapsed() >= pause {
            self.say(&mut told);
        }
    }

    pub(crate) fn end(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.account = None;
        self.say(&mut told);
        self.bar.finish();
    }

    fn say(&self, told: &mut Told) {
        told.last = Instant::now();
        if told.account.is_none_or(|looked| looked.elapsed() >= ACCOUNT) {
            told.account = Some(told.last);
            told.money = self.run.store.ledger().map(|ledger| money(&ledger)).unwrap_or_default();
        }
        let (kept, dropped) = (self.kept.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed));
        let tokens = self.run.store.generated() - self.tokens_before;
        let rate = tokens as f64 / self.began.elapsed().as_secs_f64().max(1e-3);
        let text = format!("{kept} kept, {dropped} dropped, {rate:.0} tokens/s{}", told.money);
        if self.bar.is_hidden() {
            let left = self.bar.eta().as_secs();
            eprintln!(
                "{}: {}/{} rows, {text}, ETA {left} s",
                self.task.name(),
                self.bar.position(),
                self.rows
            );
        } else {
            self.bar.set_message(text);
        }
    }
}

/// What was spent, and how much of it nobody can be sure of.
fn money(ledger: &[Entry]) -> String {
    let spent: u64 = ledger.iter().map(|entry| entry.microdollars).sum();
    let lost = Entry::sum(ledger, Outcome::Failed).cost();
    let dollars = |microdollars: u64| format!("${:.2}", microdollars as f64 / 1e6);
    let of_it = match lost.microdollars {
        0 => String::new(),
        some => format!(" (up to {} of it for calls without an answer)", dollars(some)),
    };
    match (spent, lost.tokens) {
        (0, 0) => String::new(),
        (0, tokens) => format!(", up to {tokens} tokens paid for calls without an answer"),
        _ => format!(", {} spent{of_it}", dollars(spent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_paid_for_is_told() {
        let entry = |outcome: Outcome, completion_tokens, microdollars| Entry {
            outcome: outcome.name().to_owned(),
            completion_tokens,
            microdollars,
            ..Entry::default()
        };
        let (cheap, dear) = (entry(Outcome::Answered, 9, 0), entry(Outcome::Answered, 9, 2_000_000));
        assert_eq!(money(std::slice::from_ref(&cheap)), "");
        assert_eq!(money(std::slice::from_ref(&dear)), ", $2.00 spent");
        let told = money(&[cheap, entry(Outcome::Failed, 70, 0)]);
        assert_eq!(told, ", up to 70 tokens paid for calls without an answer");
        let told = money(&[dear, entry(Outcome::Failed, 70, 500_000)]);
        assert_eq!(told, ", $2.50 spent (up to $0.50 of it for calls without an answer)");
    }
}
