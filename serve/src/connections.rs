//! The open connections: at most so many, and when one more comes, one that does nothing makes room.
//!
//! A connection works from the end of a request's body to the end of the response. Others are idle: between requests, or
//! while they send a head or a body. Of the idle ones, the first to be closed is the one that has been idle longest among
//! those of the client with the most connections. So a client that opens many closes its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// What one connection does.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    works: AtomicBool,
    /// When it became idle.
    since: Mutex<Instant>,
    close: Notify,
}

impl Activity {
    fn new() -> Self {
        let since = Mutex::new(Instant::now());
        Self(Arc::new(State { works: AtomicBool::new(false), since, close: Notify::new() }))
    }

    /// A request was read.
    pub(crate) fn begin(&self) {
        self.0.works.store(true, Ordering::Relaxed);
    }

    /// A response has ended.
    pub(crate) fn end(&self) {
        self.0.works.store(false, Ordering::Relaxed);
        *lock(&self.0.since) = Instant::now();
    }

    /// Waits until the connection must make room.
    pub(crate) async fn closed(&self) {
        self.0.close.notified().await;
    }
}

/// All open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, (IpAddr, Activity)>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    number: u64,
    pub(crate) activity: Activity,
}

impl Connections {
    /// Room for this number of connections.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for a connection of a client; `None` when all others work.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut open = lock(&self.open);
        while open.connections.len() >= self.most {
            let number = open.least_useful()?;
            let (_, activity) = open.connections.remove(&number)?;
            activity.0.close.notify_one();
        }
        let (number, activity) = (open.next, Activity::new());
        open.next += 1;
        open.connections.insert(number, (client, activity.clone()));
        Some(Place { connections: Arc::clone(self), number, activity })
    }
}

impl Open {
    fn least_useful(&self) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (client, _) in self.connections.values() {
            *counts.entry(*client).or_default() += 1;
        }
        let idle =
            self.connections.iter().filter(|(_, (_, activity))| !activity.0.works.load(Ordering::Relaxed));
        let rank = |client: &IpAddr, activity: &Activity| {
            (std::cmp::Reverse(counts.get(client).copied()), *lock(&activity.0.since))
        };
        idle.min_by_key(|(_, (client, activity))| rank(client, activity)).map(|(number, _)| *number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.open).connections.remove(&self.number);
    }
}

/// Every lock here is held for a few assignments, which do not panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_longest_idle_connection_of_the_client_with_the_most_makes_room() {
        let [greedy, modest] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let connections = Connections::new(4);
        let oldest = connections.enter(modest).unwrap();
        let busy = connections.enter(greedy).unwrap();
        busy.activity.begin();
        let idle = connections.enter(greedy).unwrap();
        let newest = connections.enter(greedy).unwrap();
        let entered = connections.enter(modest).unwrap();
        tokio::time::timeout(Duration::from_secs(1), idle.activity.closed()).await.unwrap();
        for kept in [&oldest, &busy, &newest, &entered] {
            assert!(tokio::time::timeout(Duration::from_millis(1), kept.activity.closed()).await.is_err());
        }
        for place in [&oldest, &newest, &entered] {
            place.activity.begin();
        }
        assert!(connections.enter(modest).is_none(), "all work");
        newest.activity.end();
        assert!(connections.enter(modest).is_some());
        drop((oldest, busy, idle, newest, entered));
        assert!(lock(&connections.open).connections.is_empty());
    }
}
