//! The limit of a run's cost (`--budget 25usd`, `--budget 10Mtok`) and the prices of models.
//!
//! A call is sent only if the money or tokens spent, the reservations of all calls in flight and the worst case of
//! this call fit within the budget together. Its reservation is then replaced by its cost. So the budget is never
//! exceeded, and at most one call's worst case of it remains unused.

use anyhow::{Context, Result, anyhow, bail};
use files::folders;
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
    /// Price of prompt tokens. A dollar per million tokens is a microdollar per token.
    pub(crate) prompt: f64,
    /// Price of generated tokens.
    pub(crate) completion: f64,
    /// The share of these prices that a call in a provider's batch costs.
    #[serde(default = "half")]
    pub(crate) batch: f64,
}

fn half() -> f64 {
    0.5
}

impl Price {
    /// Returns the cost of a call in microdollars, rounded up.
    pub(crate) fn of(&self, prompt_tokens: u64, completion_tokens: u64, batch: bool) -> u64 {
        let whole = self.prompt * prompt_tokens as f64 + self.completion * completion_tokens as f64;
        (if batch { whole * self.batch } else { whole }).ceil() as u64
    }
}

/// The user's prices by model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prices {
    models: BTreeMap<String, Price>,
    path: Option<PathBuf>,
}

impl Prices {
    /// Reads the file of `--prices`, or `smoltalk/prices.toml` in the user's configuration folder if it exists.
    pub(crate) fn read(named: Option<&Path>) -> Result<Self> {
        let path = named.map(Path::to_owned).or_else(|| Some(folders::configuration()?.join("prices.toml")));
        let Some(path) = path else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { models: BTreeMap::new(), path: Some(path) });
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let models: BTreeMap<String, Price> =
            toml::from_str(&text).with_context(|| format!("{} cannot be read as prices", path.display()))?;
        let is_out_of_range = |price: &Price| {
            [price.prompt, price.completion, price.batch].iter().any(|number| !(0.0..1e9).contains(number))
        };
        if let Some((model, price)) = models.iter().find(|(_, price)| is_out_of_range(price)) {
            bail!(
                "{}: the price of `{model}` is {price:?}; give numbers from 0 to 1e9, in dollars per million tokens",
                path.display()
            );
        }
        Ok(Self { models, path: Some(path) })
    }

    /// Returns the price of a model, if known.
    pub(crate) fn of(&self, model: &str) -> Option<Price> {
        self.models.get(model).copied()
    }

    /// Returns the price of a model, which a budget in dollars needs.
    fn required(&self, model: &str) -> Result<Price> {
        let file =
            self.path.as_ref().map_or("the file of `--prices`".into(), |path| path.display().to_string());
        self.of(model).ok_or_else(|| {
            anyhow!(
                "a budget in dollars needs the price of {model}; add the table `[\"{model}\"]` with the keys `prompt` and \
                 `completion`, in dollars per million tokens, to {file}"
            )
        })
    }
}

/// The limit of what a run may spend in all its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Microdollars.
    Money(u64),
    /// Tokens of prompts and answers.
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
            bail!("`{text}` is not a budget; give it as 25usd, 500ktok or 10Mtok");
        }
        Ok(if unit == "usd" {
            Self::Money((number * 1e6) as u64)
        } else {
            Self::Tokens((number * scale) as u64)
        })
    }
}

/// The cost of a call, or its worst case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) tokens: u64,
    pub(crate) microdollars: u64,
}

/// What a run has spent and reserved.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Option<Limit>,
    account: Mutex<Account>,
    /// Notified when a reservation ends.
    released: Notify,
    is_exhausted: AtomicBool,
}

#[derive(Debug, Default)]
struct Account {
    spent: u64,
    reserved: u64,
}

/// The worst case of a call in flight, in microdollars or tokens. Dropped without [`Reservation::settle`], it is
/// free again.
pub(crate) struct Reservation<'a> {
    budget: &'a Budget,
    amount: u64,
}

impl Budget {
    /// A budget of which `before` is spent.
    pub(crate) fn new(limit: Option<Limit>, before: Cost) -> Self {
        let budget = Self {
            limit,
            account: Mutex::default(),
            released: Notify::new(),
            is_exhausted: AtomicBool::new(false),
        };
        budget.account().spent = budget.units(before);
        budget
    }

    /// Checks that the prices of these models are known if the budget is in dollars.
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

    /// Reserves the worst case of a call. Waits while calls in flight may turn out cheaper; returns `None` once
    /// none is in flight and the budget does not suffice.
    pub(crate) async fn reserve(&self, worst: Cost) -> Option<Reservation<'_>> {
        let amount = self.units(worst);
        let (Some(Limit::Money(limit)) | Some(Limit::Tokens(limit))) = self.limit else {
            return Some(Reservation { budget: self, amount: 0 });
        };
        loop {
            let mut released = std::pin::pin!(self.released.notified());
            released.as_mut().enable(); // what is released from here on wakes this task
            {
                let mut account = self.account();
                if account.spent + account.reserved + amount <= limit {
                    account.reserved += amount;
                    return Some(Reservation { budget: self, amount });
                }
                if account.reserved == 0 {
                    self.is_exhausted.store(true, Ordering::Relaxed);
                    return None;
                }
            }
            released.await;
        }
    }

    /// Adds the cost of a call without a reservation.
    pub(crate) fn spend(&self, cost: Cost) {
        self.account().spent += self.units(cost);
    }

    /// Whether a call was refused because the budget does not suffice.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.is_exhausted.load(Ordering::Relaxed)
    }
}

impl Reservation<'_> {
    /// Replaces the reservation by the cost of the call.
    pub(crate) fn settle(self, cost: Cost) {
        self.budget.spend(cost);
        // Dropping frees the reservation and wakes the calls that wait.
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.account().reserved -= self.amount;
        self.budget.released.notify_waiters();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_parsed() {
        assert_eq!("25usd".parse::<Limit>().unwrap(), Limit::Money(25_000_000));
        assert_eq!("0.5 USD".parse::<Limit>().unwrap(), Limit::Money(500_000));
        assert_eq!("10Mtok".parse::<Limit>().unwrap(), Limit::Tokens(10_000_000));
        for wrong in ["", "25", "usd", "-1usd", "0tok", "1e99tok", "ten usd", "25eur"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn no_call_is_sent_that_could_exceed_the_budget() {
        let cost = |tokens| Cost { tokens, microdollars: 0 };
        let budget = Budget::new(Some(Limit::Tokens(100)), cost(10));
        let first = budget.reserve(cost(50)).await.unwrap();
        let second = budget.reserve(cost(40)).await.unwrap();
        let third = budget.reserve(cost(30));
        tokio::pin!(third);
        assert!(futures::poll!(third.as_mut()).is_pending(), "the first two may turn out cheaper");
        first.settle(cost(20));
        let third = third.await.unwrap();
        drop(second); // without an answer
        third.settle(cost(30));
        assert!(budget.reserve(cost(41)).await.is_none() && budget.is_exhausted());
        assert!(budget.reserve(cost(40)).await.is_some());
    }
}
