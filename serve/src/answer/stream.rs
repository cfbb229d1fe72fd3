//! Server-sent events: an answer as it grows.
//!
//! The client's connection pulls; when it goes away the stream is dropped, and with it everything that still runs.

use super::{Part, Running, Usage};
use crate::error::ApiError;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;

/// Seconds of silence after which a comment shows that the connection lives, as during a long prompt.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One event on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The event's name, where the interface names them.
    pub(crate) event: Option<&'static str>,
    pub(crate) data: String,
}

impl Frame {
    /// An event without a name.
    pub(crate) fn new(data: &Value) -> Self {
        Self { event: None, data: data.to_string() }
    }

    /// What ends a stream of chat completions or completions.
    pub(crate) fn done() -> Self {
        Self { event: None, data: "[DONE]".to_owned() }
    }
}

/// How an endpoint spells the parts of its answers.
pub(crate) trait Writer: Send + 'static {
    /// Before any part.
    fn begin(&mut self) -> Vec<Frame>;
    /// A part of one answer.
    fn part(&mut self, index: usize, part: Part) -> Vec<Frame>;
    /// After the last answer's end.
    fn end(&mut self, usage: Usage) -> Vec<Frame>;
    /// In place of the end. The default is OpenAI's error body.
    fn failed(&mut self, error: &ApiError) -> Vec<Frame> {
        vec![Frame::new(&error.to_json())]
    }
}

/// The response that streams what runs.
pub(crate) fn stream(running: Running, writer: impl Writer) -> Response {
    let events = frames(running, writer).map(|frame| {
        let event = frame.event.map_or_else(Event::default, |name| Event::default().event(name));
        Ok::<Event, Infallible>(event.data(frame.data))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // A proxy that collects the answer before it passes it on would defeat the purpose.
    let unbuffered = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", unbuffered);
    response
}

/// What is still to come of a stream.
enum State<W> {
    Begin(Running, W),
    Parts(Running, W),
    Ended,
}

/// Every frame of a stream, in order.
pub(crate) fn frames<W: Writer>(running: Running, writer: W) -> impl Stream<Item = Frame> + Send {
    let step = |state: State<W>| async move {
        match state {
            State::Begin(running, mut writer) => {
                let frames = writer.begin();
                Some((frames, State::Parts(running, writer)))
            }
            State::Parts(mut running, mut writer) => match running.next().await {
                Ok(Some((index, part))) => {
                    let frames = writer.part(index, part);
                    Some((frames, State::Parts(running, writer)))
                }
                Ok(None) => Some((writer.end(running.usage()), State::Ended)),
                Err(error) => Some((writer.failed(&error), State::Ended)),
            },
            State::Ended => None,
        }
    };
    futures::stream::unfold(State::Begin(running, writer), step).flat_map(futures::stream::iter)
}
