//! Serving, and how it ends: running answers may finish, for a while; a second signal ends it at once.
//!
//! Connections are served by hyper itself, because `axum::serve` lets one that says nothing stay for ever.

use crate::server::{self, Server};
use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long answers that are told to end have to say so to their clients.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a connection may say nothing between requests, or take over the head of one.
const LONGEST_HEAD: Duration = Duration::from_secs(75);
/// How long nobody is let in after that failed, as it does when all descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until SIGINT or SIGTERM, and then until what runs has ended or been ended.
pub(super) async fn serve(listener: TcpListener, server: Arc<Server>) -> Result<()> {
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let serving = accept(listener, server::router(&server), stop.subscribe(), LONGEST_HEAD);
    let signals = signals()?;
    tokio::spawn(on_signals(signals, stop));
    let patience = server.settings.shutdown_timeout;
    let ending = async {
        let _ = stopped.wait_for(|stop| *stop).await;
        eprintln!(
            "smolserve: stopping; running answers have {} s (--shutdown-timeout)",
            patience.as_secs_f64()
        );
        tokio::time::sleep(patience).await;
        server.close();
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = serving => {}
        () = ending => {}
    }
    Ok(())
}

/// Lets connections in until it is told to stop, and then waits for those that answer.
async fn accept(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
    longest_head: Duration,
) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(longest_head);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                drop(connections.spawn(converse(stream, protocol.clone(), router.clone(), stop.clone())));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers what comes over one connection.
async fn converse(
    stream: TcpStream,
    protocol: http1::Builder,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    // A token is a small packet; none waits for the one before to be acknowledged.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        _ = connection.as_mut() => true,
        _ = stop.wait_for(|stop| *stop) => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// The first signal asks, the second does not.
async fn on_signals(mut signals: Signals, stop: watch::Sender<bool>) {
    signals.next().await;
    stop.send_replace(true);
    signals.next().await;
    eprintln!("smolserve: stopped at once");
    std::process::exit(130);
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
fn signals() -> Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(Signals { interrupt, terminate })
}

#[cfg(unix)]
impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
fn signals() -> Result<Signals> {
    Ok(Signals)
}

#[cfg(not(unix))]
impl Signals {
    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = watch::Sender::new(false);
        let router = Router::new().route("/", axum::routing::get(|| async { "well" }));
        let patience = Duration::from_millis(50);
        let serving = tokio::spawn(accept(listener, router, stop.subscribe(), patience));
        for said in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(said.as_bytes()).await.unwrap();
            let mut reply = String::new();
            connection.read_to_string(&mut reply).await.unwrap();
            assert_eq!(reply.contains("well"), said.ends_with("\r\n\r\n"), "{said:?}: {reply:?}");
        }
        stop.send_replace(true);
        serving.await.unwrap();
    }
}
