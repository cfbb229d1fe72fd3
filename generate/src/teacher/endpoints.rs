//! The endpoints of one model: which one gets the next call, and how many concurrent calls each gets.
//!
//! Each endpoint has its own limit, which starts at the maximum, is halved when the endpoint reports overload (429, 503)
//! and grows with every success. Calls that were sent before the limit was halved do not halve it again. An endpoint that
//! fails three times in a row is down and gets no calls until it answers a request for its models; where that returns
//! errors repeatedly, one call is tried instead.

use super::endpoint_settings::{EndpointSettings, Rates};
use super::request_settings::RequestSettings;
use anyhow::{Result, anyhow};
use reqwest::RequestBuilder;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Number of failures in a row after which an endpoint is down.
const MAX_FAILURES: u32 = 3;
/// Number of checks of an endpoint that is down, after which an error means that it has no list of models.
const MAX_CHECKS: u32 = 2;
/// Minimum growth of the limit per success. Source: NeMo Data Designer adds one after 25 successes.
const MIN_GROWTH: f64 = 1.0 / 25.0;
/// The first and the longest pause in seconds, after a 429 without `Retry-After` and between two checks of an endpoint
/// that is down.
const PAUSES: (f64, f64) = (0.5, 30.0);

/// All endpoints of one model.
pub(super) struct Endpoints {
    list: Vec<Endpoint>,
    client: reqwest::Client,
    settings: EndpointSettings,
    /// Notified when a permit is returned or an endpoint is up again.
    changed: Notify,
}

/// One endpoint.
pub(super) struct Endpoint {
    /// Its address.
    pub(super) base: String,
    key: Option<String>,
    request: RequestSettings,
    rates: Rates,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Maximum number of concurrent calls.
    limit: f64,
    in_use: usize,
    /// No call is sent before.
    not_before: Instant,
    /// No call is sent before because of its limits per minute, which says nothing against it.
    paced_until: Instant,
    /// When the limit was last halved.
    last_cut: Option<Instant>,
    /// How often the limit was halved since the last success.
    cuts: u32,
    /// What the endpoint said when it last refused a call because of overload.
    refusal: String,
    /// Failures in a row.
    failures: u32,
    is_down: bool,
    /// Number of checks since the last success.
    checks: u32,
    last_success: Instant,
}

/// The permission to send one call to an endpoint.
pub(super) struct Permit {
    endpoints: Arc<Endpoints>,
    index: usize,
    issued: Instant,
}

impl Endpoints {
    /// The endpoints at these addresses.
    pub(super) fn new(bases: &[String], client: reqwest::Client, settings: &EndpointSettings) -> Arc<Self> {
        let now = Instant::now();
        let endpoint = |base: &String| Endpoint {
            base: base.clone(),
            key: settings.keys.of(base).map(str::to_owned),
            request: settings.request.clone(),
            rates: settings.rates,
            state: Mutex::new(State {
                limit: settings.in_flight as f64,
                in_use: 0,
                not_before: now,
                paced_until: now,
                last_cut: None,
                cuts: 0,
                refusal: String::new(),
                failures: 0,
                is_down: false,
                checks: 0,
                last_success: now,
            }),
        };
        let list = bases.iter().map(endpoint).collect();
        Arc::new(Self { list, client, settings: settings.clone(), changed: Notify::new() })
    }

    /// All of them.
    pub(super) fn list(&self) -> &[Endpoint] {
        &self.list
    }

    /// Waits for a permit of the least loaded endpoint; `avoid` is the endpoint where the call failed last, `tokens` the
    /// most that the call may count.
    ///
    /// # Errors
    /// When no endpoint has given a successful response within the run's patience.
    pub(super) async fn permit(self: &Arc<Self>, avoid: Option<usize>, tokens: u64) -> Result<Permit> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable(); // a change from here on wakes this task
            let now = Instant::now();
            if let Some(index) = self.choose(now, avoid, tokens) {
                return Ok(Permit { endpoints: Arc::clone(self), index, issued: now });
            }
            self.check_patience(now)?;
            let next = self.list.iter().map(|endpoint| endpoint.state().not_before);
            let next = next.filter(|time| *time > now).min().unwrap_or(now + Duration::from_secs(1));
            let _ = tokio::time::timeout_at(next.min(now + Duration::from_secs(1)), changed).await;
        }
    }

    /// Sends an endpoint no call for this long, because it said that a limit is used up.
    pub(super) fn wait(&self, base: &str, wait: Duration) {
        if let Some(endpoint) = self.list.iter().find(|endpoint| endpoint.base == base) {
            let mut state = endpoint.state();
            state.not_before = state.not_before.max(Instant::now() + wait);
            state.paced_until = state.not_before;
        }
    }

    fn choose(&self, now: Instant, avoid: Option<usize>, tokens: u64) -> Option<usize> {
        // The endpoint where the call failed is only avoided if another one accepts calls now.
        let accepts_calls = |endpoint: &Endpoint| {
            let state = endpoint.state();
            !state.is_down && state.not_before <= now
        };
        let mut others = self.list.iter().enumerate().filter(|(index, _)| Some(*index) != avoid);
        let has_others = others.any(|(_, endpoint)| accepts_calls(endpoint));
        let mut best: Option<(f64, usize)> = None;
        for (index, endpoint) in self.list.iter().enumerate() {
            let state = endpoint.state();
            let has_room =
                !state.is_down && state.not_before <= now && ((state.in_use + 1) as f64) <= state.limit;
            if !has_room || (has_others && avoid == Some(index)) {
                continue;
            }
            let load = state.in_use as f64 / state.limit;
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, index));
            }
        }
        let (_, index) = best?;
        let (mut state, rates) = (self.list[index].state(), self.list[index].rates);
        state.in_use += 1;
        if let Some(pace) = rates.pace(tokens) {
            state.not_before = state.not_before.max(now) + pace;
            state.paced_until = state.not_before;
        }
        Some(index)
    }

    fn check_patience(&self, now: Instant) -> Result<()> {
        let useless_for = |endpoint: &Endpoint| {
            let state = endpoint.state();
            // A busy endpoint may still answer, and one that is asked slowly has not been asked.
            let is_working =
                (state.in_use > 0 || state.paced_until >= now) && !state.is_down && state.cuts == 0;
            if is_working { Duration::ZERO } else { now.saturating_duration_since(state.last_success) }
        };
        let shortest = self.list.iter().map(useless_for).min().unwrap_or_default();
        if shortest < self.settings.patience {
            return Ok(());
        }
        let state = self.list[0].state();
        let what = match (state.is_down, state.refusal.is_empty()) {
            (true, _) => "does not answer".to_owned(),
            (false, true) => "returns only 429 or 503".to_owned(),
            (false, false) => format!("returns only 429 or 503 ({})", state.refusal),
        };
        Err(anyhow!(
            "teacher {} {what} for {} s; what is recorded is safe, run the same command again to resume",
            self.list.iter().map(|endpoint| endpoint.base.as_str()).collect::<Vec<_>>().join(", "),
            shortest.as_secs()
        ))
    }

    /// Marks an endpoint as down and checks it until it is up.
    pub(super) fn watch_until_up(self: &Arc<Self>, index: usize, reason: &str) {
        let was_down = std::mem::replace(&mut self.list[index].state().is_down, true);
        if !was_down {
            terminal::message!("warning: {reason}; it gets no calls until it answers again");
            tokio::spawn(Arc::clone(self).watch(index));
        }
    }

    /// Checks an endpoint that is down until it answers, or until a call is worth an attempt: an endpoint without a list
    /// of models may always return an error for it.
    async fn watch(self: Arc<Self>, index: usize) {
        let endpoint = &self.list[index];
        let answers = loop {
            let checks = endpoint.count_check();
            tokio::time::sleep(pause(checks)).await;
            let request = endpoint.authorized(self.client.get(format!("{}/models", endpoint.base)));
            match request.timeout(Duration::from_secs(10)).send().await {
                Ok(response) if !response.status().is_server_error() => break true,
                Ok(_) if checks >= MAX_CHECKS => break false,
                _ => {}
            }
        };
        endpoint.mark_up(answers);
        self.changed.notify_waiters();
    }
}

impl Endpoint {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a check; returns the number of checks before.
    fn count_check(&self) -> u32 {
        let mut state = self.state();
        state.checks += 1;
        state.checks - 1
    }

    /// Marks the endpoint as up: with the old limit, or with one call at a time, whose failure marks it as down again.
    fn mark_up(&self, answers: bool) {
        let mut state = self.state();
        state.is_down = false;
        if answers {
            (state.failures, state.checks) = (0, 0);
            terminal::message!("note: teacher {} lists its models again and gets calls", self.base);
        } else {
            (state.failures, state.limit) = (MAX_FAILURES - 1, 1.0);
            terminal::message!(
                "note: teacher {} returns errors for its list of models; trying one call",
                self.base
            );
        }
    }

    /// Adds the API key to a request, if there is one, and the user's headers and parameters.
    pub(super) fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        let mut request = request.headers(self.request.headers.clone());
        if !self.request.query.is_empty() {
            request = request.query(&self.request.query);
        }
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

impl Permit {
    /// The endpoint's position in the list.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoints.list[self.index]
    }

    /// The endpoint answered, also with a refusal of the call.
    pub(super) fn succeeded(self) {
        let max = self.endpoints.settings.in_flight as f64;
        let mut state = self.endpoint().state();
        (state.failures, state.checks, state.cuts, state.last_success) = (0, 0, 0, Instant::now());
        state.limit = (state.limit + (1.0 / state.limit).max(MIN_GROWTH)).min(max);
    }

    /// The endpoint reported overload in these words, and accepts no call for `wait`.
    pub(super) fn turned_away(self, wait: Option<Duration>, words: &str) {
        let now = Instant::now();
        let mut state = self.endpoint().state();
        state.refusal = words.chars().take(300).collect();
        if state.last_cut.is_none_or(|cut| self.issued > cut) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.last_cut = Some(now);
            state.cuts += 1;
        }
        // A pause of zero is ignored, because the call was just refused.
        let wait = wait.filter(|wait| !wait.is_zero());
        let wait = wait.unwrap_or_else(|| pause(state.cuts.saturating_sub(1)));
        state.not_before = state.not_before.max(now + wait);
    }

    /// The endpoint failed.
    pub(super) fn failed(self, reason: &str) {
        let mut state = self.endpoint().state();
        state.failures += 1;
        let goes_down = state.failures >= MAX_FAILURES && !state.is_down;
        drop(state);
        if goes_down {
            let base = &self.endpoint().base;
            let reason = format!("teacher {base} failed {MAX_FAILURES} times in a row ({reason})");
            self.endpoints.watch_until_up(self.index, &reason);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.endpoint().state().in_use -= 1;
        self.endpoints.changed.notify_waiters();
    }
}

impl Rates {
    /// The pause after a call that keeps its endpoint within its limits.
    fn pace(self, tokens: u64) -> Option<Duration> {
        let requests = self.requests.map(|limit| 60.0 / limit);
        let tokens = self.tokens.map(|limit| 60.0 * tokens as f64 / limit);
        let seconds = requests.into_iter().chain(tokens).reduce(f64::max)?;
        Some(Duration::from_secs_f64(seconds.min(3600.0)))
    }
}

/// A pause that doubles with every turn.
fn pause(turn: u32) -> Duration {
    let (first, longest) = PAUSES;
    Duration::from_secs_f64((first * 2f64.powi(turn.min(16) as i32)).min(longest))
}

#[cfg(test)]
mod tests;
