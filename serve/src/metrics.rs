//! What the server has done: counters and histograms of responses and tokens.
//!
//! They are updated beside the work; nothing here waits for an engine. What vLLM measures, too, ends in the name that it has
//! there, and is told apart by `model_name`.

use engine::{Done, Event};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Span;

/// What the names of all metrics begin with.
pub(crate) const PREFIX: &str = "smolserve";

/// Upper bounds in seconds: a decode step of a small model takes milliseconds, a long answer minutes.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The status that counts a client which closed its connection before the response.
pub(crate) const CLIENT_CLOSED: u16 = 499;

/// All counters and histograms.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    responses: Family<ResponseLabels, Counter>,
    failed_keys: Counter,
    prompt_tokens: Family<ModelLabel, Counter>,
    generation_tokens: Family<ModelLabel, Counter>,
    queue_time: Durations,
    time_to_first_token: Durations,
    inter_token_latency: Durations,
    request_latency: Durations,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    endpoint: String,
    status: u16,
}

/// The model that answered, under vLLM's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model_name: String,
}

/// Histograms of seconds, one per model.
type Durations = Family<ModelLabel, Histogram, fn() -> Histogram>;

fn durations() -> Durations {
    Family::new_with_constructor(|| Histogram::new(BUCKETS))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            responses: Family::default(),
            failed_keys: Counter::default(),
            prompt_tokens: Family::default(),
            generation_tokens: Family::default(),
            queue_time: durations(),
            time_to_first_token: durations(),
            inter_token_latency: durations(),
            request_latency: durations(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// The registry ends each help text with a period and each counter's name with `_total`.
    fn register(&mut self) {
        let registry = &mut self.registry;
        let help = "Responses by endpoint and status; 499: the client closed the connection";
        registry.register("requests", help, self.responses.clone());
        registry.register("failed_keys", "Requests with a wrong API key", self.failed_keys.clone());
        registry.register("prompt_tokens", "Tokens of accepted prompts", self.prompt_tokens.clone());
        registry.register("generation_tokens", "Generated tokens", self.generation_tokens.clone());
        for (name, help, durations) in [
            ("request_queue_time_seconds", "Of an answer in the queue", &self.queue_time),
            (
                "time_to_first_token_seconds",
                "From a prompt's acceptance to its first token",
                &self.time_to_first_token,
            ),
            ("inter_token_latency_seconds", "Between two tokens of one answer", &self.inter_token_latency),
            (
                "e2e_request_latency_seconds",
                "From a prompt's acceptance to the end of its answers",
                &self.request_latency,
            ),
        ] {
            registry.register(name, help, durations.clone());
        }
    }

    /// The registered metrics, to be encoded.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a response.
    pub(crate) fn count_response(&self, endpoint: &str, status: u16) {
        let labels = ResponseLabels { endpoint: endpoint.to_owned(), status };
        self.responses.get_or_create(&labels).inc();
    }

    /// Counts a request with a wrong API key.
    pub(crate) fn count_failed_key(&self) {
        self.failed_keys.inc();
    }

    /// Starts to measure a request to a model with this number of answers.
    pub(crate) fn stopwatch(self: &Arc<Self>, model: &str, answers: usize) -> Stopwatch {
        Stopwatch {
            metrics: Arc::clone(self),
            model: ModelLabel { model_name: model.to_owned() },
            span: Span::current(),
            began: Instant::now(),
            prompt_tokens: None,
            completion_tokens: 0,
            cached_tokens: 0,
            queued: None,
            first_token: None,
            ended: 0,
            writes_line: false,
            last: vec![None; answers],
        }
    }
}

/// Measures one request while it runs.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    metrics: Arc<Metrics>,
    model: ModelLabel,
    /// The request's span in the log.
    span: Span,
    began: Instant,
    /// Of all prompts, once they are accepted.
    prompt_tokens: Option<u64>,
    completion_tokens: u64,
    cached_tokens: u64,
    /// The longest time of an answer in the queue.
    queued: Option<Duration>,
    first_token: Option<Duration>,
    /// Number of answers that have ended.
    ended: usize,
    /// Whether the request's line in the log is written at the end.
    writes_line: bool,
    /// When each answer's last token came.
    last: Vec<Option<Instant>>,
}

impl Stopwatch {
    /// Counts the tokens of the prompts. Requests that are refused before are not measured.
    pub(crate) fn accept(&mut self, tokens: u64) {
        self.prompt_tokens = Some(tokens);
        self.metrics.prompt_tokens.get_or_create(&self.model).inc_by(tokens);
    }

    /// Has the request's line in the log written at the end, because its response is a stream.
    pub(crate) fn write_line_at_end(&mut self) {
        self.writes_line = true;
    }

    /// Measures an event of an answer.
    pub(crate) fn record(&mut self, answer: usize, event: &Event) {
        let tokens = match event {
            Event::Token(_) => 1,
            Event::Tokens(tokens) => tokens.len() as u64,
            Event::Done(done) => return self.end(done),
            _ => return,
        };
        let metrics = &self.metrics;
        self.completion_tokens += tokens;
        metrics.generation_tokens.get_or_create(&self.model).inc_by(tokens);
        let now = Instant::now();
        let (durations, seconds) = match self.last[answer].replace(now) {
            None => {
                let took = now - self.began;
                self.first_token.get_or_insert(took);
                (&metrics.time_to_first_token, took.as_secs_f64())
            }
            Some(last) => (&metrics.inter_token_latency, (now - last).as_secs_f64()),
        };
        durations.get_or_create(&self.model).observe(seconds);
    }

    fn end(&mut self, done: &Done) {
        self.ended += 1;
        self.cached_tokens += done.cached_tokens as u64;
        self.queued = self.queued.max(Some(done.queued));
        self.metrics.queue_time.get_or_create(&self.model).observe(done.queued.as_secs_f64());
    }

    /// Adds to the request's span what its line in the log has.
    fn fill_span(&self, prompt_tokens: u64) {
        self.span.record("prompt_tokens", prompt_tokens);
        self.span.record("completion_tokens", self.completion_tokens);
        self.span.record("cached_tokens", self.cached_tokens);
        for (field, duration) in [("queue_ms", self.queued), ("first_token_ms", self.first_token)] {
            if let Some(duration) = duration {
                self.span.record(field, milliseconds(duration));
            }
        }
    }
}

/// Milliseconds, as the log has them.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

impl Drop for Stopwatch {
    /// Also runs when the client closes the connection.
    fn drop(&mut self) {
        let Some(prompt_tokens) = self.prompt_tokens else { return };
        let took = self.began.elapsed();
        self.metrics.request_latency.get_or_create(&self.model).observe(took.as_secs_f64());
        self.fill_span(prompt_tokens);
        if self.writes_line {
            let (latency_ms, is_whole) = (milliseconds(took), self.ended == self.last.len());
            tracing::info!(parent: &self.span, status = 200, latency_ms, is_whole, "response");
        }
    }
}
