//! Server-sent events: an answer as it grows.
//!
//! The client's connection pulls the events. When it closes, the stream is dropped, and with it everything that still
//! runs.

use super::chunks::Delta;
use super::running::{RunningAnswers, TokenCounts};
use crate::error::ApiError;
use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;

/// Time without an event after which a comment keeps the connection alive, as during a long prompt.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// One event on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The event's name, for interfaces that have names.
    name: Option<&'static str>,
    data: String,
}

impl Frame {
    /// An event without a name.
    pub(super) fn new(data: &impl Serialize) -> Self {
        Self { name: None, data: serde_json::to_string(data).expect("answers have string keys only") }
    }

    /// An event with a name.
    pub(super) fn named(name: &'static str, data: &impl Serialize) -> Self {
        Self { name: Some(name), ..Self::new(data) }
    }

    /// The last event of a chat completion or completion.
    pub(super) fn done() -> Self {
        Self { name: None, data: "[DONE]".to_owned() }
    }
}

/// Writes the deltas of answers as one endpoint spells them.
pub(crate) trait StreamWriter: Send + 'static {
    /// Before any delta.
    fn begin(&mut self) -> Vec<Frame>;
    /// The token counts at the next delta, for streams that report them.
    fn progress(&mut self, _: TokenCounts) {}
    /// One delta of the answer with this index.
    fn delta(&mut self, index: usize, delta: Delta) -> Vec<Frame>;
    /// After the last answer's end.
    fn end(&mut self, counts: TokenCounts) -> Vec<Frame>;
    /// In place of the end. The default is OpenAI's error body.
    fn failed(&mut self, error: &ApiError) -> Vec<Frame> {
        vec![Frame::new(&error.body())]
    }
}

/// Marks the response that is a stream, whose line in the log follows at its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IsStream;

/// The response that streams running answers.
pub(crate) fn stream(mut running: RunningAnswers, writer: impl StreamWriter) -> Response {
    running.is_streamed();
    let events = frames(running, writer).map(|frame| {
        let event = frame.name.map_or_else(Event::default, |name| Event::default().event(name));
        Ok::<Event, Infallible>(event.data(frame.data))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    response.extensions_mut().insert(IsStream);
    // Tells proxies not to buffer the answer.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Where a stream is.
enum Progress<W> {
    Start(RunningAnswers, W),
    Deltas(RunningAnswers, W),
    Ended,
}

/// All frames of a stream, in order.
fn frames<W: StreamWriter>(running: RunningAnswers, writer: W) -> impl Stream<Item = Frame> + Send {
    let step = |progress: Progress<W>| async move {
        match progress {
            Progress::Start(running, mut writer) => {
                let frames = writer.begin();
                Some((frames, Progress::Deltas(running, writer)))
            }
            Progress::Deltas(mut running, mut writer) => match running.next().await {
                Ok(Some((index, delta))) => {
                    writer.progress(running.counts_so_far());
                    let frames = writer.delta(index, delta);
                    Some((frames, Progress::Deltas(running, writer)))
                }
                Ok(None) => Some((writer.end(running.counts()), Progress::Ended)),
                Err(error) => Some((writer.failed(&error), Progress::Ended)),
            },
            Progress::Ended => None,
        }
    };
    futures::stream::unfold(Progress::Start(running, writer), step).flat_map(futures::stream::iter)
}
