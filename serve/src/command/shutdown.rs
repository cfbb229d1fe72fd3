//! Serving and shutting down: after a signal, running answers have some time to end; a second signal exits at once (see
//! `terminal::signals`).
//!
//! Connections are served by hyper itself, because `axum::serve` has neither a timeout for idle connections nor a bound on
//! their number.

use super::listener::{Connection, Listener};
use crate::caller::Peer;
use crate::connections::{Activity, Connections, Place};
use crate::server;
use crate::state::ServerState;
use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use terminal::signals::Stop;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Time that answers which are ended have to send the error to their clients.
const FINAL_WRITES: Duration = Duration::from_secs(2);

/// How long a connection may be idle between requests, or take to send the head of one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Maximum bytes of a request's head, and of what is read ahead of a body.
const HEAD_BYTES: usize = 64 << 10;
/// Pause after a connection could not be accepted, as when all file descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until a signal, and then until running answers have ended or were ended.
pub(super) async fn serve(listener: Listener, state: Arc<ServerState>) -> Result<()> {
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let connections = Connections::new(state.settings.max_connections);
    let serving = accept(listener, server::router(&state), stop.subscribe(), HEAD_TIMEOUT, connections);
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
    listener: Listener,
    router: Router,
    mut stop: watch::Receiver<bool>,
    head_timeout: Duration,
    places: Arc<Connections>,
) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                // Without a place, the connection is closed at once.
                if let Some(place) = places.enter(client) {
                    let (protocol, router, stop) = (protocol.clone(), router.clone(), stop.clone());
                    let peer = Peer(client);
                    drop(connections.spawn(serve_connection(stream, peer, protocol, router, stop, place)));
                }
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
    stream: Box<dyn Connection>,
    peer: Peer,
    protocol: http1::Builder,
    router: Router,
    mut stop: watch::Receiver<bool>,
    place: Place,
) {
    let router = TowerToHyperService::new(router);
    let activity = place.activity.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(activity.clone());
        request.extensions_mut().insert(peer);
        let (response, activity) = (router.call(request), activity.clone());
        async move {
            let response = response.await?;
            Ok::<_, std::convert::Infallible>(response.map(|inner| WatchedBody { inner, activity }))
        }
    });
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let is_stopped = tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => true,
        () = place.activity.closed() => false,
    };
    if is_stopped {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A response's body, whose end is the end of the connection's work.
struct WatchedBody {
    inner: Body,
    activity: Activity,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.activity.end();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn an_idle_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = watch::Sender::new(false);
        let router = Router::new().route("/", axum::routing::get(|| async { "ok" }));
        let timeout = Duration::from_millis(50);
        let places = Connections::new(8);
        let serving =
            tokio::spawn(accept(Listener::Tcp(listener), router, stop.subscribe(), timeout, places));
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

    /// Connects, and reads until the server closes the connection.
    async fn end_of(mut connection: TcpStream) -> String {
        let mut reply = Vec::new();
        let _ =
            tokio::time::timeout(Duration::from_secs(5), connection.read_to_end(&mut reply)).await.unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    }

    #[tokio::test]
    async fn connections_and_heads_are_bounded_and_the_others_are_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = watch::Sender::new(false);
        let router = Router::new().route("/", axum::routing::get(|| async { "ok" }));
        let places = Connections::new(4);
        let timeout = Duration::from_secs(60);
        let serving =
            tokio::spawn(accept(Listener::Tcp(listener), router, stop.subscribe(), timeout, places));
        let mut idle = Vec::new();
        for _ in 0..20 {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx: ").await.unwrap();
            idle.push(connection);
        }
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(end_of(connection).await.ends_with("ok"), "a connection makes room");
        assert_eq!(end_of(idle.swap_remove(0)).await, "", "the oldest connection was closed");
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "y".repeat(2 * HEAD_BYTES));
        connection.write_all(head.as_bytes()).await.unwrap();
        let reply = end_of(connection).await;
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431"), "{reply}");
        drop(idle);
        stop.send_replace(true);
        serving.await.unwrap();
    }
}
