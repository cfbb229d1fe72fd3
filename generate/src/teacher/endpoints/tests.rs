//! Limits, pauses and the choice of endpoints, on a paused clock.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::api_keys::ApiKeys;
use crate::teacher::endpoint_settings::UserTurns;

fn endpoints(count: usize, in_flight: usize) -> Arc<Endpoints> {
    with_rates(count, in_flight, Rates::default())
}

fn with_rates(count: usize, in_flight: usize, rates: Rates) -> Arc<Endpoints> {
    let settings = EndpointSettings {
        keys: ApiKeys::default(),
        in_flight,
        timeout: Duration::from_secs(1),
        patience: Duration::from_secs(5),
        batch_poll: None,
        rates,
        user_turns: UserTurns::Raw,
        request: RequestSettings::default(),
    };
    let bases: Vec<String> = (0..count).map(|index| format!("http://127.0.0.1:9/{index}")).collect();
    Endpoints::new(&bases, reqwest::Client::new(), &settings)
}

async fn permits(endpoints: &Arc<Endpoints>, count: usize) -> Vec<Permit> {
    let mut permits = Vec::new();
    for _ in 0..count {
        permits.push(endpoints.permit(None, 0).await.unwrap());
    }
    permits
}

fn limit(endpoints: &Endpoints, index: usize) -> f64 {
    endpoints.list[index].state().limit
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_429_halves_the_limit_once_and_successes_raise_it() {
    let endpoints = endpoints(1, 64);
    for permit in permits(&endpoints, 64).await {
        permit.turned_away(Some(Duration::from_secs(3)), "slow down");
    }
    assert_eq!(limit(&endpoints, 0), 32.0, "64 refusals of one burst halve it once");
    let before = Instant::now();
    let again = permits(&endpoints, 32).await;
    assert!(before.elapsed() >= Duration::from_secs(3), "Retry-After is respected");
    assert!(futures::poll!(std::pin::pin!(endpoints.permit(None, 0))).is_pending(), "32 at a time");
    again.into_iter().for_each(Permit::succeeded);
    assert!((33.0..34.0).contains(&limit(&endpoints, 0)), "32 successes allow one more call");
    for _ in 0..2000 {
        endpoints.permit(None, 0).await.unwrap().succeeded();
    }
    assert_eq!(limit(&endpoints, 0), 64.0, "the limit never exceeds the maximum");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_zero_still_waits() {
    let endpoints = endpoints(1, 4);
    endpoints.permit(None, 0).await.unwrap().turned_away(Some(Duration::ZERO), "slow down");
    let before = Instant::now();
    endpoints.permit(None, 0).await.unwrap().succeeded();
    assert!(before.elapsed() >= Duration::from_millis(400));
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_endpoint_gets_the_call_and_one_that_is_down_gets_none() {
    let endpoints = endpoints(2, 8);
    let at = permits(&endpoints, 6).await;
    assert_eq!(at.iter().filter(|permit| permit.index() == 0).count(), 3);
    drop(at);
    for _ in 0..MAX_FAILURES {
        loop {
            let permit = endpoints.permit(Some(1), 0).await.unwrap();
            if permit.index() == 0 {
                permit.failed("a test");
                break;
            }
        }
    }
    assert!(permits(&endpoints, 8).await.iter().all(|permit| permit.index() == 1));
    // A call that failed at the only endpoint that is up goes there again.
    assert_eq!(endpoints.permit(Some(1), 0).await.unwrap().index(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_does_not_wait_for_an_endpoint_that_asked_for_a_pause() {
    let endpoints = endpoints(2, 8);
    let (first, second) =
        (endpoints.permit(None, 0).await.unwrap(), endpoints.permit(None, 0).await.unwrap());
    let (wants_pause, failed_at) = (first.index(), second.index());
    first.turned_away(Some(Duration::from_secs(60)), "slow down");
    second.failed("a test");
    let before = Instant::now();
    assert_eq!(endpoints.permit(Some(failed_at), 0).await.unwrap().index(), failed_at);
    assert!(before.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(endpoints.permit(Some(failed_at), 0).await.unwrap().index(), wants_pause);
}

#[tokio::test(start_paused = true)]
async fn the_run_stops_when_patience_ends() {
    let endpoints = endpoints(1, 2);
    let error = loop {
        match endpoints.permit(None, 0).await {
            Ok(permit) => permit.turned_away(None, "slow down"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains("returns only 429 or 503 (slow down) for")
            && error.contains("run the same command again"),
        "{error}"
    );
}

/// Evenly, because providers count seconds of a minute, too.
#[tokio::test(start_paused = true)]
async fn calls_are_spread_over_the_minute_that_their_limit_is_of() {
    let of = |requests, tokens| with_rates(1, 64, Rates { requests, tokens });
    for (endpoints, seconds) in
        [(of(Some(60.0), None), 9.0), (of(None, Some(6000.0)), 45.0), (of(Some(60.0), Some(6000.0)), 45.0)]
    {
        let before = Instant::now();
        for _ in 0..10 {
            endpoints.permit(None, 500).await.unwrap().succeeded();
        }
        let elapsed = before.elapsed().as_secs_f64();
        assert!((seconds - 0.1..seconds + 0.5).contains(&elapsed), "{elapsed} of {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn impatience_repeats_the_providers_words() {
    let endpoints = endpoints(1, 4);
    let error = loop {
        match endpoints.permit(None, 0).await {
            Ok(permit) => permit.turned_away(Some(Duration::from_secs(2)), "status 429: 250 requests a day"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("returns only 429 or 503 (status 429: 250 requests a day)"), "{error}");
}
