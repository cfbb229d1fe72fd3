//! Serving, and how it ends: running answers may finish, for a while; a second signal ends it at once.

use crate::server::{self, Server};
use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long answers that are told to end have to say so to their clients.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves until SIGINT or SIGTERM, and then until what runs has ended or been ended.
pub(super) async fn serve(listener: TcpListener, server: Arc<Server>) -> Result<()> {
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let graceful = {
        let mut stopped = stop.subscribe();
        async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    };
    let router = server::router(&server);
    // A token is a small packet; none waits for the one before to be acknowledged.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let serving = axum::serve(listener, router).with_graceful_shutdown(graceful);
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
        served = serving => served.context("serving failed"),
        () = ending => Ok(()),
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
