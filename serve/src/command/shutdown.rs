//! Serving and shutting down: after a signal, running answers have some time to end; a second signal exits at once (see
//! `terminal::signals`).
//!
//! Connections are served by hyper itself, because `axum::serve` has no timeout for idle connections.

use crate::server;
use crate::state::ServerState;
use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use terminal::signals::Stop;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Time that answers which are ended have to send the error to their clients.
const FINAL_WRITES: Duration = Duration::from_secs(2);

/// How long a connection may be idle between requests, or take to send the head of one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after a connection could not be accepted, as when all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until a signal, and then until running answers have ended or were ended.
pub(super) async fn serve(listener: TcpListener, state: Arc<ServerState>) -> Result<()> {
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let serving = accept(listener, server::router(&state), stop.subscribe(), HEAD_TIMEOUT);
    let signals = Stop::listen().context("cannot handle signals")?;
    let shut_down = move || {
        stop.send_replace(true);
    };
    signals.on_request(shut_down).context("cannot handle signals")?;
    let timeout = state.settings.shutdown_timeout;
    let ending = async {
        let _ = stopped.wait_for(|stop| *stop).await;
        let seconds = timeout.as_secs_f64();
        tracing::info!("shutting down; running answers have {seconds} s (--shutdown-timeout)");
        tokio::time::sleep(timeout).await;
        state.close();
        tokio::time::sleep(FINAL_WRITES).await;
    };
    tokio::select! {
        () = serving => {}
        () = ending => {}
    }
    Ok(())
}

/// Accepts connections until it must stop, and then waits for those that still answer.
async fn accept(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
    head_timeout: Duration,
) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                drop(connections.spawn(serve_connection(
                    stream,
                    protocol.clone(),
                    router.clone(),
                    stop.clone(),
                )));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection.
async fn serve_connection(
    stream: TcpStream,
    protocol: http1::Builder,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    // A token is a small packet and must not wait until the previous one is acknowledged.
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = watch::Sender::new(false);
        let router = Router::new().route("/", axum::routing::get(|| async { "ok" }));
        let timeout = Duration::from_millis(50);
        let serving = tokio::spawn(accept(listener, router, stop.subscribe(), timeout));
        for request in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut reply = String::new();
            connection.read_to_string(&mut reply).await.unwrap();
            assert_eq!(reply.ends_with("ok"), request.ends_with("\r\n\r\n"), "{request:?}: {reply:?}");
        }
        stop.send_replace(true);
        serving.await.unwrap();
    }
}
