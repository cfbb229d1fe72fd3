//! The endpoints of one model: who takes the next call, and how many each takes at a time.
//!
//! Each endpoint has its own limit, which starts at the most that is allowed, is halved when the endpoint
//! says that it is too much (429, 503) and creeps up with every success. Calls that were sent before the
//! limit was cut do not cut it again. An endpoint that fails three times in a row gets no calls until it
//! answers a question about its models; where that is an error again and again, one call is tried instead.

use super::Manners;
use anyhow::{Result, anyhow};
use reqwest::RequestBuilder;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Failures in a row after which an endpoint counts as down.
const STRIKES: u32 = 3;
/// Looks at an endpoint that is down after which an error is taken for the lack of a list of models.
const LOOKS: u32 = 2;
/// What one success adds to the limit, at least; NeMo Data Designer adds one after 25 successes.
const CREEP: f64 = 1.0 / 25.0;
/// The first and the longest pause after a 429 that names none, and between two looks at one that is down.
const PAUSES: (f64, f64) = (0.5, 30.0);

pub(super) struct Endpoints {
    list: Vec<Endpoint>,
    client: reqwest::Client,
    manners: Manners,
    /// A seat has become free, or an endpoint is up again.
    changed: Notify,
}

pub(super) struct Endpoint {
    pub(super) base: String,
    key: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: f64,
    in_use: usize,
    /// Nothing is sent before.
    not_before: Instant,
    /// When the limit was cut last, and how often since the last success.
    cut: Option<Instant>,
    cuts: u32,
    failures: u32,
    down: bool,
    /// How often it was looked at since it was of use last.
    looks: u32,
    /// When it was of use last.
    useful: Instant,
}

/// A call's place at an endpoint.
pub(super) struct Seat {
    endpoints: Arc<Endpoints>,
    index: usize,
    taken: Instant,
}

impl Endpoints {
    pub(super) fn new(bases: &[String], client: reqwest::Client, manners: &Manners) -> Arc<Self> {
        let now = Instant::now();
        let endpoint = |base: &String| Endpoint {
            base: base.clone(),
            key: manners.keys.of(base).map(str::to_owned),
            state: Mutex::new(State {
                limit: manners.in_flight as f64,
                in_use: 0,
                not_before: now,
                cut: None,
                cuts: 0,
                failures: 0,
                down: false,
                looks: 0,
                useful: now,
            }),
        };
        let list = bases.iter().map(endpoint).collect();
        Arc::new(Self { list, client, manners: manners.clone(), changed: Notify::new() })
    }

    pub(super) fn list(&self) -> &[Endpoint] {
        &self.list
    }

    /// Waits for a place at the endpoint with the most room; `avoid` is where the call failed last.
    ///
    /// # Errors
    /// When no endpoint has been of use for as long as the run's patience lasts.
    pub(super) async fn seat(self: &Arc<Self>, avoid: Option<usize>) -> Result<Seat> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable(); // what changes from here on wakes us
            let now = Instant::now();
            if let Some(index) = self.choose(now, avoid) {
                return Ok(Seat { endpoints: Arc::clone(self), index, taken: now });
            }
            self.lose_patience(now)?;
            let next = self.list.iter().map(|endpoint| endpoint.state().not_before);
            let next = next.filter(|time| *time > now).min().unwrap_or(now + Duration::from_secs(1));
            let _ = tokio::time::timeout_at(next.min(now + Duration::from_secs(1)), changed).await;
        }
    }

    fn choose(&self, now: Instant, avoid: Option<usize>) -> Option<usize> {
        // One that asked for a pause is no reason to wait while the one where the call failed is free.
        let takes_calls = |other: &Endpoint| {
            let state = other.state();
            !state.down && state.not_before <= now
        };
        let others =
            self.list.iter().enumerate().any(|(index, one)| Some(index) != avoid && takes_calls(one));
        let mut best: Option<(f64, usize)> = None;
        for (index, endpoint) in self.list.iter().enumerate() {
            let state = endpoint.state();
            let has_room =
                !state.down && state.not_before <= now && ((state.in_use + 1) as f64) <= state.limit;
            if !has_room || (others && avoid == Some(index)) {
                continue;
            }
            let load = state.in_use as f64 / state.limit;
            if best.is_none_or(|(least, _)| load < least) {
                best = Some((load, index));
            }
        }
        let (_, index) = best?;
        self.list[index].state().in_use += 1;
        Some(index)
    }

    fn lose_patience(&self, now: Instant) -> Result<()> {
        let idle = |endpoint: &Endpoint| {
            let state = endpoint.state();
            // One that is working may still answer.
            let at_work = state.in_use > 0 && !state.down && state.cuts == 0;
            if at_work { Duration::ZERO } else { now.saturating_duration_since(state.useful) }
        };
        let shortest = self.list.iter().map(idle).min().unwrap_or_default();
        if shortest < self.manners.patience {
            return Ok(());
        }
        let state = self.list[0].state();
        let what = if state.down { "does not answer" } else { "answers nothing but that it is too busy" };
        Err(anyhow!(
            "teacher {} {what} for {} s; what is recorded is safe, run the same command again to go on",
            self.list.iter().map(|endpoint| endpoint.base.as_str()).collect::<Vec<_>>().join(", "),
            shortest.as_secs()
        ))
    }

    /// Gives an endpoint no calls until it answers again.
    pub(super) fn watch_from_now_on(self: &Arc<Self>, index: usize, why: &str) {
        let was_down = std::mem::replace(&mut self.list[index].state().down, true);
        if !was_down {
            eprintln!("warning: {why}; it gets no calls until it answers again");
            tokio::spawn(Arc::clone(self).watch(index));
        }
    }

    /// Looks at an endpoint that is down until it answers, or until a call is worth a try: an endpoint without a list
    /// of models may answer that with an error for ever.
    async fn watch(self: Arc<Self>, index: usize) {
        let endpoint = &self.list[index];
        let answers = loop {
            let look = endpoint.look();
            tokio::time::sleep(pause(look)).await;
            let question = endpoint.authorized(self.client.get(format!("{}/models", endpoint.base)));
            match question.timeout(Duration::from_secs(10)).send().await {
                Ok(answer) if !answer.status().is_server_error() => break true,
                Ok(_) if look >= LOOKS => break false,
                _ => {}
            }
        };
        endpoint.rise(answers);
        self.changed.notify_waiters();
    }
}

impl Endpoint {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a look; returns how many there were before.
    fn look(&self) -> u32 {
        let mut state = self.state();
        state.looks += 1;
        state.looks - 1
    }

    /// Takes calls again: as before, or one at a time that must not fail.
    fn rise(&self, answers: bool) {
        let mut state = self.state();
        state.down = false;
        if answers {
            (state.failures, state.looks) = (0, 0);
            eprintln!("teacher {} answers again", self.base);
        } else {
            (state.failures, state.limit) = (STRIKES - 1, 1.0);
            eprintln!(
                "teacher {} answers with errors where its models are asked for; one call is tried",
                self.base
            );
        }
    }

    pub(super) fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

impl Seat {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoints.list[self.index]
    }

    /// It answered, be it with a refusal.
    pub(super) fn succeeded(self) {
        let most = self.endpoints.manners.in_flight as f64;
        let mut state = self.endpoint().state();
        (state.failures, state.looks, state.cuts, state.useful) = (0, 0, 0, Instant::now());
        state.limit = (state.limit + (1.0 / state.limit).max(CREEP)).min(most);
    }

    /// It wants fewer calls, and none before `wait` is over.
    pub(super) fn turned_away(self, wait: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.endpoint().state();
        if state.cut.is_none_or(|cut| self.taken > cut) {
            state.limit = (state.limit / 2.0).max(1.0);
            state.cut = Some(now);
            state.cuts += 1;
        }
        // "At once" is no answer to a call that was just refused.
        let wait = wait.filter(|wait| !wait.is_zero());
        let wait = wait.unwrap_or_else(|| pause(state.cuts.saturating_sub(1)));
        state.not_before = state.not_before.max(now + wait);
    }

    /// It broke.
    pub(super) fn failed(self, reason: &str) {
        let mut state = self.endpoint().state();
        state.failures += 1;
        let is_down = state.failures >= STRIKES && !state.down;
        drop(state);
        if is_down {
            let why = format!("teacher {} failed {STRIKES} times in a row ({reason})", self.endpoint().base);
            self.endpoints.watch_from_now_on(self.index, &why);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.endpoint().state().in_use -= 1;
        self.endpoints.changed.notify_waiters();
    }
}

/// Doubles with every turn.
fn pause(turn: u32) -> Duration {
    let (first, longest) = PAUSES;
    Duration::from_secs_f64((first * 2f64.powi(turn.min(16) as i32)).min(longest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::keys::Keys;

    fn endpoints(count: usize, in_flight: usize) -> Arc<Endpoints> {
        let manners = Manners {
            keys: Keys::default(),
            in_flight,
            timeout: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            batch_poll: None,
        };
        let bases: Vec<String> = (0..count).map(|index| format!("http://127.0.0.1:9/{index}")).collect();
        Endpoints::new(&bases, reqwest::Client::new(), &manners)
    }

    async fn seats(endpoints: &Arc<Endpoints>, count: usize) -> Vec<Seat> {
        let mut seats = Vec::new();
        for _ in 0..count {
            seats.push(endpoints.seat(None).await.unwrap());
        }
        seats
    }

    fn limit(endpoints: &Endpoints, index: usize) -> f64 {
        endpoints.list[index].state().limit
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_429_halves_once_and_successes_creep_up() {
        let endpoints = endpoints(1, 64);
        for seat in seats(&endpoints, 64).await {
            seat.turned_away(Some(Duration::from_secs(3)));
        }
        assert_eq!(limit(&endpoints, 0), 32.0, "64 refusals of one burst are one sign");
        let before = Instant::now();
        let again = seats(&endpoints, 32).await;
        assert!(before.elapsed() >= Duration::from_secs(3), "Retry-After is kept");
        assert!(futures::poll!(std::pin::pin!(endpoints.seat(None))).is_pending(), "32 at a time");
        again.into_iter().for_each(Seat::succeeded);
        assert!((33.0..34.0).contains(&limit(&endpoints, 0)), "32 successes are one more call at a time");
        for _ in 0..2000 {
            endpoints.seat(None).await.unwrap().succeeded();
        }
        assert_eq!(limit(&endpoints, 0), 64.0, "and never more than is allowed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_of_nothing_waits_all_the_same() {
        let endpoints = endpoints(1, 4);
        endpoints.seat(None).await.unwrap().turned_away(Some(Duration::ZERO));
        let before = Instant::now();
        endpoints.seat(None).await.unwrap().succeeded();
        assert!(before.elapsed() >= Duration::from_millis(400));
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_loaded_takes_the_call_and_a_dead_one_gets_none() {
        let endpoints = endpoints(2, 8);
        let at = seats(&endpoints, 6).await;
        assert_eq!(at.iter().filter(|seat| seat.index() == 0).count(), 3);
        drop(at);
        for _ in 0..STRIKES {
            loop {
                let seat = endpoints.seat(Some(1)).await.unwrap();
                if seat.index() == 0 {
                    seat.failed("a test");
                    break;
                }
            }
        }
        assert!(seats(&endpoints, 8).await.iter().all(|seat| seat.index() == 1));
        // A call that failed at the only one that is up goes there again.
        assert_eq!(endpoints.seat(Some(1)).await.unwrap().index(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_failed_does_not_wait_for_one_that_wants_a_pause() {
        let endpoints = endpoints(2, 8);
        let (first, second) = (endpoints.seat(None).await.unwrap(), endpoints.seat(None).await.unwrap());
        let (wants_pause, failed_at) = (first.index(), second.index());
        first.turned_away(Some(Duration::from_secs(60)));
        second.failed("a test");
        let before = Instant::now();
        assert_eq!(endpoints.seat(Some(failed_at)).await.unwrap().index(), failed_at);
        assert!(before.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(endpoints.seat(Some(failed_at)).await.unwrap().index(), wants_pause);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let endpoints = endpoints(1, 2);
        let error = loop {
            match endpoints.seat(None).await {
                Ok(seat) => seat.turned_away(None),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("too busy for") && error.contains("run the same command again"), "{error}");
    }
}
