//! Limits, pauses and the choice of endpoints, on a paused clock.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use crate::api_keys::ApiKeys;

fn endpoints(count: usize, in_flight: usize) -> Arc<Endpoints> {
    let settings = EndpointSettings {
        keys: ApiKeys::default(),
        in_flight,
        timeout: Duration::from_secs(1),
        patience: Duration::from_secs(5),
        batch_poll: None,
    };
    let bases: Vec<String> = (0..count).map(|index| format!("http://127.0.0.1:9/{index}")).collect();
    Endpoints::new(&bases, reqwest::Client::new(), &settings)
}

async fn permits(endpoints: &Arc<Endpoints>, count: usize) -> Vec<Permit> {
    let mut permits = Vec::new();
    for _ in 0..count {
        permits.push(endpoints.permit(None).await.unwrap());
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
        permit.turned_away(Some(Duration::from_secs(3)));
    }
    assert_eq!(limit(&endpoints, 0), 32.0, "64 refusals of one burst halve it once");
    let before = Instant::now();
    let again = permits(&endpoints, 32).await;
    assert!(before.elapsed() >= Duration::from_secs(3), "Retry-After is respected");
    assert!(futures::poll!(std::pin::pin!(endpoints.permit(None))).is_pending(), "32 at a time");
    again.into_iter().for_each(Permit::succeeded);
    assert!((33.0..34.0).contains(&limit(&endpoints, 0)), "32 successes allow one more call");
    for _ in 0..2000 {
        endpoints.permit(None).await.unwrap().succeeded();
    }
    assert_eq!(limit(&endpoints, 0), 64.0, "the limit never exceeds the maximum");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_zero_still_waits() {
    let endpoints = endpoints(1, 4);
    endpoints.permit(None).await.unwrap().turned_away(Some(Duration::ZERO));
    let before = Instant::now();
    endpoints.permit(None).await.unwrap().succeeded();
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
            let permit = endpoints.permit(Some(1)).await.unwrap();
            if permit.index() == 0 {
                permit.failed("a test");
                break;
            }
        }
    }
    assert!(permits(&endpoints, 8).await.iter().all(|permit| permit.index() == 1));
    // A call that failed at the only endpoint that is up goes there again.
    assert_eq!(endpoints.permit(Some(1)).await.unwrap().index(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_does_not_wait_for_an_endpoint_that_asked_for_a_pause() {
    let endpoints = endpoints(2, 8);
    let (first, second) = (endpoints.permit(None).await.unwrap(), endpoints.permit(None).await.unwrap());
    let (wants_pause, failed_at) = (first.index(), second.index());
    first.turned_away(Some(Duration::from_secs(60)));
    second.failed("a test");
    let before = Instant::now();
    assert_eq!(endpoints.permit(Some(failed_at)).await.unwrap().index(), failed_at);
    assert!(before.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(endpoints.permit(Some(failed_at)).await.unwrap().index(), wants_pause);
}

#[tokio::test(start_paused = true)]
async fn the_run_stops_when_patience_ends() {
    let endpoints = endpoints(1, 2);
    let error = loop {
        match endpoints.permit(None).await {
            Ok(permit) => permit.turned_away(None),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains("returns only 429 or 503 for") && error.contains("run the same command again"),
        "{error}"
    );
}
