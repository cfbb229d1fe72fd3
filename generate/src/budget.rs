//! What a run may spend: `--budget 25usd` or `--budget 10Mtok`, and the prices that turn tokens into money.
//!
//! A call is let out only if everything spent, everything on its way and the most that this call can cost
//! stay within the budget together; what it did cost then takes that place. So the budget is never crossed,
//! and what is left over is less than one call's worst case.

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Dollars per million tokens of one model.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// Of the prompt; a dollar per million tokens is a microdollar per token.
    pub(crate) prompt: f64,
    /// Of the answer.
    pub(crate) completion: f64,
    /// What a call in a provider's batch costs of that.
    #[serde(default = "half")]
    pub(crate) batch: f64,
}

fn half() -> f64 {
    0.5
}

impl Price {
    /// Microdollars of a call, rounded up.
    pub(crate) fn of(&self, prompt_tokens: u64, completion_tokens: u64, batch: bool) -> u64 {
        let whole = self.prompt * prompt_tokens as f64 + self.completion * completion_tokens as f64;
        (if batch { whole * self.batch } else { whole }).ceil() as u64
    }
}

/// The prices the user wrote down, by model.
#[derive(Debug, Default)]
pub(crate) struct Prices {
    models: BTreeMap<String, Price>,
    path: Option<PathBuf>,
}

impl Prices {
    /// Reads `--prices`, or `smoltalk/prices.toml` in the user's configuration folder where it is there.
    pub(crate) fn read(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => Some(path.to_owned()),
            None => usual_place(),
        };
        let Some(path) = path else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { models: BTreeMap::new(), path: Some(path) });
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let models: BTreeMap<String, Price> =
            toml::from_str(&text).with_context(|| format!("{} holds no prices", path.display()))?;
        let wrong = |price: &Price| {
            [price.prompt, price.completion, price.batch].iter().any(|number| !(0.0..1e9).contains(number))
        };
        if let Some((model, price)) = models.iter().find(|(_, price)| wrong(price)) {
            bail!("{}: the price of {model} is {price:?}; write dollars per million tokens", path.display());
        }
        Ok(Self { models, path: Some(path) })
    }

    pub(crate) fn of(&self, model: &str) -> Option<Price> {
        self.models.get(model).copied()
    }

    /// The price of a model that a budget in dollars must know.
    fn required(&self, model: &str) -> Result<Price> {
        let place = self.path.as_ref().map_or("--prices FILE".to_owned(), |path| path.display().to_string());
        self.of(model).ok_or_else(|| {
            anyhow!(
                "a budget in dollars needs the price of {model}; write into {place}:\n\
                 [\"{model}\"]\nprompt = 0.15      # dollars per million tokens\ncompletion = 0.60"
            )
        })
    }
}

fn usual_place() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(folder.join("smoltalk/prices.toml"))
}

/// The most a run may spend in its whole life, earlier sessions too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Microdollars.
    Money(u64),
    /// Tokens of prompts and answers together.
    Tokens(u64),
}

impl FromStr for Limit {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_lowercase();
        let (number, unit) =
            lower.split_at(lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len()));
        let number: f64 = number.trim().parse().unwrap_or(-1.0);
        let scale = match unit {
            "usd" | "tok" => 1.0,
            "ktok" => 1e3,
            "mtok" => 1e6,
            "gtok" => 1e9,
            _ => -1.0,
        };
        if !(number > 0.0 && number < 1e12) || scale < 0.0 {
            bail!("{text:?} is no budget; write it as 25usd, 500ktok or 10Mtok");
        }
        Ok(if unit == "usd" {
            Self::Money((number * 1e6) as u64)
        } else {
            Self::Tokens((number * scale) as u64)
        })
    }
}

/// What one call costs, or may cost at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) tokens: u64,
    pub(crate) microdollars: u64,
}

/// The run's account.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<Limit>,
    account: Mutex<Account>,
    settled: Notify,
    spent_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Account {
    spent: u64,
    held: u64,
}

/// Money or tokens put aside for a call on its way; dropped without being settled, they are free again.
pub(crate) struct Held<'a> {
    budget: &'a Budget,
    amount: u64,
}

impl Budget {
    /// An account from which `before` is spent already.
    pub(crate) fn new(limit: Option<Limit>, before: Cost) -> Self {
        let budget = Self {
            limit,
            account: Mutex::default(),
            settled: Notify::new(),
            spent_up: AtomicBool::new(false),
        };
        budget.account().spent = budget.units(before);
        budget
    }

    /// Checks that a budget in dollars can be counted for these models.
    pub(crate) fn check(limit: Option<Limit>, prices: &Prices, models: &[&str]) -> Result<()> {
        if let Some(Limit::Money(_)) = limit {
            for model in models {
                prices.required(model)?;
            }
        }
        Ok(())
    }

    fn units(&self, cost: Cost) -> u64 {
        match self.limit {
            Some(Limit::Money(_)) => cost.microdollars,
            _ => cost.tokens,
        }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts aside what a call may cost at most; waits while calls on their way may turn out cheaper, and
    /// gives nothing once that cannot help any more.
    pub(crate) async fn hold(&self, worst: Cost) -> Option<Held<'_>> {
        let amount = self.units(worst);
        let (Some(Limit::Money(limit)) | Some(Limit::Tokens(limit))) = self.limit else {
            return Some(Held { budget: self, amount: 0 });
        };
        loop {
            let settled = self.settled.notified();
            let mut settled = std::pin::pin!(settled);
            settled.as_mut().enable(); // what settles from here on wakes us
            {
                let mut account = self.account();
                if account.spent + account.held + amount <= limit {
                    account.held += amount;
                    return Some(Held { budget: self, amount });
                }
                if account.held == 0 {
                    self.spent_up.store(true, Ordering::Relaxed);
                    return None;
                }
            }
            settled.await;
        }
    }

    /// Books what a call did cost for which nothing is held.
    pub(crate) fn spend(&self, cost: Cost) {
        self.account().spent += self.units(cost);
    }

    /// Whether a call was turned away.
    pub(crate) fn is_spent_up(&self) -> bool {
        self.spent_up.load(Ordering::Relaxed)
    }
}

impl Held<'_> {
    /// Books what the call did cost.
    pub(crate) fn settle(self, cost: Cost) {
        self.budget.spend(cost);
        // Dropping gives the rest back and wakes who waits.
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.account().held -= self.amount;
        self.budget.settled.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        assert_eq!("25usd".parse::<Limit>().unwrap(), Limit::Money(25_000_000));
        assert_eq!("0.5 USD".parse::<Limit>().unwrap(), Limit::Money(500_000));
        assert_eq!("10Mtok".parse::<Limit>().unwrap(), Limit::Tokens(10_000_000));
        for wrong in ["", "25", "usd", "-1usd", "0tok", "1e99tok", "ten usd", "25eur"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn no_call_goes_out_that_could_cross_the_budget() {
        let cost = |tokens| Cost { tokens, microdollars: 0 };
        let budget = Budget::new(Some(Limit::Tokens(100)), cost(10));
        let first = budget.hold(cost(50)).await.unwrap();
        let second = budget.hold(cost(40)).await.unwrap();
        let third = budget.hold(cost(30));
        tokio::pin!(third);
        assert!(futures::poll!(third.as_mut()).is_pending(), "the first two may turn out cheaper");
        first.settle(cost(20));
        let third = third.await.unwrap();
        drop(second); // there was no answer
        third.settle(cost(30));
        assert!(budget.hold(cost(41)).await.is_none() && budget.is_spent_up());
        assert!(budget.hold(cost(40)).await.is_some());
    }
}
